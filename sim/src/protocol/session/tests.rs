//! The session as a state machine: any messages, with any descriptors, in any order.

use proptest::prelude::*;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;

use super::*;
use crate::function::Identity;
use crate::protocol::frame::HEADER_BYTES;

fn function() -> Arc<Function> {
    let identity = Identity {
        index: 0,
        serial: 1,
        engines: 1,
        clock_khz: 250_000,
        paced: false,
    };
    Arc::new(Function::new(identity, 5))
}

fn header(command: u16, payload: usize) -> Header {
    let mut bytes = [0; HEADER_BYTES];
    bytes[2..4].copy_from_slice(&command.to_le_bytes());
    bytes[4..8].copy_from_slice(&u32::try_from(HEADER_BYTES + payload).unwrap().to_le_bytes());
    Header::parse(&bytes).unwrap()
}

fn descriptor(kind: u8) -> OwnedFd {
    match kind % 4 {
        0 => eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
        1 => {
            let fd = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
            rustix::fs::ftruncate(&fd, 0x10_0000).unwrap();
            fd
        }
        2 => rustix::pipe::pipe().unwrap().1,
        _ => std::fs::File::open("/dev/null").unwrap().into(),
    }
}

/// Words near the edges that the messages' fields have.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        0u32..40,
        Just(0x1000),
        Just(0x2000),
        Just(0x3_FFFC),
        Just(0x4_0000),
        Just(1 << 20),
        Just(u32::MAX),
        any::<u32>()
    ]
}

#[test]
fn nothing_but_a_version_is_taken_first() {
    let mut session = Session::new(function());
    for command in 2..20 {
        let reply = session.handle(&header(command, 64), &[0; 64], Vec::new());
        assert_eq!(reply, Err(Errno::PROTO), "command {command}");
    }
    session.handle(&header(1, 4), &[0; 4], Vec::new()).unwrap();
    assert!(session.is_negotiated());
    let again = session.handle(&header(1, 4), &[0; 4], Vec::new());
    assert_eq!(again, Err(Errno::INVAL));
}

#[test]
fn unknown_commands_have_their_errno() {
    let mut session = Session::new(function());
    session.handle(&header(1, 4), &[0; 4], Vec::new()).unwrap();
    for (command, errno) in [
        (0, Errno::NOSYS),
        (6, Errno::OPNOTSUPP),
        (11, Errno::NOSYS),
        (16, Errno::NOTTY),
        (999, Errno::NOSYS),
    ] {
        let reply = session.handle(&header(command, 64), &[0; 64], Vec::new());
        assert_eq!(reply, Err(errno), "command {command}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_in_any_order_get_a_reply(
        messages in proptest::collection::vec(
            (
                prop_oneof![0u16..20, any::<u16>()],
                proptest::collection::vec(word(), 0..12),
                0usize..4,
                proptest::collection::vec(any::<u8>(), 0..4),
            ),
            1..60,
        ),
    ) {
        let function = function();
        let mut session = Session::new(Arc::clone(&function));
        session.handle(&header(1, 4), &[0; 4], Vec::new()).unwrap();
        for (command, words, cut, fds) in messages {
            let mut payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            payload.truncate(payload.len().saturating_sub(cut));
            let fds = fds.into_iter().map(descriptor).collect();
            let reply = session.handle(&header(command, payload.len()), &payload, fds);
            if let Ok(reply) = reply {
                prop_assert!(reply.len() <= crate::protocol::frame::PAYLOAD_BYTES_MAX);
            }
        }
        // Whatever it was, the end of the client leaves nothing.
        function.detach().unwrap();
        prop_assert!(function.is_settled());
        prop_assert_eq!(function.queues.all().len(), 0);
    }
}
