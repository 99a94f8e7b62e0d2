//! CRC-16/CCITT-FALSE (polynomial 0x1021, not reflected, no final XOR), seeded: the check field of completions.

/// CRC of `bytes`, starting from `seed` (0xFFFF for the catalogue's variant).
#[must_use]
pub const fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    let mut crc = seed;
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        let index = (crc >> 8) ^ (*byte as u16);
        crc = (crc << 8) ^ TABLE[index as usize % 256];
        rest = tail;
    }
    crc
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut n = 0u16;
    while n < 256 {
        let mut crc = (n & 0xFF) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[n as usize] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogue_check_value() {
        assert_eq!(crc16(0xFFFF, b"123456789"), 0x29B1);
    }

    #[test]
    fn seed_and_order_matter() {
        assert_ne!(crc16(1, b"ab"), crc16(2, b"ab"));
        assert_ne!(crc16(1, b"ab"), crc16(1, b"ba"));
    }
}
