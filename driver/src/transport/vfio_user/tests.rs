//! The client against scripted servers that break the protocol, answer late, or go.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

/// A request as the server sees it.
struct Seen {
    id: [u8; 2],
    command: u16,
    no_reply: bool,
    payload: Vec<u8>,
}

fn read_request(stream: &mut UnixStream) -> Option<Seen> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).ok()?;
    let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let mut payload = vec![0; usize::try_from(size).unwrap() - HEADER_BYTES];
    stream.read_exact(&mut payload).ok()?;
    Some(Seen {
        id: [header[0], header[1]],
        command: u16::from_le_bytes([header[2], header[3]]),
        no_reply: header[8] & 0x10 != 0,
        payload,
    })
}

fn reply(seen: &Seen, payload: &[u8]) -> Vec<u8> {
    let mut out = seen.id.to_vec();
    out.extend(seen.command.to_le_bytes());
    out.extend((16 + u32::try_from(payload.len()).unwrap()).to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    out.extend_from_slice(payload);
    out
}

/// What a well-behaved server answers.
fn honest(seen: &Seen) -> Vec<u8> {
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let payload = match seen.command {
        1 => b"\0\0\x01\0{\"capabilities\":{\"max_msg_fds\":2}}\0".to_vec(),
        4 => words(&[16, 0, 9, 5]),
        5 => {
            let index = seen.payload[8];
            let size = if index == 7 { 4096 } else { BAR0_BYTES };
            words(&[32, 0, u32::from(index), 0, size, 0, 0, 0])
        }
        7 => words(&[16, 0, 2, 17]),
        9 => [&seen.payload[..16], &0xC0FF_EE00u32.to_le_bytes()[..]].concat(),
        10 => seen.payload[..16].to_vec(),
        _ => Vec::new(),
    };
    reply(seen, &payload)
}

struct Server {
    _dir: tempfile::TempDir,
    path: PathBuf,
    thread: Option<JoinHandle<Vec<Seen>>>,
}

/// A server for one client. `answer` gets the number of the request after connecting, and the request; `None` hangs up.
fn serve(answer: impl Fn(usize, &Seen) -> Option<Vec<u8>> + Send + 'static) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fn0");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut number = 0usize;
        while let Some(request) = read_request(&mut stream) {
            // The five of `connect`: version, device, two regions, interrupts.
            let bytes = match number.checked_sub(5) {
                None => Some(honest(&request)),
                Some(after) => answer(after, &request),
            };
            number += 1;
            let no_reply = request.no_reply;
            seen.push(request);
            let Some(bytes) = bytes else { break };
            if !no_reply && stream.write_all(&bytes).is_err() {
                break;
            }
        }
        seen
    });
    Server {
        _dir: dir,
        path,
        thread: Some(thread),
    }
}

impl Server {
    fn connect(&self) -> VfioUser {
        VfioUser::connect(&self.path).unwrap()
    }

    fn seen(mut self) -> Vec<Seen> {
        self.thread.take().unwrap().join().unwrap()
    }
}

const REGISTER: BarOffset = BarOffset(0x218);

#[test]
fn reads_writes_and_doorbells_are_what_the_protocol_says() {
    let server = serve(|_, seen| Some(honest(seen)));
    let device = server.connect();
    assert_eq!(device.read_register(REGISTER), Ok(0xC0FF_EE00));
    device.write_register(REGISTER, 5).unwrap();
    device.post_doorbell(BarOffset(0x1_0000), 9).unwrap();
    // A doorbell leaves no reply behind: the next read gets its own.
    assert_eq!(device.read_register(REGISTER), Ok(0xC0FF_EE00));
    assert_eq!(device.serving_process(), Some(std::process::id()));
    drop(device);
    let seen = server.seen();
    let doorbell = &seen[7];
    assert!(doorbell.no_reply && doorbell.command == 10);
    assert_eq!(doorbell.payload[..8], 0x1_0000u64.to_le_bytes());
    assert_eq!(doorbell.payload[16..], 9u32.to_le_bytes());
}

#[test]
fn offsets_outside_the_device_are_not_sent() {
    let server = serve(|_, seen| Some(honest(seen)));
    let device = server.connect();
    let outside = |result: Result<u32, TransportError>| {
        assert!(matches!(result, Err(TransportError::OutOfRange { .. })));
    };
    outside(device.read_register(BarOffset(BAR0_BYTES)));
    outside(device.read_register(BarOffset(2)));
    outside(device.config_read(4094, ConfigWidth::U32));
    drop(device);
    assert_eq!(server.seen().len(), 5);
}

