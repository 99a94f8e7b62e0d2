//! Speed of the functional model next to libdeflate 1, on the same slices in the same run.
//!
//!     cargo bench -p faam-benches --bench model
//!
//! First come paired windows: each pass over the mix runs every codec in turn, so that what slows the machine slows all
//! of them, and the figure is the median of the per-pass quotients, with its spread. Then criterion's own report,
//! codec by codec. It is the model's speed on this machine that is measured, never a card's.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use faam_benches::corpus::{Extent, Sample, load};
use faam_benches::ratio::{Bench, Codec, ROWS};

/// Bytes of a job.
const SLICE_BYTES: usize = 64 << 10;
/// Passes of the paired comparison.
const PASSES: usize = 15;
/// The codec that all others are divided by comes first; goals are in the design.
const CODECS: [(&str, &str, Option<f64>); 4] = [
    ("libdeflate 1", "libdeflate 1", None),
    ("fast", "(fast)", Some(0.9)),
    ("balanced", "(balanced)", Some(0.4)),
    ("dense", "(dense)", None),
];

fn codec(part_of_name: &str) -> Option<Codec> {
    ROWS.iter()
        .find(|row| row.name.contains(part_of_name))
        .map(|row| row.codec)
}

/// The corpus, or the committed sample where it was not fetched.
fn mix() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match load(&root.join("../.cache/corpus"), Extent::Quarter) {
        Ok(mix) if !mix.is_empty() => mix,
        _ => {
            println!(
                "no corpus (`make corpus`): on the committed sample, which is too small to mean much"
            );
            load(&root.join("sample"), Extent::Whole).unwrap_or_default()
        }
    }
}

fn pass(bench: &mut Bench, codec: Codec, mix: &[Sample]) -> Duration {
    let start = Instant::now();
    for sample in mix {
        let _ = black_box(bench.file(codec, &sample.bytes, SLICE_BYTES, None, None));
    }
    start.elapsed()
}

fn paired(bench: &mut Bench, mix: &[Sample]) {
    let bytes: usize = mix.iter().map(|sample| sample.bytes.len()).sum();
    let mut quotients = vec![Vec::new(); CODECS.len()];
    let mut rates = vec![Vec::new(); CODECS.len()];
    for _ in 0..PASSES {
        let mut base = f64::NAN;
        for (index, (_, name, _)) in CODECS.iter().enumerate() {
            let Some(codec) = codec(name) else { continue };
            let seconds = pass(bench, codec, mix).as_secs_f64();
            if index == 0 {
                base = seconds;
            }
            quotients[index].push(base / seconds);
            #[expect(clippy::cast_precision_loss, reason = "byte counts below 2^53")]
            rates[index].push(bytes as f64 / seconds / 1e6);
        }
    }
    println!(
        "| {PASSES} passes, {} KiB jobs | MB/s | x libdeflate 1 (least..most) | goal |",
        SLICE_BYTES >> 10
    );
    println!("|---|---|---|---|");
    for (index, (label, _, goal)) in CODECS.iter().enumerate() {
        let (quotient, rate) = (&mut quotients[index], &mut rates[index]);
        quotient.sort_by(f64::total_cmp);
        rate.sort_by(f64::total_cmp);
        let goal = goal.map_or(String::new(), |goal| format!("{goal}"));
        if let [least, .., most] = quotient[..] {
            println!(
                "| {label} | {:.0} | {:.2} ({least:.2}..{most:.2}) | {goal} |",
                rate[PASSES / 2],
                quotient[PASSES / 2],
            );
        }
    }
}

fn model(criterion: &mut Criterion) {
    let mix = mix();
    let mut bench = Bench::default();
    paired(&mut bench, &mix);
    let bytes: usize = mix.iter().map(|sample| sample.bytes.len()).sum();
    let mut group = criterion.benchmark_group("model");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes(bytes as u64));
    for (label, name, _) in CODECS {
        if let Some(codec) = codec(name) {
            group.bench_function(label, |run| run.iter(|| pass(&mut bench, codec, &mix)));
        }
    }
    group.finish();
}

criterion_group!(benches, model);
criterion_main!(benches);
