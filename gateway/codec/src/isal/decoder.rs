//! ISA-L's decoder: it knows where in a stream it stands when the input ends.

use super::shim::DecompressorHandle;

/// Where decoding stopped. The shim's `enum stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At bytes that are not DEFLATE.
    Corrupt,
    /// After a block with BFINAL.
    Final,
    /// Between two blocks, at a byte boundary, with all input consumed.
    Boundary,
    /// At the input's end, within a block or in the bits before one.
    Input,
    /// The output is full, and more is to come.
    Output,
}

/// What a decoding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoding {
    pub(crate) stop: Stop,
    /// Bytes of the input up to there.
    pub(crate) consumed: usize,
    /// Bytes written to the output.
    pub(crate) produced: usize,
}

/// The decoder of one worker.
pub(crate) struct IsalDecoder {
    handle: DecompressorHandle,
}

impl IsalDecoder {
    /// A decoder, if ISA-L is installed where this runs.
    pub(crate) fn new() -> Option<Self> {
        DecompressorHandle::new().map(|handle| Self { handle })
    }

    /// Decodes raw DEFLATE from the first byte of `input` on; `last` says that a block with BFINAL is expected. `None`
    /// if the input is too long for ISA-L (4 GiB).
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        last: bool,
    ) -> Option<Decoding> {
        let decoded = self.handle.decompress(input, output, last)?;
        let stop = match decoded.stop {
            1 => Stop::Final,
            2 => Stop::Boundary,
            3 => Stop::Input,
            4 => Stop::Output,
            _ => Stop::Corrupt,
        };
        Some(Decoding {
            stop,
            consumed: decoded.consumed.min(input.len()),
            produced: decoded.produced.min(output.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed block with the literals "ab", as RFC 1951, 3.2.6 codes them, with and without BFINAL.
    const FINAL_AB: [u8; 4] = [0x4b, 0x4c, 0x02, 0x00];
    const AB: [u8; 4] = [0x4a, 0x4c, 0x02, 0x00];
    const EMPTY_STORED: [u8; 5] = [0, 0, 0, 0xff, 0xff];

    fn stop(input: &[u8], last: bool) -> Option<(Stop, usize, usize)> {
        let mut decoder = IsalDecoder::new()?;
        let decoding = decoder.decode(input, &mut [0; 10], last)?;
        Some((decoding.stop, decoding.consumed, decoding.produced))
    }

    #[test]
    fn it_says_where_it_stands() {
        if IsalDecoder::new().is_none() {
            eprintln!("skipped: no libisal.so.2");
            return;
        }
        for last in [true, false] {
            assert_eq!(stop(&FINAL_AB, last), Some((Stop::Final, 4, 2)));
            assert_eq!(
                stop(&[&FINAL_AB[..], b"more"].concat(), last).map(|s| s.0),
                Some(Stop::Final)
            );
            assert_eq!(stop(&[7], last).map(|s| s.0), Some(Stop::Corrupt));
            assert_eq!(stop(&FINAL_AB[..2], last).map(|s| s.0), Some(Stop::Input));
        }
        // The block ends within its last byte; the empty stored block after it brings the boundary.
        let middle = [&AB[..], &EMPTY_STORED[1..]].concat();
        assert_eq!(stop(&middle, false), Some((Stop::Boundary, 8, 2)));
        assert_eq!(stop(&AB, false).map(|s| s.0), Some(Stop::Input));
        for len in 1..middle.len() {
            assert_eq!(
                stop(&middle[..len], false).map(|s| s.0),
                Some(Stop::Input),
                "{len}"
            );
        }
        // A stored block of 5 bytes whose data looks like a marker.
        let open = [0, 5, 0, 0xfa, 0xff, 0x00, 0x00, 0xff, 0xff];
        assert_eq!(stop(&open, false).map(|s| s.0), Some(Stop::Input));
        assert_eq!(
            stop(&[&open[..], b"x"].concat(), false),
            Some((Stop::Boundary, 10, 5))
        );
        // The first bytes of a dynamic block's header.
        let header = [0x04, 0x00, 0x00];
        assert_eq!(stop(&header, false).map(|s| s.0), Some(Stop::Input));
        let mut small = [0; 1];
        let full =
            IsalDecoder::new().and_then(|mut decoder| decoder.decode(&FINAL_AB, &mut small, true));
        assert_eq!(full.map(|decoding| decoding.stop), Some(Stop::Output));
    }
}
