//! `faam tenant` and `faam key`: on a gateway that runs, whose callers see each change at once, and on its store where none does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use faam_gateway::gateway::{Gateway, GatewayError};
use serde_json::Value;

use crate::faam::{Ended, KEY, Place, SOON, faam, run};

/// One connection of a caller's, which stays open until an answer ends it.
pub(crate) struct Kept {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Kept {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("set");
        Self {
            stream: BufReader::new(stream),
            address,
        }
    }

    /// Asks on the same connection: status and body.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        authorization: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body).expect("sent");
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let (mut length, mut closes) = (0, false);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a header");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
            closes |= line == "connection: close";
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        if closes {
            // A refusal leaves a body unread, and ends its connection: after it there is a new one.
            *self = Self::open(self.address);
        }
        (status.expect("a status"), body)
    }

    fn status(&mut self, method: &str, target: &str, authorization: &str) -> u16 {
        self.ask(method, target, authorization, b"hello hello hello")
            .0
    }

    /// The caller's tenant, as it sees itself.
    fn who(&mut self, authorization: &str) -> Value {
        let (status, body) = self.ask("GET", "/v1/tenants/self", authorization, b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }
}

/// A command about the data directory of `place`.
#[track_caller]
pub(crate) fn operator(place: &Place, words: &[&str]) -> Ended {
    let mut command = place.faam(words);
    command.env("FAAM_DATA_DIR", place.data.path());
    run(command, b"")
}

