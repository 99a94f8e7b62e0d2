//! `POST /2015-03-31/functions/{name}/invocations`: AWS Lambda's Invoke, for whoever has an SDK of it and a key of ours.
//!
//! Owns the order in which such a request is looked at. AWS's SDKs sign the hash of a body, and some of them do not say it in
//! a header, so that the signature cannot be judged before the body was read. Invariants: what can be refused without the body
//! is refused without it: a form, a clock, headers that are not signed, an access key that nobody has (they have 80 random
//! bits, so that none is found by asking); bodies whose sender is not known yet share a room of their own,
//! [`UNPROVEN_BYTES`]; all else, from admission to usage, is the one invocation's. A signed session token means nothing here and
//! is passed over. It knows no engines.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::Response;
use axum::http::request::Parts;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::app::App;
use super::connections::peer_key;
use super::intake::too_large;
use super::invocation::Invocation;
use super::lambda_openapi::{Event, InvokeParams, InvokeResponses};
use super::listener::Peer;
use crate::admission::CalledKernel;
use crate::auth::{AuthError, Authenticated, Authenticator, Principal};
use crate::credentials::scopes::Scope;
use crate::credentials::sigv4::chunks::{Chunks, framing_bytes_max};
use crate::credentials::{Presented, sigv4};
use crate::error::{Problem, ProblemKind};
use crate::events::now;
use crate::fronts::body_room::{BodyRoom, HeldBody};
use crate::fronts::call::{Answer, Call};
use crate::fronts::function::Function;
use crate::fronts::lambda::asked::Asked;
use crate::fronts::lambda::errors::Failure;
use crate::fronts::lambda::reply::{self, Log};
use crate::fronts::lambda::{OUTPUT_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::fronts::payload::Payload;

/// Memory of all bodies that are held before it is known who sends them.
pub(super) const UNPROVEN_BYTES: usize = 128 << 20;
/// What frames the chunks of a body that is signed in chunks, at most.
const FRAMING_BYTES_MAX: usize = framing_bytes_max(REQUEST_BYTES_MAX);
/// Where it is.
pub(super) const PATH: &str = "/2015-03-31/functions/{name}/invocations";

/// Where bodies are held.
pub(super) struct Rooms {
    /// Of callers who have shown who they are.
    proven: BodyRoom,
    unproven: BodyRoom,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            proven: BodyRoom::default(),
            unproven: BodyRoom::growing(UNPROVEN_BYTES),
        }
    }
}

/// Invoke a function as AWS Lambda's SDKs do
///
/// `name` is a kernel: `gzip`, `zlib`, `deflate`, `zstd`, `lz4`, and `gunzip`, `unzlib`, `inflate`, `unzstd`, `unlz4`,
/// `decompress` for the way back; a name, `NAME:$LATEST`, or an ARN with any region and account. The event is
/// `{"data": base64, "level"?, "backend"?, "deadline_ms"?, "priority"?}`, the result `{"data": base64, "bytes_in",
/// "bytes_out", "backend", "verify"}`, each up to 6 MB. What the function does not like of its event is a function's error,
/// as with Lambda: 200 with `X-Amz-Function-Error`.
#[utoipa::path(
    post, path = PATH, tag = "fronts", security(("key" = [])),
    params(InvokeParams),
    request_body(content = Event, content_type = "application/json"),
    responses(InvokeResponses)
)]
pub(super) async fn invoke(
    State(app): State<App>,
    Extension(rooms): Extension<Arc<Rooms>>,
    Extension(invocation): Extension<Invocation>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let at_door = AtDoor {
        app: &app,
        rooms: &rooms,
        invocation,
        parts: &parts,
    };
    match at_door.answer(&name, body).await {
        Ok(response) => response,
        Err(failure) => reply::failed(invocation.id, failure, None),
    }
}

/// One request.
struct AtDoor<'r> {
    app: &'r App,
    rooms: &'r Rooms,
    invocation: Invocation,
    parts: &'r Parts,
}

/// Who sends it, and what of its body is known.
struct Caller {
    principal: Arc<Principal>,
    body: Incoming,
}

enum Incoming {
    /// Read already, and what was signed.
    Held(HeldBody),
    /// Still to be read.
    Unread(Body, Signed),
}

/// What a body has to be that is still to be read.
struct Signed {
    /// Its SHA-256, if that was said.
    sha256: Option<[u8; 32]>,
    /// What opens it, where it is signed in chunks.
    chunks: Option<Chunks>,
}

