//! `gateway/deploy/examples` as its readers run it.
//!
//! Owns what stands in for each platform. Invariant: programs, commands, variables, parameters and paths are those of the files;
//! changed is what a file tells its reader to change, and the port where a platform has a fixed one.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::container::Container;
use crate::free_port::free_port;
use crate::program::run_within;
use crate::served::Served;
use crate::wire::{Answer, request};

/// How long one program may take: a failure, not a measure.
const LIMIT: Duration = Duration::from_secs(120);
/// Where the image keeps what it keeps.
const VOLUME: &str = "/var/lib/faam";
/// Of the committed sample.
const SAMPLE_BYTES: usize = 200_000;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn example(name: &str) -> PathBuf {
    here().join("deploy/examples").join(name)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sample() -> Vec<u8> {
    let mut sample = std::fs::read(here().join("../benches/sample/json_logs")).expect("there");
    sample.truncate(SAMPLE_BYTES);
    sample
}

/// One of the tools that make installs; `None` is said where one may be missing.
fn tool(name: &str) -> Option<PathBuf> {
    let tool = here().join("../target/test-tools").join(name);
    if tool.exists() {
        return Some(tool);
    }
    assert!(
        std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1"),
        "{} is not there; `make test` installs it, FAAM_ALLOW_MISSING_TOOLS=1 does without",
        tool.display()
    );
    println!("skipped: no {name}");
    None
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let ended = run_within(command, LIMIT);
    assert!(
        ended.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    ended
}

/// A manifest, as a reader of YAML has it.
fn manifest(name: &str) -> Option<Value> {
    let ended = run(Command::new(tool("bin/python")?)
        .args([
            "-c",
            "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)",
        ])
        .arg(example(name)));
    Some(serde_json::from_slice(&ended.stdout).expect("JSON"))
}

/// What a container of an image starts with: its files' last stage, each over the one that it is `FROM`.
#[derive(Debug, Default)]
struct Image {
    variables: BTreeMap<String, String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

impl Image {
    /// That of `gateway/deploy/Containerfile`, but for its volume, which is this machine's directory for what does not last.
    fn own() -> Self {
        let mut image = Self::default().with(&here().join("deploy/Containerfile"));
        let own = std::env::temp_dir().display().to_string();
        for value in image.variables.values_mut() {
            if *value == VOLUME {
                value.clone_from(&own);
            }
        }
        image
    }

    fn with(mut self, file: &Path) -> Self {
        let list = |text: &str| serde_json::from_str::<Vec<String>>(text).expect("a list of words");
        let joined = text(file).replace("\\\n", " ");
        for line in joined.lines().filter(|line| !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "ENV" => self.variables.extend(variables(rest)),
                "ENTRYPOINT" => self.entrypoint = list(rest),
                "CMD" => self.command = list(rest),
                _ => {}
            }
        }
        self
    }

    /// The process that a container of it is, with these arguments in place of its own, if any, and more variables.
    fn start(&self, arguments: &[String], flags: &[&str], more: &[(&str, &str)]) -> Container {
        assert_eq!(self.entrypoint, ["/usr/local/bin/faam"]);
        let words = if arguments.is_empty() {
            &self.command
        } else {
            arguments
        };
        let mut variables = self.variables.clone();
        variables.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        start(words, flags, &variables)
    }
}

/// `action-proxy ...` with more flags.
fn start(words: &[String], flags: &[&str], variables: &BTreeMap<String, String>) -> Container {
    let (command, words) = words.split_first().expect("a command");
    assert_eq!(command, "action-proxy");
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .chain(flags.iter().copied())
        .collect();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Container::start_where(&words, &variables)
}

/// `NAME=value NAME="several words"`.
fn variables(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a closing quote"),
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        pairs.push((name.to_owned(), value.to_owned()));
        rest = next.trim();
    }
    assert!(rest.is_empty(), "{text}");
    pairs
}

fn words(value: &Value) -> Vec<String> {
    let words = value
        .as_array()
        .unwrap_or_else(|| panic!("a list, not {value}"));
    words
        .iter()
        .map(|word| word.as_str().expect("text").to_owned())
        .collect()
}

#[track_caller]
fn check_gzip(compressed: &[u8], plain: &[u8]) {
    let mut decoded = Vec::new();
    flate2::read::MultiGzDecoder::new(compressed)
        .read_to_end(&mut decoded)
        .expect("gzip");
    assert!(decoded == plain && compressed.len() < plain.len());
}

#[track_caller]
fn check_answer(answer: &Answer, plain: &[u8]) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    check_gzip(&answer.body, plain);
}

