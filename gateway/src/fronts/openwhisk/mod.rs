//! Apache OpenWhisk: the action container's side of its protocol (docs/actions-new.md, "Action interface").
//!
//! Owns `POST /init` and `/run`, and the form with the one endpoint `POST /`. Invariants: a container is initialized once,
//! and only to an action that its gateway has carried out once, with nothing in it; after each activation, whatever came of
//! it, a sentinel ends its log. It does not know who carries its calls out.
//!
//! | module | owns |
//! |---|---|
//! | `action` | what `/init` asks for |
//! | `activation` | what `/run` carries |
//! | `errors` | the platform's words and statuses |
//! | `sentinel` | the ends of activations in the log |
//!
//! Nothing of one activation stays for the next: the platform's variables (`__OW_ACTIVATION_ID` and so on) are the
//! activation's own here, not the process's, so that activations may run side by side.

mod action;
mod activation;
pub mod errors;
mod sentinel;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response};
use bytes::Bytes;
use serde::{Deserialize, de};
use tokio::sync::Mutex;
use tokio::time::sleep;
use uuid::Uuid;

use self::action::{Action, Init};
use self::activation::{Context, Name, payload};
use self::errors::{INITIALIZED, NOT_INITIALIZED, Refused, json, told, told_of_init};
pub use self::sentinel::SENTINEL;
use self::sentinel::Sentinels;
use crate::base64;
use crate::error::{Problem, ProblemKind};
use crate::fronts::call::{Answer, Call, CallOptions};
use crate::fronts::front::{Answered, Backend, Front, Logged};
use crate::fronts::front_name::FrontName;
use crate::fronts::function::Function;
use crate::fronts::json_text;
use crate::fronts::json_value::Json;
use crate::fronts::payload::{Payload, write_bytes};
use crate::http::invocation::Invocation;

use faam_codec::Format;

/// Most bytes of a request. The platform's own limit is 1 MB where its operator sets none.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Most bytes of a result: its base64 is then no longer than a request may be.
pub const OUTPUT_BYTES_MAX: usize = REQUEST_BYTES_MAX / 4 * 3 - (1 << 10);
/// How long `/init` waits for its gateway.
const READY_MAX: Duration = Duration::from_secs(3);
/// How long after a gateway was not ready it is asked again.
const READY_AGAIN: Duration = Duration::from_millis(50);
/// What `/init` is answered with.
const OK: &str = "{\"ok\":true}";

/// See the module's head.
pub struct OpenWhisk {
    backend: Backend,
    image: Action,
    action: ArcSwapOption<Action>,
    /// Held while the container is being initialized.
    initializing: Mutex<()>,
    sentinels: Sentinels,
    /// Since 1970.
    began: Duration,
}

/// An answer that ends an activation.
#[derive(Clone, Copy, Debug)]
struct EndsActivation;

/// One activation.
struct Activation {
    names: [Name; 4],
    /// Read only where there is an action.
    payload: Option<Result<Payload, Problem>>,
    /// Whether what it came in is still there.
    is_held: bool,
}

/// `POST /init`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InitRequest<'j> {
    #[serde(borrow)]
    value: Option<Init<'j>>,
}

/// `POST /run`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RunRequest<'j> {
    #[serde(borrow)]
    value: Json<'j>,
    // Flattened, the value would be parsed twice.
    #[serde(borrow)]
    activation_id: Json<'j>,
    #[serde(borrow)]
    namespace: Json<'j>,
    #[serde(borrow)]
    action_name: Json<'j>,
    #[serde(borrow)]
    transaction_id: Json<'j>,
    #[serde(borrow)]
    deadline: Json<'j>,
}

/// `POST /`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OneRequest<'j> {
    #[serde(borrow)]
    init: Option<Init<'j>>,
    #[serde(borrow)]
    activation: Option<Context<'j>>,
    #[serde(borrow)]
    value: Json<'j>,
}

impl OpenWhisk {
    /// An action container whose calls go to `backend`.
    ///
    /// # Errors
    /// No thread for the sentinels.
    pub fn new(backend: Backend) -> io::Result<Self> {
        let image = Action {
            function: backend.function,
            options: backend.options.fit(backend.function),
        };
        Ok(Self {
            backend,
            image,
            action: ArcSwapOption::empty(),
            initializing: Mutex::new(()),
            sentinels: Sentinels::new()?,
            began: since_1970(),
        })
    }

