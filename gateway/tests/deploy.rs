//! What operators install: the unit holds its sandbox, and the container's steps give a gateway that serves as nobody on
//! a read-only root.
//!
//! Invariant: everything happens in directories and namespaces of the test's own. No container engine is used: the
//! steps of the last stage are read from the file and run over this machine's /usr.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod process_log;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use process_log::ProcessLog;
use rustix::process::{Pid, Signal, kill_process};

/// Exposure as systemd-analyze counts it, in tenths: below "OK".
const EXPOSURE_MAX: &str = "15";
/// How long the container's gateway may take until it serves, and to end.
const SOON: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(20);
const KEY: &str = "faam_a-key-for-these-tests-only";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether a test goes on without `what`; it must not where nothing may be missing.
fn without(what: &str) -> bool {
    assert!(
        std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1"),
        "{what} is missing; `make test` installs it, FAAM_ALLOW_MISSING_TOOLS=1 does without"
    );
    println!("skipped: {what} is missing");
    true
}

fn is_missing(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_err() && without(program)
}

/// Whether this user may do it: an operator's own machine has others, an integration run never.
fn is_not_root(why: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "root is needed {why}"
    );
    println!("skipped: root is needed {why}");
    true
}

/// Runs to the end; what it wrote, where that was a success.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    text
}

#[test]
fn the_unit_is_valid_and_holds_its_sandbox() {
    if is_missing("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let unit = directory.path().join("faam.service");
    // The program where it is, not where it is installed.
    let program = env!("CARGO_BIN_EXE_faam");
    std::fs::write(
        &unit,
        text("faam.service").replace("/usr/local/bin/faam", program),
    )
    .expect("written");
    let said = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit));
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("faam")).collect();
    assert!(about_ours.is_empty(), "{about_ours:?}");
    let said = run(Command::new("systemd-analyze")
        .args([
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            EXPOSURE_MAX,
        ])
        .arg(&unit));
    println!(
        "{}",
        said.lines()
            .rfind(|line| line.contains("exposure"))
            .unwrap_or("")
            .trim()
    );
}

#[test]
fn the_drop_in_for_a_card_is_valid() {
    if is_missing("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let unit = directory.path().join("faam.service");
    let program = env!("CARGO_BIN_EXE_faam");
    let service = text("faam.service").replace("/usr/local/bin/faam", program);
    std::fs::write(&unit, service).expect("written");
    let drop_in = directory.path().join("faam.service.d/card.conf");
    std::fs::create_dir(drop_in.parent().expect("a parent")).expect("made");
    let complaints = |drop_in_text: &str| {
        std::fs::write(&drop_in, drop_in_text).expect("written");
        let said = run(Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&unit));
        let about_it = said.lines().filter(|line| line.contains("card.conf"));
        about_it.map(str::to_owned).collect::<Vec<_>>()
    };
    let card = text("card.conf");
    assert_eq!(complaints(&card), Vec::<String>::new());
    // As the manual has it changed, and the configuration beside it.
    let config = directory.path().join("faam.toml");
    std::fs::write(&config, text("faam.toml")).expect("written");
    let manual = std::fs::read_to_string(deploy().join("../../driver/README.md")).expect("there");
    let lines: Vec<_> = manual
        .lines()
        .filter(|line| line.starts_with("sed -i") && !line.contains("/etc/default"))
        .map(|line| {
            line.replace(
                "/etc/systemd/system/faam.service.d/card.conf",
                &drop_in.display().to_string(),
            )
            .replace("/etc/faam/faam.toml", &config.display().to_string())
        })
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        run(Command::new("sh").args(["-c", line]));
    }
    let bound = std::fs::read_to_string(&drop_in).expect("there");
    assert!(
        bound.contains("\nExecStartPre=+/usr/local/bin/faam device bind 0000:03:00.0 0000:03:00.1"),
        "{bound}"
    );
    assert_eq!(
        complaints(&bound.replace("/usr/local/bin/faam", program)),
        Vec::<String>::new()
    );
    let config = std::fs::read_to_string(&config).expect("there");
    assert!(config.contains("\ndevices = [\"pci:"), "{config}");
    // It is read: a word that systemd does not know is told.
    let wrong = card.replace("LimitMEMLOCK", "LimitMemoryLock");
    assert!(!complaints(&wrong).is_empty());
}

