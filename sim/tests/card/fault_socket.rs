//! The socket on which a tester tells a card to misbehave.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use faam_hwif::Status;
use faam_hwif::regs::CardRegister;
use faam_sim::Fault;

use crate::client::WAIT_S_MAX;
use crate::host::{Bench, SRC, compress, eventually, nop, status, text};

/// A conversation with the socket.
pub(crate) struct Tester(BufReader<UnixStream>);

impl Tester {
    pub(crate) fn of(bench: &Bench) -> Self {
        let path = bench.card.socket(0).unwrap().with_file_name("faults");
        let stream = UnixStream::connect(path).unwrap();
        let limit = Duration::from_secs(WAIT_S_MAX);
        stream.set_read_timeout(Some(limit)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

pub(crate) fn with_faults() -> Bench {
    Bench::with(|options| options.allow_faults = true)
}

#[test]
fn it_is_there_only_where_faults_are_allowed() {
    let honest = Bench::new();
    let path = honest.card.socket(0).unwrap().with_file_name("faults");
    assert!(!path.exists());
    let bench = with_faults();
    let path = bench.card.socket(0).unwrap().with_file_name("faults");
    assert!(path.exists());
    bench.card.stop();
    assert!(!path.exists(), "removed with the others");
}

#[test]
fn each_line_has_one_answer_with_its_own_number() {
    let bench = with_faults();
    let mut tester = Tester::of(&bench);
    for fault in Fault::ALL {
        if *fault == Fault::Stops {
            continue;
        }
        let line = format!("7 fault {}\n", fault.name());
        assert_eq!(tester.ask(&line), "7 ok");
    }
    assert_eq!(tester.ask("8 clear\n"), "8 ok");
    for bad in [
        "fault no-such",
        "fault",
        "hang 0",
        "hang 7:1",
        "resume x",
        "resume 7",
        "",
    ] {
        let answer = tester.ask(&format!("9 {bad}\n"));
        assert!(answer.starts_with("9 error: "), "{bad}: {answer}");
    }
    // This process is not the card's own.
    let answer = tester.ask("10 kill\n");
    assert!(answer.starts_with("10 error: "), "{answer}");
    // Two lines in one write.
    assert_eq!(tester.ask("11 clear\n12 clear\n"), "11 ok");
    assert_eq!(tester.ask(""), "12 ok");
}

#[test]
fn a_line_without_end_ends_the_conversation_and_the_next_client_is_served() {
    let bench = with_faults();
    let mut endless = Tester::of(&bench);
    // It may be cut off before all is sent.
    let _ = endless.0.get_mut().write_all(&[b'x'; 4096]);
    let mut answer = String::new();
    assert!(
        !matches!(endless.0.read_line(&mut answer), Ok(n) if n > 0),
        "{answer}"
    );
    assert_eq!(Tester::of(&bench).ask("1 clear\n"), "1 ok");
}

#[test]
fn what_is_set_holds_until_it_is_cleared_and_outlives_its_client() {
    let bench = with_faults();
    let mut host = bench.host(0);
    let epoch = host.register(CardRegister::ControlResetEpoch);
    assert_eq!(
        Tester::of(&bench).ask("1 fault reset-keeps-epoch\n"),
        "1 ok"
    );
    host.reset_register();
    assert_eq!(host.register(CardRegister::ControlResetEpoch), epoch);
    assert_eq!(Tester::of(&bench).ask("2 clear\n"), "2 ok");
    host.reset_register();
    assert_ne!(host.register(CardRegister::ControlResetEpoch), epoch);
}

#[test]
fn a_hang_ends_with_resume_and_loses_no_job() {
    let bench = with_faults();
    let mut tester = Tester::of(&bench);
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, false, None);
    host.arena.write(SRC, &text(1000));
    assert_eq!(tester.ask("1 hang 0:1\n"), "1 ok");
    let done = host.run(&mut ring, &compress(1, 1000, 4096));
    assert_eq!(status(&done), Status::Success);
    ring.submit(&host.arena, &mut host.client, &compress(2, 1000, 4096));
    // Nops pass by the engines: when this one is done, the job before it has been fetched.
    let done = host.run(&mut ring, &nop(3));
    assert_eq!(done.cid, 3);
    assert_eq!(tester.ask("2 resume 0\n"), "2 ok");
    eventually(|| ring.peek(&host.arena).is_some_and(|done| done.cid == 2));
    // Nothing is left of the plan.
    assert_eq!(status(&host.run(&mut ring, &nop(4))), Status::Success);
}

#[test]
fn what_an_engine_holds_is_found_until_it_is_scrubbed() {
    let bench = with_faults();
    let mut tester = Tester::of(&bench);
    let mut host = bench.host(0);
    let mut ring = host.create(1, 4, true, None);
    let input = text(3000);
    host.arena.write(SRC, &input);
    let job = |context| faam_hwif::SubmissionEntry {
        context,
        ..compress(1, 3000, 8192)
    };
    let hex: String = input[1000..1020]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut found = |function: u8| tester.ask(&format!("1 find {function} {hex}\n"));
    assert_eq!(found(0), "1 ok nothing");
    assert_eq!(status(&host.run(&mut ring, &job(7))), Status::Success);
    let answer = found(0);
    assert!(answer.starts_with("1 ok sets:"), "{answer}");
    assert!(answer.contains(" src:"), "{answer}");
    assert_eq!(found(1), "1 ok nothing", "the other function's engines");
    // Another context, and nothing of its own.
    let empty = faam_hwif::SubmissionEntry {
        src_len: 0,
        ..job(8)
    };
    assert_eq!(status(&host.run(&mut ring, &empty)), Status::Success);
    assert_eq!(found(0), "1 ok nothing");
    assert_eq!(found(2), "1 error: there is no function 2");
    for bad in [
        "find",
        "find 0",
        "find 0 6161",
        "find 0 zz",
        "find x 61616161",
    ] {
        let answer = tester.ask(&format!("2 {bad}\n"));
        assert!(answer.starts_with("2 error: expected "), "{answer}");
    }
}