    async fn route(&self, invocation: Invocation, request: Request) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = Path::of(head.uri.path());
        let Some(path) = path else {
            return told(Problem::new(
                ProblemKind::NotFound,
                "expected /init, /run or /, as OpenWhisk's invoker asks; correct the path",
            ));
        };
        if head.method != Method::POST {
            return told(Problem::new(
                ProblemKind::Method,
                "expected POST, as OpenWhisk's invoker sends; use it",
            ));
        }
        if path == Path::Init && self.action.load().is_some() {
            return Refused::Initialized.told(INITIALIZED);
        }
        let read = self
            .backend
            .room
            .read(&head.headers, body, REQUEST_BYTES_MAX);
        let mut held = match read.await {
            Ok(held) => held,
            Err(problem) => return self.tell(problem, head.uri.path()),
        };
        match path {
            Path::Init => match read_json::<InitRequest<'_>>(&held.bytes) {
                Ok(request) => {
                    self.init(invocation, request.value.unwrap_or_default())
                        .await
                }
                Err(why) => Refused::Unreadable.told(&why),
            },
            Path::Run => match read_json::<RunRequest<'_>>(&held.bytes) {
                Ok(request) => {
                    let context = Context {
                        activation_id: request.activation_id,
                        namespace: request.namespace,
                        action_name: request.action_name,
                        transaction_id: request.transaction_id,
                        deadline: request.deadline,
                    };
                    let mut activation = self.activation(&context, request.value);
                    drop(context);
                    held.let_go();
                    activation.is_held = false;
                    self.run(invocation, activation).await
                }
                Err(why) => ends(Refused::Unreadable.told(&why)),
            },
            Path::One => match read_json::<OneRequest<'_>>(&held.bytes) {
                Ok(request) => self.one(invocation, request).await,
                Err(why) => Refused::Unreadable.told(&why),
            },
        }
    }

    /// Initializes the container, once.
    async fn init(&self, invocation: Invocation, init: Init<'_>) -> Response<Body> {
        // Whoever comes while another is at it would be the second.
        let Ok(_alone) = self.initializing.try_lock() else {
            return Refused::Initialized.told(INITIALIZED);
        };
        if self.action.load().is_some() {
            return Refused::Initialized.told(INITIALIZED);
        }
        let initialized = async {
            let action = init.action(&self.image)?;
            self.wait_until_ready().await?;
            self.try_out(invocation, &action).await?;
            Ok(action)
        };
        match initialized.await {
            Ok(action) => {
                tracing::debug!(
                    function = action.function.name(),
                    level = action.options.level.as_deref(),
                    "initialized"
                );
                self.action.store(Some(Arc::new(action)));
                json(OK)
            }
            // The platform reads the log of an activation whose initialization failed.
            Err(problem) => ends(told_of_init(problem)),
        }
    }

    async fn wait_until_ready(&self) -> Result<(), Problem> {
        let until = Instant::now() + READY_MAX;
        loop {
            match self.backend.invoker.ready().await {
                Err(_) if Instant::now() < until => sleep(READY_AGAIN).await,
                ready => return ready,
            }
        }
    }

    /// Has the action carried out with nothing in it: its options, the gateway's key and what its tenant may do are known to
    /// be right before the first activation.
    async fn try_out(&self, invocation: Invocation, action: &Action) -> Result<(), Problem> {
        let call = |function, options, input: Bytes| {
            // Each is a call of its own.
            let mut invocation = invocation;
            invocation.id = Uuid::now_v7();
            let call = Call {
                function,
                options,
                input,
                output_bytes_max: OUTPUT_BYTES_MAX,
                held_bytes: 0,
                base64_copies: 1,
            };
            self.backend.invoker.invoke(invocation, call)
        };
        let input = match action.function {
            Function::Compress(_) => Bytes::new(),
            Function::Decompress(format) => {
                let way_there = Function::Compress(format.unwrap_or(Format::Gzip));
                call(way_there, CallOptions::default(), Bytes::new())
                    .await?
                    .output
            }
        };
        let tried = call(action.function, action.options.clone(), input).await;
        tried.map(|_: Answer| ())
    }

    async fn one(&self, invocation: Invocation, request: OneRequest<'_>) -> Response<Body> {
        let OneRequest {
            init,
            activation,
            value,
        } = request;
        match (init, activation) {
            (Some(init), activation) => {
                let initialized = self.init(invocation, init).await;
                match activation {
                    Some(context) if initialized.status().is_success() => {
                        let activation = self.activation(&context, value);
                        self.run(invocation, activation).await
                    }
                    Some(_) => ends(initialized),
                    None => initialized,
                }
            }
            (None, Some(context)) => {
                let activation = self.activation(&context, value);
                self.run(invocation, activation).await
            }
            (None, None) => Refused::Unreadable.told(
                "expected {\"init\": {..}} or {\"activation\": {..}, \"value\": {..}}, or both, got neither; send one of them",
            ),
        }
    }

    /// What a request says of an activation, its own from here on.
    fn activation(&self, context: &Context<'_>, value: Json<'_>) -> Activation {
        let payload = || payload(value, context, self.began, since_1970());
        Activation {
            names: context.names(),
            payload: self.action.load().is_some().then(payload),
            is_held: true,
        }
    }

    /// Carries an activation out.
    async fn run(&self, invocation: Invocation, activation: Activation) -> Response<Body> {
        let Activation {
            names,
            payload,
            is_held,
        } = activation;
        let [activation_id, namespace, action_name, transaction_id] = names;
        let (Some(action), Some(payload)) = (self.action.load_full(), payload) else {
            tracing::info!(
                ?activation_id,
                ?namespace,
                ?action_name,
                ?transaction_id,
                "an activation before /init"
            );
            return ends(Refused::NotInitialized.told(NOT_INITIALIZED));
        };
        match self.call(invocation, &action, payload, is_held).await {
            Ok(answer) => {
                tracing::debug!(
                    ?activation_id,
                    ?namespace,
                    ?action_name,
                    ?transaction_id,
                    bytes_in = answer.bytes_in,
                    bytes_out = answer.output.len(),
                    backend = answer.backend(),
                    "an activation ended"
                );
                ends(json(answer.body_of(write_bytes(&answer))))
            }
            Err(problem) => {
                tracing::info!(
                    ?activation_id,
                    ?namespace,
                    ?action_name,
                    ?transaction_id,
                    problem = problem.kind().name(),
                    "an activation failed"
                );
                ends(told(problem))
            }
        }
    }

    async fn call(
        &self,
        invocation: Invocation,
        action: &Action,
        payload: Result<Payload, Problem>,
        is_held: bool,
    ) -> Result<Answer, Problem> {
        let payload = payload?;
        let function = payload.function.unwrap_or(action.function);
        let defaults = action.options.fit(function);
        let input = payload.input;
        // What it came in.
        let held_bytes = match is_held {
            true => base64::encoded_len(input.len()),
            false => 0,
        };
        let call = Call {
            function,
            options: payload.options.or(&defaults),
            input,
            output_bytes_max: OUTPUT_BYTES_MAX,
            held_bytes,
            base64_copies: 1,
        };
        self.backend.invoker.invoke(invocation, call).await
    }
}

