//! Published vectors, and what is refused.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::*;

/// 2015-08-30T12:36:00Z
const SUITE_NOW: Millis = Millis(1_440_938_160_000);
/// 2013-05-24T00:00:00Z
const S3_NOW: Millis = Millis(1_369_353_600_000);

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(*name).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

/// The signature that a request has to have under a secret.
#[track_caller]
fn check(
    secret: &str,
    request: (&Method, &str, &[(&str, &str)]),
    (authorization, now): (&str, Millis),
) {
    let (method, target, pairs) = request;
    let (uri, headers): (Uri, _) = (target.parse().expect("a target"), headers(pairs));
    let signed = Signed::parse(authorization.as_bytes()).expect("the form");
    let presented = Presented {
        method,
        uri: &uri,
        headers: &headers,
        now,
        body_sha256: None,
        takes_chunks: false,
    };
    let date = signed.date(&headers, now).expect("a date");
    signed.check_headers(&headers).expect("all signed");
    let payload = Payload::of(&presented).expect("a payload");
    let text = canonical_request(&presented, &signed.headers, &payload.text, signed.service)
        .expect("sent");
    assert_eq!(
        hex(&signed.signature_of(&signed.key(secret), date, text.as_bytes())),
        hex(&signed.signature),
        "{method} {target}:\n{text}"
    );
}

#[test]
fn signatures_are_those_of_awss_own_examples() {
    let suite = |signature: &str| {
        format!(
            "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, \
             Signature={signature}"
        )
    };
    let pairs = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    // The Signature Version 4 test suite: get-vanilla, get-vanilla-query-order-key-case, post-vanilla.
    for (method, target, signature) in [
        (
            Method::GET,
            "/",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            Method::GET,
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            Method::POST,
            "/",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
    ] {
        check(
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            (&method, target, &pairs),
            (&suite(signature), SUITE_NOW),
        );
    }
    // S3's reference, "Authenticating Requests: Using the Authorization Header": GET object.
    check(
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        (
            &Method::GET,
            "/test.txt",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", EMPTY_SHA256),
                ("x-amz-date", "20130524T000000Z"),
            ],
        ),
        (
            "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            S3_NOW,
        ),
    );
}

#[test]
fn targets_are_the_same_whoever_encoded_them() {
    let of = |target: &str, service| {
        let (uri, headers): (Uri, _) = (target.parse().expect("a target"), headers(&[]));
        let presented = Presented {
            method: &Method::GET,
            uri: &uri,
            headers: &headers,
            now: SUITE_NOW,
            body_sha256: None,
            takes_chunks: false,
        };
        let text = canonical_request(&presented, &[], "", service).expect("nothing signed");
        let mut lines = text.lines().skip(1);
        let line = |lines: &mut dyn Iterator<Item = &str>| lines.next().unwrap_or("").to_owned();
        (line(&mut lines), line(&mut lines))
    };
    assert_eq!(of("/a%20b", "s3").0, "/a%20b");
    assert_eq!(of("/a%20b", "faam").0, "/a%2520b");
    assert_eq!(of("/?b=%7e&a=1&a=%2f&c", "faam").1, "a=%2F&a=1&b=~&c=");
    assert_eq!(of("/?a=1+1", "faam").1, "a=1%2B1");
}

