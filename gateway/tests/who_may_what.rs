//! Who may what: every credential on every call of a gateway in a process of its own, and the page that says what came of it.
//!
//! Invariants: a route that the table below does not know fails the test, whether the OpenAPI document has it or an operator's
//! door; the committed page is what the gateway did. `FAAM_WRITE_PAGE=1` writes it anew (`make who-may-what`).

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

#[expect(dead_code, reason = "other tests need more of it")]
mod process_log;
#[expect(dead_code, reason = "other tests need more of it")]
mod served;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use faam_gateway::http::admin_socket::ADMIN_SOCKET_FILE;
use faam_gateway::http::app::openapi;
use faam_image::{Description, Ingredients, SigningKey};
use serde_json::{Value, json};
use served::Served;
use socket2::{Domain, Socket, Type};

/// How long one call may take: a failure, not a measure.
const SOON: Duration = Duration::from_secs(20);
const PAGE: &str = "WHO-MAY-WHAT.md";

/// Credentials, as columns.
const CREDENTIALS: [(&str, &str); 12] = [
    ("none", "no credential"),
    ("wrong", "a key that nobody has"),
    ("expired", "a key whose time is over"),
    ("revoked", "a key that was revoked"),
    ("removed", "a key of a tenant that was removed"),
    ("admin", "the operator's key"),
    (
        "scope",
        "a key of the tenant, for another use than the call",
    ),
    ("other", "a good key of another tenant"),
    ("api", "a good key of the tenant"),
    ("openwhisk", "its uuid and key"),
    ("sigv4", "a request that it signed"),
    (
        "kernel",
        "a good key of a tenant that may call neither kernel",
    ),
];

/// Calls of the public listener that the OpenAPI document does not have.
const UNDOCUMENTED: [(&str, &str); 3] = [
    ("GET", "/openapi.json"),
    ("GET", "/docs/"),
    ("GET", "/nowhere"),
];
/// Lambda's Invoke.
const LAMBDA: &str = "/2015-03-31/functions/{name}/invocations";
/// Calls that no source names: whoever asks for what is not there.
const NOWHERE: (&str, &str) = ("GET", "/admin/v1/nowhere");

/// A gateway with tenants, and a credential of each sort.
struct Gateway {
    served: Served,
    /// What stands in `Authorization`, by column; `None`: nothing. Signatures are made where they are used.
    values: Vec<(&'static str, Option<String>)>,
    signer: (String, String),
    /// A finished request of the tenant's.
    invocation: String,
    key_id: String,
}

impl Gateway {
    fn start() -> Self {
        let trust = signing_key().public().to_string();
        let served = Served::start(
            &["--devices", "none"],
            &[("FAAM_IMAGES_TRUST", trust.as_str())],
        );
        let mut gateway = Self {
            served,
            values: Vec::new(),
            signer: Default::default(),
            invocation: String::new(),
            key_id: String::new(),
        };
        for tenant in ["acme", "other", "gone"] {
            gateway.operator("POST", "/admin/v1/tenants", &json!({ "name": tenant }));
        }
        let none: [&str; 0] = [];
        let idle = json!({ "name": "idle", "limits": { "kernels": none } });
        gateway.operator("POST", "/admin/v1/tenants", &idle);
        let bearer = |made: &Value| format!("Bearer {}", text(&made["key"]));
        let expired = gateway.key("acme", "api", &[]);
        let rotate = format!("/admin/v1/keys/{}/rotate", text(&expired["id"]));
        gateway.operator("POST", &rotate, &json!({}));
        let revoked = gateway.key("acme", "api", &[]);
        let revoke = format!("/admin/v1/keys/{}/revoke", text(&revoked["id"]));
        gateway.operator("POST", &revoke, &json!({}));
        let removed = gateway.key("gone", "api", &[]);
        gateway.operator("DELETE", "/admin/v1/tenants/gone", &json!({}));
        let admin = std::fs::read_to_string(gateway.served.data.path().join("admin.key"));
        let good = gateway.key("acme", "api", &[]);
        let pair = text(&gateway.key("acme", "openwhisk", &[])["key"]);
        let signer = gateway.key("acme", "sigv4", &[]);
        let wrong = format!("Bearer faam_0123456789ab_{}", "a".repeat(49));
        gateway.values = vec![
            ("none", None),
            ("wrong", Some(wrong)),
            ("expired", Some(bearer(&expired))),
            ("revoked", Some(bearer(&revoked))),
            ("removed", Some(bearer(&removed))),
            (
                "admin",
                Some(format!("Bearer {}", admin.expect("the key").trim())),
            ),
            ("other", Some(bearer(&gateway.key("other", "api", &[])))),
            ("api", Some(bearer(&good))),
            (
                "openwhisk",
                Some(format!("Basic {}", base64(pair.as_bytes()))),
            ),
            ("kernel", Some(bearer(&gateway.key("idle", "api", &[])))),
            (
                "scope compress",
                Some(bearer(&gateway.key("acme", "api", &["compress"]))),
            ),
            (
                "scope usage:read",
                Some(bearer(&gateway.key("acme", "api", &["usage:read"]))),
            ),
        ];
        gateway.signer = (
            text(&signer["access_key_id"]),
            text(&signer["secret_access_key"]),
        );
        gateway.key_id = text(&good["id"]);
        let answer = gateway.public(("POST", "/v1/compress"), "api", [127, 0, 0, 1].into());
        assert_eq!(answer.status, 200, "{}", answer.text);
        gateway.invocation = answer.header("faam-invocation-id");
        gateway
    }

