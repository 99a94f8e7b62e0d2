//! What each fault of a plan does, seen from the host: each has a test that shows its effect where it is on, and its
//! absence where it is not.

use std::time::{Duration, Instant};

use faam_hwif::regs::{CardRegister, capabilities};
use faam_hwif::{CommandId, CompletionEntry, Flags, Status, SubmissionEntry};
use faam_sim::{Fault, FaultPlan};

use crate::client::{BAR0, CONFIG, Client};
use crate::fault_socket::{Tester, with_faults};
use crate::host::{
    ARENA, AUX, Bench, DST, Host, Ring, SRC, compress, eventually, interrupts_now, nop, status,
    text,
};

/// Bytes of a job's input.
const BYTES: u32 = 20_000;
/// Room for its output.
const ROOM: u32 = 1 << 20;
/// What a fault of time is asked for, milliseconds, and what a job needs at least then.
const MS: u64 = 60;
/// The same where something has to be seen meanwhile, which a busy machine may not let anybody do at once.
const SEEN_MS: u64 = 600;
/// STATUS.resetting.
const RESETTING: u32 = 1 << 3;

/// A card with faults, its tester, and a host with a queue.
struct Scene {
    bench: Bench,
    tester: Tester,
    host: Host,
    ring: Ring,
}

impl Scene {
    fn new() -> Self {
        let bench = with_faults();
        let tester = Tester::of(&bench);
        let mut host = bench.host(0);
        let ring = host.create(1, 4, false, Some(1));
        host.arena.write(SRC, &text(BYTES as usize));
        Self {
            bench,
            tester,
            host,
            ring,
        }
    }

    fn say(&mut self, command: &str) {
        assert_eq!(
            self.tester.ask(&format!("1 {command}\n")),
            "1 ok",
            "{command}"
        );
    }

    fn struck(&mut self, fault: Fault) -> u64 {
        let answer = self.tester.ask("1 struck\n");
        let mut words = answer.split(' ');
        let times = words.find_map(|word| word.strip_prefix(&format!("{}=", fault.name())));
        times.map_or(0, |times| times.parse().unwrap())
    }

    fn job(&mut self, id: u16) -> CompletionEntry {
        self.host.run(&mut self.ring, &compress(id, BYTES, ROOM))
    }

    fn submit(&mut self, entry: &SubmissionEntry) {
        self.ring
            .submit(&self.host.arena, &mut self.host.client, entry);
    }

    /// The next completion as it lies there, whatever it is, once its phase is due.
    fn next_raw(&mut self) -> [u8; 32] {
        let slot = u64::from(self.ring.entries.slot(self.ring.head));
        let at = self.ring.cq + slot * 32;
        let due = self.ring.entries.phase(self.ring.head);
        let arena = &self.host.arena;
        eventually(|| CompletionEntry::phase_of_word(arena.read32(at + 0x1C)) == due);
        let bytes = arena.read(at, 32).try_into().unwrap();
        self.ring.head = self.ring.head.wrapping_add(1);
        bytes
    }

    /// A job is done as if there had never been a fault.
    fn is_sound(&mut self) {
        let done = self.job(9);
        assert_eq!((status(&done), done.cid), (Status::Success, 9));
        let data = text(BYTES as usize);
        assert_eq!(done.crc32, crc32fast::hash(&data));
        let out = self.host.arena.read(DST, done.out_len as usize);
        let mut decoder = flate2::read::GzDecoder::new(&out[..]);
        let mut back = Vec::new();
        std::io::Read::read_to_end(&mut decoder, &mut back).unwrap();
        assert_eq!(back, data);
    }

    fn again(&mut self) {
        self.host.reset_register();
        self.host.enable();
        self.ring = self.host.create(1, 4, false, Some(1));
    }
}

/// Shows a fault's effect, and leaves a queue that works.
type Effect = fn(&mut Scene);

