//! `faam serve --check` and the configuration file, as an operator uses them.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::faam::{Ended, SOON, run, wait_until};

/// `faam serve` with these words, in `dir`, with no settings in its environment.
fn serve(dir: &std::path::Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FAAM_")) {
        command.env_remove(name);
    }
    command
        .arg("serve")
        .args(words)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn json(ended: &Ended) -> Value {
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

#[test]
fn a_check_shows_every_setting_with_its_origin() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\n[http]\nbody_idle_ms_max = \"2s\"\n";
    std::fs::write(dir.path().join("faam.toml"), file).expect("written");
    let mut command = serve(
        dir.path(),
        &[
            "--config",
            "faam.toml",
            "--check",
            "--json",
            "--engines",
            "2",
        ],
    );
    command
        .env("FAAM_CPU_WORKERS", "1")
        .env("FAAM_BOOTSTRAP_KEY", "faam_a-secret-nobody-may-see");
    let ended = run(command, b"").check(0, &[]);
    let report = json(&ended);
    let setting = |key: &str| {
        let settings = report["settings"].as_array().expect("settings");
        let found = settings.iter().find(|setting| setting["key"] == key);
        found.unwrap_or_else(|| panic!("{key} in {report}")).clone()
    };
    for (key, value, origin) in [
        ("listen", Value::from("127.0.0.1:0"), "faam.toml:1"),
        ("http.body_idle_ms_max", 2000.into(), "faam.toml:5"),
        ("engines", 2.into(), "flag, --engines"),
        ("cpu_workers", 1.into(), "environment, FAAM_CPU_WORKERS"),
        ("tenant.in_flight_max", 256.into(), "default"),
    ] {
        assert_eq!(
            (&setting(key)["value"], &setting(key)["origin"]),
            (&value, &origin.into()),
            "{key}"
        );
    }
    assert_eq!(report["able"], true, "{report}");
    assert!(
        !report.to_string().contains("nobody-may-see"),
        "a key is shown"
    );
    assert!(
        std::fs::read_dir(dir.path()).expect("listed").count() == 1,
        "nothing is left behind"
    );
}