    fn key(&self, tenant: &str, kind: &str, scopes: &[&str]) -> Value {
        let wanted = json!({ "tenant": tenant, "kind": kind, "scopes": scopes });
        self.operator("POST", "/admin/v1/keys", &wanted)
    }

    /// An operator's call on the socket, which has to succeed.
    fn operator(&self, method: &str, target: &str, body: &Value) -> Value {
        let answer = ask_on(
            self.socket(),
            "faam",
            method,
            target,
            None,
            body.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text);
        serde_json::from_str(&answer.body()).expect("JSON")
    }

    fn socket(&self) -> UnixStream {
        UnixStream::connect(self.served.data.path().join(ADMIN_SOCKET_FILE)).expect("it listens")
    }

    fn value(&self, credential: &str, path: &str) -> Option<String> {
        // A key for another use than this one.
        let name = match (credential, path) {
            ("scope", "/v1/compress" | "/v1/decompress" | LAMBDA) => "scope usage:read",
            ("scope", _) => "scope compress",
            (name, _) => name,
        };
        let found = self.values.iter().find(|(known, _)| *known == name);
        found
            .unwrap_or_else(|| panic!("no credential {name}"))
            .1
            .clone()
    }

    /// A call of the public listener.
    fn public(&self, (method, path): (&str, &str), credential: &str, from: Ipv4Addr) -> Answer {
        let target = path
            .replace("/problems/{name}", "/problems/too-large")
            .replace("/functions/{name}/", "/functions/gzip/")
            .replace("{id}", &self.invocation);
        let body = body_of(path);
        if credential == "sigv4" {
            return self.signed(method, &target, body);
        }
        let value = self.value(credential, path);
        let host = self.served.public.to_string();
        let stream = connect(self.served.public, from);
        ask_on(stream, &host, method, &target, value.as_deref(), body)
    }

    /// A call that another implementation has signed: curl.
    fn signed(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let url = format!("http://{}{target}", self.served.public);
        let (id, secret) = &self.signer;
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--http1.1", "--noproxy", "*", "-X", method])
            .args(["--max-time", &SOON.as_secs().to_string()])
            .args(["--aws-sigv4", "aws:amz:eu-test-1:faam"])
            .args(["--user", &format!("{id}:{secret}")])
            .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", &url]);
        if !body.is_empty() {
            let file = self.served.data.path().join("body");
            std::fs::write(&file, body).expect("written");
            curl.arg("--data-binary")
                .arg(format!("@{}", file.display()));
        }
        let output = curl.output().expect("curl: see .ci/install");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Answer::of(&output.stdout)
    }