/// The effect of each fault; the job that it strikes is the first unless it says otherwise.
const EFFECTS: &[(Fault, Effect)] = &[
    (Fault::EngineHangs, |scene| {
        scene.say("fault engine-hangs,times=1");
        scene.submit(&compress(1, BYTES, ROOM));
        let done = scene.host.run(&mut scene.ring, &nop(2));
        assert_eq!(done.cid, 2, "the job before it hangs");
        // The other needed no engine: one may be yet to take the job.
        let until = Instant::now() + Duration::from_secs(20);
        while scene.struck(Fault::EngineHangs) == 0 {
            assert!(Instant::now() < until, "no engine took the job");
            std::thread::yield_now();
        }
        assert_eq!(scene.ring.peek(&scene.host.arena), None);
        scene.again();
    }),
    (Fault::LateCompletion, |scene| {
        scene.say(&format!("fault late-completion,times=1,ms={MS}"));
        let begin = Instant::now();
        assert_eq!(status(&scene.job(1)), Status::Success);
        assert!(begin.elapsed() >= Duration::from_millis(MS));
    }),
    (Fault::OutOfOrder, |scene| {
        scene.say("fault out-of-order,times=1");
        // Both are in the ring before the card hears of either, and the first is not done before the second is fetched.
        scene.say(&format!("fault late-completion,times=1,ms={SEEN_MS}"));
        scene
            .ring
            .push(&scene.host.arena, &compress(1, BYTES, ROOM));
        scene.submit(&compress(2, BYTES, ROOM));
        let order = [0, 1].map(|_| scene.ring.next(&scene.host.arena).cid);
        assert_eq!(order, [2, 1]);
        scene.ring.retire(&scene.host.arena, &mut scene.host.client);
        scene.say("fault out-of-order");
        assert_eq!(scene.job(3).cid, 3, "nothing to be overtaken by");
    }),
    (Fault::StaleGeneration, |scene| {
        scene.say("fault stale-generation,times=1");
        let id = CommandId::new(5, 3);
        let done = scene.job(id.0);
        assert_eq!(done.command_id(), CommandId::new(5, 2));
    }),
    (Fault::UnknownCommand, |scene| {
        scene.say("fault unknown-command,times=1");
        let slot = scene.job(1).command_id().slot();
        assert!(u32::from(slot) >= scene.ring.entries.count());
    }),
    (Fault::ShortLength, |scene| {
        let whole = scene.job(1).out_len;
        scene.say("fault short-length,times=1");
        assert_eq!(scene.job(2).out_len, whole - 1);
    }),
    (Fault::LengthBeyondRoom, |scene| {
        scene.say("fault length-beyond-room,times=1");
        assert_eq!(scene.job(1).out_len, ROOM + 1);
    }),
    (Fault::TornCompletion, |scene| {
        scene.say(&format!("fault torn-completion,times=1,ms={SEEN_MS}"));
        let slot = scene.ring.cq;
        scene.submit(&compress(7, BYTES, ROOM));
        let torn = scene.next_raw();
        let word = u32::from_le_bytes(torn[28..].try_into().unwrap());
        assert_eq!(word & 0xFFFF, 7, "the phase word is whole");
        assert_eq!(torn[..28], [0; 28], "nothing else is there yet");
        let (arena, epoch) = (&scene.host.arena, scene.ring.epoch);
        eventually(|| {
            let bytes = arena.read(slot, 32).try_into().unwrap();
            CompletionEntry::from_bytes(&bytes).is_intact(epoch)
        });
        scene.ring.retire(&scene.host.arena, &mut scene.host.client);
    }),
    (Fault::RandomCompletion, |scene| {
        scene.say("seed 7");
        scene.say("fault random-completion,times=2");
        scene.submit(&compress(1, BYTES, ROOM));
        scene.submit(&compress(2, BYTES, ROOM));
        let random = [scene.next_raw(), scene.next_raw()];
        assert_ne!(random[0], random[1]);
        for bytes in random {
            let entry = CompletionEntry::from_bytes(&bytes);
            assert!(!entry.is_intact(scene.ring.epoch), "{entry:?}");
        }
        scene.again();
        // The same again from the same seed.
        scene.say("seed 7");
        scene.say("fault random-completion,times=1");
        scene.submit(&compress(1, BYTES, ROOM));
        assert_eq!(scene.next_raw(), random[0]);
        scene.ring.retire(&scene.host.arena, &mut scene.host.client);
    }),
    (Fault::LosesDoorbells, |scene| {
        scene.say("fault loses-doorbells");
        scene.submit(&nop(1));
        // A read comes after the write before it.
        let beat = scene.host.register(CardRegister::ControlHeartbeat);
        eventually(|| scene.host.register(CardRegister::ControlHeartbeat) != beat);
        assert_eq!(scene.ring.peek(&scene.host.arena), None);
        scene.say("clear");
        scene.ring.kick(&mut scene.host.client);
        assert_eq!(scene.ring.next(&scene.host.arena).cid, 1);
        scene.ring.retire(&scene.host.arena, &mut scene.host.client);
        // A job that turns it on is the last that is heard; a reset ends it.
        scene.say("fault loses-doorbells,times=1");
        scene.job(2);
        scene.submit(&nop(3));
        let lost = scene.host.register(CardRegister::ControlStatus);
        assert_eq!(
            (lost, scene.struck(Fault::LosesDoorbells)),
            (1, 3),
            "the tail's and the head's"
        );
        scene.again();
    }),
    (Fault::InterruptStorm, |scene| {
        let fd = scene.host.listen(1);
        scene.say("fault interrupt-storm");
        let mut came = 0;
        eventually(|| {
            came += interrupts_now(&fd);
            came > 1000
        });
        scene.say("clear");
        // One turn of the card may be under way; after the next beat it is not.
        let beat = scene.host.register(CardRegister::ControlHeartbeat);
        eventually(|| scene.host.register(CardRegister::ControlHeartbeat) != beat);
        interrupts_now(&fd);
        let beat = scene.host.register(CardRegister::ControlHeartbeat);
        eventually(|| scene.host.register(CardRegister::ControlHeartbeat) != beat);
        assert_eq!(interrupts_now(&fd), 0);
    }),
    (Fault::DmaFaults, |scene| {
        scene.say("fault dma-faults,times=1");
        assert_eq!(status(&scene.job(1)), Status::DmaReadFault);
        assert_ne!(scene.host.register(CardRegister::ErrorFirst), 0);
    }),
    (Fault::SlowEngine, |scene| {
        let plain = scene.job(1).cycles;
        scene.say("fault slow-engine,times=1,factor=100");
        let begin = Instant::now();
        let slow = scene.job(2).cycles;
        let took = begin.elapsed();
        assert_eq!(slow, plain * 100);
        // A hundred times whatever it took here is more than this.
        assert!(took >= Duration::from_micros(500), "{took:?}");
    }),
    (Fault::ResetSticks, |scene| {
        scene.say("fault reset-sticks");
        scene.host.reset_register();
        let status = scene.host.register(CardRegister::ControlStatus);
        assert_eq!(status & (RESETTING | 0b101), RESETTING, "{status:#b}");
        scene.say("clear");
        assert_eq!(scene.host.register(CardRegister::ControlStatus), 0b100);
        scene.host.enable();
        scene.ring = scene.host.create(1, 4, false, Some(1));
    }),
    (Fault::SurpriseRemoval, |scene| {
        let epoch = scene.host.register(CardRegister::ControlResetEpoch);
        scene.say("fault surprise-removal,function=0,ms=60000");
        assert!(scene.host.client.is_closed());
        let path = scene.bench.card.socket(0).unwrap().to_owned();
        let mut early = Client::connect(&path);
        assert!(early.is_closed(), "none is let in");
        scene.say("clear");
        scene.host = scene.bench.host(0);
        assert_ne!(scene.host.register(CardRegister::ControlResetEpoch), epoch);
        scene.host.arena.write(SRC, &text(BYTES as usize));
        scene.ring = scene.host.create(1, 4, false, Some(1));
    }),
    (Fault::ResetsItself, |scene| {
        let epoch = scene.host.register(CardRegister::ControlResetEpoch);
        scene.say("fault resets-itself,times=1");
        scene.submit(&compress(1, BYTES, ROOM));
        eventually(|| scene.host.register(CardRegister::ControlResetEpoch) != epoch);
        eventually(|| scene.host.register(CardRegister::ControlStatus) == 0b100);
        assert_eq!(scene.ring.peek(&scene.host.arena), None);
        // Configuration is the host's, and stays.
        let command = scene.host.client.read(CONFIG, 4, 2).unwrap();
        assert_eq!(command, [6, 0]);
        scene.host.enable();
        scene.ring = scene.host.create(1, 4, false, Some(1));
    }),
    (Fault::MissesTable, |scene| {
        let entry = SubmissionEntry {
            flags: Flags::FINAL.with(Flags::TABLE).0,
            table_mode: 1,
            level: 2,
            aux: ARENA + AUX,
            aux_len: 1024,
            ..compress(1, BYTES, ROOM)
        };
        scene.host.arena.write(AUX, &crate::jobs::table_block());
        let done = scene.host.run(&mut scene.ring, &entry);
        assert_eq!(status(&done), Status::Success);
        scene.say("fault misses-table");
        let done = scene.host.run(&mut scene.ring, &entry);
        assert_eq!(status(&done), Status::TableMiss);
        assert_eq!(status(&scene.job(2)), Status::Success, "it has no table");
    }),
    (Fault::LiesAboutHead, |scene| {
        let head = scene.job(1).sq_head;
        assert_eq!(head, 1);
        scene.say("fault lies-about-head,times=1");
        assert_eq!(scene.job(2).sq_head, 2u16.wrapping_sub(8));
    }),
    (Fault::LiesAboutDepth, |scene| {
        let queues = scene.host.register(CardRegister::CapabilitiesQueues);
        let engines = scene.host.register(CardRegister::CapabilitiesEngines);
        scene.say("fault lies-about-depth");
        let said = scene.host.register(CardRegister::CapabilitiesQueues);
        let log2 = |bits| capabilities::Queues(bits).entries_log2_max();
        assert_eq!(log2(said), log2(queues) + 3);
        let said = scene.host.register(CardRegister::CapabilitiesEngines);
        let each = |bits| capabilities::Engines(bits).jobs_each_max();
        assert_eq!(each(said), each(engines) * 8);
    }),
];