#[test]
fn aws_lambdas_sdks_compress_a_file() {
    let (Some(python), Some(node), Some(modules)) =
        (tool("bin/python"), tool("bin/node"), tool("node_modules"))
    else {
        return;
    };
    let served = Served::start(&["--devices", "none"], &[]);
    let operator = |words: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
        command.args(words).arg("--json");
        let ended = run(command.env("FAAM_DATA_DIR", served.data.path()));
        serde_json::from_slice(&ended.stdout).expect("JSON")
    };
    operator(&["tenant", "add", "acme"]);
    let key = operator(&["key", "add", "--tenant", "acme", "--kind", "sigv4"]);
    let key = |half: &str| key[half].as_str().expect("text");

    // Node looks for packages beside a program.
    let place = tempfile::tempdir().expect("a directory");
    std::fs::copy(
        example("aws-lambda/invoke.mjs"),
        place.path().join("invoke.mjs"),
    )
    .expect("copied");
    std::os::unix::fs::symlink(
        modules.canonicalize().expect("there"),
        place.path().join("node_modules"),
    )
    .expect("linked");
    let plain = place.path().join("plain");
    std::fs::write(&plain, sample()).expect("written");
    for (program, script) in [
        (python, example("aws-lambda/invoke.py")),
        (node, place.path().join("invoke.mjs")),
    ] {
        let ended = run(Command::new(program)
            .arg(script)
            .arg(&plain)
            .env("FAAM_URL", format!("http://{}", served.public))
            .env("AWS_ACCESS_KEY_ID", key("access_key_id"))
            .env("AWS_SECRET_ACCESS_KEY", key("secret_access_key"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("NO_PROXY", "*"));
        check_gzip(&ended.stdout, &sample());
    }
}

#[test]
fn openwhisks_manifest_has_a_container_initialized_and_run() {
    let Some(manifest) = manifest("openwhisk/manifest.yaml") else {
        return;
    };
    let action = &manifest["packages"]["faam"]["actions"]["gzip"];
    let file = example("openwhisk/Containerfile");
    // The action's image is the one that the file makes.
    let name = action["docker"].as_str().expect("an image");
    assert!(text(&file).contains(&format!("-t {name} ")), "{name}");
    // OpenWhisk's port is always 8080, which is not free here; the log says which one this is.
    let container =
        Image::own()
            .with(&file)
            .start(&[], &["--listen", "127.0.0.1:0"], &[("FAAM_LOG", "info")]);
    // As the invoker has it for an action without code, with the action's own parameters below the call's.
    let init =
        json!({"value": {"name": "gzip", "main": "main", "code": "", "binary": false, "env": {}}});
    let answer = container.post("/init", &init);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut value = action["inputs"].clone();
    value["data"] = STANDARD.encode(sample()).into();
    let answer = container.post(
        "/run",
        &json!({"value": value, "action_name": "/guest/faam/gzip"}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    check_gzip(&data_of(&answer.json()), &sample());
}

#[test]
fn knatives_service_forwards_to_a_gateway_and_the_script_calls_it() {
    let Some(service) = manifest("knative/service.yaml") else {
        return;
    };
    let containers = service["spec"]["template"]["spec"]["containers"].as_array();
    let [container] = containers.expect("containers").as_slice() else {
        panic!("one container: {service}");
    };
    let served = Served::start(&["--devices", "none"], &[]);
    let gateway = format!("http://{}", served.public);
    let port = free_port().to_string();
    let name = service["metadata"]["name"].as_str().expect("a name");
    let mut variables = vec![("PORT", port.as_str()), ("K_SERVICE", name)];
    for variable in container["env"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        variables.push(match name {
            "FAAM_URL" => ("FAAM_URL", &gateway),
            "FAAM_KEY" => {
                assert_eq!(
                    variable["valueFrom"]["secretKeyRef"],
                    json!({"name": "faam", "key": "key"})
                );
                ("FAAM_KEY", &served.key)
            }
            other => panic!("{other}: the test does not know what a reader puts there"),
        });
    }
    let front = Image::own().start(&words(&container["args"]), &[], &variables);
    assert_eq!(front.address.port().to_string(), port);

    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("plain"), sample()).expect("written");
    run(Command::new("sh")
        .arg(example("knative/call.sh"))
        .arg("plain")
        .current_dir(place.path())
        .env("URL", format!("http://127.0.0.1:{port}"))
        .env("NO_PROXY", "*"));
    let made = |name: &str| std::fs::read(place.path().join(name)).expect("made");
    check_gzip(&made("plain.gz"), &sample());
    check_gzip(&made("plain.event.gz"), &sample());
    let head = String::from_utf8(made("plain.event"))
        .expect("text")
        .to_lowercase();
    assert!(
        head.contains("\nce-specversion: 1.0") && head.contains("\nce-id: "),
        "{head}"
    );
    // It was the gateway that did it.
    let metrics = request(served.admin, "GET", "/metrics", &[], &[]).body;
    let metrics = String::from_utf8(metrics).expect("text");
    let counted = metrics.lines().find(|line| {
        line.starts_with("faam_requests_total{")
            && line.contains("kernel=\"compress\"")
            && line.contains("outcome=\"ok\"")
    });
    assert!(
        counted.is_some_and(|line| line.ends_with(" 2")),
        "{counted:?}"
    );
}

#[test]
fn openfaass_image_is_what_of_watchdog_starts() {
    let Some(stack) = manifest("openfaas/stack.yaml") else {
        return;
    };
    let function = &stack["functions"]["gzip"];
    assert_eq!(function["lang"], "dockerfile");
    let folder = example("openfaas").join(function["handler"].as_str().expect("a folder"));
    let mut image = Image::own().with(&folder.join("Dockerfile"));
    assert_eq!(
        (image.entrypoint.clone(), image.command.len()),
        (vec!["/usr/bin/fwatchdog".to_owned()], 0)
    );
    for (name, value) in function["environment"].as_object().expect("variables") {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        image.variables.insert(name.clone(), value);
    }
    assert_eq!(image.variables["mode"], "http");
    // The watchdog's process gets all of its variables.
    let port = free_port().to_string();
    let upstream = image
        .variables
        .get_mut("upstream_url")
        .expect("where the watchdog calls");
    assert_eq!(*upstream, "http://127.0.0.1:8082");
    *upstream = format!("http://127.0.0.1:{port}");
    let process: Vec<_> = image.variables["fprocess"]
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(process[0], "/usr/local/bin/faam");
    let front = start(&process[1..], &[], &image.variables);
    assert_eq!(front.address.to_string(), format!("127.0.0.1:{port}"));
    let path = text(&example("openfaas/stack.yaml"));
    let (_, query) = path.split_once("/function/gzip").expect("its curl line");
    let query = query.split_whitespace().next().unwrap_or_default();
    let answer = request(front.address, "POST", &format!("/{query}"), &[], &sample());
    check_answer(&answer, &sample());
}

#[test]
fn azures_host_starts_the_handler_and_forwards_to_it() {
    let json = |name: &str| -> Value { serde_json::from_str(&text(&example(name))).expect("JSON") };
    let host = json("azure/host.json");
    let handler = &host["customHandler"];
    assert_eq!(handler["description"]["defaultExecutablePath"], "faam");
    let bindings = &json("azure/gzip/function.json")["bindings"];
    assert_eq!(bindings[0]["type"], "httpTrigger");
    assert_eq!(bindings[0]["methods"], json!(["post"]));
    let port = free_port().to_string();
    let variables = [("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), port.clone())];
    let front = start(
        &words(&handler["description"]["arguments"]),
        &[],
        &variables.into(),
    );
    assert_eq!(front.address.to_string(), format!("127.0.0.1:{port}"));
    // With forwarding the host passes the request on as it came, by the function's route.
    assert_eq!(handler["enableForwardingHttpRequest"], true);
    let headers = [
        ("Content-Type", "application/octet-stream"),
        ("X-Azure-Functions-InvocationId", "1"),
    ];
    let answer = request(
        front.address,
        "POST",
        "/api/gzip?level=6",
        &headers,
        &sample(),
    );
    check_answer(&answer, &sample());
    // Without, it sends an envelope to the function's name, with the body in base64 as `dataType` asks.
    assert_eq!(bindings[0]["dataType"], "binary");
    let http = json!({
        "Method": "POST",
        "Query": {"level": "6"},
        "Headers": {"Content-Type": ["application/octet-stream"]},
        "Body": STANDARD.encode(sample()),
    });
    let answer = front.post("/gzip", &json!({"Data": {"req": http}, "Metadata": {}}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let out = bindings[1]["name"].as_str().expect("a name");
    let response = &answer.json()["Outputs"][out];
    let payload: Value =
        serde_json::from_str(response["body"].as_str().expect("a body")).expect("JSON");
    check_gzip(&data_of(&payload), &sample());
}

/// The result in an answer of JSON.
fn data_of(payload: &Value) -> Vec<u8> {
    let data = payload["data"]
        .as_str()
        .unwrap_or_else(|| panic!("no data: {payload}"));
    STANDARD.decode(data).expect("base64")
}
