//! Certificates as an operator's files: what `faam serve --check` says of them, and the log of one that serves.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustix::process::{Pid, Signal, kill_process};

use crate::faam::{SOON, run};
use crate::process_log::ProcessLog;

/// Writes a certificate that holds between two years, the authority's behind it, and the key.
fn write(dir: &Path, years: (i32, i32)) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // What counts is the leaf: this one always holds.
    authority.not_before = date_time_ymd(2000, 1, 1);
    authority.not_after = date_time_ymd(2999, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("signed");
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    leaf.not_before = date_time_ymd(years.0, 1, 1);
    leaf.not_after = date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let leaf = leaf.signed_by(&key, &authority).expect("signed");
    std::fs::write(dir.join("chain.pem"), leaf.pem() + &authority.pem()).expect("written");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("written");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(dir.join("key.pem"), private).expect("set");
}

/// A failed assertion leaves no gateway behind.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FAAM_")) {
        command.env_remove(name);
    }
    command
        .args(["serve", "--devices", "none", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .args(["--tls-cert", "chain.pem", "--tls-key", "key.pem"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_check_fails_for_a_certificate_that_does_not_hold_now() {
    let dir = tempfile::tempdir().expect("a directory");
    let check = |code, words: &[&str]| {
        let mut command = serve(dir.path());
        command.arg("--check");
        let text = run(command, b"").check(code, &[]).stdout;
        let text = String::from_utf8(text).expect("UTF-8");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in\n{text}");
        }
    };
    write(dir.path(), (2000, 2001));
    check(1, &["FAIL  tls: ", "chain.pem", "expired", "2001"]);
    write(dir.path(), (2900, 2950));
    check(1, &["FAIL  tls: ", "not yet valid", "2900", "clock"]);
    write(dir.path(), (2000, 2950));
    check(0, &["ok    tls: ", "2950"]);
    // Another certificate's key.
    let chain = std::fs::read(dir.path().join("chain.pem")).expect("there");
    write(dir.path(), (2000, 2950));
    std::fs::write(dir.path().join("chain.pem"), chain).expect("written");
    check(1, &["FAIL  tls: ", "cannot be used together"]);
}

#[test]
fn a_gateway_says_loudly_that_its_certificate_does_not_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), (2000, 2001));
    let mut child = KilledOnDrop(serve(dir.path()).spawn().expect("starts"));
    let child = &mut child.0;
    let log = ProcessLog::default();
    log.follow(child.stderr.take().expect("a pipe"));
    let printed = ProcessLog::default();
    printed.follow(child.stdout.take().expect("a pipe"));
    let told = |word: &str| {
        let line = log.wait_for(word, SOON);
        let line = line.unwrap_or_else(|| panic!("{word:?} is not in\n{}", log.text()));
        assert!(line.text.contains("ERROR"), "{}", line.text);
    };
    told("expired");
    // It serves all the same: callers may trust it by other means.
    let curl = printed.wait_for("curl", SOON).expect("it serves");
    assert!(curl.text.contains("https://"), "{}", curl.text);
    let pid = Pid::from_child(child);
    write(dir.path(), (2900, 2950));
    kill_process(pid, Signal::HUP).expect("it runs");
    told("not yet valid");
    let admin = printed.wait_for("metrics ", SOON).expect("printed").text;
    let url = admin.split_whitespace().nth(1).expect("a URL").to_owned();
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .build()
        .new_agent();
    let metrics = agent.get(&url).call().expect("an answer");
    let metrics = metrics.into_body().read_to_string().expect("text");
    // date -ud 2950-01-01 +%s
    let line = r#"faam_tls_not_after_seconds{listener="public"} 30925843200"#;
    assert!(metrics.lines().any(|got| got == line), "{metrics}");
    kill_process(pid, Signal::TERM).expect("it runs");
    assert!(child.wait().expect("our child").success());
}