    /// A call of the admin listener, by a name that it goes by, or by another.
    fn admin(
        &self,
        call: (&str, &str),
        credential: &str,
        host: Option<&str>,
        from: Ipv4Addr,
    ) -> Answer {
        let (method, path) = call;
        let (target, body) = self.operation(call);
        let value = self.value(credential, path);
        let own = self.served.admin.to_string();
        let stream = connect(self.served.admin, from);
        ask_on(
            stream,
            host.unwrap_or(&own),
            method,
            &target,
            value.as_deref(),
            &body,
        )
    }

    /// What an operator's call is made with, so that it succeeds where it may: what it is about is made for it.
    fn operation(&self, (method, path): (&str, &str)) -> (String, Vec<u8>) {
        let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let name = format!("made-{}", number.expect("after 1970").as_nanos());
        let tenant = |name: &str| {
            let answer = ask_on(
                self.socket(),
                "faam",
                "POST",
                "/admin/v1/tenants",
                None,
                json!({ "name": name }).to_string().as_bytes(),
            );
            assert_eq!(answer.status, 200, "{}", answer.text);
        };
        match (method, path) {
            (_, path) if path.starts_with("/admin/v1/images") => {
                let package = image();
                if path.contains("{image}") {
                    let kept = ask_on(
                        self.socket(),
                        "faam",
                        "POST",
                        "/admin/v1/images",
                        None,
                        &package,
                    );
                    assert_eq!(kept.status, 200, "{}", kept.text);
                    return (path.replace("{image}", "inflate"), Vec::new());
                }
                let body = if method == "POST" {
                    package
                } else {
                    Vec::new()
                };
                (path.to_owned(), body)
            }
            ("POST", "/admin/v1/tenants") => (
                path.to_owned(),
                json!({ "name": name }).to_string().into_bytes(),
            ),
            ("POST", "/admin/v1/keys") => (
                path.to_owned(),
                json!({ "tenant": "other", "kind": "api" })
                    .to_string()
                    .into_bytes(),
            ),
            ("PATCH" | "DELETE", path) if !path.contains("/devices/") => {
                tenant(&name);
                (path.replace("{name}", &name), Vec::new())
            }
            ("POST", "/admin/v1/keys/{id}/rotate" | "/admin/v1/keys/{id}/revoke") => {
                let id = text(&self.key("other", "api", &[])["id"]);
                (path.replace("{id}", &id), Vec::new())
            }
            _ => {
                let target = path
                    .replace("/keys/{id}", &format!("/keys/{}", self.key_id))
                    .replace("/tenants/{name}", "/tenants/acme")
                    .replace(
                        "/invocations/{id}",
                        &format!("/invocations/{}", self.invocation),
                    )
                    .replace("/devices/{name}", "/devices/fpga0");
                (target, Vec::new())
            }
        }
    }
}

/// Whose images the gateway takes.
fn signing_key() -> SigningKey {
    SigningKey::from_seed([1; 32]).expect("a key")
}

/// One that it takes.
fn image() -> Vec<u8> {
    let text = include_str!("../../bitstreams/images/inflate.toml");
    let mut description = Description::from_toml(text).expect("ours");
    description.simulated_bytes = Some(64);
    faam_image::build(&description, &Ingredients::default(), &signing_key()).expect("builds")
}

/// What is sent with a call of the public listener.
fn body_of(path: &str) -> &'static [u8] {
    /// `hello`, by `printf hello | gzip -n9`.
    const HELLO: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0, 0x86, 0xa6,
        0x10, 0x36, 5, 0, 0, 0,
    ];
    match path {
        "/v1/compress" => b"hello hello hello",
        "/v1/decompress" => HELLO,
        LAMBDA => br#"{"data":"aGVsbG8="}"#,
        _ => b"",
    }
}

struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            text,
        }
    }

    fn header(&self, name: &str) -> String {
        let mut lines = self.text.lines();
        let value = lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        });
        value.unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }

    fn body(&self) -> String {
        let (_, body) = self.text.split_once("\r\n\r\n").expect("a body");
        body.to_owned()
    }
}