#[test]
fn each_fault_strikes_and_is_gone_when_it_is_cleared() {
    for (fault, effect) in EFFECTS {
        println!("{}", fault.name());
        let mut scene = Scene::new();
        assert_eq!(scene.struck(*fault), 0);
        effect(&mut scene);
        assert!(scene.struck(*fault) > 0, "{}", fault.name());
        scene.say("clear");
        assert_eq!(scene.tester.ask("1 rules\n"), "1 ok");
        scene.is_sound();
    }
}

#[test]
fn the_table_has_every_fault_that_a_plan_brought() {
    let at = |fault| Fault::ALL.iter().position(|other| *other == fault).unwrap();
    for fault in &Fault::ALL[at(Fault::EngineHangs)..=at(Fault::LiesAboutDepth)] {
        // It needs a process of its own: `process` has it.
        let elsewhere = *fault == Fault::Stops;
        let here = EFFECTS.iter().any(|(of, _)| of == fault);
        assert!(here || elsewhere, "{} has no test", fault.name());
    }
}

#[test]
fn a_plan_that_a_card_starts_with_strikes_the_same_jobs_each_time() {
    let plan = "seed = 7\n[[fault]]\nname = \"stale-generation\"\nchance = 0.3\n";
    let strikes = |plan: &str| -> Vec<bool> {
        let plan = FaultPlan::from_toml(plan).unwrap();
        let bench = Bench::with(|options| {
            options.allow_faults = true;
            options.faults = plan;
        });
        let mut host = bench.host(0);
        let mut ring = host.create(1, 4, true, None);
        host.arena.write(SRC, &text(100));
        let id = CommandId::new(5, 3);
        let jobs = (0..40).map(|_| host.run(&mut ring, &compress(id.0, 100, 1000)).cid != id.0);
        jobs.collect()
    };
    let first = strikes(plan);
    assert_eq!(strikes(plan), first);
    let struck = first.iter().filter(|struck| **struck).count();
    assert!((1..40).contains(&struck), "{first:?}");
    assert_ne!(strikes(&plan.replace('7', "8")), first);
}

