//! Whether a function does its work right: before it serves, and after every fence.
//!
//! Owns the cases and what must come of them. Invariant: a function passes only if known
//! streams decode to known bytes, and known bytes survive each level, with the checksums
//! that another implementation computed.
//! The cases do not fix what a level's output looks like, so they hold for every revision
//! of a card; that the gateway verifies each result by another decoder is not their business.
//! A kernel that was loaded into a slot need not decompress, and nothing here does: its output is
//! compared with what algorithm.md makes of the same bytes, to the bit.
//!
//! It goes the way that all work goes, through a worker on a queue pair of its own, so it
//! tests queue creation, doorbells, interrupts, DMA and deletion as well.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use faam_hwif::{CardLevel, Serves, WireFormat};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::function::{Function, QueuePairError};
use crate::transport::TransportError;
use crate::worker::{
    Completion, Job, JobSource, Kernel, Outcome, Request, SpawnError, Worker, WorkerConfig,
    WorkerExit,
};

/// Hang limit of each command of the test.
const COMMAND_LIMIT: Duration = Duration::from_millis(1000);
/// Longest wait for one case: two commands, a table, and the host's own delays.
const CASE_LIMIT: Duration = Duration::from_secs(4);
/// Scrub domain of the test: no tenant's.
const CONTEXT: u32 = u32::MAX;

/// What a passed test measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Jobs run.
    pub jobs: u32,
    /// How long they took.
    pub took: Duration,
}

/// A job whose output whoever made a kernel knows: the kernel has to come to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenJob {
    /// Which job.
    pub kernel: Kernel,
    /// On what.
    pub input: Vec<u8>,
    /// Most bytes that its output may have.
    pub output_bytes_max: usize,
    /// SHA-256 of its output.
    pub output_sha256: [u8; 32],
}

/// Why a function did not pass.
#[derive(Debug, Error)]
pub enum SelfTestError {
    /// No queue pair for it.
    #[error("the self-test's queue pair could not be created or deleted")]
    QueuePair(#[from] QueuePairError),
    /// No worker for it.
    #[error("the self-test's worker could not be started")]
    Worker(#[from] SpawnError),
    /// What its slots serve could not be read.
    #[error("what the function's slots serve could not be read")]
    Slots(#[from] TransportError),
    /// A job did not succeed.
    #[error("self-test case {case} ended with {outcome}")]
    Failed {
        /// Which.
        case: &'static str,
        /// How.
        outcome: String,
    },
    /// A job succeeded with a wrong result.
    #[error("self-test case {case} has the wrong {what}: the card computes wrong")]
    Wrong {
        /// Which.
        case: &'static str,
        /// What of it.
        what: &'static str,
    },
    /// The kernel's own golden job came to another output.
    #[error(
        "the image's golden job came to another output than its manifest says: expected SHA-256 {expected}, got {got}; the \
         image and its manifest do not belong together, or the kernel computes wrong"
    )]
    Golden {
        /// The manifest's.
        expected: String,
        /// The card's.
        got: String,
    },
    /// A job or the worker's end did not come.
    #[error("self-test case {case} did not end within {} s", CASE_LIMIT.as_secs())]
    NoAnswer {
        /// Which.
        case: &'static str,
    },
}

impl Function {
    /// Run the self-test on a queue pair made for it. The function may serve others meanwhile. Of a function with slots, what
    /// its active slots serve is tested.
    ///
    /// # Errors
    /// [`SelfTestError`]: fence the function; it is not to serve.
    pub fn self_test(&self) -> Result<SelfTest, SelfTestError> {
        let serves = match self.identity().slots {
            None => Serves::ALL,
            Some(_) => self.serves()?,
        };
        self.test(None, serves, None).map_err(|failed| failed.why)
    }