impl Front for OpenWhisk {
    fn name(&self) -> FrontName {
        FrontName::OpenWhisk
    }

    fn answer(&self, invocation: Invocation, request: Request) -> Answered<'_> {
        Box::pin(self.route(invocation, request))
    }

    fn tell(&self, problem: Problem, path: &str) -> Response<Body> {
        let response = told(problem);
        match Path::of(path) {
            Some(Path::Run) => ends(response),
            _ => response,
        }
    }

    fn logged(&self, answer: &Response<Body>) -> Option<Logged> {
        let EndsActivation = answer.extensions().get()?;
        Some(Box::pin(self.sentinels.clone().end()))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Init,
    Run,
    One,
}

impl Path {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/init" => Some(Self::Init),
            "/run" => Some(Self::Run),
            "/" => Some(Self::One),
            _ => None,
        }
    }
}

/// An answer that ends an activation: its log ends as well.
fn ends(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(EndsActivation);
    response
}

fn read_json<'j, T: Deserialize<'j>>(body: &'j [u8]) -> Result<T, String> {
    // Of an array the members would be taken in their order.
    let read = match body.trim_ascii_start().first() {
        Some(b'{') | None => json_text::read(body),
        Some(_) => Err(de::Error::custom("no object")),
    };
    read.map_err(|error: serde_json::Error| {
        format!("Error unmarshaling request: {error}: expected a JSON object as OpenWhisk's invoker sends it; correct it")
    })
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