/// `faam serve --check` in a directory of its own, with these words and this key.
fn check(words: &[&str], key: &str) -> String {
    let data = tempfile::tempdir().expect("a directory");
    run(Command::new(env!("CARGO_BIN_EXE_faam"))
        .args(["serve", "--check", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .args(words)
        .env("FAAM_BOOTSTRAP_KEY", key))
}

#[test]
fn the_configuration_serves_without_a_card() {
    let file = deploy().join("faam.toml");
    let said = check(&["--config", &file.display().to_string()], KEY);
    let devices = said.lines().find(|line| line.starts_with("devices "));
    assert!(
        devices.is_some_and(|line| line.contains("none")),
        "{devices:?}"
    );
}

#[test]
fn keys_that_pages_tell_to_choose_are_keys() {
    let help = run(Command::new(env!("CARGO_BIN_EXE_faam")).args(["serve", "--help"]));
    let mut keys = 0;
    for page in [text("README.md"), help] {
        for place in page.split("FAAM_BOOTSTRAP_KEY=").skip(1) {
            let end = match place.find(')') {
                Some(end) if place.starts_with("faam_$(") => end + 1,
                _ => place.find(char::is_whitespace).unwrap_or(place.len()),
            };
            let print = format!("printf %s {}", &place[..end]);
            let key = run(Command::new("bash").args(["-c", &print]));
            check(&["--devices", "none"], &key);
            keys += 1;
        }
    }
    assert_eq!(keys, 2);
}

#[test]
fn kubernetes_gets_a_whole_manifest() {
    let python = deploy().join("../../target/test-tools/bin/python");
    if !python.exists() && without("a reader of YAML") {
        return;
    }
    let page = text("README.md");
    let (_, manifest) = page.split_once("```yaml\n").expect("a manifest");
    let (manifest, _) = manifest.split_once("```").expect("its end");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), manifest).expect("written");
    let read = run(Command::new(python)
        .args([
            "-c",
            "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)",
        ])
        .arg(file.path()));
    let read: serde_json::Value = serde_json::from_str(&read).expect("JSON");
    let [service, set] = read.as_array().expect("documents").as_slice() else {
        panic!("a service and a set: {read}");
    };
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    let pod = &set["spec"]["template"];
    assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
    assert_eq!(
        set["spec"]["selector"]["matchLabels"],
        pod["metadata"]["labels"]
    );
    let container = &pod["spec"]["containers"][0];
    let stage = Stage::read(&text("Containerfile"));
    let (user, group) = stage.user.split_once(':').expect("user and group");
    let security = &pod["spec"]["securityContext"];
    assert_eq!(security["runAsUser"].to_string(), user);
    assert_eq!(security["fsGroup"].to_string(), group);
    let volume = &container["volumeMounts"][0];
    assert_eq!(
        volume["mountPath"].as_str(),
        stage.volumes.first().map(String::as_str)
    );
    assert_eq!(
        volume["name"],
        set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"]
    );
    // Its variables are settings, and it has the time that a stop takes with them.
    let mut checked = Command::new(env!("CARGO_BIN_EXE_faam"));
    let data = tempfile::tempdir().expect("a directory");
    checked.args(["serve", "--check"]);
    checked.env("FAAM_LISTEN", "127.0.0.1:0");
    checked.env("FAAM_DATA_DIR", data.path());
    for variable in container["env"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        checked.env(name, variable["value"].as_str().unwrap_or(KEY));
    }
    checked.env("FAAM_ADMIN_LISTEN", "127.0.0.1:0");
    let said = run(&mut checked);
    for variable in ["FAAM_DEVICES", "FAAM_DRAIN_DELAY_MS", "FAAM_BOOTSTRAP_KEY"] {
        assert!(said.contains(variable), "{variable}: {said}");
    }
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
    let delay = 5 + 20 + 5;
    assert!(grace > Some(delay), "{grace:?}");
}

