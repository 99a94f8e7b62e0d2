#!/usr/bin/env bash
# Fuzzes the decompressors and the verifier: run.sh SECONDS [TARGET...], each for so many seconds, one after the other. A
# target is a format, or comparator.
#
# libFuzzer with rustc's own coverage instrumentation, which the stable toolchain has; only sanitizers need another.
# What is found stays in artifacts/TARGET; new inputs in found/TARGET; corpus/TARGET is committed and only read.
# run.sh merge [TARGET...] reduces corpus and found to the fewest small inputs with their coverage, into corpus.
set -euo pipefail
cd "$(dirname "$0")"
PATH=${HOME:-/root}/.cargo/bin:$PATH
what=${1:?usage: run.sh SECONDS|merge [gzip|zlib|deflate|zstd|lz4|comparator]...}
shift
[ "$#" -gt 0 ] || set -- gzip zlib deflate zstd lz4 comparator

target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
# The target is named so that build scripts and macros are not instrumented.
nice cargo build --release --locked --quiet --target "$target"

for format in "$@"; do
    fuzzer=target/$target/release/$format
    mkdir -p "corpus/$format" "found/$format" "artifacts/$format"
    if [ "$what" = merge ]; then
        merged=$(mktemp -d)
        "$fuzzer" -merge=1 -max_len=1024 "$merged" "corpus/$format" "found/$format" 2>&1 | tail -n 1
        rm -rf "corpus/$format"
        mv "$merged" "corpus/$format"
        chmod 755 "corpus/$format"
        continue
    fi
    printf '== %s for %s s\n' "$format" "$what"
    "$fuzzer" -max_total_time="$what" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="artifacts/$format/" "found/$format" "corpus/$format" 2>&1 |
        grep -E 'ERROR|panicked|SUMMARY|stat::|artifact|DONE' || true
    [ -z "$(ls "artifacts/$format")" ] || { echo "found: gateway/codec/fuzz/artifacts/$format" >&2; exit 1; }
done