#[test]
fn what_cannot_be_served_is_told_with_its_mend() {
    let dir = tempfile::tempdir().expect("a directory");
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("bound").to_string();
    let words = [
        "--check",
        "--listen",
        &taken,
        "--admin-listen",
        "127.0.0.1:0",
        "--devices",
        "vfio-user:nowhere",
    ];
    let ended = run(serve(dir.path(), &words), b"").check(1, &[]);
    let text = String::from_utf8(ended.stdout).expect("UTF-8");
    for words in [
        "FAIL  listen: cannot listen on",
        "ss -ltnp",
        "nowhere/fn0",
        "faam sim --dir nowhere",
        "cannot be served",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    std::fs::write(
        dir.path().join("faam.toml"),
        "[http]\nbody_idel_ms_max = 1\n",
    )
    .expect("written");
    for words in [
        &["--config", "faam.toml"][..],
        &["--config", "faam.toml", "--check"],
    ] {
        run(serve(dir.path(), words), b"").check(
            1,
            &[
                "faam.toml:2",
                "\"http.body_idel_ms_max\"",
                "\"http.body_idle_ms_max\"",
            ],
        );
    }
    run(serve(dir.path(), &["--config", "missing.toml"]), b"")
        .check(1, &["missing.toml", "--config"]);
}

#[test]
fn what_a_start_would_refuse_a_check_refuses() {
    let dir = tempfile::tempdir().expect("a directory");
    let there = dir.path().join("faam.sock");
    let _live = std::os::unix::net::UnixListener::bind(&there).expect("bound");
    std::fs::write(dir.path().join("file"), "somebody's").expect("written");
    for (flags, key, said) in [
        (&["--unix-listen", "faam.sock"][..], "", "somebody listens"),
        (&["--unix-listen", "file"], "", "is no socket"),
        (&["--unix-listen", "nowhere/faam.sock"], "", "nowhere"),
        (&[], "faam_short", "FAAM_BOOTSTRAP_KEY"),
    ] {
        for check in [&["--check"][..], &[]] {
            let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
            let none = ["--devices", "none"];
            let mut command = serve(dir.path(), &[&ports[..], &none, flags, check].concat());
            command.env("FAAM_BOOTSTRAP_KEY", key);
            let ended = run(command, b"");
            let told = format!("{}{}", String::from_utf8_lossy(&ended.stdout), ended.stderr);
            assert_eq!(ended.code, Some(1), "{check:?} {flags:?} {key:?}: {told}");
            assert!(told.contains(said), "{said:?} is not in {told}");
        }
    }
    assert!(there.exists());
}

#[test]
fn a_key_that_the_operator_chose_is_not_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    // A name that a shell would take apart.
    let data = dir.path().join("it's data");
    let mut command = serve(
        dir.path(),
        &["--devices", "none", "--listen", "127.0.0.1:0"],
    );
    command
        .args(["--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .env("FAAM_BOOTSTRAP_KEY", "faam_a-secret-nobody-may-see")
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let mut printed = Vec::new();
    for line in lines.by_ref() {
        let last = line.contains("curl");
        printed.push(line);
        if last {
            break;
        }
    }
    let all = printed.join("\n");
    assert!(!all.contains("nobody-may-see"), "{all}");
    let curl = printed.last().expect("a line to paste");
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", curl])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = run(shell, b"");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .expect("it runs");
    wait_until("it ends", || child.try_wait().expect("our child"));
    drop(lines);
    assert_eq!(ended.check(0, &[]).stdout, b"hello hello hello", "{curl}");
}

#[test]
fn a_log_filter_that_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    for (variable, filter) in [("FAAM_LOG", "faam=loud"), ("RUST_LOG", "a=b=c")] {
        let mut command = serve(dir.path(), &["--devices", "gpu", "--check"]);
        command.env(variable, filter);
        run(command, b"").check(1, &["gpu"]);
        let mut command = serve(
            dir.path(),
            &["--unix-listen", "nowhere/x", "--devices", "none"],
        );
        command.env(variable, filter);
        run(command, b"").check(1, &[variable, filter]);
    }
}

#[test]
fn what_an_operator_should_know_is_noted() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("demo.key"), "faam_a-key-for-these-tests-only\n").expect("written");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(data.join("demo.key"), open).expect("set");
    let mut command = serve(dir.path(), &["--check", "--devices", "none"]);
    command
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"])
        .env("FAAM_SPILL_BYTES_MAX", "100000000GiB")
        .env("FAAM_SPILL_TENANT_FILES_MAX", "512")
        .env("FAAM_DRAIN_DELAY_MS", "5s");
    let ended = run(command, b"").check(0, &[]);
    let text = String::from_utf8(ended.stdout).expect("UTF-8");
    for note in [
        "note  admin_listen: 0.0.0.0:0",
        "note  spill_bytes_max: ",
        "note  spill_tenant_files_max: 512",
        "ok    drain: a stop takes up to 30 s",
        "note  data_dir: data/demo.key",
        "chmod 600",
    ] {
        assert!(text.contains(note), "{note:?} is not in\n{text}");
    }
}

#[test]
fn a_gateway_serves_by_its_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndevices = [\"none\"]\n[http]\nbody_bytes_max = 100\n";
    std::fs::write(dir.path().join("faam.toml"), file).expect("written");
    let mut command = serve(dir.path(), &[]);
    let mut child = command
        .env("FAAM_CONFIG", "faam.toml")
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    // Held to the end: what is printed later must find a reader.
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let url = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
    let url = url.expect("it listens");
    let key = std::fs::read_to_string(dir.path().join("data/demo.key")).expect("a key");
    let post = |bytes: usize| {
        let mut faam = crate::faam::faam(dir.path(), &url, &["compress", "-c"]);
        faam.env("FAAM_KEY", key.trim());
        run(faam, &vec![b'x'; bytes])
    };
    post(100).check(0, &[]);
    post(101).check(1, &["413", "100"]);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .expect("it runs");
    let status = wait_until("it ends", || child.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0), "within {SOON:?}");
    drop(lines);
}