#[test]
fn the_user_and_its_directories_are_made() {
    if is_missing("systemd-sysusers") {
        return;
    }
    if is_not_root("to give files away") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(root.path().join("etc")).expect("made");
    let root_flag = format!("--root={}", root.path().display());
    run(Command::new("systemd-sysusers")
        .arg(&root_flag)
        .arg(deploy().join("faam.sysusers")));
    let users = std::fs::read_to_string(root.path().join("etc/passwd")).expect("made");
    let user = users
        .lines()
        .find(|line| line.starts_with("faam:"))
        .expect("a user");
    assert!(user.ends_with("nologin"), "{user}");
    let parsed = run(Command::new("systemd-tmpfiles")
        .args(["--create", &root_flag])
        .arg(deploy().join("faam.tmpfiles")));
    assert!(parsed.is_empty(), "{parsed}");
    let mode = std::fs::metadata(root.path().join("etc/faam"))
        .expect("made")
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o750
    );
}

#[test]
fn the_container_files_are_clean() {
    let hadolint = deploy().join("../../target/test-tools/bin/hadolint");
    if !hadolint.exists() && without("hadolint") {
        return;
    }
    for file in [
        "Containerfile",
        "examples/openwhisk/Containerfile",
        "examples/openfaas/gzip/Dockerfile",
    ] {
        run(Command::new(&hadolint).arg(deploy().join(file)));
    }
}

/// The last stage of a container file, as far as ours uses the language.
#[derive(Debug, Default)]
struct Stage {
    /// Shell commands and copies, in order.
    steps: Vec<Step>,
    user: String,
    work_dir: String,
    volumes: Vec<String>,
    environment: Vec<(String, String)>,
    health: Vec<String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

#[derive(Debug)]
enum Step {
    Run(String),
    CopyFromBuild { from: String, to: String },
}

impl Stage {
    fn read(file: &str) -> Self {
        let joined = file
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
            .replace("\\\n", " ");
        let list = |text: &str| -> Vec<String> {
            serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{text}: {error}"))
        };
        let mut stage = Self::default();
        for line in joined.lines().filter(|line| !line.trim().is_empty()) {
            let (word, rest) = line
                .trim()
                .split_once(' ')
                .unwrap_or_else(|| panic!("{line:?}"));
            let rest = rest.trim();
            match word {
                "FROM" => stage = Self::default(),
                "RUN" => stage.steps.push(Step::Run(rest.to_owned())),
                "COPY" if rest.starts_with("--from=build ") => {
                    let mut words = rest.split_whitespace().skip(1).map(str::to_owned);
                    let (from, to) = (words.next(), words.next());
                    let (from, to) = from.zip(to).unwrap_or_else(|| panic!("{line:?}"));
                    stage.steps.push(Step::CopyFromBuild { from, to });
                }
                "USER" => rest.clone_into(&mut stage.user),
                "WORKDIR" => rest.clone_into(&mut stage.work_dir),
                "VOLUME" => stage.volumes = list(rest),
                "ENV" => stage
                    .environment
                    .extend(rest.split_whitespace().map(|pair| {
                        let (name, value) =
                            pair.split_once('=').unwrap_or_else(|| panic!("{pair:?}"));
                        (name.to_owned(), value.to_owned())
                    })),
                "HEALTHCHECK" => stage.health = list(rest.split_once("CMD").expect("a command").1),
                "ENTRYPOINT" => stage.entrypoint = list(rest),
                "CMD" => stage.command = list(rest),
                // Of the build, or about the image alone.
                "ARG" | "COPY" | "LABEL" | "EXPOSE" | "STOPSIGNAL" => {}
                other => panic!("{other}: the test does not know this instruction"),
            }
        }
        stage
    }