/// A connection from an address of its own: a source of wrong credentials by itself.
fn connect(to: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((from, 0)).into())
        .expect("an address of this machine");
    socket.connect(&to.into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream
}

fn ask_on(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    target: &str,
    authorization: Option<&str>,
    body: &[u8],
) -> Answer {
    let credential =
        authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{credential}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    // A refusal may come before all of it is taken.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Answer::of(&answer)
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Calls of the public listener: those of the document, and those few that it does not have.
fn public_calls() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&openapi()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let documented = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("an item").keys();
        methods.map(|method| (method.to_uppercase(), path.clone()))
    });
    let others = UNDOCUMENTED.map(|(method, path)| (method.to_owned(), path.to_owned()));
    documented.chain(others).collect()
}

/// Calls of the operator's doors, as the sources of the admin surface name them.
fn admin_calls() -> BTreeSet<(String, String)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut calls = BTreeSet::new();
    for entry in std::fs::read_dir(sources).expect("listed") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with("admin") || !name.ends_with(".rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("text");
        for route in source.split(".route(").skip(1) {
            let route = route.trim_start();
            let Some((path, handlers)) = route
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'))
            else {
                panic!(
                    "{name}: a route whose path is no text: {}",
                    &route[..40.min(route.len())]
                );
            };
            // Until the parenthesis that ends the call.
            let mut depth = 1;
            let end = handlers.find(|c| {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth == 0
            });
            let handlers = &handlers[..end.expect("the call ends")];
            let before = calls.len();
            for method in ["get", "post", "put", "patch", "delete"] {
                if handlers.contains(&format!("{method}(")) {
                    calls.insert((method.to_uppercase(), path.to_owned()));
                }
            }
            assert!(
                calls.len() > before,
                "{name}: {path} has no method that is known"
            );
        }
    }
    assert!(calls.len() > 15, "{calls:?}");
    calls.insert((NOWHERE.0.to_owned(), NOWHERE.1.to_owned()));
    calls
}

/// What must hold of a public call, whatever it is.
fn check_public(call: (&str, &str), credential: &str, answer: &Answer) {
    let (_, path) = call;
    let status = answer.status;
    let what = format!("{call:?} with {credential}: {}", answer.text);
    if !path.starts_with("/v1/") && path != LAMBDA {
        // Nobody is asked.
        assert_eq!(status, if path == "/nowhere" { 404 } else { 200 }, "{what}");
        return;
    }
    let expected = match (credential, path) {
        // Lambda has one status for all of them.
        (
            "none" | "wrong" | "expired" | "revoked" | "removed" | "admin" | "scope" | "kernel",
            LAMBDA,
        ) => 403,
        ("none" | "wrong" | "expired" | "revoked" | "removed" | "admin", _) => 401,
        ("scope", "/v1/compress" | "/v1/decompress" | "/v1/usage") => 403,
        ("kernel", "/v1/compress" | "/v1/decompress") => 403,
        ("other" | "kernel", "/v1/invocations/{id}") => 404,
        _ => 200,
    };
    assert_eq!(status, expected, "{what}");
    let wrong = ["wrong", "expired", "revoked", "removed", "admin"];
    if wrong.contains(&credential) {
        // In the same words, whatever is wrong.
        assert!(
            answer.text.contains("the credential is not valid here"),
            "{what}"
        );
    }
}

fn check_admin((method, path): (&str, &str), credential: &str, answer: &Answer) {
    let what = format!("{method} {path} with {credential}: {}", answer.text);
    let expected = match (credential, path) {
        (_, "/healthz" | "/readyz" | "/metrics") => 200,
        ("admin", "/admin/v1/nowhere") => 404,
        // There is no card.
        ("admin", path) if path.contains("/devices/{name}") => 404,
        ("admin", _) => 200,
        _ => 401,
    };
    assert_eq!(answer.status, expected, "{what}");
}

