//! A decoder of LZ4 blocks (lz4_Block_format.md of the LZ4 project), plain and slow: the second opinion on frames that
//! bring no checksum of their own.
//!
//! Invariant: any bytes give data or `None`, and never more data than the limit.

/// Shortest match.
const MATCH_BYTES_MIN: usize = 4;

/// Decodes `block`, whose matches may reach back into `history`; `None` if it is no LZ4 block or has more than
/// `data_bytes_max` bytes of data.
pub(crate) fn decode(
    block: &[u8],
    history: &[u8],
    data_bytes_max: usize,
    data: &mut Vec<u8>,
) -> Option<()> {
    data.clear();
    // All that it may become, at once: growing by doubling would take up to twice that.
    data.reserve_exact(data_bytes_max);
    let mut rest = block;
    loop {
        let (&token, after) = rest.split_first()?;
        rest = after;
        let literals = length(usize::from(token >> 4), &mut rest)?;
        let (run, after) = rest.split_at_checked(literals)?;
        if data.len() + literals > data_bytes_max {
            return None;
        }
        data.extend_from_slice(run);
        rest = after;
        // The last sequence has no match: what its token says of one does not count.
        if rest.is_empty() {
            return Some(());
        }
        let (offset, after) = rest.split_first_chunk::<2>()?;
        rest = after;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let matched = length(usize::from(token & 0x0f), &mut rest)?.checked_add(MATCH_BYTES_MIN)?;
        if offset == 0 || matched > data_bytes_max.saturating_sub(data.len()) {
            return None;
        }
        for _ in 0..matched {
            let byte = match data.len().checked_sub(offset) {
                Some(at) => *data.get(at)?,
                None => *history.get((history.len() + data.len()).checked_sub(offset)?)?,
            };
            data.push(byte);
        }
    }
}

/// A length whose first four bits were in the token: 15 means that bytes follow, up to the first that is not 255.
fn length(first: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut length = first;
    if first == 15 {
        loop {
            let (&byte, after) = rest.split_first()?;
            *rest = after;
            length = length.checked_add(usize::from(byte))?;
            if byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compressible() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(("[a-d]{1,20}", 1usize..40), 0..60).prop_map(|runs| {
            runs.into_iter()
                .flat_map(|(word, times)| word.repeat(times).into_bytes())
                .collect()
        })
    }

    proptest! {
        #[test]
        fn decodes_what_others_compress(data in compressible(), history in compressible()) {
            let block = lz4_flex::block::compress_with_dict(&data, &history);
            let mut back = Vec::new();
            prop_assert_eq!(decode(&block, &history, data.len(), &mut back), Some(()));
            prop_assert_eq!(&back, &data);
            if !data.is_empty() {
                prop_assert_eq!(decode(&block, &history, data.len() - 1, &mut back), None);
            }
        }

        #[test]
        fn any_bytes_end_within_the_limit(
            block in prop::collection::vec(any::<u8>(), 0..200), history in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut data = Vec::new();
            let ours = decode(&block, &history, 1_000, &mut data);
            prop_assert!(data.len() <= 1_000);
            // What lz4_flex accepts and we do too is the same.
            let mut theirs = vec![0; 1_000];
            let len = lz4_flex::block::decompress_into_with_dict(&block, &mut theirs, &history);
            if let (Some(()), Ok(len)) = (ours, len) {
                prop_assert_eq!(&data[..], &theirs[..len]);
            }
        }
    }
}