    /// A script that makes this stage's root over this machine's /usr, closes it, and becomes the container's process, with
    /// this command.
    fn script(&self, command: &[String]) -> String {
        let mut script = String::from(
            r#"set -eu
root=$1 program=$2
mount --make-rprivate /
mount -t tmpfs -o mode=0755 image "$root"
mkdir -p "$root"/usr "$root"/etc "$root"/proc "$root"/dev "$root"/var/lib "$root"/var/cache "$root"/run
mkdir -m 1777 "$root"/tmp
mount --rbind /usr "$root"/usr
mount -t tmpfs -o mode=0755 local "$root"/usr/local
mkdir "$root"/usr/local/bin
for link in bin sbin lib lib64; do [ ! -L /$link ] || ln -s "$(readlink /$link)" "$root"/$link; done
for file in passwd group shadow gshadow login.defs nsswitch.conf; do [ ! -f /etc/$file ] || cp -p /etc/$file "$root"/etc/; done
mkdir -p "$root"/etc/default
mount --rbind /dev "$root"/dev
mount -t proc proc "$root"/proc
"#,
        );
        for step in &self.steps {
            let line = match step {
                // The base image's packages: /usr here is this machine's.
                Step::Run(command) if command.starts_with("apt-get ") => continue,
                Step::Run(command) => format!("chroot \"$root\" /bin/sh -ec {}", quoted(command)),
                Step::CopyFromBuild { to, .. } => {
                    format!("install -m 0755 \"$program\" \"$root\"{to}")
                }
            };
            writeln!(script, "{line}").expect("a String takes all");
        }
        let (user, group) = self.user.split_once(':').expect("user and group by number");
        for volume in &self.volumes {
            writeln!(
                script,
                "mount -t tmpfs -o mode=0700,uid={user},gid={group} volume \"$root\"{volume}"
            )
            .expect("taken");
        }
        let process = format!(
            "setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
        );
        script.push_str("mount -o remount,ro \"$root\"/usr/local\nmount -o remount,ro,bind \"$root\"/usr\nmount -o remount,ro \"$root\"\n");
        // Nothing but the volume takes anything.
        let inside = format!(
            "for path in / /etc /usr/local/bin /var/lib; do if touch $path/probe 2>/dev/null; then echo \"$path is writable\"; exit 9; fi; done; touch {}/probe",
            self.work_dir
        );
        writeln!(
            script,
            "chroot \"$root\" {process} /bin/sh -ec {}",
            quoted(&inside)
        )
        .expect("taken");
        let mut words = vec![
            "env".to_owned(),
            "-i".to_owned(),
            "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
        ];
        words.extend(
            self.environment
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        // Ports of the system's choice, and the operator's key.
        words.push("FAAM_LISTEN=0.0.0.0:0".to_owned());
        words.push("FAAM_ADMIN_LISTEN=127.0.0.1:0".to_owned());
        words.push(format!("FAAM_BOOTSTRAP_KEY={KEY}"));
        words.extend(self.entrypoint.iter().chain(command).cloned());
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        let start = format!("cd {} && exec {}", self.work_dir, words.join(" "));
        writeln!(
            script,
            "exec chroot \"$root\" {process} /bin/sh -ec {}",
            quoted(&start)
        )
        .expect("taken");
        script
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The container's first process, in namespaces that end with it.
struct Container {
    child: Child,
    log: ProcessLog,
}

impl Container {
    fn start(stage: &Stage, command: &[String], root: &Path) -> Self {
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "/bin/sh",
                "-c",
                &stage.script(command),
                "sh",
            ])
            .arg(root)
            .arg(env!("CARGO_BIN_EXE_faam"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let log = ProcessLog::default();
        log.follow(child.stdout.take().expect("stdout is a pipe"));
        log.follow(child.stderr.take().expect("stderr is a pipe"));
        Self { child, log }
    }

    /// Where it says that it listens, in a line with this mark, and when.
    fn address(&self, mark: &str) -> (String, Instant) {
        let line = self.log.wait_for(mark, SOON);
        let line = line.unwrap_or_else(|| panic!("no {mark}"));
        let (_, rest) = line.text.split_once("://").expect("a URL");
        let address = rest.split(['/', ' ', '"']).next().unwrap_or("");
        (address.replace("0.0.0.0", "127.0.0.1"), line.at)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the container wrote ---\n{}--- end ---",
                self.log.text()
            );
        }
    }
}

#[test]
fn the_containers_steps_give_a_gateway_that_serves_as_nobody_on_a_read_only_root() {
    if is_not_root("for namespaces with more than one user") {
        return;
    }
    let stage = Stage::read(&text("Containerfile"));
    assert_eq!(stage.entrypoint, ["/usr/local/bin/faam"]);
    assert!(!stage.user.starts_with("0:") && stage.volumes == [stage.work_dir.clone()]);
    let copies = stage.steps.iter().filter(|step| {
        matches!(step, Step::CopyFromBuild { from, to } if from == "/out/faam" && to == "/usr/local/bin/faam")
    });
    assert_eq!(copies.count(), 1);
    let root = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let mut container = Container::start(&stage, &stage.command, root.path());
    let address = |mark: &str| {
        let (address, at) = container.address(mark);
        println!("{mark} after {} ms", at.duration_since(began).as_millis());
        address
    };
    let (public, admin) = (address("listening on"), address("/metrics"));

    // Its health check, as the file has it, asked from beside it.
    let (program, flags) = stage.health.split_first().expect("a health check");
    assert_eq!(program, "/usr/local/bin/faam");
    run(Command::new(env!("CARGO_BIN_EXE_faam"))
        .args(flags)
        .env("FAAM_ADMIN_LISTEN", &admin));
    let answer = ureq::post(format!("http://{public}/v1/compress?as=content-encoding"))
        .header("Authorization", format!("Bearer {KEY}"))
        .send("hello hello hello");
    assert_eq!(answer.expect("served").status().as_u16(), 200);

    let gateway = process_of(container.child.id());
    let status = std::fs::read_to_string(format!("/proc/{gateway}/status")).expect("it runs");
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("")
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let user = stage.user.split(':').next().expect("a user");
    assert_eq!(field("Uid"), [user; 4]);
    assert_eq!(
        (field("NoNewPrivs"), field("CapBnd")),
        (vec!["1".to_owned()], vec!["0".repeat(16)])
    );

    // As an engine stops it.
    let pid = i32::try_from(gateway)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    kill_process(pid, Signal::TERM).expect("it runs");
    let until = Instant::now() + SOON;
    let ended = loop {
        if let Some(status) = container.child.try_wait().expect("our child") {
            break status;
        }
        assert!(Instant::now() < until, "it did not end");
        container.log.changed(TICK);
    };
    assert!(ended.success(), "{ended}");
    assert!(container.log.text().contains("drained"));
}

#[test]
fn the_same_image_is_another_platforms_function() {
    if is_not_root("for namespaces with more than one user") {
        return;
    }
    let stage = Stage::read(&text("Containerfile"));
    let root = tempfile::tempdir().expect("a directory");
    let words = "action-proxy --platform knative --function zlib --listen 127.0.0.1:0";
    let command: Vec<_> = words.split(' ').map(str::to_owned).collect();
    let container = Container::start(&stage, &command, root.path());
    let (address, _) = container.address("listening on");
    // Without a key: its platform decides who calls it.
    let answer = ureq::post(format!("http://{address}/")).send("hello hello hello");
    let mut answer = answer.expect("served");
    assert_eq!(answer.status().as_u16(), 200);
    let compressed = answer.body_mut().read_to_vec().expect("its body");
    let mut plain = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::ZlibDecoder::new(&compressed[..]),
        &mut plain,
    )
    .expect("zlib");
    assert_eq!(plain, "hello hello hello");
}

/// The only child of `unshare`: the container's first process.
fn process_of(unshare: u32) -> u32 {
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let children = std::fs::read_to_string(children).expect("it runs");
    children
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("one child, not {children:?}"))
}

#[test]
fn the_build_context_holds_the_workspace_and_nothing_of_an_operators() {
    let root = deploy().join("../..");
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).expect("a list");
    let mut lines = ignored
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    // All else is left out: builds of gigabytes, keys in a data directory, the history.
    assert_eq!(lines.next(), Some("*"));
    let (kept, dropped): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('!'));
    assert!(
        dropped.iter().all(|line| line.starts_with("**/")),
        "{dropped:?}"
    );
    let context = tempfile::tempdir().expect("a directory");
    for name in kept.iter().map(|line| line.trim_start_matches('!')) {
        assert!(!["target", "data", ".git"].contains(&name), "{name}");
        assert!(root.join(name).exists(), "{name}");
        std::os::unix::fs::symlink(root.join(name), context.path().join(name)).expect("linked");
    }
    // What the build stage calls is there: its installer, and a workspace that is complete.
    assert!(context.path().join(".ci/install").exists());
    run(Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(context.path()));
}
