//! Clients that break the protocol, by design or at random.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::client::{CONFIG, Client, DMA_MAP, REGION_READ, REGION_WRITE, VERSION, frame};
use crate::host::{Bench, nop, status};

/// The card serves the next client as if nothing had been.
fn still_serves(bench: &Bench) {
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let done = host.run(&mut ring, &nop(1));
    assert_eq!(status(&done), faam_hwif::Status::Success);
}

#[test]
fn sizes_that_cannot_be_end_the_connection() {
    let bench = Bench::new();
    for size in [0u32, 1, 15, 16 + 16 + (1 << 20) + 1, u32::MAX] {
        let mut client = Client::open(bench.card.socket(0).unwrap());
        let mut bytes = frame(1, REGION_READ, 0, &[]);
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        client.send(&bytes, &[]);
        assert!(client.is_closed(), "size {size}");
    }
    still_serves(&bench);
}

#[test]
fn nothing_is_answered_before_a_version() {
    let bench = Bench::new();
    let mut client = Client::connect(bench.card.socket(0).unwrap());
    assert!(client.request(REGION_READ, &[0; 16], &[]).is_err());
    assert!(client.is_closed());
    // Another major version, and capabilities that are none.
    for payload in [
        b"\x01\0\0\0".to_vec(),
        b"\0\0\0\0{\0".to_vec(),
        b"\0\0\0\0[]\0".to_vec(),
        b"\0\0\0\0{}".to_vec(),
        [b"\0\0\0\0".as_slice(), &[b'['; 5000], b"\0"].concat(),
        b"\0\0".to_vec(),
    ] {
        let mut client = Client::connect(bench.card.socket(0).unwrap());
        assert!(client.request(VERSION, &payload, &[]).is_err());
        assert!(client.is_closed());
    }
    still_serves(&bench);
}

#[test]
fn the_version_reply_keeps_to_what_was_offered() {
    let bench = Bench::new();
    for (offer, reply) in [
        ("", r#"{"capabilities":{}}"#),
        ("{}\0", r#"{"capabilities":{}}"#),
        (
            "{\"capabilities\":{\"max_msg_fds\":1,\"migration\":{\"pgsize\":4096}}}\0",
            r#"{"capabilities":{"max_msg_fds":16}}"#,
        ),
    ] {
        let mut client = Client::connect(bench.card.socket(0).unwrap());
        let payload = [b"\0\0\x05\0".as_slice(), offer.as_bytes()].concat();
        let got = client.request(VERSION, &payload, &[]).unwrap();
        assert_eq!(&got[..4], [0; 4], "0.0");
        assert_eq!(got[4..], [reply.as_bytes(), b"\0"].concat());
        assert!(client.version().is_err(), "only once");
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(0).unwrap());
    // Known by their name: other tests open and close descriptors in this process at the same time.
    let open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let ours = targets.filter(|target| target.to_string_lossy().contains("memfd:unasked-for"));
        ours.count()
    };
    let fds: Vec<OwnedFd> = (0..16)
        .map(|_| memfd_create("unasked-for", MemfdFlags::CLOEXEC).unwrap())
        .collect();
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let read: Vec<u8> = [
        0u64.to_le_bytes().as_slice(),
        &CONFIG.to_le_bytes(),
        &4u32.to_le_bytes(),
    ]
    .concat();
    client.request(REGION_READ, &read, &borrowed).unwrap();
    let before = open();
    for _ in 0..50 {
        client.request(REGION_READ, &read, &borrowed).unwrap();
        assert!(client.request(DMA_MAP, &[0; 32], &borrowed).is_err());
        assert!(client.set_irqs(0x24, 0, 5, &[], &borrowed).is_err());
    }
    // The card is in this very process.
    assert_eq!(open(), before);
    // More than fit in a message: the connection ends.
    let more: Vec<BorrowedFd<'_>> = borrowed.iter().chain(&borrowed).copied().take(17).collect();
    client.send(&frame(1, REGION_READ, 0, &read), &more);
    assert!(client.is_closed());
    drop(client);
    still_serves(&bench);
}

#[test]
fn a_client_that_stalls_in_a_message_loses_its_connection() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(0).unwrap());
    let begin = Instant::now();
    client.send(&frame(1, REGION_READ, 0, &[0; 16])[..20], &[]);
    assert!(client.is_closed());
    assert!(begin.elapsed() >= Duration::from_secs(1));
    still_serves(&bench);
}

