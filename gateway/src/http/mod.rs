//! The HTTP surface: from a connection to a verified answer.
//!
//! | module | owns |
//! |---|---|
//! | `listener` | connections: accepted, HTTP/1.1 and HTTP/2, graceful end |
//! | `connections` | the places of connections, and who ends when all are taken |
//! | `transport` | TCP, TLS and Unix sockets, whose peers have to make progress |
//! | `pace` | the least rate at which a peer takes what waits for it |
//! | `tls`, `certificate`, `unix_socket` | certificates, their reload, and when they hold; a socket's place in the file system |
//! | `http2_stream`, `served_body` | one stream's end, also when its peer takes nothing |
//! | `app` | routes and the stack of layers |
//! | `unserved` | targets and methods that nothing here serves |
//! | `front_surface` | a listener whose requests are all one front's |
//! | `host` | which host a request is for, by the rules of its HTTP version |
//! | `entry`, `rate_limit` | what is decided before a body is polled; what is left of a tenant's limits, as headers |
//! | `invocation` | the name of a request, its span, its log line, its problem rendered |
//! | `request_span` | the span of a request in the log, made when something is said |
//! | `trace_context`, `traced` | a request's place in its caller's trace, and its span for a collector |
//! | `digest` | digests of bodies, checked and made |
//! | `options`, `path_name` | what a caller asks for, and the name of a thing in a path |
//! | `body`, `chunked_body`, `intake` | what bodies share; an answer's of chunks; a request's on its way in |
//! | `compress`, `decompress` | the two kernels' handlers |
//! | `request_record` | one request, counted once and kept where its answer was streamed |
//! | `short_body` | a body of one block, compressed where it arrives |
//! | `delivery` | from a kernel's pieces to a response: whole, or streamed |
//! | `invoke`, `kept_answer` | a call that comes through a front, and its answer in memory |
//! | `outflow`, `spill` | an answer's bytes between its maker and a caller with a pace of its own |
//! | `answer` | what is said of a result: headers and trailers |
//! | `invocations` | final facts of streamed answers |
//! | `catalogue` | what there is: kernels, devices, the tenant, problems |
//! | `openapi`, `docs` | the document made from the handlers, and the page that shows it |
//! | `admin` | probes and metrics |
//! | `admin_access` | who may be an operator on the admin listener |
//! | `admin_rooms` | everything below `/admin/v1` |
//! | `admin_tenants`, `json_body` | tenants and keys for an operator, and what is sent for them |
//! | `admin_socket` | the operator's socket: what it serves, to whom |
//! | `admin_slots` | slots of cards' functions for an operator: loaded, evicted |
//! | `admin_devices` | cards' functions for an operator: listed, shown, drained, reset |
//! | `images`, `admin_images` | images for a tenant, and for an operator |
//! | `limits` | every limit, by name |

pub mod admin;
pub mod admin_access;
mod admin_backup;
mod admin_devices;
mod admin_events;
mod admin_faults;
mod admin_images;
mod admin_invocations;
mod admin_rooms;
mod admin_slots;
pub mod admin_socket;
pub mod admin_tenants;
mod admin_top;
mod admin_usage;
pub mod answer;
pub mod app;
pub mod body;
mod catalogue;
pub mod certificate;
pub mod chunked_body;
mod compress;
mod connections;
mod decompress;
mod delivery;
mod digest;
mod docs;
pub mod ended;
mod entry;
pub mod front_surface;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
mod http2_stream;
mod images;
pub mod intake;
pub mod invocation;
pub mod invocations;
mod invoke;
mod json_body;
mod kept_answer;
mod lambda;
mod lambda_openapi;
pub mod limits;
pub mod listener;
mod openapi;
pub mod options;
pub mod outflow;
mod pace;
mod path_name;
mod phase_spans;
mod rate_limit;
mod request_count;
mod request_record;
pub mod request_span;
mod served_body;
mod short_body;
pub mod spent;
mod spill;
mod tenant_self;
pub mod tls;
mod trace_context;
mod traced;
mod transport;
pub mod unix_socket;
mod unserved;
mod usage;

pub(crate) use self::connections::peer_key;
