//! What the model says that a job comes to, and where an engine's answer differs from it.

use std::fmt::Write;

use faam_dv::{Configuration, Ended, Engine, Outcome, RunError};
use faam_sim::model::{self, Fault, Format, LoadedTable, Tables};

use crate::case::{Case, Kind, Room};
use crate::jobs::parse::{self, Parsed, Sets};
use crate::tables;

/// What the model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) ended: Ended,
    pub(crate) rule: u32,
    pub(crate) stored: bool,
    pub(crate) out: Vec<u8>,
    pub(crate) crc32: u32,
    pub(crate) adler32: u32,
    pub(crate) cycles: u64,
    /// Room that the job was given.
    pub(crate) dst_cap: usize,
}

/// The functional model as the tests use it.
pub(crate) struct Model {
    engine: model::Engine,
    dst: Vec<u8>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            engine: model::Engine::new(),
            dst: Vec::new(),
        }
    }

    /// What a job must come to.
    pub(crate) fn expect(&mut self, case: &Case, configuration: Configuration) -> Expected {
        let ample = case.source.0.len() * 2 + 4096;
        let (format, last, sync, table) = match &case.kind {
            Kind::Count => return self.count(case, configuration, ample),
            Kind::Compress {
                format,
                last,
                sync,
                table,
            } => (*format, *last, *sync, table),
        };
        let nothing = |ended, rule, dst_cap| Expected {
            ended,
            rule,
            stored: false,
            out: Vec::new(),
            crc32: 0,
            adler32: 0,
            cycles: 0,
            dst_cap,
        };
        let loaded = match table.as_ref().map(|table| LoadedTable::parse(&table.0)) {
            None => None,
            Some(Ok(loaded)) => Some(loaded),
            Some(Err(_)) => {
                let rule = table.as_ref().map_or(0, |table| tables::rule(&table.0));
                return nothing(Ended::BadTable, rule, room(case.room, 64, ample));
            }
        };
        let job = model::Job {
            src: &case.source.0,
            history: &case.history.0,
            params: case.params(configuration),
            format: [Format::Raw, Format::Zlib, Format::Gzip][usize::from(format)],
            last,
            sync,
            tables: loaded.as_ref().map_or(Tables::Fixed, Tables::Loaded),
        };
        self.dst.resize(ample, 0);
        match self.engine.compress(&job, &mut self.dst) {
            Ok(report) => {
                let dst_cap = room(case.room, report.out_len, ample);
                if report.out_len > dst_cap {
                    return nothing(Ended::OutputFull, 0, dst_cap);
                }
                Expected {
                    ended: Ended::Ok,
                    rule: 0,
                    stored: report.stored,
                    out: self.dst[..report.out_len].to_vec(),
                    crc32: report.crc32,
                    adler32: report.adler32,
                    cycles: report.cycles,
                    dst_cap,
                }
            }
            Err(Fault::TableMiss) => nothing(Ended::TableMiss, 0, room(case.room, 64, ample)),
            Err(fault) => panic!("the test made a job that no engine takes: {fault}"),
        }
    }

    fn count(&mut self, case: &Case, configuration: Configuration, ample: usize) -> Expected {
        let (histogram, cycles) = self
            .engine
            .count(&case.source.0, &case.history.0, case.params(configuration))
            .unwrap();
        let out = histogram.to_bytes().to_vec();
        let dst_cap = room(case.room, out.len(), ample);
        let full = out.len() > dst_cap;
        Expected {
            ended: if full { Ended::OutputFull } else { Ended::Ok },
            rule: 0,
            stored: false,
            out: if full { Vec::new() } else { out },
            crc32: 0,
            adler32: 0,
            cycles,
            dst_cap,
        }
    }
}

fn room(room: Room, needed: usize, ample: usize) -> usize {
    match room {
        Room::Ample => ample,
        Room::Endless => u32::MAX as usize,
        Room::Exact => needed,
        Room::Short(by) => needed.saturating_sub(by),
        Room::Bytes(bytes) => bytes,
    }
}

/// Runs a job and compares. `Err` says what differs, and where.
pub(crate) fn run(
    engine: &mut Engine,
    model: &mut Model,
    case: &Case,
    configuration: Configuration,
) -> Result<Outcome, String> {
    let expected = model.expect(case, configuration);
    let came = engine.run(&case.job(expected.dst_cap), &case.flow.stalls());
    compare(&came, &expected, case, configuration)?;
    came.map_err(|error| error.to_string())
}

