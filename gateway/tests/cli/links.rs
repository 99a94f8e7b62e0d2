//! Other ways to a gateway than plain TCP: a Unix socket, TLS, TLS with a certificate of one's own.

use std::path::Path;

use faam_gateway::http::tls::TlsFiles;
use faam_gateway::http::unix_socket::UnixListen;

use crate::faam::{Place, faam, names, run, text};

#[test]
fn a_unix_socket_serves() {
    let data = tempfile::tempdir().expect("a directory");
    let socket = data.path().join("faam.sock");
    let place = Place::with_data(data, |config| {
        config.unix_listen = Some(UnixListen {
            path: socket_path(&config.data_dir),
            mode: 0o600,
        });
    });
    place.write("x", text(400_000));
    let url = format!("unix:{}", socket.display());
    run(faam(place.dir.path(), &url, &["compress", "x"]), b"").check(0, &[]);
    run(faam(place.dir.path(), &url, &["decompress", "x.gz"]), b"").check(0, &[]);
    assert!(place.read("x") == text(400_000));
    let words = [
        "bench",
        "--size",
        "1KiB",
        "--requests",
        "10",
        "--seconds",
        "5",
    ];
    run(faam(place.dir.path(), &url, &words), b"").check(0, &[]);
}

fn socket_path(data: &Path) -> std::path::PathBuf {
    data.join("faam.sock")
}

/// A certificate for 127.0.0.1 that is its own authority, and its key.
fn pair(dir: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("made");
    let (certificate, key) = (
        dir.join(format!("{name}.pem")),
        dir.join(format!("{name}.key")),
    );
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (certificate, key)
}

#[test]
fn tls_serves_whom_it_trusts_and_who_trusts_it() {
    let data = tempfile::tempdir().expect("a directory");
    let (certificate, key) = pair(data.path(), "server");
    let (own, own_key) = pair(data.path(), "client");
    let place = Place::with_data(data, |config| {
        config.tls = Some(TlsFiles {
            certificate: certificate.clone(),
            key,
            client_ca: Some(own.clone()),
        });
    });
    let url = format!("https://{}", place.gateway.public_address());
    let dir = place.dir.path();
    let text_of = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (ca, own, own_key) = (text_of(&certificate), text_of(&own), text_of(&own_key));
    place.write("x", text(400_000));

    let trusted = ["--cacert", &ca, "--cert", &own, "--cert-key", &own_key];
    run(
        faam(dir, &url, &[&["compress", "x"], &trusted[..]].concat()),
        b"",
    )
    .check(0, &[]);
    run(
        faam(dir, &url, &[&["decompress", "x.gz"], &trusted[..]].concat()),
        b"",
    )
    .check(0, &[]);
    assert!(place.read("x") == text(400_000));

    for (words, said) in [
        (&["--cacert", &own][..], "--cacert"),
        (&["--cacert", &own_key], "--cacert"),
        (&["--cacert", &ca, "--cert", &own], "--cert-key"),
    ] {
        run(
            faam(
                dir,
                &url,
                &[&["compress", "--retries=0", "x"], words].concat(),
            ),
            b"",
        )
        .check(1, &[said]);
        assert_eq!(names(dir), ["x"]);
    }
    // It asks for a certificate: that is said at once, and nothing is sent again.
    let ended = run(
        faam(dir, &url, &["compress", "-v", "--cacert", &ca, "x"]),
        b"",
    );
    let ended = ended.check(1, &["--cert"]);
    assert!(!ended.stderr.contains("repetition"), "{}", ended.stderr);
    assert_eq!(names(dir), ["x"]);
    // Plain HTTP to a port that speaks TLS.
    run(place.faam(&["compress", "--retries=0", "x"]), b"").check(1, &[]);
    assert_eq!(names(dir), ["x"]);
}
