//! Which pages of the arena are free, and for whom the others last held data.
//!
//! Owns a bitmap and a context a page. Invariant: runs handed out never overlap, and
//! each is a whole [`class`](CLASSES_PAGES) long.
//! It deliberately does not know memory: pages are numbers here.
//!
//! Why classes: lengths of every kind would cut the arena into holes that fit nothing.
//! With few lengths, small runs taken from the bottom and large ones from the top, a
//! freed run fits the next job of its kind.

/// Lengths of runs, pages: a job of 4 KiB, 16 KiB .. 4 MiB, each above 32 KiB with room for framing and expansion.
pub(super) const CLASSES_PAGES: [usize; 10] = [1, 4, 8, 17, 34, 66, 130, 260, 516, 1028];
/// Runs from this class's length on are taken from the top.
const LARGE_PAGES: usize = 17;

/// The scrub domain that last had a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageOwner {
    /// Nobody since the memory was new: it is zero.
    Fresh,
    /// This context.
    Context(u32),
}

/// A run of pages, out of the pool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageRun {
    pub(super) first: usize,
    pub(super) count: usize,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pages {
    taken: Box<[bool]>,
    owners: Box<[PageOwner]>,
    free: usize,
}

impl Pages {
    pub(super) fn new(count: usize) -> Self {
        Self {
            taken: vec![false; count].into_boxed_slice(),
            owners: vec![PageOwner::Fresh; count].into_boxed_slice(),
            free: count,
        }
    }

    /// Pages of the smallest class that holds `pages`.
    pub(super) fn class(pages: usize) -> Option<usize> {
        CLASSES_PAGES.into_iter().find(|class| *class >= pages)
    }

    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// A run for `pages` pages, or `None` if no class is that long or no free run is.
    pub(super) fn take(&mut self, pages: usize) -> Option<PageRun> {
        let count = Self::class(pages)?;
        if count > self.free {
            return None;
        }
        let first = match count >= LARGE_PAGES {
            true => self.last_fit(count)?,
            false => self.first_fit(count)?,
        };
        self.taken.get_mut(first..first + count)?.fill(true);
        self.free -= count;
        Some(PageRun { first, count })
    }

    /// Marks the run's pages as `context`'s and calls `scrub(page)` for each that another context had.
    pub(super) fn claim(&mut self, run: &PageRun, context: u32, mut scrub: impl FnMut(usize)) {
        let owners = self.owners.iter_mut().enumerate();
        for (page, owner) in owners.skip(run.first).take(run.count) {
            if !matches!(*owner, PageOwner::Fresh) && *owner != PageOwner::Context(context) {
                scrub(page);
            }
            *owner = PageOwner::Context(context);
        }
    }

    /// Takes a run back.
    pub(super) fn give_back(&mut self, run: &PageRun) {
        if let Some(pages) = self.taken.get_mut(run.first..run.first + run.count) {
            pages.fill(false);
            self.free += run.count;
        }
    }

    fn first_fit(&self, count: usize) -> Option<usize> {
        let mut run = 0;
        for (page, taken) in self.taken.iter().enumerate() {
            run = if *taken { 0 } else { run + 1 };
            if run == count {
                return Some(page + 1 - count);
            }
        }
        None
    }

    fn last_fit(&self, count: usize) -> Option<usize> {
        let mut run = 0;
        for (page, taken) in self.taken.iter().enumerate().rev() {
            run = if *taken { 0 } else { run + 1 };
            if run == count {
                return Some(page);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_runs_come_from_the_bottom_large_ones_from_the_top() {
        let mut pages = Pages::new(100);
        assert_eq!(pages.take(1), Some(PageRun { first: 0, count: 1 }));
        assert_eq!(
            pages.take(30),
            Some(PageRun {
                first: 66,
                count: 34
            })
        );
        assert_eq!(pages.take(3), Some(PageRun { first: 1, count: 4 }));
        assert_eq!(pages.take(2000), None, "no class is that long");
        assert_eq!(pages.free(), 100 - 39);
    }

    #[test]
    fn a_page_is_scrubbed_only_on_its_way_to_another_context() {
        let mut pages = Pages::new(4);
        let run = pages.take(4).unwrap();
        let mut scrubbed = Vec::new();
        pages.claim(&run, 7, |page| scrubbed.push(page));
        assert!(scrubbed.is_empty(), "fresh pages are zero");
        pages.claim(&run, 7, |page| scrubbed.push(page));
        assert!(scrubbed.is_empty(), "the same context");
        pages.claim(&run, 8, |page| scrubbed.push(page));
        assert_eq!(scrubbed, [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn runs_never_overlap_and_all_pages_come_back(
            steps in proptest::collection::vec((any::<bool>(), 1usize..300, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut pages = Pages::new(1024);
            let mut held: Vec<PageRun> = Vec::new();
            for (take, want, which) in steps {
                if take || held.is_empty() {
                    let Some(run) = pages.take(want) else { continue };
                    prop_assert!(run.count >= want);
                    prop_assert!(run.first + run.count <= 1024);
                    for other in &held {
                        prop_assert!(run.first >= other.first + other.count || other.first >= run.first + run.count);
                    }
                    held.push(run);
                } else {
                    let run = held.swap_remove(which.index(held.len()));
                    pages.give_back(&run);
                }
            }
            let out: usize = held.iter().map(|run| run.count).sum();
            prop_assert_eq!(pages.free(), 1024 - out);
            for run in held.drain(..) {
                pages.give_back(&run);
            }
            prop_assert_eq!(pages.free(), 1024);
        }
    }
}