#[test]
fn what_lacks_something_is_told_what() {
    let signature = "ab".repeat(32);
    let authorization = |credential: &str, headers: &str| {
        format!("Credential={credential}, SignedHeaders={headers}, Signature={signature}")
    };
    let scope = "FAAMX/20150830/eu-1/faam/aws4_request";
    let pairs = [("host", "faam.test"), ("x-amz-date", "20150830T123600Z")];
    let judge = |authorization: &str, pairs: &[(&str, &str)], now| {
        let headers = headers(pairs);
        let signed = Signed::parse(authorization.as_bytes())?;
        signed.date(&headers, now)?;
        signed.check_headers(&headers)?;
        let (uri, method) = (Uri::from_static("/"), Method::GET);
        let of = |takes_chunks| {
            let presented = Presented {
                method: &method,
                uri: &uri,
                headers: &headers,
                now,
                body_sha256: None,
                takes_chunks,
            };
            Payload::of(&presented).map(drop)
        };
        let took = of(true);
        of(false).map_err(|refused| match took {
            Ok(()) => SigV4Error::Chunked,
            Err(SigV4Error::ChunkForm) => SigV4Error::ChunkForm,
            Err(_) => refused,
        })
    };
    let all = authorization(scope, "host;x-amz-date");
    assert_eq!(judge(&all, &pairs, SUITE_NOW), Ok(()));
    for form in [
        "",
        "Credential",
        &authorization("FAAMX/20150830/eu-1/faam", "host"),
        &authorization("FAAMX/20150830/eu-1/faam/aws4_request/x", "host"),
        &format!("{all}, Signature={signature}"),
        &all.replace("abab", "zzzz"),
        &all[..all.len() - 1],
    ] {
        assert_eq!(
            judge(form, &pairs, SUITE_NOW),
            Err(SigV4Error::Form),
            "{form}"
        );
    }
    let five_minutes = 5 * 60 * 1000;
    for (offset, expected) in [
        (five_minutes, Ok(())),
        (-five_minutes, Ok(())),
        (five_minutes + 1, Err(SigV4Error::Skew)),
        (-five_minutes - 1, Err(SigV4Error::Skew)),
    ] {
        assert_eq!(
            judge(&all, &pairs, Millis(SUITE_NOW.0 + offset)),
            expected,
            "{offset}"
        );
    }
    for date in [
        "20150831T123600Z",
        "20150830T123600",
        "20150230T123600Z",
        "2015083T0123600Z",
        "+0150830T123600Z",
    ] {
        let pairs = [("host", "faam.test"), ("x-amz-date", date)];
        assert_eq!(
            judge(&all, &pairs, SUITE_NOW),
            Err(SigV4Error::Date),
            "{date}"
        );
    }
    for names in [
        "host",
        "x-amz-date",
        "x-amz-date;host",
        "host;host;x-amz-date",
    ] {
        let signed = authorization(scope, names);
        assert_eq!(
            judge(&signed, &pairs, SUITE_NOW),
            Err(SigV4Error::Unsigned),
            "{names}"
        );
    }
    let with = |value| [pairs[0], pairs[1], ("x-amz-content-sha256", value)];
    assert_eq!(
        judge(&all, &with(EMPTY_SHA256), SUITE_NOW),
        Err(SigV4Error::Unsigned)
    );
    let all = authorization(scope, "host;x-amz-content-sha256;x-amz-date");
    for (value, expected) in [
        (EMPTY_SHA256, Ok(())),
        ("UNSIGNED-PAYLOAD", Ok(())),
        // Nothing says how long it is, where it would be taken.
        (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Err(SigV4Error::ChunkForm),
        ),
        (
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            Err(SigV4Error::Chunked),
        ),
        ("abc", Err(SigV4Error::Payload)),
    ] {
        assert_eq!(judge(&all, &with(value), SUITE_NOW), expected, "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_it(
        value: Vec<u8>, date: String, target in "/[ -~]{0,40}", header: Vec<u8>,
        form in "Credential=[A-Z/a-z0-9]{0,40}, ?SignedHeaders=[a-z;-]{0,30}, ?Signature=[0-9a-f]{60,68}",
    ) {
        let mut headers = HeaderMap::new();
        for name in ["host", "x-amz-date", "x-amz-content-sha256"] {
            if let Ok(value) = HeaderValue::from_bytes(&header) {
                headers.append(name, value);
            }
        }
        let _ = instant(&date);
        for value in [value.as_slice(), form.as_bytes()] {
            let Ok(signed) = Signed::parse(value) else { continue };
            let _ = signed.date(&headers, SUITE_NOW);
            let _ = signed.check_headers(&headers);
            if let Ok(uri) = target.parse::<Uri>() {
                let presented = Presented { method: &Method::GET, uri: &uri, headers: &headers, now: SUITE_NOW, body_sha256: None, takes_chunks: true };
                let _ = Payload::of(&presented);
                let _ = canonical_request(&presented, &signed.headers, "", signed.service);
            }
        }
    }
}

/// The Signature Version 4 test suite, post-x-www-form-urlencoded: no header says the hash of the body.
#[test]
fn a_body_that_was_read_stands_for_its_header() {
    let pairs = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("content-length", "13"),
    ];
    let authorization = "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date, \
        Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
    let (uri, headers) = (Uri::from_static("/"), headers(&pairs));
    let signed = Signed::parse(authorization.as_bytes()).expect("the form");
    let judged = |body: Option<&[u8]>| {
        let body_sha256 = body.map(|body| Sha256::digest(body).into());
        let presented = Presented {
            method: &Method::POST,
            uri: &uri,
            headers: &headers,
            now: SUITE_NOW,
            body_sha256,
            takes_chunks: false,
        };
        let payload = Payload::of(&presented)?;
        let text = canonical_request(&presented, &signed.headers, &payload.text, signed.service);
        let date = signed.date(&headers, SUITE_NOW)?;
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let text = text.ok_or(SigV4Error::Unsigned)?;
        let key = signed.key(secret);
        Ok(signed.signature_of(&key, date, text.as_bytes()) == signed.signature)
    };
    assert_eq!(judged(Some(b"Param1=value1")), Ok(true));
    assert_eq!(judged(Some(b"Param1=value2")), Ok(false));
    // Where it was not read it would have to be said.
    assert_eq!(judged(None), Err(SigV4Error::Payload));
}
