//! The HTTP surface: from a connection to a verified answer.
//!
//! | module | owns |
//! |---|---|
//! | `listener` | connections: limits, HTTP/1.1 and HTTP/2, graceful end |
//! | `app` | routes and the stack of layers |
//! | `invocation` | the name of a request, its span, its log line, its problem rendered |
//! | `options` | what a caller asks for |
//! | `body` | bodies, in and out |
//! | `compress`, `decompress` | the two kernels' handlers |
//! | `answer` | a verified result on its way out |
//! | `admin` | probes and metrics |
//! | `limits` | every limit, by name |

pub mod admin;
pub mod answer;
pub mod app;
pub mod body;
mod compress;
mod decompress;
mod invocation;
pub mod limits;
pub mod listener;
pub mod options;
