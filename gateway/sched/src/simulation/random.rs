//! Random numbers that are the same on every machine for the same seed.
//!
//! Owns the generator (SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014) and the
//! distributions that a load is drawn from. Invariant: only additions, multiplications, divisions and square roots, which
//! IEEE 754 rounds alike everywhere, so that no system's mathematics library decides a figure. It does not know what is drawn.

/// The increment of SplitMix64: the golden ratio, as an odd fraction of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// ln 2, rounded.
const LN_2: f64 = std::f64::consts::LN_2;
/// Pairs that [`Random::normal`] draws before it gives up: each is inside the circle with a chance of pi/4.
const PAIRS_MAX: u32 = 64;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Another stream of the same seed: what it gives does not depend on how much was drawn from any other.
    #[must_use]
    pub const fn stream(seed: u64, number: u64) -> Self {
        Self {
            state: mix(seed ^ mix(number.wrapping_add(GOLDEN))),
        }
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// From 0 up to 1, never 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 up to `bound`, never `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Exponentially distributed, of mean 1: the gaps of a Poisson process.
    pub fn exponential(&mut self) -> f64 {
        -ln(1.0 - self.unit())
    }

    /// Normally distributed, of mean 0 and deviation 1 (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        for _ in 0..PAIRS_MAX {
            let (a, b) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = a * a + b * b;
            if square > 0.0 && square < 1.0 {
                return a * (-2.0 * ln(square) / square).sqrt();
            }
        }
        0.0
    }

    /// Log-normally distributed, of median 1.
    pub fn log_normal(&mut self, sigma: f64) -> f64 {
        if sigma == 0.0 {
            1.0
        } else {
            exp(sigma * self.normal())
        }
    }
}

/// SplitMix64's finaliser: any bit of `z` moves about half of the result's.
pub(crate) const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The natural logarithm of a positive number, to a few units in the last place; 0 and less give the least there is.
fn ln(x: f64) -> f64 {
    let x = x.max(f64::MIN_POSITIVE);
    let bits = x.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0) - 1023;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | (1023 << 52));
    // About 1, where the series below is shortest.
    let (mantissa, exponent) = if mantissa > std::f64::consts::SQRT_2 {
        (mantissa / 2.0, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    // 2 artanh(s), up to s^21: |s| < 0.172, so that what is left out is below 2^-56.
    let series = (0..=10)
        .rev()
        .fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    2.0 * s * series + f64::from(exponent) * LN_2
}

/// e to the power of `x`, to a few units in the last place, of what an f64 holds.
fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let power = (x / LN_2).round();
    let rest = x - power * LN_2;
    // |rest| < 0.35, so that what is left out after the 15th term is below 2^-60.
    let series = (1..=15)
        .rev()
        .fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    // Exact: the clamp above keeps the exponent within what a normal f64 has.
    let scale = f64::from_bits((1023 + super::arrivals::whole(power.abs())) << 52);
    if power < 0.0 {
        series / scale
    } else {
        series * scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_published_generator() {
        // The first numbers of SplitMix64 from seed 1234567, as its authors' reference gives them.
        let mut random = Random::new(1_234_567);
        let drawn = [random.bits(), random.bits(), random.bits()];
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn its_mathematics_is_the_librarys() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let x = random.unit() * 1400.0 - 700.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "exp {x}");
            let y = exp(x);
            assert!((ln(y) - y.ln()).abs() < 1e-12, "ln {y}");
        }
        assert!(ln(0.0) < -700.0 && ln(1.0).abs() < 1e-300);
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut random = Random::new(11);
        let n = 200_000;
        let (mut sum, mut normal, mut square, mut above) = (0.0, 0.0, 0.0, 0);
        for _ in 0..n {
            sum += random.exponential();
            let x = random.normal();
            normal += x;
            square += x * x;
            above += u32::from(random.log_normal(1.5) > 1.0);
            assert!(random.below(10) < 10);
        }
        let n = f64::from(n);
        assert!((sum / n - 1.0).abs() < 0.01, "{}", sum / n);
        assert!((normal / n).abs() < 0.01 && (square / n - 1.0).abs() < 0.01);
        assert!((f64::from(above) / n - 0.5).abs() < 0.01);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn streams_are_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for stream in 0..1000 {
            assert!(seen.insert(Random::stream(3, stream).bits()), "{stream}");
        }
    }
}
