//! Jobs through a worker, as the gateway sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faam_driver::worker::WorkerExit;
use faam_driver::{DeviceFault, Function, Job, JobSource, Kernel, Outcome, Request, WorkerConfig};
use faam_hwif::{CardLevel, Status, WireFormat};
use faam_sim::Fault;

use crate::behaviour::{Behaviour, Mutation, Need};
use crate::carrier::Bench;
use crate::data::{deflate, inflate, noise, text};
use crate::feeder::{Feeder, Queue, TestJob, Work, queue_of, spawn};

const FORMATS: [WireFormat; 3] = [WireFormat::Raw, WireFormat::Zlib, WireFormat::Gzip];
const LEVELS: [CardLevel; 3] = [CardLevel::Fast, CardLevel::Balanced, CardLevel::Dense];

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "jobs::each_level_and_format_compresses",
        holds: "Each level in each format makes a stream that another decoder takes back to the input, with its CRC-32.",
        needs: &[],
        show: each_level_and_format_compresses,
        mutation: Mutation {
            faults: &[Fault::FlipsABit],
            says: "does not decode to its input",
        },
    },
    Behaviour {
        name: "jobs::each_format_decompresses",
        holds: "Another encoder's streams are decoded in each format, with CRC-32 and Adler-32.",
        needs: &[Need::Decompress],
        show: each_format_decompresses,
        mutation: Mutation {
            faults: &[Fault::WrongChecksum],
            says: "CRC-32 of what was decoded",
        },
    },
    Behaviour {
        name: "jobs::a_higher_level_compresses_better",
        holds: "Balanced makes less of a text than fast does, and dense no more than balanced.",
        needs: &[Need::LoadedTables],
        show: a_higher_level_compresses_better,
        mutation: Mutation {
            faults: &[Fault::SearchesOneWay, Fault::IgnoresTables],
            says: "bytes by level",
        },
    },
    Behaviour {
        name: "jobs::blocks_that_are_not_the_last_join",
        holds: "Blocks that are not the last end at a byte boundary and join into one stream.",
        needs: &[],
        show: blocks_that_are_not_the_last_join,
        mutation: Mutation {
            faults: &[Fault::EndsEachBlock],
            says: "the joined stream",
        },
    },
    Behaviour {
        name: "jobs::data_that_does_not_fit_is_refused",
        holds: "Corrupt, truncated and too long data are each told apart, and the worker lives.",
        needs: &[Need::Decompress],
        show: data_that_does_not_fit_is_refused,
        mutation: Mutation {
            faults: &[Fault::CorruptPasses],
            says: "expected a refusal",
        },
    },
    Behaviour {
        name: "jobs::the_largest_job_is_done_and_a_larger_one_is_not_begun",
        holds: "A job of 2^20 bytes is done; one byte more is refused before the card sees it.",
        needs: &[],
        show: the_largest_job_is_done,
        mutation: Mutation {
            faults: &[Fault::AnnouncesSmallJobs],
            says: "the largest job",
        },
    },
    Behaviour {
        name: "jobs::many_in_flight_all_end_right",
        holds: "More jobs than the card takes at once all end with their own results, and give their memory back.",
        needs: &[],
        show: many_in_flight_all_end_right,
        mutation: Mutation {
            faults: &[Fault::WrongCommandId],
            says: "a job has no outcome",
        },
    },
    Behaviour {
        name: "jobs::a_source_that_refused_is_asked_again",
        holds: "A source that had nothing is asked again after a completion, without a wake.",
        needs: &[],
        show: a_source_that_refused_is_asked_again,
        mutation: Mutation {
            faults: &[Fault::WithholdsCompletions],
            says: "a job has no outcome",
        },
    },
    Behaviour {
        name: "jobs::stopping_gives_the_pair_back",
        holds: "A worker that is stopped gives its queue pair back, which can be deleted and made again.",
        needs: &[],
        show: stopping_gives_the_pair_back,
        mutation: Mutation {
            faults: &[Fault::DeletesNothing],
            says: "the pair's number is free again",
        },
    },
    Behaviour {
        name: "jobs::a_hung_engine_is_a_fault_in_time",
        holds: "A hung engine ends its worker within the job's limit, the other function serves on, and only its own reset frees the memory.",
        needs: &[Need::EngineFaults],
        show: a_hung_engine_is_a_fault_in_time,
        mutation: Mutation {
            faults: &[Fault::HangsAllFunctions],
            says: "expected a result",
        },
    },
];

fn compress(level: CardLevel, format: WireFormat) -> Kernel {
    Kernel::Compress {
        level,
        format,
        last: true,
    }
}

