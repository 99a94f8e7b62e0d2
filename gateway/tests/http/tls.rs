//! TLS: what is offered, who is let in, and certificates that change while it serves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use faam_gateway::gateway::Gateway;
use faam_gateway::http::tls::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use crate::server::{SOON, Server, config};
use crate::wire::Wire;

/// An authority, and what it signs, as files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) path: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let path = directory.join(format!("{name}.ca.pem"));
        std::fs::write(&path, issuer.pem()).expect("written");
        Self { issuer, path }
    }

    /// A certificate for 127.0.0.1 and its key, in PEM.
    pub(crate) fn sign(&self) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Puts a file in its place in one step, as certificate managers do.
pub(crate) fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(new, path).expect("moved");
}

pub(crate) fn files(directory: &Path) -> TlsFiles {
    TlsFiles {
        certificate: directory.join("server.pem"),
        key: directory.join("server.key"),
        client_ca: None,
    }
}

pub(crate) fn write_pair(files: &TlsFiles, (certificate, key): &(String, String)) {
    put(&files.key, key);
    put(&files.certificate, certificate);
}

/// curl to `/healthz`, trusting `authority`; prints the HTTP version.
pub(crate) fn curl(address: std::net::SocketAddr, authority: &Authority, flags: &[&str]) -> Output {
    Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version}",
            "--cacert",
        ])
        .arg(&authority.path)
        .args(flags)
        .arg(format!("https://{address}/healthz"))
        .output()
        .expect("curl")
}

fn serve(files: &TlsFiles, poll: Duration) -> Server {
    Server::start_with(|config| {
        config.tls = Some(files.clone());
        config.limits.tls_poll = poll;
    })
}

fn metric(server: &Server, series: &str) -> bool {
    server
        .admin("/metrics")
        .text()
        .lines()
        .any(|line| line == series)
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn both_versions_of_tls_and_of_http_are_offered() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "one");
    let files = files(directory.path());
    write_pair(&files, &authority.sign());
    let server = serve(&files, Duration::from_secs(10));
    assert_eq!(server.gateway.public_scheme(), "https");
    for (flags, version) in [
        (&["--http2"][..], "2"),
        (&["--http1.1"], "1.1"),
        (&["--tls-max", "1.2"], "2"),
        (&["--tlsv1.3"], "2"),
    ] {
        let output = curl(server.address(), &authority, flags);
        assert!(output.status.success(), "{flags:?}: {output:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            version,
            "{flags:?}"
        );
    }
    let old = curl(
        server.address(),
        &authority,
        &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"],
    );
    assert!(!old.status.success(), "TLS 1.1 is not served");
    // A peer that says nothing in its handshake: of a gateway of its own, where nobody else has to hurry with one.
    let hasty = Server::start_with(|config| {
        config.tls = Some(files.clone());
        config.limits.tls_handshake = Duration::from_millis(50);
    });
    let mut silent = Wire::connect(hasty.address());
    assert!(silent.is_closed());
    // And one that speaks plain HTTP.
    let mut plain = Wire::connect(server.address());
    plain
        .send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    // An alert of TLS (RFC 8446, 5.1: content type 21), and the end.
    assert_eq!(plain.first_byte(), Some(21));
}

#[test]
fn a_changed_certificate_is_taken_and_a_bad_one_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = Authority::new(directory.path(), "one");
    let two = Authority::new(directory.path(), "two");
    let files = files(directory.path());
    write_pair(&files, &one.sign());
    let server = serve(&files, Duration::from_millis(20));
    assert!(curl(server.address(), &one, &[]).status.success());
    assert!(!curl(server.address(), &two, &[]).status.success());

    // A certificate without its key, and then no certificate at all.
    let (certificate, key) = two.sign();
    for bad in [
        certificate.as_str(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "",
    ] {
        let kept = |server: &Server| {
            let text = server.admin("/metrics").text();
            let series = r#"faam_tls_reloads_total{outcome="kept-old"} "#;
            text.lines()
                .find_map(|line| line.strip_prefix(series)?.parse().ok())
                .unwrap_or(0u32)
        };
        let before = kept(&server);
        put(&files.certificate, bad);
        wait_until("the bad one was looked at", || kept(&server) > before);
        assert!(
            curl(server.address(), &one, &[]).status.success(),
            "the old one serves on"
        );
    }
    assert!(!metric(
        &server,
        r#"faam_tls_reloads_total{outcome="ok"} 1"#
    ));

    write_pair(&files, &(certificate, key));
    wait_until("the new pair serves", || {
        curl(server.address(), &two, &[]).status.success()
    });
    assert!(!curl(server.address(), &one, &[]).status.success());
}

#[test]
fn callers_need_a_certificate_where_an_authority_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "server");
    let callers = Authority::new(directory.path(), "callers");
    let mut files = files(directory.path());
    write_pair(&files, &authority.sign());
    files.client_ca = Some(callers.path.clone());
    let server = serve(&files, Duration::from_secs(10));
    let flags = |authority: &Authority, name: &str| {
        let (certificate, key) = authority.sign();
        let path = directory.path().join(name);
        std::fs::write(&path, certificate + &key).expect("written");
        path.to_string_lossy().into_owned()
    };
    let good = flags(&callers, "good.pem");
    let output = curl(server.address(), &authority, &["--cert", &good]);
    assert!(output.status.success(), "{output:?}");
    let other = flags(&authority, "other.pem");
    assert!(
        !curl(server.address(), &authority, &["--cert", &other])
            .status
            .success()
    );
    assert!(!curl(server.address(), &authority, &[]).status.success());
}

#[test]
fn a_start_with_files_that_do_not_do_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "one");
    let files = files(directory.path());
    let data = tempfile::tempdir().expect("a directory");
    let start = || {
        let mut config = config(data.path());
        config.tls = Some(files.clone());
        let Err(error) = Gateway::start(config) else {
            panic!("it started");
        };
        error.to_string()
    };
    assert!(start().contains("--tls-cert"), "{}", start());
    let (certificate, _) = authority.sign();
    put(&files.certificate, &certificate);
    assert!(start().contains("--tls-key"), "{}", start());
    let (_, other_key) = authority.sign();
    put(&files.key, &other_key);
    assert!(start().contains("cannot be used together"), "{}", start());
}