#[test]
fn with_several_engines_each_strike_belongs_to_its_job() {
    let bench = Bench::with(|options| {
        options.allow_faults = true;
        options.engines = 4;
    });
    let mut tester = Tester::of(&bench);
    assert_eq!(tester.ask("1 fault stale-generation,times=7\n"), "1 ok");
    let mut host = bench.host(0);
    let mut ring = host.create(1, 6, true, None);
    host.arena.write(SRC, &text(1000));
    let ids: Vec<CommandId> = (0..40).map(|slot| CommandId::new(slot, 9)).collect();
    for id in &ids {
        ring.submit(&host.arena, &mut host.client, &compress(id.0, 1000, 4096));
    }
    let mut done: Vec<CommandId> = ids
        .iter()
        .map(|_| ring.next(&host.arena).command_id())
        .collect();
    done.sort_by_key(|id| id.slot());
    let slots: Vec<u16> = done.iter().map(|id| id.slot()).collect();
    assert_eq!(slots, (0..40).collect::<Vec<u16>>());
    let stale = done.iter().filter(|id| id.generation() == 8).count();
    assert_eq!(stale, 7);
    assert_eq!(tester.ask("1 struck\n"), "1 ok stale-generation=7");
}

#[test]
fn a_rule_for_one_function_leaves_the_other_alone() {
    let mut scene = Scene::new();
    scene.say("fault gone,function=1");
    let mut other = Client::open(scene.bench.card.socket(1).unwrap());
    other.command(6);
    let status = CardRegister::ControlStatus.offset();
    assert_eq!(other.read32(BAR0, status), u32::MAX);
    scene.is_sound();
    assert_eq!(scene.tester.ask("1 rules\n"), "1 ok gone,function=1");
}