fn each_level_and_format_compresses(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let large = match bench.carrier().is_slow() {
        false => 200_000,
        true => 70_000,
    };
    let inputs = [
        Vec::new(),
        b"a".to_vec(),
        b"hello, world".to_vec(),
        text(5000),
        text(large),
        vec![0; large],
        noise(large / 2),
    ];
    for format in FORMATS {
        for level in LEVELS {
            for input in &inputs {
                let work = Work::new(compress(level, format), input);
                let done = worker.run(work).done();
                assert_eq!(done.consumed as usize, input.len());
                assert_eq!(
                    inflate(format, &done.output).as_ref(),
                    Some(input),
                    "{level:?} {format:?} of {} bytes does not decode to its input",
                    input.len()
                );
                assert_eq!(done.crc32, crc32fast::hash(input), "CRC-32 of the input");
            }
        }
    }
    assert_eq!(worker.counters().table_fallbacks.get(), 0);
}

fn each_format_decompresses(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let inputs = [Vec::new(), b"a".to_vec(), text(70_000), noise(10_000)];
    for format in FORMATS {
        for input in &inputs {
            let stream = deflate(format, input);
            let work = Work::new(Kernel::Decompress { format }, &stream);
            let done = worker.run(work.room(input.len())).done();
            assert_eq!(&done.output, input);
            assert_eq!(done.consumed as usize, stream.len());
            let crc32 = crc32fast::hash(input);
            assert_eq!(done.crc32, crc32, "CRC-32 of what was decoded");
            // RFC 1950: the last four bytes of a zlib stream, most significant first.
            let zlib = deflate(WireFormat::Zlib, input);
            let adler32 = u32::from_be_bytes(*zlib.last_chunk().unwrap());
            assert_eq!(done.adler32, adler32, "Adler-32 of what was decoded");
        }
    }
}

fn a_higher_level_compresses_better(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let input = text(131_072);
    let sizes = LEVELS.map(|level| {
        let work = Work::new(compress(level, WireFormat::Gzip), &input);
        worker.run(work).done().output.len()
    });
    let [fast, balanced, dense] = sizes;
    assert!(
        dense <= balanced && balanced < fast,
        "bytes by level: {sizes:?}"
    );
}

fn blocks_that_are_not_the_last_join(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let input = text(100_000);
    let mut stream = Vec::new();
    let blocks = input.chunks(30_000).collect::<Vec<_>>();
    for (n, block) in blocks.iter().enumerate() {
        let kernel = Kernel::Compress {
            level: CardLevel::Dense,
            format: WireFormat::Raw,
            last: n + 1 == blocks.len(),
        };
        stream.extend(worker.run(Work::new(kernel, block)).done().output);
    }
    let whole = inflate(WireFormat::Raw, &stream);
    assert!(whole == Some(input), "the joined stream is not the input's");
}

fn data_that_does_not_fit_is_refused(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let gzip = Kernel::Decompress {
        format: WireFormat::Gzip,
    };
    let refused = |work: Work| match worker.run(work).0 {
        Outcome::Data(refusal) => refusal.status,
        other => panic!("expected a refusal, got {other:?}"),
    };
    let junk = Work::new(gzip, b"not gzip at all, by any stretch");
    assert_eq!(refused(junk.room(1000)), Status::CorruptInput);
    let input = text(10_000);
    let good = deflate(WireFormat::Gzip, &input);
    let half = Work::new(gzip, &good[..good.len() / 2]);
    assert_eq!(refused(half.room(20_000)), Status::TruncatedInput);
    let whole = Work::new(gzip, &good);
    assert_eq!(refused(whole.clone().room(9_999)), Status::OutputFull);
    let done = worker.run(whole.room(10_000)).done();
    assert_eq!(done.output, input);
}

fn the_largest_job_is_done(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let kernel = compress(CardLevel::Fast, WireFormat::Raw);
    let big = vec![0; (1 << 20) + 1];
    let outcome = worker.run(Work::new(kernel, &big)).0;
    assert!(
        matches!(outcome, Outcome::Fault(DeviceFault::TooLarge { .. })),
        "{outcome:?}"
    );
    let outcome = worker.run(Work::new(kernel, &big[..1 << 20])).0;
    assert!(
        matches!(outcome, Outcome::Done(_)),
        "the largest job: {outcome:?}"
    );
}

