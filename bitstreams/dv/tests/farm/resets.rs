//! Resets in the midst of jobs: when the farm says that DMA is idle, memory is free.

use faam_dv::farm::Timing;
use faam_hwif::regs::CardRegister;

use crate::host::Host;
use crate::jobs::Job;
use crate::random;

/// Cycles for which memory is watched after a reset.
const WATCH_CYCLES: u32 = 20_000;

#[test]
fn after_a_reset_in_mid_load_no_memory_is_touched() {
    let (mut random, seed) = random("resets");
    let mut under_way = 0;
    let mut host = Host::new(Timing::rough(seed));
    for round in 0..60 {
        host.enable();
        let mut rings = [host.create(1, 4, Some(1)), host.create(2, 4, None)];
        let job = Job::random(&mut random, 40_000);
        job.place(&mut host);
        for ring in &mut rings {
            for _ in 0..3 {
                host.submit(ring, &job.entry);
            }
        }
        host.step(random.u32(..60_000));
        let finished = rings.each_ref().map(|ring| host.peek(ring).is_some());
        under_way += u32::from(finished != [true, true]);
        let epoch = host.register(CardRegister::ControlResetEpoch);
        match round % 3 {
            0 => host.reset(),
            1 => {
                host.farm.function_level_reset();
                host.until_idle();
            }
            // Not a reset: the end of all queues.
            _ => {
                host.set(CardRegister::ControlControl, 0);
                host.until_idle();
            }
        }
        host.memory.is_closed = true;
        host.step(WATCH_CYCLES);
        assert!(
            host.memory.breaches.is_empty(),
            "round {round}, memory was touched after DMA was idle: {:?}",
            host.memory.breaches
        );
        host.memory.is_closed = false;
        let status = host.status();
        assert!(!status.ready() && !status.fatal(), "{status:?}");
        assert_eq!(host.register(CardRegister::QueueControlQueueCount), 0);
        let changed = host.register(CardRegister::ControlResetEpoch) != epoch;
        assert_eq!(changed, round % 3 != 2, "RESET_EPOCH, round {round}");
        host.memory.log.clear();
        // A life later jobs are right.
        host.enable();
        let mut ring = host.create(3, 3, None);
        Job::random(&mut random, 2_000).check(&mut host, &mut ring);
        if round % 2 == 0 {
            host.reset();
        } else {
            host.set(CardRegister::ControlControl, 0);
            host.until_idle();
        }
    }
    assert!(
        under_way > 10,
        "{under_way} resets of 60 found jobs under way"
    );
}