    /// Run the cases that these kernels have to pass, and the kernel's own where it has one, in one slot alone or wherever they
    /// are served.
    pub(crate) fn test(
        &self,
        slot: Option<u8>,
        serves: Serves,
        golden: Option<&GoldenJob>,
    ) -> Result<SelfTest, TestFailed> {
        let begun = Instant::now();
        let fences = |why: SelfTestError| TestFailed { why, fences: true };
        let pair = self
            .create_queue_pair()
            .map_err(|error| fences(error.into()))?;
        let (send, jobs) = channel();
        let (tell, exit) = channel();
        let worker = Worker::spawn(
            "faam-self-test",
            pair,
            Jobs(jobs),
            WorkerConfig {
                slot,
                ..WorkerConfig::default()
            },
            move |exit| {
                let _ = tell.send(exit);
            },
        )
        .map_err(|error| fences(error.into()))?;
        let mut bench = Cases {
            send,
            waker: worker.waker(),
            run: 0,
            serves,
            is_golden: slot.is_some(),
        };
        let passed = bench
            .all(self)
            .and_then(|()| golden.map_or(Ok(()), |golden| bench.golden(golden)));
        worker.stop();
        let ended = exit
            .recv_timeout(CASE_LIMIT)
            .map_err(|_| SelfTestError::NoAnswer { case: "stop" });
        // Whether or not it passed, the pair goes back. Where that cannot be done, what it holds is behind a fence.
        let given_back = match ended {
            Ok(WorkerExit::Stopped { queue_pair }) => {
                self.delete_queue_pair(queue_pair).map_err(Into::into)
            }
            Ok(other @ (WorkerExit::Fault { .. } | WorkerExit::Panicked { .. })) => {
                Err(SelfTestError::Failed {
                    case: "stop",
                    outcome: format!("{other:?}"),
                })
            }
            Err(error) => Err(error),
        };
        match (passed, given_back) {
            (Ok(()), Ok(())) => {}
            (Ok(()), Err(why)) => return Err(fences(why)),
            (Err(why), given_back) => {
                let fences = given_back.is_err();
                return Err(TestFailed { why, fences });
            }
        }
        Ok(SelfTest {
            jobs: bench.run,
            took: begun.elapsed(),
        })
    }
}

/// Why a test was not passed, and what that means for whose it was.
#[derive(Debug)]
pub(crate) struct TestFailed {
    pub(crate) why: SelfTestError,
    /// The function has to be fenced, rather than what was tested left alone.
    pub(crate) fences: bool,
}

/// Runs cases one after the other.
struct Cases {
    send: Sender<TestJob>,
    waker: crate::worker::Waker,
    run: u32,
    /// What is tested.
    serves: Serves,
    /// Whether outputs are compared to the bit.
    is_golden: bool,
}

impl Cases {
    fn all(&mut self, function: &Function) -> Result<(), SelfTestError> {
        let identity = function.identity();
        let text = golden_text();
        if identity.features.decompress() && self.serves.has(Serves::INFLATE) {
            let streams: [(&'static str, WireFormat, &[u8]); 3] = [
                ("decode stored", WireFormat::Zlib, &golden_stored(&text)),
                ("decode fixed", WireFormat::Raw, &GOLDEN_FIXED),
                ("decode dynamic", WireFormat::Gzip, &GOLDEN_DYNAMIC),
            ];
            for (case, format, stream) in streams {
                if identity.has_format(format) {
                    let done = self.job(case, Kernel::Decompress { format }, stream, text.len())?;
                    check(case, &done, &text, GOLDEN_CRC32, GOLDEN_ADLER32)?;
                }
            }
        }
        for (level, case) in [
            (CardLevel::Fast, "fast"),
            (CardLevel::Balanced, "balanced"),
            (CardLevel::Dense, "dense"),
        ] {
            let kernel = Kernel::Compress {
                level,
                format: WireFormat::Raw,
                last: true,
            };
            if !identity.has_level(level) || !self.serves.has(kernel.needs()) {
                continue;
            }
            for (bytes, crc32, adler32) in PATTERNS {
                self.there_and_back(function, case, level, bytes, crc32, adler32)?;
            }
        }
        Ok(())
    }

    /// What the image says of itself.
    fn golden(&mut self, golden: &GoldenJob) -> Result<(), SelfTestError> {
        let GoldenJob {
            kernel,
            input,
            output_bytes_max,
            output_sha256,
        } = golden;
        let done = self.job("golden", *kernel, input, *output_bytes_max)?;
        let got: [u8; 32] = Sha256::digest(&done.output).into();
        match got == *output_sha256 {
            true => Ok(()),
            false => Err(SelfTestError::Golden {
                expected: hex(output_sha256),
                got: hex(&got),
            }),
        }
    }

    fn there_and_back(
        &mut self,
        function: &Function,
        case: &'static str,
        level: CardLevel,
        bytes: usize,
        crc32: u32,
        adler32: u32,
    ) -> Result<(), SelfTestError> {
        let format = WireFormat::Raw;
        let input = pattern(bytes);
        let kernel = Kernel::Compress {
            level,
            format,
            last: true,
        };
        let there = self.job(case, kernel, &input, bytes + bytes / 64 + 256)?;
        if there.crc32 != crc32 || there.adler32 != adler32 {
            return Err(SelfTestError::Wrong {
                case,
                what: "checksum",
            });
        }
        if self.is_golden {
            let told = golden_output(level, bytes);
            if told != Some((there.output.len(), crc32fast::hash(&there.output))) {
                return Err(SelfTestError::Wrong {
                    case,
                    what: "output, by algorithm.md",
                });
            }
        }
        if function.identity().features.decompress() && self.serves.has(Serves::INFLATE) {
            let back = self.job(case, Kernel::Decompress { format }, &there.output, bytes)?;
            check(case, &back, &input, crc32, adler32)?;
        }
        Ok(())
    }

    fn job(
        &mut self,
        case: &'static str,
        kernel: Kernel,
        input: &[u8],
        room: usize,
    ) -> Result<Completion, SelfTestError> {
        let (reply, outcome) = channel();
        let job = TestJob {
            kernel,
            input: input.to_vec(),
            room,
            reply,
        };
        // A worker that ends drops what it has not taken: its last completion was of an earlier case.
        let gone = || SelfTestError::Failed {
            case,
            outcome: "its worker ended before it".to_owned(),
        };
        self.send.send(job).map_err(|_| gone())?;
        self.waker.wake();
        self.run += 1;
        let outcome = outcome.recv_timeout(CASE_LIMIT).map_err(|end| match end {
            RecvTimeoutError::Timeout => SelfTestError::NoAnswer { case },
            RecvTimeoutError::Disconnected => gone(),
        })?;
        match outcome {
            Outcome::Done(done) => Ok(done),
            other @ (Outcome::Data(_) | Outcome::Fault(_)) => Err(SelfTestError::Failed {
                case,
                outcome: format!("{other:?}"),
            }),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(
    case: &'static str,
    done: &Completion,
    expected: &[u8],
    crc32: u32,
    adler32: u32,
) -> Result<(), SelfTestError> {
    let wrong = |what| Err(SelfTestError::Wrong { case, what });
    match done {
        done if done.output != expected => wrong("output"),
        done if done.crc32 != crc32 => wrong("CRC-32"),
        done if done.adler32 != adler32 => wrong("Adler-32"),
        _ => Ok(()),
    }
}

struct TestJob {
    kernel: Kernel,
    input: Vec<u8>,
    room: usize,
    reply: Sender<Outcome>,
}

impl Job for TestJob {
    fn request(&self) -> Request<'_> {
        Request {
            kernel: self.kernel,
            input: &self.input,
            output_bytes_max: self.room,
            context: CONTEXT,
            timeout: COMMAND_LIMIT,
        }
    }

    fn complete(self, outcome: Outcome) {
        let _ = self.reply.send(outcome);
    }
}

struct Jobs(Receiver<TestJob>);

impl JobSource for Jobs {
    type Job = TestJob;

    fn next(&mut self) -> Option<TestJob> {
        self.0.try_recv().ok()
    }
}

/// Lengths of [`pattern`], with the CRC-32 and Adler-32 that zlib computes of it.
const PATTERNS: [(usize, u32, u32); 4] = [
    (1, 0x76d3_2be0, 0x0067_0067),
    (300, 0x1764_8400, 0x7b35_71f8),
    (5000, 0x42da_6783, 0x5625_6023),
    (65_536, 0xc541_2b5e, 0x53e0_133d),
];

/// Length and CRC-32 of what algorithm.md's engine, as this driver uses it, makes of each [`pattern`]: raw, one last block.
/// A test makes them anew with the functional model.
const GOLDEN_OUTPUTS: [(CardLevel, usize, usize, u32); 12] = [
    (CardLevel::Fast, 1, 3, 0xa8a3_e8f0),
    (CardLevel::Fast, 300, 142, 0x6d32_37fb),
    (CardLevel::Fast, 5000, 1_795, 0x6781_1c24),
    (CardLevel::Fast, 65_536, 23_105, 0xd07e_3f02),
    (CardLevel::Balanced, 1, 3, 0xa8a3_e8f0),
    (CardLevel::Balanced, 300, 141, 0x8fc5_79a1),
    (CardLevel::Balanced, 5000, 1_355, 0xd463_57b9),
    (CardLevel::Balanced, 65_536, 17_737, 0xef9a_918c),
    (CardLevel::Dense, 1, 3, 0xa8a3_e8f0),
    (CardLevel::Dense, 300, 141, 0x8fc5_79a1),
    (CardLevel::Dense, 5000, 1_355, 0xd463_57b9),
    (CardLevel::Dense, 65_536, 17_147, 0x887d_c17f),
];

/// Length and CRC-32 of what a level makes of a pattern of so many bytes.
fn golden_output(level: CardLevel, bytes: usize) -> Option<(usize, u32)> {
    GOLDEN_OUTPUTS
        .iter()
        .find(|(of, from, _, _)| *of == level && *from == bytes)
        .map(|(_, _, len, crc32)| (*len, *crc32))
}

/// Compressible bytes that a few lines make: words picked by a linear congruential generator.
fn pattern(bytes: usize) -> Vec<u8> {
    const WORDS: [&[u8]; 8] = [
        b"queue ",
        b"fence ",
        b"arena ",
        b"card ",
        b"block ",
        b"doorbell ",
        b"phase ",
        b"epoch ",
    ];
    let mut out = Vec::with_capacity(bytes + 16);
    let mut state = 1u32;
    while out.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, _, flags, top] = state.to_le_bytes();
        let word = WORDS.get(usize::from(top >> 5)).copied().unwrap_or(b"?");
        out.extend_from_slice(word);
        if flags & 1 != 0 {
            out.push(top);
        }
    }
    out.truncate(bytes);
    out
}

const GOLDEN_CRC32: u32 = 0x3405_edc5;
const GOLDEN_ADLER32: u32 = 0x0cec_47cd;

/// What the golden streams decode to.
fn golden_text() -> Vec<u8> {
    let line =
        b"A card that fails its self-test serves nobody: reset, test, and only then re-admit. ";
    let mut text = line.to_vec();
    text.extend(line.iter().rev());
    for _ in 0..6 {
        text.extend_from_slice(b"0123456789");
    }
    text
}

/// One stored block in zlib framing (RFC 1950; RFC 1951, section 3.2.4), made by hand.
fn golden_stored(text: &[u8]) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap_or(0);
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend(len.to_le_bytes());
    stream.extend((!len).to_le_bytes());
    stream.extend_from_slice(text);
    stream.extend(GOLDEN_ADLER32.to_be_bytes());
    stream
}

/// The text in one block of fixed codes, raw (RFC 1951, section 3.2.6), by zlib 1.2.13, strategy Z_FIXED.
const GOLDEN_FIXED: [u8; 166] = [
    0x73, 0x54, 0x48, 0x4e, 0x2c, 0x4a, 0x51, 0x28, 0xc9, 0x48, 0x2c, 0x51, 0x48, 0x4b, 0xcc, 0xcc,
    0x29, 0x56, 0xc8, 0x2c, 0x29, 0x56, 0x28, 0x4e, 0xcd, 0x49, 0xd3, 0x2d, 0x49, 0x2d, 0x2e, 0x01,
    0xb2, 0x8a, 0xca, 0x52, 0x8b, 0x15, 0xf2, 0xf2, 0x93, 0xf2, 0x53, 0x2a, 0xad, 0x14, 0x8a, 0x52,
    0x8b, 0x53, 0x4b, 0x74, 0x14, 0x40, 0x52, 0x3a, 0x0a, 0x89, 0x79, 0x29, 0x0a, 0xf9, 0x79, 0x39,
    0x95, 0x40, 0xdd, 0xa9, 0x79, 0x40, 0x29, 0xdd, 0xc4, 0x94, 0xdc, 0xcc, 0x12, 0x3d, 0x05, 0x05,
    0xbd, 0x92, 0xcc, 0xdc, 0x94, 0x44, 0xdd, 0xd4, 0x22, 0x85, 0xbc, 0xd4, 0x8c, 0x12, 0x85, 0xca,
    0x9c, 0xbc, 0x7c, 0x85, 0x94, 0xbc, 0x44, 0x05, 0x9d, 0x12, 0xa0, 0x6e, 0x20, 0x09, 0x34, 0xa4,
    0x48, 0xc1, 0xaa, 0x32, 0x05, 0x68, 0x68, 0x1e, 0xd0, 0x86, 0x32, 0xa0, 0xa9, 0x0a, 0x20, 0x29,
    0xdd, 0xb4, 0x1c, 0x20, 0xab, 0xb8, 0x24, 0x53, 0xa1, 0x38, 0x27, 0x33, 0x31, 0x4d, 0xa1, 0x24,
    0x11, 0xa8, 0x3b, 0xa5, 0x28, 0x31, 0x59, 0xc1, 0xd1, 0xc0, 0xd0, 0xc8, 0xd8, 0xc4, 0xd4, 0xcc,
    0xdc, 0xc2, 0x92, 0x74, 0x16, 0x00,
];

/// The text in one block of dynamic codes, gzip, by zlib 1.2.13, level 9.
const GOLDEN_DYNAMIC: [u8; 152] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x95, 0x8d, 0xd9, 0x09, 0xc4, 0x30,
    0x0c, 0x05, 0x5b, 0x79, 0x05, 0x24, 0x61, 0xef, 0xeb, 0x2f, 0xa5, 0x68, 0x23, 0x99, 0x18, 0x1c,
    0x19, 0x2c, 0x11, 0x70, 0xf7, 0xab, 0x94, 0xb0, 0x3f, 0x62, 0x60, 0x98, 0xa7, 0x19, 0x0b, 0x35,
    0x86, 0xaf, 0xe4, 0x48, 0x94, 0x8b, 0x21, 0xbb, 0xc1, 0xa4, 0xa4, 0xd1, 0xc5, 0x3c, 0xa8, 0xed,
    0x62, 0xd0, 0xfa, 0xad, 0xdc, 0x3f, 0x68, 0x62, 0xe2, 0x03, 0x0e, 0x35, 0x80, 0x94, 0x51, 0xb5,
    0xf4, 0xa8, 0x45, 0x43, 0x8d, 0xc4, 0x5b, 0xf6, 0x09, 0x98, 0x3c, 0x6f, 0x4c, 0xa3, 0x34, 0xa8,
    0xac, 0x8e, 0x5e, 0xb4, 0x82, 0x95, 0x30, 0x78, 0xd4, 0x71, 0x63, 0xa4, 0xe1, 0xd3, 0x39, 0x46,
    0x35, 0x3e, 0xec, 0xb1, 0x8a, 0x43, 0x8d, 0xa9, 0x04, 0x99, 0x67, 0x58, 0xc9, 0x94, 0xe0, 0x14,
    0x35, 0x37, 0x5a, 0x30, 0x9f, 0xce, 0x97, 0xeb, 0xed, 0xfe, 0x78, 0xbe, 0xde, 0xff, 0xd3, 0x0f,
    0xc5, 0xed, 0x05, 0x34, 0xe4, 0x00, 0x00, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::huffman::{Coverage, Histogram, HuffmanTable};
    use faam_sim::model::{Engine, Format, Job as ModelJob, LoadedTable, Params, Tables};
    use std::io::Read;

