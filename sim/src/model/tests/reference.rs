//! A second model, written from algorithm.md line by line with no thought of speed: section numbers are that page's.
//!
//! Unlike the model it keeps its hash table from job to job, behind an epoch of 8 bits, as gateware does.

use crate::model::{Format, Params};

const DISTANCE_MAX: usize = 32744;
const LENGTH_MAX: usize = 258;
const LAZY_LENGTH_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Literal(u8),
    Match { length: usize, distance: usize },
}

/// What ends a job without output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TableMiss,
    OutputFull,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) out: Vec<u8>,
    pub(super) stored: bool,
    pub(super) crc32: u32,
    pub(super) adler32: u32,
    pub(super) cycles: u64,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    position: u16,
    epoch: u8,
}

pub(super) struct Reference {
    sets: Vec<[Entry; 4]>,
    epoch: u8,
}

/// Section 5, as a job sees it.
pub(super) struct Code {
    pub(super) litlen: Vec<u8>,
    pub(super) distance: Vec<u8>,
    /// Header bits of a loaded table.
    pub(super) header: Option<Vec<bool>>,
}

impl Code {
    pub(super) fn fixed() -> Self {
        let litlen = (0..288)
            .map(|symbol| match symbol {
                0..144 => 8,
                144..256 => 9,
                256..280 => 7,
                _ => 8,
            })
            .collect();
        Self {
            litlen,
            distance: vec![5; 32],
            header: None,
        }
    }
}

impl Reference {
    pub(super) fn new() -> Self {
        Self {
            sets: vec![[Entry::default(); 4]; 1 << 13],
            epoch: 0,
        }
    }

    /// Sections 2 to 4.
    pub(super) fn tokens(&mut self, history: &[u8], src: &[u8], params: Params) -> Vec<Token> {
        // 11: when epochs run out, the table is cleared.
        if self.epoch == u8::MAX {
            self.sets.fill([Entry::default(); 4]);
            self.epoch = 0;
        }
        self.epoch += 1;
        let stream = [history, src].concat();
        let n = stream.len();
        let found: Vec<Option<(usize, usize)>> = (0..n)
            .map(|p| {
                (p + 4 <= n)
                    .then(|| self.visit(&stream, p, params))
                    .flatten()
            })
            .collect();
        // 4: the parse.
        let mut tokens = Vec::new();
        let mut p = history.len();
        while p < n {
            let Some((mut length, mut distance)) = found[p] else {
                tokens.push(Token::Literal(stream[p]));
                p += 1;
                continue;
            };
            while params.lazy && length < LAZY_LENGTH_MAX && p + 5 <= n {
                match found[p + 1] {
                    Some((longer, at)) if longer > length => {
                        tokens.push(Token::Literal(stream[p]));
                        p += 1;
                        (length, distance) = (longer, at);
                    }
                    _ => break,
                }
            }
            tokens.push(Token::Match { length, distance });
            p += length;
        }
        tokens
    }