/// What of an answer differs from what was expected.
pub(crate) fn compare(
    came: &Result<Outcome, RunError>,
    expected: &Expected,
    case: &Case,
    configuration: Configuration,
) -> Result<(), String> {
    let outcome = came.as_ref().map_err(ToString::to_string)?;
    let report = &outcome.report;
    let mut wrong = String::new();
    let mut differs = |what: &str, came: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        let _ = write!(wrong, "{what}: expected {expected:?}, came {came:?}. ");
    };
    if report.ended != expected.ended {
        differs("ended", &report.ended, &expected.ended);
    }
    if report.rule != expected.rule {
        differs("rule", &report.rule, &expected.rule);
    }
    if expected.ended != Ended::Ok {
        if report.out_len != 0 {
            differs("out_len of a fault", &report.out_len, &0);
        }
        if wrong.is_empty() {
            return Ok(());
        }
        return Err(wrong);
    }
    let is_count = case.kind == Kind::Count;
    if report.stored != expected.stored {
        differs("stored", &report.stored, &expected.stored);
    }
    let out_len = if is_count { 0 } else { expected.out.len() };
    if report.out_len as usize != out_len {
        differs("out_len", &report.out_len, &out_len);
    }
    if report.in_len as usize != case.source.0.len() {
        differs("in_len", &report.in_len, &case.source.0.len());
    }
    if report.crc32 != expected.crc32 {
        differs(
            "crc32",
            &format!("{:08x}", report.crc32),
            &format!("{:08x}", expected.crc32),
        );
    }
    if report.adler32 != expected.adler32 {
        differs(
            "adler32",
            &format!("{:08x}", report.adler32),
            &format!("{:08x}", expected.adler32),
        );
    }
    // A row of the table a cycle, before the job's first byte. Output does not show whether it was done, so its time must.
    let clearing = 1u64 << configuration.hash_bits;
    if case.scrub && outcome.cycles < clearing {
        differs(
            "cycles of a job behind a clearing, at least",
            &outcome.cycles,
            &clearing,
        );
    }
    let source_fetches = u32::from(!case.source.0.is_empty()) * (1 + u32::from(expected.stored));
    if outcome.source_fetches != source_fetches {
        differs(
            "fetches of the source",
            &outcome.source_fetches,
            &source_fetches,
        );
    }
    // Work, not time: whatever stalls, it is section 10's. Time without stalls is a gate of its own (`cycles.rs`).
    if u64::from(report.cycles) != expected.cycles {
        differs("cycles", &report.cycles, &expected.cycles);
    }
    if outcome.out != expected.out {
        wrong.push_str(&first_difference(outcome, expected, case, configuration));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Where the output first differs: byte, cycle and token.
fn first_difference(
    outcome: &Outcome,
    expected: &Expected,
    case: &Case,
    configuration: Configuration,
) -> String {
    let same = outcome
        .out
        .iter()
        .zip(&expected.out)
        .take_while(|(a, b)| a == b)
        .count();
    let cycle = outcome.beat_cycles.get(same / 8);
    let at = |bytes: &[u8]| {
        let shown: Vec<String> = bytes
            .iter()
            .skip(same)
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        shown.join(" ")
    };
    let bit = outcome
        .out
        .get(same)
        .zip(expected.out.get(same))
        .map_or(0, |(came, expected)| {
            (came ^ expected).trailing_zeros() as usize
        });
    format!(
        "output: {} bytes came, {} were expected; first difference in byte {same} (cycle {cycle:?}): expected {}, came {}; {}",
        outcome.out.len(),
        expected.out.len(),
        at(&expected.out),
        at(&outcome.out),
        place(same, bit, expected, case, configuration),
    )
}

/// What stands at a bit of the expected output.
fn place(
    byte: usize,
    bit: usize,
    expected: &Expected,
    case: &Case,
    configuration: Configuration,
) -> String {
    let (format, table) = match &case.kind {
        Kind::Count => {
            let slot = byte / 4;
            return if slot < 288 {
                format!("count of literal or length symbol {slot}")
            } else {
                format!("count of distance symbol {}", slot - 288)
            };
        }
        Kind::Compress { format, table, .. } => (*format, table),
    };
    let frame = [0, 2, 10][usize::from(format)];
    if expected.stored {
        return format!(
            "the body is stored: byte {} of it",
            byte.saturating_sub(frame)
        );
    }
    let target = byte * 8 + bit;
    let mut at = frame * 8
        + 3
        + table
            .as_ref()
            .map_or(0, |table| tables::header_bits(&table.0));
    if target < at {
        return format!("in the headers, bit {target} of {at}");
    }
    let lengths = table.as_ref().map(|table| &table.0);
    let mut stream = case.history.0.clone();
    stream.extend(&case.source.0);
    let sets = Sets {
        hash_bits: configuration.hash_bits,
        ways: usize::from(case.ways),
        lazy: case.lazy,
    };
    for (index, placed) in parse::tokens(&stream, case.history.0.len(), sets)
        .iter()
        .enumerate()
    {
        at += token_bits(placed.token, lengths);
        if target < at {
            return format!(
                "token {index}, {:?}, at position {} of the stream",
                placed.token, placed.position
            );
        }
    }
    "behind the last token".to_owned()
}

fn token_bits(token: Parsed, table: Option<&Vec<u8>>) -> usize {
    let litlen = |symbol: usize| {
        table.map_or(
            match symbol {
                0..=143 => 8,
                144..=255 => 9,
                256..=279 => 7,
                _ => 8,
            },
            |table| usize::from(table[symbol]),
        )
    };
    match token {
        Parsed::Literal(byte) => litlen(usize::from(byte)),
        Parsed::Match { length, distance } => {
            // RFC 1951, section 3.2.5: groups that double, of four length codes and of two distance codes.
            let (length_symbol, length_bits) = match length - 3 {
                255 => (285, 0),
                l @ 0..=7 => (257 + l, 0),
                l => {
                    let extra = l.ilog2() as usize - 2;
                    (257 + 4 * extra + (l >> extra), extra)
                }
            };
            let (distance_symbol, distance_bits) = match distance - 1 {
                d @ 0..=3 => (d, 0),
                d => {
                    let extra = d.ilog2() as usize - 1;
                    (2 * extra + (d >> extra), extra)
                }
            };
            let code = table.map_or(5, |table| {
                usize::from(table[tables::DISTANCE_AT + distance_symbol])
            });
            litlen(length_symbol) + length_bits + code + distance_bits
        }
    }
}