#[test]
fn a_client_that_does_not_read_its_replies_loses_its_connection() {
    let bench = Bench::new();
    let client = Client::open(bench.card.socket(0).unwrap());
    client.stream.set_nonblocking(true).unwrap();
    let read: Vec<u8> = [
        0u64.to_le_bytes().as_slice(),
        &CONFIG.to_le_bytes(),
        &4096u32.to_le_bytes(),
    ]
    .concat();
    let bytes = frame(1, REGION_READ, 0, &read);
    // Ask until neither side has room, and then wait for the end.
    crate::host::eventually(|| {
        use std::io::Write;
        match (&client.stream).write_all(&bytes) {
            Ok(()) => false,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    });
    drop(client);
    still_serves(&bench);
}

#[test]
fn a_frame_in_single_bytes_is_a_frame() {
    let bench = Bench::new();
    let mut client = Client::connect(bench.card.socket(0).unwrap());
    for byte in frame(9, VERSION, 0, &[0, 0, 0, 0]) {
        client.send(&[byte], &[]);
    }
    let mut reply = [0; 16];
    std::io::Read::read_exact(&mut client.stream, &mut reply).unwrap();
    assert_eq!(reply[..4], [9, 0, 1, 0]);
}

/// Bytes that look like frames: known commands, lengths that fit, and fields from the edges.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(0u32),
        Just(1),
        Just(2),
        Just(4),
        Just(7),
        Just(16),
        Just(0x1000),
        Just(0x4_0000),
        Just(u32::MAX),
        0u32..64,
        any::<u32>()
    ];
    let message = (
        any::<u16>(),
        prop_oneof![0u16..20, any::<u16>()],
        prop_oneof![Just(0u32), Just(0x10), Just(1)],
        proptest::collection::vec(word, 0..14),
        0usize..4,
    )
        .prop_map(|(id, command, flags, words, cut)| {
            let mut payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            payload.truncate(payload.len().saturating_sub(cut));
            frame(id, command, flags, &payload)
        });
    proptest::collection::vec(message, 1..40).prop_map(|messages| messages.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_are_survived(bytes in messages(), start in any::<bool>()) {
        let bench = Bench::new();
        let mut client = Client::connect(bench.card.socket(0).unwrap());
        if start {
            client.version().unwrap();
        }
        use std::io::Write;
        // The card may hang up at any byte.
        let _ = client.stream.write_all(&bytes);
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        prop_assert!(client.is_closed());
        drop(client);
        still_serves(&bench);
    }

    #[test]
    fn any_register_writes_are_survived(writes in proptest::collection::vec((0u32..0x4_0000 / 4, any::<u32>()), 0..200)) {
        let bench = Bench::new();
        let mut client = Client::open(bench.card.socket(0).unwrap());
        client.command(6);
        for (word, value) in writes {
            // Half of them among the registers.
            let offset = if value & 1 == 0 { word * 4 } else { word * 4 % 0x700 };
            client.post32(crate::client::BAR0, offset, value);
        }
        prop_assert!(client.read(crate::client::BAR0, 0, 4).is_ok());
        drop(client);
        still_serves(&bench);
    }
}

#[test]
fn region_writes_that_do_not_match_their_count_are_refused() {
    let bench = Bench::new();
    let mut client = Client::open(bench.card.socket(0).unwrap());
    let head = |count: u32| {
        [
            0u64.to_le_bytes().as_slice(),
            &CONFIG.to_le_bytes(),
            &count.to_le_bytes(),
        ]
        .concat()
    };
    for (count, bytes) in [(4u32, 3usize), (4, 5), (0, 0), (u32::MAX, 4), (4097, 4097)] {
        let payload = [head(count), vec![0; bytes]].concat();
        assert!(client.request(REGION_WRITE, &payload, &[]).is_err());
    }
    client
        .request(REGION_WRITE, &[head(4), vec![0; 4]].concat(), &[])
        .unwrap();
}
