//! Fronts: other platforms' ways to invoke a function, each a thin adapter onto the one invocation.
//!
//! Owns what fronts share: functions by name, one call and its answer, who carries it out, payloads in JSON, and the form of
//! the tables that turn our problems into a platform's errors. Invariants: no front has a way of its own past credentials,
//! admission, scheduling, verification and usage: all of that is behind [`invoker::Invoker`]; what a platform's protocol
//! says stays in its adapter, its status codes as well. It knows neither engines nor devices.
//!
//! | module | owns |
//! |---|---|
//! | `function` | functions by name: a kernel with its format |
//! | `call` | one call, its options, its answer |
//! | `invoker` | who carries calls out: this process's gateway, or another one |
//! | `front` | what answers in another platform's words, and what it works with |
//! | `front_name` | fronts by name, as logs and metrics have them |
//! | `body_room` | bodies that are held whole, bounded |
//! | `openwhisk` | Apache OpenWhisk's action container |
//! | `payload`, `json_value` | `{"data": base64, ..}` both ways; JSON that borrows its texts |
//! | `json_text` | JSON read where its strings are long |
//! | `lambda` | AWS Lambda's Invoke |
//! | `error_map` | from problems to a platform's errors |
//! | `plain_http` | calls whose body is the input, and their answers |
//! | `cloud_events` | CloudEvents over HTTP: binary, structured, batched |
//! | `knative`, `openfaas`, `azure` | the platforms' own protocols |

pub mod azure;
pub mod body_room;
pub mod call;
pub mod cloud_events;
pub mod error_map;
pub mod front;
pub mod front_name;
pub mod function;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod invoker;
mod json_text;
mod json_value;
pub mod knative;
pub mod lambda;
pub mod openfaas;
pub mod openwhisk;
pub mod payload;
pub mod plain_http;