#[track_caller]
pub(crate) fn json(ended: Ended) -> Value {
    let ended = ended.check(0, &[]).silent();
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

#[track_caller]
pub(crate) fn key(place: &Place, words: &[&str]) -> (String, String) {
    let words = [&["key", "add", "--json"], words].concat();
    let made = json(operator(place, &words));
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    (text("id"), format!("Bearer {}", text("key")))
}

#[test]
fn a_tenant_is_made_served_changed_and_removed_without_a_restart() {
    let place = Place::new();
    let made = json(operator(
        &place,
        &[
            "tenant",
            "add",
            "acme",
            "--namespace",
            "prod",
            "--weight",
            "200",
            "--json",
        ],
    ));
    assert_eq!(made["name"], "acme");
    assert_eq!(made["limits"]["weight"], 200);
    assert_eq!(made["set"], serde_json::json!({"weight": 200}));
    let (id, authorization) = key(&place, &["--tenant", "acme", "--kind", "api"]);
    assert!(authorization.starts_with(&format!("Bearer faam_{id}_")));

    let mut caller = Kept::open(place.gateway.public_address());
    assert_eq!(caller.who(&authorization)["id"], "acme");
    assert_eq!(caller.status("POST", "/v1/compress", &authorization), 200);
    // A limit acts on the next request of a connection that is open.
    json(operator(
        &place,
        &["tenant", "set", "acme", "--in-flight-max", "7", "--json"],
    ));
    assert_eq!(caller.who(&authorization)["limits"]["in_flight_max"], 7);
    json(operator(
        &place,
        &["tenant", "set", "acme", "--kernels", "decompress", "--json"],
    ));
    assert_eq!(caller.status("POST", "/v1/compress", &authorization), 403);
    json(operator(
        &place,
        &[
            "tenant",
            "set",
            "acme",
            "--kernels",
            "default",
            "--in-flight-max",
            "default",
            "--json",
        ],
    ));
    assert_eq!(caller.status("POST", "/v1/compress", &authorization), 200);
    assert_eq!(caller.who(&authorization)["limits"]["in_flight_max"], 256);

    let list = operator(&place, &["tenant", "ls"]).check(0, &[]).silent();
    let list = String::from_utf8(list.stdout).expect("UTF-8");
    for word in ["NAME", "acme", "demo", "prod", "200"] {
        assert!(list.contains(word), "{word} in {list}");
    }
    let shown = operator(&place, &["tenant", "show", "acme"]).check(0, &[]);
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(shown.contains("200 (set)"), "{shown}");
    assert!(shown.contains("pir_us_per_s           none"), "{shown}");

    json(operator(&place, &["tenant", "rm", "acme", "--json"]));
    assert_eq!(caller.status("POST", "/v1/compress", &authorization), 401);
    operator(&place, &["tenant", "show", "acme"])
        .check(1, &["acme", "does not exist", "faam tenant ls"]);
    // Nobody else has noticed.
    let demo = format!("Bearer {KEY}");
    assert_eq!(caller.who(&demo)["id"], "demo");
}

#[test]
fn a_revoked_key_is_refused_on_an_open_connection_and_a_rotated_one_has_a_successor() {
    let place = Place::new();
    json(operator(&place, &["tenant", "add", "acme", "--json"]));
    let (id, old) = key(
        &place,
        &["--tenant", "acme", "--kind", "api", "--scope", "compress"],
    );
    let mut caller = Kept::open(place.gateway.public_address());
    assert_eq!(caller.status("POST", "/v1/compress", &old), 200);
    assert_eq!(caller.status("POST", "/v1/decompress", &old), 403);

    let rotated = json(operator(
        &place,
        &["key", "rotate", &id, "--overlap", "24h", "--json"],
    ));
    let new = format!("Bearer {}", rotated["key"].as_str().expect("a key"));
    for authorization in [&old, &new] {
        assert_eq!(caller.status("POST", "/v1/compress", authorization), 200);
        // The successor is for the same.
        assert_eq!(caller.status("POST", "/v1/decompress", authorization), 403);
    }
    operator(&place, &["key", "rotate", &id]).check(
        1,
        &["rotated already", rotated["id"].as_str().expect("an id")],
    );
    let keys = json(operator(
        &place,
        &["key", "ls", "--tenant", "acme", "--json"],
    ));
    let of = |id: &Value| {
        let keys = keys["keys"].as_array().expect("keys");
        keys.iter()
            .find(|key| key["id"] == *id)
            .expect("listed")
            .clone()
    };
    assert_eq!(of(&Value::from(id.as_str()))["state"], "rotated");
    assert_eq!(of(&Value::from(id.as_str()))["successor"], rotated["id"]);
    assert_eq!(of(&rotated["id"])["state"], "live");

    json(operator(&place, &["key", "revoke", &id, "--json"]));
    assert_eq!(caller.status("POST", "/v1/compress", &old), 401);
    assert_eq!(caller.status("POST", "/v1/compress", &new), 200);
    // Without an overlap the old one ends at once.
    let id = rotated["id"].as_str().expect("an id");
    let last = json(operator(&place, &["key", "rotate", id, "--json"]));
    assert_eq!(caller.status("POST", "/v1/compress", &new), 401);
    let last = format!("Bearer {}", last["key"].as_str().expect("a key"));
    assert_eq!(caller.status("POST", "/v1/compress", &last), 200);

    let events = json(operator(&place, &["events", "--json"]));
    let text = events.to_string();
    for kind in ["tenant.added", "key.added", "key.rotated", "key.revoked"] {
        assert!(text.contains(kind), "{kind} in {text}");
    }
    let listed = json(operator(&place, &["key", "ls", "--json"])).to_string();
    for secret in [&old, &new, &last] {
        let (_, secret) = secret.rsplit_once('_').expect("a secret");
        assert!(!text.contains(secret) && !listed.contains(secret));
        for file in std::fs::read_dir(place.data.path()).expect("listed") {
            let path = file.expect("a file").path();
            // Sockets are not read.
            if let Ok(bytes) = std::fs::read(&path) {
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "a secret is in {}", path.display());
            }
        }
    }
}

#[test]
fn where_no_gateway_runs_the_store_is_opened_and_a_start_finds_all_of_it() {
    let data = tempfile::tempdir().expect("a directory");
    let dir = data.path().to_str().expect("UTF-8").to_owned();
    let command = |words: &[&str]| {
        let mut command = faam(data.path(), "http://127.0.0.1:1", words);
        command.env("FAAM_DATA_DIR", &dir);
        run(command, b"")
    };
    command(&["tenant", "ls"]).check(1, &["no store", "--data-dir"]);
    // Somebody may have meant another directory.
    command(&["tenant", "add", "acme", "--weight", "300", "--json"])
        .check(0, &["a new store was made", "--data-dir"]);
    json(command(&["tenant", "add", "umbrella", "--json"]));
    let made = json(command(&[
        "key", "add", "--tenant", "acme", "--kind", "api", "--json",
    ]));
    assert_eq!(made["kind"], "api");
    command(&["tenant", "add", "acme"]).check(1, &["exists already"]);
    let authorization = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let mut data = data;
    for round in 0..2 {
        let place = Place::with_data(data, |_| {});
        let mut caller = Kept::open(place.gateway.public_address());
        assert_eq!(caller.who(&authorization)["id"], "acme", "round {round}");
        let shown = json(operator(&place, &["tenant", "show", "acme", "--json"]));
        assert_eq!(shown["limits"]["weight"], 300);
        // Its events were kept although no gateway ran.
        let events = json(operator(&place, &["events", "--kind", "tenant", "--json"])).to_string();
        assert!(events.contains("tenant.added"), "{events}");
        let Place {
            gateway,
            data: kept,
            ..
        } = place;
        gateway.stop();
        data = kept;
    }
}

