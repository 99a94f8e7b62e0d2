//! Requests that another implementation has signed (AWS Signature Version 4, by curl), and such as are not as they have to be.

use std::process::Command;

use serde_json::Value;

use crate::faam::{Place, run};
use crate::tenants::{json, operator};

/// A gateway with a tenant that signs.
struct Signing {
    place: Place,
    user: String,
}

impl Signing {
    fn start() -> Self {
        let place = Place::new();
        json(operator(&place, &["tenant", "add", "acme", "--json"]));
        let made = json(operator(
            &place,
            &[
                "key", "add", "--tenant", "acme", "--kind", "sigv4", "--json",
            ],
        ));
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        assert_eq!(made["kind"], "sigv4");
        assert_eq!(text("id"), text("access_key_id"));
        assert!(text("id").starts_with("FAAM") && text("id").len() == 20);
        let user = format!("{}:{}", text("access_key_id"), text("secret_access_key"));
        Self { place, user }
    }

    /// The status of curl's request, and what came with it.
    fn ask(&self, target: &str, more: &[&str]) -> (u16, Vec<u8>) {
        self.ask_as(&self.user, target, more)
    }

    fn ask_as(&self, user: &str, target: &str, more: &[&str]) -> (u16, Vec<u8>) {
        let mut curl = Command::new("curl");
        curl.current_dir(self.place.dir.path())
            .args([
                "-sS",
                "--noproxy",
                "*",
                "--max-time",
                "20",
                "-w",
                "%{stderr}%{http_code}",
            ])
            .args(["--aws-sigv4", "aws:amz:eu-test-1:faam", "--user", user])
            .args(more)
            .arg(format!("{}{target}", self.place.url()))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let ended = run(curl, b"").check(0, &[]);
        (ended.stderr.parse().expect("a status"), ended.stdout)
    }
}

#[track_caller]
fn check_problem((status, body): (u16, Vec<u8>), expected: u16, words: &[&str]) {
    let text = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(status, expected, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text}");
    }
}

/// SHA-256 as header.
fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x-amz-content-sha256: {hex}")
}

#[test]
fn what_curl_signs_is_served_and_what_was_changed_is_not() {
    let signing = Signing::start();
    let body = b"hello hello hello".repeat(1000);
    signing.place.write("body", &body);
    let (status, answer) = signing.ask("/v1/tenants/self", &[]);
    assert_eq!(status, 200);
    let who: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(who["id"], "acme");
    // In order and encoded: older ones of curl sign a query as it is.
    assert_eq!(
        signing
            .ask(
                "/v1/usage?group=day%2Ckernel&until=2027-01-01T00%3A00%3A00Z",
                &[]
            )
            .0,
        200
    );

    let right = sha256(&body);
    for payload in [right.as_str(), "x-amz-content-sha256: UNSIGNED-PAYLOAD"] {
        let (status, packed) = signing.ask(
            "/v1/compress?format=gzip&level=3",
            &["--data-binary", "@body", "-H", payload],
        );
        assert_eq!(status, 200, "{payload}");
        signing.place.write("packed.gz", &packed);
        let mut gzip = Command::new("gzip");
        gzip.args(["-dc", "packed.gz"])
            .current_dir(signing.place.dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        assert!(run(gzip, b"").check(0, &[]).stdout == body, "{payload}");
    }
    // The body that was signed, and another one.
    let wrong = sha256(b"another body");
    let answer = signing.ask("/v1/compress", &["--data-binary", "@body", "-H", &wrong]);
    check_problem(answer, 422, &["digest-mismatch", "x-amz-content-sha256"]);
    // HTTP/2 names its host otherwise.
    let answer = signing.ask(
        "/v1/compress",
        &[
            "--http2-prior-knowledge",
            "--data-binary",
            "@body",
            "-H",
            &right,
        ],
    );
    assert_eq!(answer.0, 200, "{}", String::from_utf8_lossy(&answer.1));
}

#[test]
fn what_is_not_signed_as_it_has_to_be_is_told_apart_from_what_is_wrong() {
    let signing = Signing::start();
    signing.place.write("body", b"hello");
    let (id, secret) = signing.user.split_once(':').expect("a pair");
    let invalid = &["the credential is not valid here"];
    for user in [
        format!("{id}:{}", "x".repeat(43)),
        format!("FAAMAAAAAAAAAAAAAAAA:{secret}"),
    ] {
        check_problem(signing.ask_as(&user, "/v1/kernels", &[]), 401, invalid);
    }
    let post =
        |payload: &str| signing.ask("/v1/compress", &["--data-binary", "@body", "-H", payload]);
    check_problem(
        post("x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        400,
        &["chunks"],
    );
    check_problem(post("x-amz-content-sha256: short"), 400, &["hexadecimal"]);
    check_problem(
        post("x-other: 1"),
        400,
        &["x-amz-content-sha256", "UNSIGNED-PAYLOAD"],
    );
    let unsigned = |target: &str, headers: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "-w",
            "%{stderr}%{http_code}",
        ])
        .args(headers)
        .arg(format!("{}{target}", signing.place.url()))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
        let ended = run(curl, b"").check(0, &[]);
        (ended.stderr.parse().expect("a status"), ended.stdout)
    };
    // Signed in another hour of the same day.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let hour = jiff::Span::new().hours(1);
    let other = match now.hour() {
        0 => now.checked_add(hour),
        _ => now.checked_sub(hour),
    };
    let other = other.expect("a moment");
    let date = other.strftime("x-amz-date: %Y%m%dT%H%M%SZ").to_string();
    let authorization = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={id}/{}/eu-1/faam/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature={}",
        other.strftime("%Y%m%d"),
        "ab".repeat(32)
    );
    let late = ["-H", &date, "-H", &authorization];
    check_problem(unsigned("/v1/kernels", &late), 401, &["300 s"]);
    check_problem(
        unsigned("/v1/kernels?X-Amz-Signature=ab", &[]),
        400,
        &["query"],
    );
    let bare = ["-H", "Authorization: AWS4-HMAC-SHA256 Credential=x"];
    check_problem(
        unsigned("/v1/kernels", &bare),
        400,
        &["SignedHeaders", "aws4_request"],
    );
    // A revoked signer signs in vain.
    json(operator(&signing.place, &["key", "revoke", id, "--json"]));
    check_problem(signing.ask("/v1/kernels", &[]), 401, invalid);
}
