//! The Verilated matcher alone against the parse of algorithm.md, token by token.
//!
//! The parse is `jobs/parse.rs`, a reading of the prose of the tests' own, which is held to the model's histograms first.
//!
//! Environment: as in `tests/engine/main.rs`; `FAAM_DV_STREAMS` random streams of each configuration (600).

#![cfg(rtl_match)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants and lengths of this test, all of them small"
)]

#[path = "../jobs/mod.rs"]
mod jobs;

use std::ffi::CString;

use faam_dv::{Configuration, Matcher, Stall, Stalls, Stream, TokenKind};
use faam_sim::model::{self, Params};
use fastrand::Rng;

use crate::jobs::data::{self, Bytes};
use crate::jobs::parse::{self, Parsed, Sets};
use crate::jobs::seed;

const STREAMS: usize = 600;
const STREAM_BYTES_MAX: usize = 70_000;
const SHORT_BYTES_MAX: usize = 4000;
/// Cycles beside a byte a cycle that a stream may cost: the pipeline's length.
const CYCLES_APART: u64 = 64;

struct Drawn {
    of: &'static str,
    bytes: Vec<u8>,
    history_len: usize,
    sets: Sets,
    scrub: bool,
    stalls: Stalls,
}

fn draw(rng: &mut Rng, bytes: &Bytes, configuration: Configuration, most: usize) -> Drawn {
    let (of, bytes) = bytes.draw(rng, most);
    let history_len = if rng.bool() {
        0
    } else {
        rng.usize(0..=bytes.len().min(1 << 15))
    };
    let mut stream = || match rng.u32(0..5) {
        0 | 1 => Stall::NONE,
        2 => Stall::new(rng.u16(1..100), 3, rng.bool()),
        3 => Stall::new(4, 100, false),
        _ => Stall::new(0, 0, true),
    };
    let stalls = Stalls {
        input: stream(),
        output: stream(),
        seed: rng.u64(..),
        ..Stalls::none()
    };
    Drawn {
        of,
        bytes,
        history_len,
        sets: Sets {
            hash_bits: configuration.hash_bits,
            ways: rng.usize(1..=configuration.ways as usize),
            lazy: configuration.lazy && rng.u8(0..4) != 0,
        },
        scrub: rng.u8(0..20) == 0,
        stalls,
    }
}

fn run(matcher: &mut Matcher, drawn: &Drawn) -> Result<u64, String> {
    let stream = Stream {
        bytes: &drawn.bytes,
        history_len: drawn.history_len,
        ways: drawn.sets.ways as u8,
        lazy: drawn.sets.lazy,
        scrub: drawn.scrub,
    };
    let came = matcher
        .run(&stream, &drawn.stalls)
        .map_err(|error| error.to_string())?;
    let expected = parse::tokens(&drawn.bytes, drawn.history_len, drawn.sets);
    for (index, placed) in expected.iter().enumerate() {
        let wanted = match placed.token {
            Parsed::Literal(byte) => TokenKind::Literal(byte),
            Parsed::Match { length, distance } => TokenKind::Match(length as u16, distance as u16),
        };
        let token = came.tokens.get(index);
        if token.map(|token| token.kind) != Some(wanted) {
            return Err(format!(
                "token {index}, at position {} of {} (history {}): expected {wanted:?}, came {token:?}; before it: {:?}",
                placed.position,
                drawn.bytes.len(),
                drawn.history_len,
                expected[index.saturating_sub(3)..index]
                    .iter()
                    .map(|before| before.token)
                    .collect::<Vec<_>>(),
            ));
        }
    }
    if came.tokens.len() > expected.len() {
        return Err(format!(
            "{} tokens were expected, {} came: {:?}",
            expected.len(),
            came.tokens.len(),
            came.tokens.get(expected.len())
        ));
    }
    Ok(came.cycles)
}

#[test]
fn the_tests_parse_is_the_models() {
    let seed = seed::of_run();
    let mut rng = Rng::with_seed(seed);
    let bytes = Bytes::new();
    let mut engine = model::Engine::new();
    for number in 0..300 {
        let (of, stream) = bytes.draw(&mut rng, 20_000);
        let history_len = rng.usize(0..=stream.len().min(1 << 15));
        let sets = Sets {
            hash_bits: rng.u32(8..=13),
            ways: rng.usize(1..=4),
            lazy: rng.bool(),
        };
        let params = Params {
            hash_bits: sets.hash_bits,
            ways: sets.ways,
            lazy: sets.lazy,
        };
        let (histogram, _) = engine
            .count(&stream[history_len..], &stream[..history_len], params)
            .unwrap();
        let (mut literals, mut matches) = ([0u32; 256], 0u32);
        for placed in parse::tokens(&stream, history_len, sets) {
            match placed.token {
                Parsed::Literal(byte) => literals[usize::from(byte)] += 1,
                Parsed::Match { .. } => matches += 1,
            }
        }
        assert_eq!(
            literals[..],
            histogram.litlen[..256],
            "seed {seed}, stream {number}, {of}"
        );
        assert_eq!(
            matches,
            histogram.distance.iter().sum::<u32>(),
            "seed {seed}, stream {number}, {of}"
        );
    }
}