#[test]
fn the_page_is_what_the_gateway_does() {
    let gateway = Gateway::start();
    let mut page = String::from(
        "# Who may what\n\nWritten by `gateway/tests/who_may_what.rs` (`make who-may-what`) from what a gateway in a process of \
         its own answered; the test compares. A call that is not here fails it. The gateway has no card.\n\n",
    );
    for (name, about) in CREDENTIALS {
        let _ = writeln!(page, "- `{name}`: {about}");
    }
    let _ = write!(
        page,
        "\nA credential that is wrong, has ended or is another door's is refused in the same words, after the same work \
         (`every_refusal_takes_the_work_of_every_other` counts it). Wrong ones beyond 30 at once, and one a second after that, \
         from one address (IPv6: one /64) are answered 429 with `Retry-After`; a right one is let in at any time.\n\n\
         ## The public listener\n\n"
    );
    heading(&mut page, &CREDENTIALS.map(|(name, _)| name));
    for (row, (method, path)) in (1u8..).zip(public_calls()) {
        let call = (method.as_str(), path.as_str());
        let statuses: Vec<_> = (1u8..)
            .zip(CREDENTIALS)
            .map(|(column, (credential, _))| {
                let answer = gateway.public(call, credential, Ipv4Addr::new(127, 1, row, column));
                check_public(call, credential, &answer);
                answer.status.to_string()
            })
            .collect();
        line(&mut page, call, &statuses);
    }
    page.push_str(
        "\n## The admin listener and the operator's socket\n\n`rebound` is the operator's key under a host name that the listener \
         does not go by, as a page in a browser sends it; `socket` is the operator's socket, which only the user who runs the \
         gateway can open. 404 under `/devices/{name}` says that there is no such card.\n\n",
    );
    // Whoever signs or is of another kind is no operator either: one of each sort is enough.
    let credentials = [
        "none",
        "wrong",
        "expired",
        "revoked",
        "removed",
        "api",
        "openwhisk",
        "admin",
    ];
    heading(
        &mut page,
        &[&credentials[..], &["rebound", "socket"]].concat(),
    );
    for (row, (method, path)) in (1u8..).zip(admin_calls()) {
        let call = (method.as_str(), path.as_str());
        let mut statuses = Vec::new();
        for (column, credential) in (1u8..).zip(credentials) {
            let answer = gateway.admin(call, credential, None, Ipv4Addr::new(127, 2, row, column));
            check_admin(call, credential, &answer);
            statuses.push(answer.status.to_string());
        }
        let rebound = gateway.admin(call, "admin", Some("rebound.example"), Ipv4Addr::LOCALHOST);
        let is_probe = matches!(call.1, "/healthz" | "/readyz");
        assert_eq!(
            rebound.status,
            if is_probe { 200 } else { 403 },
            "{call:?}: {}",
            rebound.text
        );
        statuses.push(rebound.status.to_string());
        let (target, body) = gateway.operation(call);
        let answer = ask_on(gateway.socket(), "faam", call.0, &target, None, &body);
        let is_room = call.1.starts_with("/admin/");
        if is_room {
            check_admin(call, "admin", &answer);
        } else {
            assert_eq!(answer.status, 404, "{call:?}: {}", answer.text);
        }
        statuses.push(answer.status.to_string());
        line(&mut page, call, &statuses);
    }
    check_page(&page);
}

fn heading(page: &mut String, names: &[&str]) {
    let _ = writeln!(page, "| call | {} |", names.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(names.len()));
}

fn line(page: &mut String, (method, path): (&str, &str), statuses: &[String]) {
    let _ = writeln!(page, "| `{method} {path}` | {} |", statuses.join(" | "));
}

fn check_page(page: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("FAAM_WRITE_PAGE").is_some() {
        std::fs::write(&path, page).expect("written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (committed, done)) in (1..).zip(committed.lines().zip(page.lines())) {
        assert_eq!(
            committed, done,
            "line {number} of gateway/{PAGE}: run `make who-may-what`"
        );
    }
    assert!(committed == page, "gateway/{PAGE}: run `make who-may-what`");
}