impl AtDoor<'_> {
    async fn answer(&self, name: &str, body: Body) -> Result<Response<Body>, Failure> {
        let Caller { principal, body } = self.caller(body).await?;
        let asked = Asked::read(
            name,
            self.parts.uri.query().unwrap_or_default(),
            &self.parts.headers,
        )?;
        let (scope, kernel) = match asked.function {
            Function::Compress(_) => (Scope::Compress, CalledKernel::Compress),
            Function::Decompress(_) => (Scope::Decompress, CalledKernel::Decompress),
        };
        principal.allow(scope).map_err(Problem::from)?;
        kernel
            .check(principal.tenant.limits.kernels)
            .map_err(Problem::from)?;
        let id = self.invocation.id;
        if asked.dry_run {
            return Ok(reply::dry_run(id));
        }
        let held = self.held(&principal, body).await?;
        let called = self.call(asked.function, principal, held).await;
        let log = asked.tail.then(|| Log {
            function: asked.function,
            took: self.invocation.began.elapsed(),
        });
        let told = called.and_then(|answer| reply::answered(id, &answer, log));
        Ok(told.unwrap_or_else(|failure| reply::failed(id, failure, log)))
    }

    /// Who sends the request. Its body is read only where the signature cannot be judged without.
    async fn caller(&self, body: Body) -> Result<Caller, Failure> {
        let empty = http_body::Body::is_end_stream(&body);
        if empty || !sigv4::signs_unsaid_body(&self.parts.headers) {
            let presented = self.presented(empty.then(|| Sha256::digest(b"").into()));
            let authenticated = self.app.directory.authenticate(&presented);
            let Authenticated {
                principal,
                body_sha256,
                chunks,
            } = authenticated.map_err(|error| self.refused(error))?;
            let signed = Signed {
                sha256: body_sha256,
                chunks,
            };
            let body = Incoming::Unread(body, signed);
            return Ok(Caller { principal, body });
        }
        self.app
            .directory
            .check_unread(&self.presented(None))
            .map_err(|error| self.refused(error))?;
        let (held, sha256) = self
            .rooms
            .unproven
            .read_hashed_for(&self.peer(), &self.parts.headers, body, REQUEST_BYTES_MAX)
            .await
            .map_err(Failure::of_request)?;
        let presented = self.presented(Some(sha256));
        let authenticated = self.app.directory.authenticate(&presented);
        let Authenticated { principal, .. } = authenticated.map_err(|error| self.refused(error))?;
        let tenant = principal.tenant.id.as_str();
        let held = self
            .rooms
            .proven
            .take_over(tenant, held)
            .map_err(Failure::of_request)?;
        let body = Incoming::Held(held);
        Ok(Caller { principal, body })
    }

    fn presented(&self, body_sha256: Option<[u8; 32]>) -> Presented<'_> {
        Presented {
            method: &self.parts.method,
            uri: &self.parts.uri,
            headers: &self.parts.headers,
            now: now(),
            body_sha256,
            takes_chunks: true,
        }
    }

    /// Where a body comes from whose sender is not known yet.
    fn peer(&self) -> String {
        let Peer(address) = self.invocation.peer;
        address.map_or_else(String::new, |address| peer_key(address).to_string())
    }

    fn refused(&self, error: AuthError) -> Failure {
        let problem = self.app.auth_failures.problem(error, self.invocation.peer);
        Failure::of_credential(error, problem)
    }

    /// The whole body, which is the one that was signed.
    async fn held(&self, principal: &Principal, body: Incoming) -> Result<HeldBody, Failure> {
        let (body, signed) = match body {
            Incoming::Held(held) => return Ok(held),
            Incoming::Unread(body, signed) => (body, signed),
        };
        let (holder, headers) = (principal.tenant.id.as_str(), &self.parts.headers);
        let room = &self.rooms.proven;
        if let Some(chunks) = &signed.chunks {
            let length = chunks.decoded_length();
            if length > REQUEST_BYTES_MAX as u64 {
                let most = REQUEST_BYTES_MAX as u64;
                return Err(Failure::of_request(too_large(most, Some(length))));
            }
            let most = REQUEST_BYTES_MAX + FRAMING_BYTES_MAX;
            let held = room.read_for(holder, headers, body, most).await;
            let mut held = held.map_err(Failure::of_request)?;
            held.bytes = chunks
                .open(&held.bytes)
                .map_err(|error| self.refused(error))?;
            return Ok(held);
        }
        let Some(signed) = signed.sha256 else {
            let held = room.read_for(holder, headers, body, REQUEST_BYTES_MAX);
            return held.await.map_err(Failure::of_request);
        };
        let held = room.read_hashed_for(holder, headers, body, REQUEST_BYTES_MAX);
        let (held, sha256) = held.await.map_err(Failure::of_request)?;
        if signed != sha256 {
            return Err(Failure::of_request(Problem::new(
                ProblemKind::DigestMismatch,
                "the body is not the one that was signed: expected that of x-amz-content-sha256; sign and send it again",
            )));
        }
        Ok(held)
    }

    async fn call(
        &self,
        function: Function,
        principal: Arc<Principal>,
        mut event: HeldBody,
    ) -> Result<Answer, Failure> {
        let json: &[u8] = match event.bytes.trim_ascii() {
            [] => b"{}",
            json => json,
        };
        let payload = Payload::read(json).map_err(|problem| {
            match serde_json::from_slice::<IgnoredAny>(json) {
                Ok(IgnoredAny) => problem.into(),
                Err(_) => Failure::no_json(problem),
            }
        })?;
        event.let_go();
        if let Some(other) = payload.function.filter(|other| *other != function) {
            return Err(Problem::invalid_option(format!(
                "member `kernel`: {other}, in an event of the function {function}; invoke {other}, or leave the member out"
            ))
            .into());
        }
        let (came, most) = (
            payload.input.len() as u64,
            self.app.body_bytes_max(&principal.tenant),
        );
        if came > most {
            return Err(Failure::of_request(too_large(most, Some(came))));
        }
        let call = Call {
            function,
            options: payload.options,
            input: payload.input,
            output_bytes_max: OUTPUT_BYTES_MAX,
            held_bytes: 0,
            base64_copies: 1,
        };
        // Apart from the rest, which stays small.
        let answer = Box::pin(self.app.invoke(self.invocation, principal, call)).await?;
        Ok(answer)
    }
}