#[test]
fn random_streams_come_to_the_parse() {
    let seed = seed::of_run();
    let streams = seed::number("FAAM_DV_STREAMS", STREAMS);
    let bytes = Bytes::new();
    assert!(
        !Matcher::configurations().is_empty(),
        "no matcher was built: see FAAM_DV_MODELS"
    );
    for configuration in Matcher::configurations() {
        let mut rng = Rng::with_seed(seed);
        let mut matcher = Matcher::new(*configuration, seed).unwrap();
        for number in 0..streams {
            let most = if number % 8 == 0 {
                STREAM_BYTES_MAX
            } else {
                SHORT_BYTES_MAX
            };
            let drawn = draw(&mut rng, &bytes, *configuration, most);
            if let Err(what) = run(&mut matcher, &drawn) {
                let (of, sets) = (drawn.of, drawn.sets);
                let shrunk = shrink(*configuration, seed, drawn);
                panic!(
                    "matcher {configuration}, seed {seed}, stream {number} ({of}), {sets:?}: {what}\n{shrunk}"
                );
            }
        }
        println!("matcher {configuration}: {streams} streams compared, 0 mismatches");
    }
}

/// Makes a failing stream short, while a matcher that has just been switched on still fails; writes its waveforms where they are asked for.
fn shrink(configuration: Configuration, seed: u64, mut drawn: Drawn) -> String {
    let fails = |drawn: &Drawn| run(&mut Matcher::new(configuration, seed).unwrap(), drawn).err();
    if fails(&drawn).is_none() {
        return "It does not fail alone: what ran before has a part in it.".to_owned();
    }
    let free = std::mem::replace(&mut drawn.stalls, Stalls::none());
    if fails(&drawn).is_none() {
        drawn.stalls = free;
    }
    let mut runs = 0;
    let mut step = drawn.bytes.len() / 2;
    while step > 0 && runs < 300 {
        let mut at = 0;
        while at < drawn.bytes.len() && runs < 300 {
            let kept = (drawn.bytes.clone(), drawn.history_len);
            let to = (at + step).min(drawn.bytes.len());
            drawn.bytes.drain(at..to);
            drawn.history_len -= (to.min(kept.1)).saturating_sub(at);
            runs += 1;
            if fails(&drawn).is_none() {
                (drawn.bytes, drawn.history_len) = kept;
                at += step;
            }
        }
        step /= 2;
    }
    let mut matcher = Matcher::new(configuration, seed).unwrap();
    let mut waves = String::new();
    if let Some(directory) = std::env::var_os("FAAM_DV_TRACE") {
        let path = format!("{}/match.vcd", directory.to_string_lossy());
        let written = matcher.trace(&CString::new(path.clone()).unwrap());
        waves = format!("\nwaveforms (feature trace): {path}, written: {written}");
    }
    let said = run(&mut matcher, &drawn).err();
    let hex: String = drawn
        .bytes
        .iter()
        .take(600)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "shortest: {said:?}\nhistory {} of {} bytes, {:?}, {:?}\n{hex}{waves}",
        drawn.history_len,
        drawn.bytes.len(),
        drawn.sets,
        drawn.stalls
    )
}

#[test]
fn a_byte_a_cycle() {
    println!("matcher | class | bytes | cycles | %");
    let mut slow = Vec::new();
    for configuration in Matcher::configurations() {
        let mut matcher = Matcher::new(*configuration, 1).unwrap();
        for (class, bytes) in data::sample() {
            let drawn = Drawn {
                of: "sample",
                bytes: bytes[..bytes.len().min(65536)].to_vec(),
                history_len: 0,
                sets: Sets {
                    hash_bits: configuration.hash_bits,
                    ways: configuration.ways as usize,
                    lazy: configuration.lazy,
                },
                scrub: false,
                stalls: Stalls::none(),
            };
            let cycles = run(&mut matcher, &drawn).unwrap();
            let len = drawn.bytes.len() as u64;
            let percent = (cycles as f64 / len as f64 - 1.0) * 100.0;
            println!("{configuration} | {class} | {len} | {cycles} | {percent:+.3}");
            if cycles > len + len / 50 + CYCLES_APART {
                slow.push(format!(
                    "{configuration}, {class}: {cycles} cycles for {len} bytes"
                ));
            }
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}
