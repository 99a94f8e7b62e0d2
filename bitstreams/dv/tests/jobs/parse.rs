//! The parse of algorithm.md, sections 2 to 4, read once more, as plainly as it can be.
//!
//! The tests hold it to the model's histograms. It is slow, and tells what the model does not: where each token lies.

/// A token and the position at which it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) position: usize,
    pub(crate) token: Parsed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    Literal(u8),
    Match { length: usize, distance: usize },
}

/// What a parse depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) hash_bits: u32,
    pub(crate) ways: usize,
    pub(crate) lazy: bool,
}

/// The tokens of `stream` from position `history` on.
pub(crate) fn tokens(stream: &[u8], history: usize, sets: Sets) -> Vec<Placed> {
    let end = stream.len();
    let matches = longest_matches(stream, sets);
    let mut tokens = Vec::new();
    let literal = |position: usize| Placed {
        position,
        token: Parsed::Literal(stream[position]),
    };
    let mut p = history;
    while p < end {
        if p + 4 > end {
            tokens.extend((p..end).map(literal));
            break;
        }
        let Some((mut length, mut distance)) = matches[p] else {
            tokens.push(literal(p));
            p += 1;
            continue;
        };
        while sets.lazy && length < 32 && p + 5 <= end {
            let Some((later, later_distance)) = matches[p + 1] else {
                break;
            };
            if later <= length {
                break;
            }
            tokens.push(literal(p));
            p += 1;
            (length, distance) = (later, later_distance);
        }
        tokens.push(Placed {
            position: p,
            token: Parsed::Match { length, distance },
        });
        p += length;
    }
    tokens
}

/// M(p) of every position.
fn longest_matches(stream: &[u8], sets: Sets) -> Vec<Option<(usize, usize)>> {
    let end = stream.len();
    let mut table: Vec<Vec<u16>> = vec![Vec::new(); 1 << sets.hash_bits];
    (0..end)
        .map(|p| {
            let word = stream.get(p..p + 4)?;
            let value = u32::from_le_bytes(word.try_into().ok()?);
            let set =
                &mut table[(value.wrapping_mul(0x9e37_79b1) >> (32 - sets.hash_bits)) as usize];
            let mut best: Option<(usize, usize)> = None;
            let here = (p & 0xffff) as u16;
            for entry in set.iter() {
                let distance = usize::from(here.wrapping_sub(*entry));
                if distance == 0
                    || distance > 32744
                    || distance > p
                    || stream[p - distance..p - distance + 4] != *word
                {
                    continue;
                }
                let most = (end - p).min(258);
                let length = (0..most)
                    .take_while(|i| stream[p - distance + i] == stream[p + i])
                    .count();
                if best.is_none_or(|(longest, _)| length > longest) {
                    best = Some((length, distance));
                }
            }
            set.insert(0, here);
            set.truncate(sets.ways);
            best
        })
        .collect()
}
