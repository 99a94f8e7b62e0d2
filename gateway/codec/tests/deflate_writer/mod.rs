//! DEFLATE written bit by bit (RFC 1951), for blocks that no compressor makes.

/// Order in which the code length code's lengths are sent.
const PRECODE_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// A canonical code by its word lengths.
pub struct Code(Vec<(u32, u32)>);

impl Code {
    pub fn new(lengths: &[u32]) -> Self {
        let mut words = vec![(0, 0); lengths.len()];
        let mut code = 0;
        for length in 1..=15 {
            for (word, _) in words.iter_mut().zip(lengths).filter(|(_, l)| **l == length) {
                *word = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        Self(words)
    }

    /// The fixed literal/length code.
    pub fn fixed() -> Self {
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        Self::new(&lengths)
    }
}

/// A writer of bits, lowest first.
#[derive(Clone, Default)]
pub struct Writer(pub Vec<bool>);

impl Writer {
    /// A number of `count` bits.
    pub fn put(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).map(|bit| value >> bit & 1 == 1));
    }

    /// The word of a symbol.
    pub fn symbol(&mut self, code: &Code, symbol: usize) {
        let (word, length) = code.0[symbol];
        assert!(length > 0, "symbol {symbol} has a word");
        self.put(word.reverse_bits() >> (32 - length), length);
    }

    /// A dynamic block's header. Lengths are sent one by one, by a code in which those that occur have words as `precode` says.
    pub fn dynamic(
        &mut self,
        is_final: bool,
        litlen: &[u32],
        distance: &[u32],
        precode: &[(usize, u32)],
    ) {
        self.put(u32::from(is_final), 1);
        self.put(2, 2);
        self.put(u32::try_from(litlen.len() - 257).expect("at most 31"), 5);
        self.put(u32::try_from(distance.len() - 1).expect("at most 31"), 5);
        self.put(19 - 4, 4);
        let mut lengths = [0; 19];
        for &(symbol, length) in precode {
            lengths[symbol] = length;
        }
        for symbol in PRECODE_ORDER {
            self.put(lengths[symbol], 3);
        }
        let code = Code::new(&lengths);
        for &length in litlen.iter().chain(distance) {
            self.symbol(&code, length as usize);
        }
    }

    /// An empty stored block.
    pub fn empty_stored(&mut self, is_final: bool) {
        self.put(u32::from(is_final), 3);
        self.align();
        self.put(0, 16);
        self.put(0xffff, 16);
    }

    /// Zeros up to the next byte.
    pub fn align(&mut self) {
        while !self.is_aligned() {
            self.0.push(false);
        }
    }

    pub fn is_aligned(&self) -> bool {
        self.0.len().is_multiple_of(8)
    }

    /// The bytes, the last one padded with zeros.
    pub fn bytes(&self) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|bits| {
                let bits = bits.iter().enumerate();
                bits.map(|(bit, &set)| u8::from(set) << bit).sum()
            })
            .collect()
    }
}
