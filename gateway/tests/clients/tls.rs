//! The same over TLS, where a connection ends in other ways: a refusal still reaches who sends, and what breaks off is
//! still seen.

use crate::callers::{CURL_HTTP1, CURL_HTTP2_TLS, Caller};
use crate::gateway::Gateway;
use crate::samples::{noise, text};
use crate::torn::{BODY_BYTES, check_torn, corrupt, file};

const ALL: [Caller; 7] = [
    CURL_HTTP1,
    CURL_HTTP2_TLS,
    Caller::Python("http.client"),
    Caller::Python("urllib"),
    Caller::Node("http"),
    Caller::Node("http2"),
    Caller::Node("fetch"),
];
/// How often each caller is refused each time.
const ATTEMPTS: usize = 20;

#[test]
fn callers_over_tls_see_refusals_and_breaks() {
    let gateway = Gateway::start_with_tls();
    let before = gateway.at_rest();
    let refused = file(&text(8 << 20));
    let whole = file(&noise(BODY_BYTES));
    let torn = corrupt();
    for caller in ALL.into_iter().filter(|caller| caller.is_installed()) {
        for chunked in [false, true] {
            let key = Some("faam_wrong");
            let path = refused.path();
            let outcomes = caller.call(&gateway.call("/v1/compress", key, path, chunked, ATTEMPTS));
            let right = outcomes
                .iter()
                .filter(|outcome| outcome.is_of_wrong_key() && outcome.error.is_none());
            let right = right.count();
            println!("{caller:?}: {right} of {ATTEMPTS} saw the refusal");
            assert_eq!(right, ATTEMPTS, "{outcomes:?}");

            let call = gateway.call("/v1/compress?level=1", None, whole.path(), chunked, 1);
            let outcome = &caller.call(&call)[0];
            assert_eq!((outcome.status, &outcome.error), (200, &None), "{caller:?}");
            assert!(outcome.bytes > BODY_BYTES as u64, "{caller:?}");

            let call = gateway.call("/v1/decompress", None, torn.path(), chunked, 1);
            check_torn(caller, &caller.call(&call));
        }
    }
    gateway.check_at_rest_as(before);
}
