//! vfio-user, the server's half (QEMU, docs/interop/vfio-user.rst).
//!
//! `frame` turns bytes into headers and back, `session` answers messages, `server` moves both over a socket.
//! Nothing here knows what the device does: it talks to it through the methods of `Function`.

pub(crate) mod frame;
pub(crate) mod server;
pub(crate) mod session;