fn many_in_flight_all_end_right(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let kernel = compress(CardLevel::Balanced, WireFormat::Gzip);
    let count = match bench.carrier().is_slow() {
        false => 100,
        true => 20,
    };
    let inputs: Vec<_> = (0..count).map(|n| text(1000 + n * 331)).collect();
    let jobs = inputs.iter().map(|input| Work::new(kernel, input));
    for (n, outcome) in worker.run_all(jobs) {
        let output = outcome.done().output;
        assert!(
            inflate(WireFormat::Gzip, &output).as_ref() == Some(&inputs[n]),
            "job {n} has another's result"
        );
    }
    assert_eq!(worker.counters().jobs.get(), count as u64);
    // An answer is given before what it was made in is given back; who sleeps holds nothing any more.
    worker.until_asleep();
    let free = function.arena().free_bytes();
    assert_eq!(free, function.arena().bytes(), "every buffer came back");
}

fn a_source_that_refused_is_asked_again(bench: &Bench) {
    let function = bench.function(0);
    // It polls all through, so that no sleep has it look.
    let config = WorkerConfig {
        spin: Some(bench.patience() * 10),
        ..WorkerConfig::default()
    };
    let kernel = compress(CardLevel::Fast, WireFormat::Raw);
    let works = vec![Work::new(kernel, &text(1000)); 20];
    for outcome in one_at_a_time(bench, &function, config, &works) {
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
}

fn stopping_gives_the_pair_back(bench: &Bench) {
    let function = bench.function(0);
    let worker = Feeder::start(bench, &function);
    let kernel = compress(CardLevel::Fast, WireFormat::Raw);
    worker.run(Work::new(kernel, &text(1000))).done();
    let exit = worker.stop();
    let WorkerExit::Stopped { queue_pair } = exit else {
        panic!("{exit:?}");
    };
    function.delete_queue_pair(queue_pair).unwrap();
    let again = function.create_queue_pair();
    assert!(again.is_ok(), "the pair's number is free again: {again:?}");
}

fn a_hung_engine_is_a_fault_in_time(bench: &Bench) {
    let function = bench.function(0);
    let other = bench.function_on(1, function.arena());
    let worker = Feeder::start(bench, &function);
    let kernel = compress(CardLevel::Fast, WireFormat::Raw);
    let input = text(20_000);
    bench.faults().hang_after(0, 2);
    for _ in 0..2 {
        worker.run(Work::new(kernel, &input)).done();
    }
    let hang = Work::new(kernel, &input).timeout(Duration::from_millis(300));
    let pending = worker.submit(hang);
    let (exit, outcomes) = worker.ended(vec![pending]);
    assert!(matches!(exit, WorkerExit::Fault { .. }), "{exit:?}");
    for outcome in outcomes {
        assert!(
            matches!(
                outcome,
                Outcome::Fault(DeviceFault::Hang { .. } | DeviceFault::CommandFailed { .. })
            ),
            "{outcome:?}"
        );
    }
    let held = function.arena().quarantine().held_bytes();
    assert!(held > 0);
    let worker = Feeder::start(bench, &other);
    // More than the hung one did, and within the limit of a job.
    for _ in 0..4 {
        let work = Work::new(kernel, &input).timeout(bench.patience() / 2);
        worker.run(work).done();
    }
    assert_eq!(
        function.arena().quarantine().held_bytes(),
        held,
        "the other's success frees nothing"
    );
    let proof = function.reset(bench.patience()).unwrap();
    assert_eq!(function.arena().release_quarantined(&proof), held);
}

/// Has a second job only when the first is done, and says so to nobody.
struct OneAtATime {
    queue: Queue,
    busy: Arc<AtomicBool>,
}

struct OneOfThem {
    job: TestJob,
    busy: Arc<AtomicBool>,
}

impl JobSource for OneAtATime {
    type Job = OneOfThem;

    fn next(&mut self) -> Option<OneOfThem> {
        if self.busy.load(Ordering::SeqCst) {
            return None;
        }
        let job = self.queue.next()?;
        self.busy.store(true, Ordering::SeqCst);
        Some(OneOfThem {
            job,
            busy: Arc::clone(&self.busy),
        })
    }
}

impl Job for OneOfThem {
    fn request(&self) -> Request<'_> {
        self.job.request()
    }

    fn complete(self, outcome: Outcome) {
        self.busy.store(false, Ordering::SeqCst);
        self.job.complete(outcome);
    }
}

/// Runs the works one at a time, on a worker that nobody wakes.
fn one_at_a_time(
    bench: &Bench,
    function: &Function,
    config: WorkerConfig,
    works: &[Work],
) -> Vec<Outcome> {
    let (queue, outcomes) = queue_of(works);
    let source = OneAtATime {
        queue,
        busy: Arc::default(),
    };
    let (_handle, _exit) = spawn(function, config, source);
    works
        .iter()
        .map(|_| match outcomes.recv_timeout(bench.patience()) {
            Ok(outcome) => outcome,
            Err(_) => panic!("a job has no outcome within {:?}", bench.patience()),
        })
        .collect()
}