#[test]
fn what_cannot_be_is_refused_with_words() {
    let place = Place::new();
    json(operator(&place, &["tenant", "add", "acme", "--json"]));
    for (words, said) in [
        (
            &["tenant", "add", "../etc"][..],
            &["no name of a tenant", "small letters"][..],
        ),
        (&["tenant", "add", "UPPER"], &["small letters"]),
        (
            &["tenant", "add", "acme"],
            &["exists already", "faam tenant set"],
        ),
        (
            &["tenant", "set", "acme", "--weight", "0"],
            &["weight", "from 1"],
        ),
        (
            &["tenant", "set", "acme", "--weight", "none"],
            &["whole number"],
        ),
        (
            &["tenant", "set", "acme", "--kernels", "encrypt"],
            &["compress, decompress"],
        ),
        (
            &["tenant", "set", "acme", "--bytes-per-s", "fast"],
            &["KiB"],
        ),
        (
            &[
                "tenant",
                "set",
                "acme",
                "--cir-us-per-s",
                "5",
                "--pir-us-per-s",
                "4",
            ],
            &["within the peak"],
        ),
        (
            &["tenant", "set", "acme", "--revision", "9", "--weight", "2"],
            &["revision 1", "9"],
        ),
        (
            &["tenant", "set", "nobody", "--weight", "2"],
            &["nobody", "does not exist"],
        ),
        (
            &["tenant", "set", "acme", "--remove-namespace", "prod"],
            &["prod", "does not exist"],
        ),
        // More than all engines give.
        (
            &["tenant", "set", "acme", "--cir-us-per-s", "1000000000"],
            &["80 %", "engines"],
        ),
        (
            &["key", "add", "--tenant", "nobody", "--kind", "api"],
            &["nobody", "does not exist"],
        ),
        (
            &["key", "add", "--tenant", "acme", "--kind", "jwt"],
            &["openwhisk", "sigv4"],
        ),
        (
            &[
                "key", "add", "--tenant", "acme", "--kind", "api", "--scope", "all",
            ],
            &["usage:read"],
        ),
        (
            &[
                "key",
                "add",
                "--tenant",
                "acme",
                "--kind",
                "api",
                "--namespace",
                "prod",
            ],
            &["prod", "--add-namespace"],
        ),
        (
            &[
                "key",
                "add",
                "--tenant",
                "acme",
                "--kind",
                "api",
                "--expires",
                "2020-01-01T00:00:00Z",
            ],
            &["past"],
        ),
        (&["key", "rotate", "nothing"], &["nothing", "faam key ls"]),
        (
            &["key", "rotate", "nothing", "--overlap", "24"],
            &["with its unit"],
        ),
        (
            &["key", "revoke", "nothing"],
            &["nothing", "does not exist"],
        ),
    ] {
        println!("{words:?}");
        operator(&place, words).check(1, said);
    }
    // Guarantees of all tenants count together, and less is always taken.
    json(operator(
        &place,
        &[
            "tenant",
            "set",
            "acme",
            "--cir-us-per-s",
            "500000",
            "--json",
        ],
    ));
    operator(
        &place,
        &["tenant", "add", "b", "--cir-us-per-s", "1000000000"],
    )
    .check(1, &["80 %"]);
    json(operator(
        &place,
        &[
            "tenant",
            "set",
            "acme",
            "--cir-us-per-s",
            "400000",
            "--json",
        ],
    ));
}

#[test]
fn a_key_of_one_namespace_keeps_it() {
    let place = Place::new();
    json(operator(
        &place,
        &[
            "tenant",
            "add",
            "acme",
            "--namespace",
            "prod",
            "--namespace",
            "test",
            "--json",
        ],
    ));
    let (id, authorization) = key(
        &place,
        &["--tenant", "acme", "--kind", "api", "--namespace", "prod"],
    );
    operator(
        &place,
        &["tenant", "set", "acme", "--remove-namespace", "prod"],
    )
    .check(1, &["prod", &id, "revoke"]);
    json(operator(
        &place,
        &[
            "tenant",
            "set",
            "acme",
            "--remove-namespace",
            "test",
            "--json",
        ],
    ));
    let mut caller = Kept::open(place.gateway.public_address());
    assert_eq!(caller.who(&authorization)["id"], "acme");
    json(operator(&place, &["key", "revoke", &id, "--json"]));
    let left = json(operator(
        &place,
        &[
            "tenant",
            "set",
            "acme",
            "--remove-namespace",
            "prod",
            "--json",
        ],
    ));
    assert_eq!(left["namespaces"], serde_json::json!([]));
}

