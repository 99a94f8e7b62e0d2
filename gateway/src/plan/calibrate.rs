//! `faam plan --calibrate`: what this machine's cores need for a block, as a scenario's kernels.
//!
//! Owns the measurement: blocks of two sizes through the gateway's own CPU engines and its own verification, on one thread;
//! the median of many gives a fixed part and one for each byte. It knows no gateway and no card.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context;
use faam_codec::{CpuEngines, Level, Position, Verifier, output_bytes_max};

use super::defaults::LEVELS;
use crate::client::bench::data::Data;

/// Sizes that are measured: a small body's, and a whole block.
const SIZES: [usize; 2] = [4 << 10, 128 << 10];
/// Time for each size of each kernel.
const LASTS: Duration = Duration::from_millis(600);
/// Blocks at least, so that there is a median.
const BLOCKS_MIN: usize = 25;
/// Decides the data: what `faam bench` sends.
const SEED: u64 = 1;

/// What was measured, as tables of a scenario.
///
/// # Errors
/// An engine failed.
pub(super) fn calibrate() -> anyhow::Result<String> {
    let mut text = format!(
        "# Measured on this machine by `faam plan --calibrate`: one core, the gateway's engines and verification,\n\
         # blocks of {} and {} bytes of the data that `faam bench` sends, medians.\n",
        SIZES[0], SIZES[1]
    );
    for (name, level) in LEVELS {
        let level = Level::new(level).with_context(|| format!("no level {level}"))?;
        let [small, large] = SIZES.map(|bytes| measure(level, bytes));
        let (small, large) = (small?, large?);
        let (cpu_us, cpu_ns) = line(small.made_ns, large.made_ns);
        let (verify_us, verify_ns) = line(small.verified_ns, large.verified_ns);
        write!(
            text,
            "\n[[kernel]]\nname = \"{name}\"\ncpu_us = {cpu_us:.1}\ncpu_ns_per_byte = {cpu_ns:.3}\n\
             verify_us = {verify_us:.1}\nverify_ns_per_byte = {verify_ns:.3}\njitter = {:.2}\n",
            large.spread
        )?;
    }
    Ok(text)
}

struct Measured {
    made_ns: f64,
    verified_ns: f64,
    /// Deviation of the logarithm, from the quartiles.
    spread: f64,
}

fn measure(level: Level, bytes: usize) -> anyhow::Result<Measured> {
    let blocks = Data::Generated { seed: SEED }.blocks(bytes);
    let (mut engines, mut verifier) = (CpuEngines::new(), Verifier::new());
    let mut out = Vec::new();
    let (mut made, mut verified) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for block in blocks.iter().cycle() {
        if began.elapsed() > LASTS && made.len() >= BLOCKS_MIN {
            break;
        }
        out.clear();
        out.reserve(output_bytes_max(bytes));
        let start = Instant::now();
        let draft = engines.draft_block(block, level, Position::Last, &mut out)?;
        verifier.finish(draft, block, &mut out)?;
        let end = Instant::now();
        verifier.check_block(&out, Position::Last, block)?;
        made.push(end.duration_since(start).as_secs_f64() * 1e9);
        verified.push(end.elapsed().as_secs_f64() * 1e9);
    }
    let quartiles = quantiles(&mut made);
    Ok(Measured {
        made_ns: quartiles[1],
        verified_ns: quantiles(&mut verified)[1],
        // Between the quartiles of a normal distribution lie 1.349 deviations.
        spread: (quartiles[2] / quartiles[0]).ln() / 1.349,
    })
}

fn quantiles(times: &mut [f64]) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| {
        let place = times.len() * quarter / 4;
        times.get(place).copied().unwrap_or(f64::NAN)
    })
}

/// The fixed part in us and the part for each byte in ns of the line through both sizes' times.
fn line(small: f64, large: f64) -> (f64, f64) {
    let [low, high] = SIZES.map(|bytes| bytes as f64);
    let per_byte = ((large - small) / (high - low)).max(0.0);
    (((small - per_byte * low) / 1e3).max(0.0), per_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_what_it_was_made_of() {
        let (us, ns) = line(10_000.0 + 4096.0 * 2.0, 10_000.0 + 131_072.0 * 2.0);
        assert!((us - 10.0).abs() < 1e-9 && (ns - 2.0).abs() < 1e-12);
    }
}