#[test]
fn more_descriptors_than_the_server_takes_go_in_several_messages() {
    let server = serve(|_, seen| Some(honest(seen)));
    let device = server.connect();
    let fds: Vec<_> = (0..5)
        .map(|_| crate::event::new_eventfd().unwrap())
        .collect();
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    device.set_interrupts(1, &fds).unwrap();
    assert!(device.set_interrupts(15, &fds).is_err(), "17 vectors");
    drop(device);
    let starts_and_counts: Vec<_> = server.seen()[5..]
        .iter()
        .map(|seen| (seen.payload[12], seen.payload[16]))
        .collect();
    assert_eq!(starts_and_counts[..3], [(1, 2), (3, 2), (5, 1)]);
}

/// After `lie` in answer to the first read, that read fails as `expected` says and every later call is `Gone`.
fn broken_by(
    lie: impl Fn(&Seen) -> Option<Vec<u8>> + Send + 'static,
    expected: impl Fn(&TransportError) -> bool,
) {
    let server = serve(move |number, seen| match number {
        0 => lie(seen),
        _ => Some(honest(seen)),
    });
    let device = server.connect();
    let error = device.read_register(REGISTER).unwrap_err();
    assert!(expected(&error), "{error:?}");
    assert_eq!(device.read_register(REGISTER), Err(TransportError::Gone));
    assert_eq!(
        device.post_doorbell(BarOffset(0x1_0000), 1),
        Err(TransportError::Gone)
    );
}

fn changed(seen: &Seen, at: usize, to: u8) -> Option<Vec<u8>> {
    let mut bytes = honest(seen);
    bytes[at] = to;
    Some(bytes)
}

fn is_protocol(error: &TransportError) -> bool {
    matches!(error, TransportError::Protocol(_))
}

#[test]
fn every_lie_breaks_the_connection() {
    broken_by(|seen| changed(seen, 0, seen.id[0] ^ 1), is_protocol);
    broken_by(|seen| changed(seen, 2, 10), is_protocol);
    broken_by(|seen| changed(seen, 8, 0), is_protocol);
    broken_by(|seen| changed(seen, 16, 0x1C), is_protocol);
    // Lengths: huge, shorter than a header, shorter than the answer.
    broken_by(|seen| changed(seen, 7, 0xFF), is_protocol);
    broken_by(|seen| changed(seen, 4, 15), is_protocol);
    broken_by(|seen| changed(seen, 4, 35), is_protocol);
    broken_by(|_| None, |error| *error == TransportError::Gone);
}

#[test]
fn no_answer_is_a_time_out_within_its_limit() {
    let before = Instant::now();
    broken_by(
        |_| Some(Vec::new()),
        |error| matches!(error, TransportError::TimedOut { limit_ms, .. } if *limit_ms == REPLY_MS_MAX),
    );
    assert!(before.elapsed() < Duration::from_millis(REPLY_MS_MAX * 10));
}

#[test]
fn an_answer_that_trickles_is_a_time_out_as_well() {
    broken_by(
        |seen| Some(honest(seen)[..20].to_vec()),
        |error| matches!(error, TransportError::TimedOut { .. }),
    );
}

#[test]
fn a_refusal_leaves_the_connection_usable() {
    let server = serve(|number, seen| match number {
        0 => {
            let mut bytes = reply(seen, &[]);
            bytes[8] = 0x21;
            bytes[12] = 22;
            Some(bytes)
        }
        _ => Some(honest(seen)),
    });
    let device = server.connect();
    assert_eq!(
        device.read_register(REGISTER),
        Err(TransportError::Refused {
            command: "a region read",
            errno: 22
        })
    );
    assert_eq!(device.read_register(REGISTER), Ok(0xC0FF_EE00));
}

#[test]
fn a_server_that_never_answers_the_version_is_a_time_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fn0");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = VfioUser::connect(&path).unwrap_err();
    assert!(
        matches!(error, TransportError::TimedOut { .. }),
        "{error:?}"
    );
    let nobody = VfioUser::connect(&dir.path().join("fn1")).unwrap_err();
    assert!(matches!(nobody, TransportError::Io { .. }), "{nobody:?}");
}

#[test]
fn calls_from_many_threads_get_their_own_answers() {
    let server = serve(|_, seen| {
        Some(match seen.command {
            9 => reply(seen, &[&seen.payload[..16], &seen.payload[..4]].concat()),
            _ => honest(seen),
        })
    });
    let device = server.connect();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let device = &device;
            scope.spawn(move || {
                for n in 0..200u32 {
                    let offset = (thread * 200 + n) * 4;
                    assert_eq!(device.read_register(BarOffset(offset)), Ok(offset));
                    device.post_doorbell(BarOffset(0x1_0000), n).unwrap();
                }
            });
        }
    });
}