#[test]
fn other_machines_meet_no_demo_tenant_whose_key_nobody_chose() {
    let open = |data: &std::path::Path, key: Option<&str>| {
        let mut config = faam_gateway::config::GatewayConfig {
            listen: ([0, 0, 0, 0], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: data.to_owned(),
            bootstrap_key: key.map(str::to_owned),
            ..Default::default()
        };
        config.dispatch.cards.clear();
        config.dispatch.data_dir = data.to_owned();
        Gateway::start(config)
    };
    // A gateway of this machine alone has made the demo tenant.
    let place = Place::with(|config| config.bootstrap_key = None);
    let demo = format!("Bearer {}", place.gateway.demo_key().expect("served").key);
    let Place { gateway, data, .. } = place;
    gateway.stop();
    let refused = open(data.path(), None).err().expect("nobody chose a key");
    assert!(
        matches!(refused, GatewayError::OpenDemo { .. }),
        "{refused}"
    );
    let command = |words: &[&str]| {
        let mut command = faam(data.path(), "http://127.0.0.1:1", words);
        command.env("FAAM_DATA_DIR", data.path());
        json(run(command, b""))
    };
    command(&["tenant", "add", "acme", "--json"]);
    let made = command(&["key", "add", "--tenant", "acme", "--kind", "api", "--json"]);
    let acme = format!("Bearer {}", made["key"].as_str().expect("a key"));
    // With another tenant it serves that one.
    let gateway = open(data.path(), None).expect("starts");
    assert!(gateway.demo_key().is_none());
    let public = SocketAddr::from(([127, 0, 0, 1], gateway.public_address().port()));
    let mut caller = Kept::open(public);
    assert_eq!(caller.who(&acme)["id"], "acme");
    assert_eq!(caller.status("POST", "/v1/compress", &demo), 401);
    drop(caller);
    gateway.stop();
    // With a key that was chosen it is there again.
    let gateway = open(data.path(), Some(KEY)).expect("starts");
    let public = SocketAddr::from(([127, 0, 0, 1], gateway.public_address().port()));
    let mut caller = Kept::open(public);
    assert_eq!(caller.who(&format!("Bearer {KEY}"))["id"], "demo");
    assert_eq!(caller.status("POST", "/v1/compress", &demo), 401);
    drop(caller);
    gateway.stop();
}

#[test]
fn a_demo_tenant_that_was_removed_stays_away_until_it_is_made_again() {
    let start = |data: &std::path::Path, key: Option<&str>| {
        let mut config = faam_gateway::config::GatewayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: data.to_owned(),
            bootstrap_key: key.map(str::to_owned),
            ..Default::default()
        };
        config.dispatch.cards.clear();
        config.dispatch.data_dir = data.to_owned();
        Gateway::start(config).expect("starts")
    };
    let place = Place::new();
    let demo = format!("Bearer {KEY}");
    let mut caller = Kept::open(place.gateway.public_address());
    assert_eq!(caller.who(&demo)["id"], "demo");
    operator(&place, &["tenant", "rm", "demo"]).check(0, &[]);
    assert_eq!(caller.status("POST", "/v1/compress", &demo), 401);
    drop(caller);
    let Place { gateway, data, .. } = place;
    gateway.stop();
    // It was the last one, and its key is chosen anew or still lies there: neither makes it again.
    for key in [None, Some(KEY)] {
        let gateway = start(data.path(), key);
        assert!(gateway.demo_key().is_none());
        let mut caller = Kept::open(gateway.public_address());
        assert_eq!(caller.status("POST", "/v1/compress", &demo), 401);
        drop(caller);
        gateway.stop();
    }
    let mut command = faam(
        data.path(),
        "http://127.0.0.1:1",
        &["tenant", "add", "demo"],
    );
    command.env("FAAM_DATA_DIR", data.path());
    run(command, b"").check(0, &[]);
    let gateway = start(data.path(), Some(KEY));
    let mut caller = Kept::open(gateway.public_address());
    assert_eq!(caller.who(&demo)["id"], "demo");
    drop(caller);
    gateway.stop();
}