    /// What algorithm.md's engine makes of a pattern, with the tables that the worker would load.
    fn by_the_model(level: CardLevel, bytes: usize) -> Vec<u8> {
        let input = pattern(bytes);
        let params = Params {
            hash_bits: 13,
            ways: if level == CardLevel::Fast { 1 } else { 4 },
            lazy: true,
        };
        let mut engine = Engine::new();
        // As crate::worker::plan has it: from 2 KiB on, over 16 KiB at most where the level is balanced.
        let counted = match level {
            CardLevel::Fast => None,
            _ if bytes < 2 << 10 => None,
            CardLevel::Balanced => Some(bytes.min(16 << 10)),
            CardLevel::Dense => Some(bytes),
        };
        let table = counted.map(|counted| {
            let (histogram, _) = engine.count(&input[..counted], &[], params).unwrap();
            let histogram = Histogram::from_bytes(&histogram.to_bytes()).unwrap();
            let coverage = match counted == bytes {
                true => Coverage::Whole,
                false => Coverage::Sample,
            };
            let mut table = [0; faam_hwif::table::TABLE_BYTES as usize];
            HuffmanTable::build(&histogram, coverage).write_to(&mut table);
            LoadedTable::parse(&table).unwrap()
        });
        let job = ModelJob {
            src: &input,
            history: &[],
            params,
            format: Format::Raw,
            last: true,
            sync: false,
            tables: table.as_ref().map_or(Tables::Fixed, Tables::Loaded),
        };
        let mut out = vec![0; bytes * 2 + 4096];
        let made = engine.compress(&job, &mut out).unwrap().out_len;
        out.truncate(made);
        out
    }

