//! Our path against the libraries below it, one block a body, unverified and verified: the fast levels at three sizes.
//!
//! `make engines` has all levels, in pairs of passes; this is for following one change.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use faam_benches::engines::{BLOCK_BYTES, Library, Ours};
use faam_codec::{Format, Level};

/// The committed sample's access logs, repeated to the largest block.
fn logs() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/json_logs");
    let logs = std::fs::read(path).expect("part of the sources");
    logs.iter().copied().cycle().take(1 << 20).collect()
}

fn codecs(criterion: &mut Criterion) {
    let logs = logs();
    for format in [Format::Gzip, Format::Zstd, Format::Lz4] {
        for level in [1, 3, 6] {
            let level = Level::new(level).expect("in range");
            let mut ours = Ours::new(format, level).expect("an engine");
            let mut group =
                criterion.benchmark_group(format!("{format} {level} ({})", ours.engine()));
            for block_bytes in BLOCK_BYTES {
                let block = &logs[..block_bytes];
                group.throughput(Throughput::Bytes(block_bytes as u64));
                let mut out = Vec::with_capacity(2 << 20);
                group.bench_function(BenchmarkId::new("ours", block_bytes), |bencher| {
                    bencher.iter(|| {
                        out.clear();
                        ours.compress(black_box(block), &mut out)
                    });
                });
                group.bench_function(BenchmarkId::new("ours, verified", block_bytes), |bencher| {
                    bencher.iter(|| {
                        out.clear();
                        ours.compress_verified(black_box(block), &mut out)
                    });
                });
                let Some(mut library) = Library::below(format, level).expect("a library") else {
                    continue;
                };
                group.bench_function(BenchmarkId::new(library.name(), block_bytes), |bencher| {
                    bencher.iter(|| {
                        out.clear();
                        library.compress(black_box(block), &mut out)
                    });
                });
            }
            group.finish();
        }
    }
}

// Some eighty benches, two seconds each, three minutes in all; plots would take as long again.
criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(400))
        .measurement_time(Duration::from_millis(1200));
    targets = codecs
}
criterion_main!(benches);
