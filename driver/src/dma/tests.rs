//! Whatever the order of buffers had, given back, quarantined and freed: no context sees another's bytes in one.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::pages::CLASSES_PAGES;
use super::{Arena, DmaBuffer, FenceProof, Incarnation, PAGE_BYTES, PageSize, ResetEvidence};

/// Contexts that take turns.
const CONTEXTS: u32 = 4;
/// Lives of functions, two at a time, that buffers are held against.
const LIVES: usize = 2;
/// Room for the largest class and a few others, so that runs meet each other's pages in every way.
const ARENA_BYTES: usize = 1400 * PAGE_BYTES;

#[derive(Clone, Debug)]
enum Step {
    /// A buffer of a class, a byte less or more than it holds, for a context.
    Take {
        class: usize,
        shift: i8,
        context: u32,
    },
    /// One of those that are had goes back.
    Drop(usize),
    /// A function fails under it. Its job goes on in another buffer of its context, for the other function.
    Replay { which: usize, life: usize },
    /// The card writes into what is held, late.
    WriteLate,
    /// A life ends behind a fence.
    Fence(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = prop_oneof![
        8 => 0usize..6,
        2 => 6usize..CLASSES_PAGES.len(),
    ];
    let step = prop_oneof![
        6 => (class, -1i8..=1, 0..CONTEXTS).prop_map(|(class, shift, context)| Step::Take { class, shift, context }),
        4 => any::<usize>().prop_map(Step::Drop),
        2 => (any::<usize>(), 0..LIVES).prop_map(|(which, life)| Step::Replay { which, life }),
        1 => Just(Step::WriteLate),
        1 => (0..LIVES).prop_map(Step::Fence),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What context fills its buffers with: never zero.
fn mark(context: u32) -> u8 {
    0xA0 + u8::try_from(context).unwrap()
}

fn bytes_of(class: usize, shift: i8) -> usize {
    let bytes = CLASSES_PAGES.get(class).unwrap() * PAGE_BYTES;
    bytes.checked_add_signed(isize::from(shift)).unwrap().max(1)
}

struct Game {
    arena: Arc<Arena>,
    had: Vec<(u32, DmaBuffer)>,
    lives: [Incarnation; LIVES],
    /// Where what is held lies in the arena's file, and whose it was.
    held: Vec<(usize, u64, usize, u32)>,
}

impl Game {
    fn on(arena: Arc<Arena>) -> Self {
        Self {
            arena,
            had: Vec::new(),
            lives: [(); LIVES].map(|()| Incarnation::begin(None)),
            held: Vec::new(),
        }
    }

    /// A buffer, looked through from its first byte to its last, and filled. An error says whose bytes were in it.
    fn take(&mut self, bytes: usize, context: u32) -> Result<(), String> {
        let Some(buffer) = self.arena.alloc(bytes, context) else {
            return Ok(());
        };
        let mut seen = vec![0xFF; buffer.len()];
        buffer.read_into(0, &mut seen).unwrap();
        let own = mark(context);
        if let Some(at) = seen.iter().position(|byte| *byte != 0 && *byte != own) {
            return Err(format!(
                "context {context} sees {:#x} at byte {at} of {}",
                seen.get(at).unwrap(),
                buffer.len()
            ));
        }
        buffer.write_at(0, &vec![own; seen.len()]).unwrap();
        self.had.push((context, buffer));
        Ok(())
    }

    fn play(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Take {
                class,
                shift,
                context,
            } => self.take(bytes_of(*class, *shift), *context),
            Step::Drop(which) if !self.had.is_empty() => {
                self.had.swap_remove(which % self.had.len());
                Ok(())
            }
            Step::Replay { which, life } if !self.had.is_empty() => {
                let (context, buffer) = self.had.swap_remove(which % self.had.len());
                let at = buffer.iova().0 - self.arena.iova().0;
                let bytes = buffer.len();
                buffer.quarantine(*self.lives.get(*life).unwrap());
                self.held.push((*life, at, bytes, context));
                self.take(bytes, context)
            }
            Step::Drop(_) | Step::Replay { .. } => Ok(()),
            Step::WriteLate => {
                for (_, at, bytes, context) in &self.held {
                    let data = vec![mark(*context); *bytes];
                    let wrote = rustix::io::pwrite(self.arena.memory().as_fd(), &data, *at);
                    assert_eq!(wrote, Ok(*bytes));
                }
                Ok(())
            }
            Step::Fence(life) => {
                let incarnation = self.lives.get_mut(*life).unwrap();
                let proof = FenceProof::from_reset(&ResetEvidence {
                    incarnation: *incarnation,
                    status: 0b0100,
                    dma_idle: true,
                    resetting: false,
                    epoch_before: 1,
                    epoch_after: 2,
                });
                *incarnation = Incarnation::begin(None);
                let freed = self.arena.release_quarantined(&proof.unwrap());
                let of_life = |held: &&(usize, u64, usize, u32)| held.0 == *life;
                let expected: usize = self.held.iter().filter(of_life).map(|held| held.2).sum();
                assert_eq!(freed, expected);
                self.held.retain(|held| held.0 != *life);
                Ok(())
            }
        }
    }
}

fn arena() -> Arc<Arena> {
    // Not on huge pages: the late writes are system calls.
    Arena::on_pages(ARENA_BYTES, PageSize::Base).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_buffers_shows_a_context_anothers_bytes(steps in steps()) {
        let mut game = Game::on(arena());
        for step in &steps {
            if let Err(seen) = game.play(step) {
                return Err(TestCaseError::fail(seen));
            }
        }
        // At the end each context in turn has all of the memory, in every class.
        game.had.clear();
        for life in 0..LIVES {
            game.play(&Step::Fence(life)).unwrap();
        }
        for class in 0..CLASSES_PAGES.len() {
            let context = u32::try_from(class).unwrap() % CONTEXTS;
            while game.had.len() < 64 {
                let before = game.had.len();
                if let Err(seen) = game.take(bytes_of(class, 0), context) {
                    return Err(TestCaseError::fail(seen));
                }
                if game.had.len() == before {
                    break;
                }
            }
            game.had.clear();
        }
    }
}

/// The same look at an arena that does not scrub, in each class, after a fence and after a replay: it must see.
#[test]
fn without_scrubbing_the_same_look_sees_anothers_bytes() {
    for class in 0..CLASSES_PAGES.len() {
        let take = |context| Step::Take {
            class,
            shift: 0,
            context,
        };
        let given_back = vec![take(1), Step::Drop(0), take(2)];
        let fenced = vec![
            take(1),
            Step::Replay { which: 0, life: 0 },
            Step::WriteLate,
            Step::Drop(0),
            Step::Fence(0),
            take(2),
        ];
        for (steps, what) in [(given_back, "given back"), (fenced, "fenced")] {
            for unscrubbed in [false, true] {
                let arena = arena();
                arena.unscrubbed.store(unscrubbed, Ordering::Relaxed);
                let mut game = Game::on(arena);
                let seen = steps.iter().try_for_each(|step| game.play(step));
                assert_eq!(seen.is_err(), unscrubbed, "class {class}, {what}: {seen:?}");
            }
        }
    }
}