    #[test]
    fn the_golden_outputs_are_those_of_the_algorithm() {
        let told: Vec<_> = GOLDEN_OUTPUTS
            .iter()
            .map(|(level, bytes, ..)| {
                let made = by_the_model(*level, *bytes);
                (*level, *bytes, made.len(), crc32fast::hash(&made))
            })
            .collect();
        assert_eq!(told, GOLDEN_OUTPUTS, "{told:#x?}");
        for (level, bytes, ..) in GOLDEN_OUTPUTS {
            let mut back = Vec::new();
            flate2::read::DeflateDecoder::new(&by_the_model(level, bytes)[..])
                .read_to_end(&mut back)
                .unwrap();
            assert_eq!(back, pattern(bytes));
        }
    }

    #[test]
    fn the_golden_streams_and_sums_are_right_by_another_implementation() {
        let text = golden_text();
        let mut fixed = Vec::new();
        flate2::read::DeflateDecoder::new(&GOLDEN_FIXED[..])
            .read_to_end(&mut fixed)
            .unwrap();
        let mut dynamic = Vec::new();
        flate2::read::GzDecoder::new(&GOLDEN_DYNAMIC[..])
            .read_to_end(&mut dynamic)
            .unwrap();
        let mut stored = Vec::new();
        flate2::read::ZlibDecoder::new(&golden_stored(&text)[..])
            .read_to_end(&mut stored)
            .unwrap();
        assert_eq!((&fixed, &dynamic, &stored), (&text, &text, &text));
        assert_eq!(crc32fast::hash(&text), GOLDEN_CRC32);
        // BTYPE of the first block: bits 2:1 of its first byte.
        assert_eq!(GOLDEN_FIXED[0] >> 1 & 3, 1);
        assert_eq!(GOLDEN_DYNAMIC[10] >> 1 & 3, 2);
        for (bytes, crc32, _) in PATTERNS {
            assert_eq!(crc32fast::hash(&pattern(bytes)), crc32, "{bytes}");
        }
    }
}
