//! Two decoders of the same data, compared as both get on.
//!
//! Invariant: of two streams of bytes, however far one is ahead of the other, equal stretches cancel out and the
//! first byte that differs is found.

/// What one of two decoders has made and the other has not yet.
#[derive(Default)]
pub(crate) struct Lockstep {
    ahead: std::collections::VecDeque<u8>,
}

/// The two decoders do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disagreement;

impl Lockstep {
    /// Appends what the leading decoder made.
    pub(crate) fn lead(&mut self, made: &[u8]) {
        let wanted = self.ahead.len() + made.len();
        if wanted > self.ahead.capacity() {
            // By a quarter: the lead settles at a window, and doubling would keep up to two.
            self.ahead.reserve_exact(made.len() + wanted / 4);
        }
        self.ahead.extend(made);
    }

    /// Compares what the following decoder made with what the leading one had made at that place.
    pub(crate) fn follow(&mut self, made: &[u8]) -> Result<(), Disagreement> {
        let (first, second) = self.ahead.as_slices();
        let (low, high) = made.split_at_checked(first.len()).unwrap_or((made, &[]));
        let agree = first.get(..low.len()) == Some(low) && second.get(..high.len()) == Some(high);
        if !agree {
            return Err(Disagreement);
        }
        self.ahead.drain(..made.len());
        Ok(())
    }

    /// By how many bytes the leading decoder is ahead.
    pub(crate) fn len(&self) -> usize {
        self.ahead.len()
    }

    pub(crate) fn clear(&mut self) {
        self.ahead.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_cancel_and_a_difference_is_found() {
        let data: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        for lead in [1, 7, 1_000] {
            for follow in [1, 3, 900] {
                let mut lockstep = Lockstep::default();
                let mut followed = 0;
                for made in data.chunks(lead) {
                    lockstep.lead(made);
                    while lockstep.len() >= follow {
                        let piece = &data[followed..followed + follow];
                        assert_eq!(lockstep.follow(piece), Ok(()));
                        followed += follow;
                    }
                }
                if lockstep.len() > 0 {
                    let mut last = data[followed..].to_vec();
                    last[0] ^= 1;
                    assert_eq!(lockstep.follow(&last), Err(Disagreement));
                    last[0] ^= 1;
                    assert_eq!(lockstep.follow(&last), Ok(()));
                }
                assert_eq!(
                    lockstep.follow(b"x"),
                    Err(Disagreement),
                    "more than was led"
                );
            }
        }
    }
}
