//! Canonical Huffman codes, as DEFLATE defines them (RFC 1951, 3.2.2).
//!
//! Invariant: a code that is taken decodes every sequence of bits to one symbol or to none.

/// Longest code of the literal/length and distance alphabets (RFC 1951, 3.2.7).
pub(crate) const CODE_BITS_MAX: usize = 15;

/// How much of all sequences of bits a definition covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// No symbol has a word.
    Empty,
    /// One symbol, its word a single bit.
    SingleBit,
    /// Every sequence begins with a word.
    Complete,
    /// Some sequences begin with no word.
    Incomplete,
    /// Some sequences begin with two words: no code.
    Oversubscribed,
}

/// Symbols in code order, and how many there are of each length.
pub(crate) struct CanonicalCode<const SYMBOLS: usize> {
    count: [u16; CODE_BITS_MAX + 1],
    /// By length: the first word, and where its symbol stands.
    first: [(u16, u16); CODE_BITS_MAX + 1],
    symbols: [u16; SYMBOLS],
}

impl<const SYMBOLS: usize> CanonicalCode<SYMBOLS> {
    pub(crate) const fn new() -> Self {
        Self {
            count: [0; CODE_BITS_MAX + 1],
            first: [(0, 0); CODE_BITS_MAX + 1],
            symbols: [0; SYMBOLS],
        }
    }

    /// Takes the code with a word of so many bits for each symbol, 0 for none. An oversubscribed one is not taken.
    pub(crate) fn define(&mut self, lengths: &[u8]) -> Coverage {
        self.count = [0; CODE_BITS_MAX + 1];
        for &length in lengths {
            self.count[usize::from(length) & CODE_BITS_MAX] += 1;
        }
        self.count[0] = 0;
        let mut left = 1i32;
        let mut offsets = [0u16; CODE_BITS_MAX + 2];
        let mut word = 0u16;
        for length in 1..=CODE_BITS_MAX {
            left = (left << 1) - i32::from(self.count[length]);
            if left < 0 {
                self.count = [0; CODE_BITS_MAX + 1];
                return Coverage::Oversubscribed;
            }
            self.first[length] = (word, offsets[length]);
            offsets[length + 1] = offsets[length] + self.count[length];
            // Behind a complete code's last word it is 2^length, at the most 2^16 in the end, and not used any more.
            word = word.wrapping_add(self.count[length]).wrapping_shl(1);
        }
        for (symbol, &length) in (0u16..).zip(lengths) {
            if length != 0 {
                let offset = &mut offsets[usize::from(length) & CODE_BITS_MAX];
                if let Some(slot) = self.symbols.get_mut(usize::from(*offset)) {
                    *slot = symbol;
                }
                *offset += 1;
            }
        }
        let used = offsets[CODE_BITS_MAX + 1];
        match (left, used) {
            (0, _) => Coverage::Complete,
            (_, 0) => Coverage::Empty,
            (_, 1) if self.count[1] == 1 => Coverage::SingleBit,
            _ => Coverage::Incomplete,
        }
    }

    /// The symbol whose word `buffer` begins with and its length, if that is `length_min` or more.
    pub(crate) fn decode(&self, buffer: u64, length_min: usize) -> Option<(u16, u8)> {
        // Words are sent from their first bit on.
        let bits = u16::try_from(buffer & 0xffff)
            .unwrap_or_default()
            .reverse_bits();
        for length in length_min..=CODE_BITS_MAX {
            let (first, index) = self.first[length];
            let offset = (bits >> (16 - length)).wrapping_sub(first);
            if offset < self.count[length] {
                let symbol = self.symbols.get(usize::from(index + offset))?;
                return Some((*symbol, u8::try_from(length).ok()?));
            }
        }
        None
    }

    /// Fills a table of 2^`bits` entries, indexed by the next bits: at each index the entry of the word that it begins with,
    /// or `unresolved` if there is none of at most `bits` bits.
    ///
    /// The table of each length is the one of the length before, twice, and the new words.
    pub(crate) fn fill_table<Entry: Copy>(
        &self,
        bits: usize,
        table: &mut [Entry],
        unresolved: Entry,
        entry_of: impl Fn(u16, u8) -> Entry,
    ) {
        let (mut code, mut index) = (0usize, 0usize);
        if let Some(first) = table.first_mut() {
            *first = unresolved;
        }
        for length in 1..=bits {
            let half = 1 << (length - 1);
            if let Some((low, high)) = table
                .get_mut(..2 * half)
                .map(|table| table.split_at_mut(half))
            {
                high.copy_from_slice(low);
            }
            let count = usize::from(self.count[length]);
            let symbols = self.symbols.get(index..index + count).unwrap_or_default();
            for &symbol in symbols {
                let word = code.reverse_bits() >> (usize::BITS as usize - length);
                if let Some(slot) = table.get_mut(word) {
                    // Lengths are at most 15.
                    *slot = entry_of(symbol, u8::try_from(length).unwrap_or_default());
                }
                code += 1;
            }
            index += count;
            code <<= 1;
        }
    }
}
