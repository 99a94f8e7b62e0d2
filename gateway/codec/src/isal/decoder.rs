//! ISA-L's decoder: the fastest second implementation for what libdeflate made, and one more to hold ours against.

use super::shim::DecompressorHandle;

/// What a decoding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsalDecoding {
    /// Bytes of the stream up to the end of its last block.
    pub consumed: usize,
    /// Bytes written to the output.
    pub produced: usize,
}

/// ISA-L's decoder.
pub struct IsalDecoder {
    handle: DecompressorHandle,
}

impl IsalDecoder {
    /// A decoder, if ISA-L is installed where this runs.
    #[must_use]
    pub fn new() -> Option<Self> {
        DecompressorHandle::new().map(|handle| Self { handle })
    }

    /// Decodes the raw DEFLATE stream that `input` begins with. `None` if it is none to its end, does not fit `output`, or is
    /// too long for ISA-L (4 GiB).
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Option<IsalDecoding> {
        let (consumed, produced) = self.handle.decompress(input, output)?;
        Some(IsalDecoding {
            consumed: consumed.min(input.len()),
            produced: produced.min(output.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed block with the literals "ab", as RFC 1951, 3.2.6 codes them, with and without BFINAL.
    const FINAL_AB: [u8; 4] = [0x4b, 0x4c, 0x02, 0x00];
    const AB: [u8; 4] = [0x4a, 0x4c, 0x02, 0x00];

    #[test]
    fn whole_streams_alone_are_decoded() {
        let Some(mut decoder) = IsalDecoder::new() else {
            eprintln!("skipped: no libisal.so.2");
            return;
        };
        let ab = Some(IsalDecoding {
            consumed: 4,
            produced: 2,
        });
        let mut output = [0; 10];
        assert_eq!(decoder.decode(&FINAL_AB, &mut output), ab);
        assert_eq!(output[..2], *b"ab");
        let more = [&FINAL_AB[..], b"more"].concat();
        assert_eq!(decoder.decode(&more, &mut output), ab);
        assert_eq!(decoder.decode(&[7], &mut output), None);
        assert_eq!(decoder.decode(&FINAL_AB[..2], &mut output), None);
        assert_eq!(decoder.decode(&AB, &mut output), None);
        assert_eq!(decoder.decode(&FINAL_AB, &mut output[..1]), None);
    }
}