    /// Sections 2 and 3: M(p), and the insertion of p.
    fn visit(&mut self, stream: &[u8], p: usize, params: Params) -> Option<(usize, usize)> {
        let bytes = u32::from_le_bytes(stream[p..p + 4].try_into().unwrap());
        let product = u64::from(bytes) * 0x9e37_79b1 % (1 << 32);
        let set = &mut self.sets[usize::try_from(product >> (32 - params.hash_bits)).unwrap()];
        let candidates = *set;
        set.rotate_right(1);
        set[0] = Entry {
            position: u16::try_from(p % 65536).unwrap(),
            epoch: self.epoch,
        };
        let mut best: Option<(usize, usize)> = None;
        for candidate in &candidates[..params.ways] {
            let d = (p + 65536 - usize::from(candidate.position)) % 65536;
            if candidate.epoch != self.epoch || !(1..=DISTANCE_MAX).contains(&d) || d > p {
                continue;
            }
            let limit = LENGTH_MAX.min(stream.len() - p);
            let length = (0..limit)
                .take_while(|i| stream[p - d + i] == stream[p + i])
                .count();
            if length >= 4 && best.is_none_or(|(longest, _)| length > longest) {
                best = Some((length, d));
            }
        }
        best
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a job, spelled out"
    )]
    pub(super) fn compress(
        &mut self,
        history: &[u8],
        src: &[u8],
        params: Params,
        format: Format,
        last: bool,
        code: &Code,
        capacity: usize,
    ) -> Result<Outcome, Refusal> {
        let tokens = self.tokens(history, src, params);
        // 5: the block.
        let mut bits = vec![last];
        match &code.header {
            None => bits.extend([true, false]),
            Some(header) => {
                bits.extend([false, true]);
                bits.extend(header);
            }
        }
        let litlen = canonical(&code.litlen);
        let distance_code = canonical(&code.distance);
        let put = |bits: &mut Vec<bool>, code: &[Vec<bool>], symbol: usize| {
            bits.extend(&code[symbol]);
            !code[symbol].is_empty()
        };
        let mut all_coded = true;
        for token in &tokens {
            match *token {
                Token::Literal(byte) => {
                    all_coded &= put(&mut bits, &litlen, usize::from(byte));
                }
                Token::Match { length, distance } => {
                    let (symbol, extra, rest) = length_symbol(length);
                    all_coded &= put(&mut bits, &litlen, symbol);
                    number(&mut bits, rest, extra);
                    let (symbol, extra, rest) = distance_symbol(distance);
                    all_coded &= put(&mut bits, &distance_code, symbol);
                    number(&mut bits, rest, extra);
                }
            }
        }
        put(&mut bits, &litlen, 256);
        if !all_coded {
            return Err(Refusal::TableMiss);
        }
        // 6: the body.
        if !last {
            bits.extend([false; 3]);
        }
        let mut coded = pack(&bits);
        if !last {
            coded.extend([0, 0, 0xff, 0xff]);
        }
        let blocks: Vec<&[u8]> = if src.is_empty() {
            vec![src]
        } else {
            src.chunks(65535).collect()
        };
        let mut plain = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            plain.push(u8::from(last && index + 1 == blocks.len()));
            let len = u16::try_from(block.len()).unwrap();
            plain.extend(len.to_le_bytes());
            plain.extend((0xffff - len).to_le_bytes());
            plain.extend(*block);
        }
        if !last {
            plain.extend([0, 0, 0, 0xff, 0xff]);
        }
        let stored = coded.len() > plain.len();
        // 8: framing and checksums.
        let (crc32, adler32) = (crc32(src), adler32(src));
        let mut out = match format {
            Format::Raw => vec![],
            Format::Zlib => vec![0x78, 0x01],
            Format::Gzip => vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
        };
        out.extend(if stored { plain } else { coded });
        if last {
            match format {
                Format::Raw => {}
                Format::Zlib => out.extend(adler32.to_be_bytes()),
                Format::Gzip => {
                    out.extend(crc32.to_le_bytes());
                    out.extend(u32::try_from(src.len()).unwrap().to_le_bytes());
                }
            }
        }
        if out.len() > capacity {
            return Err(Refusal::OutputFull);
        }
        // 10: cycles.
        let table = code
            .header
            .as_ref()
            .map_or(0, |header| 320 + header.len().div_ceil(8));
        let again = if stored { src.len() } else { 0 };
        Ok(Outcome {
            out,
            stored,
            crc32,
            adler32,
            cycles: (64 + table + history.len() + src.len() + again) as u64,
        })
    }
}

fn number(bits: &mut Vec<bool>, value: usize, count: usize) {
    bits.extend((0..count).map(|bit| value >> bit & 1 == 1));
}

fn pack(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8)
        .map(|byte| {
            byte.iter()
                .enumerate()
                .map(|(bit, set)| u8::from(*set) << bit)
                .sum()
        })
        .collect()
}

/// RFC 1951, section 3.2.2: codes in the order they are sent, most significant bit first.
fn canonical(lengths: &[u8]) -> Vec<Vec<bool>> {
    let mut codes = vec![vec![]; lengths.len()];
    let mut code = 0usize;
    for length in 1..=15u8 {
        code <<= 1;
        for symbol in (0..lengths.len()).filter(|symbol| lengths[*symbol] == length) {
            codes[symbol] = (0..length).rev().map(|bit| code >> bit & 1 == 1).collect();
            code += 1;
        }
    }
    codes
}

/// RFC 1951, section 3.2.5: symbol, number of extra bits, their value.
fn length_symbol(length: usize) -> (usize, usize, usize) {
    if length == 258 {
        return (285, 0, 0);
    }
    let mut base = 3;
    for symbol in 257..285 {
        let extra = (symbol - 257usize).saturating_sub(4) / 4;
        if length < base + (1 << extra) {
            return (symbol, extra, length - base);
        }
        base += 1 << extra;
    }
    unreachable!("length {length}")
}

fn distance_symbol(distance: usize) -> (usize, usize, usize) {
    let mut base = 1;
    for symbol in 0..30usize {
        let extra = symbol.saturating_sub(2) / 2;
        if distance < base + (1 << extra) {
            return (symbol, extra, distance - base);
        }
        base += 1 << extra;
    }
    unreachable!("distance {distance}")
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    !crc
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}
