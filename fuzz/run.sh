#!/usr/bin/env bash
# Fuzzes what takes foreign bytes: fuzz/run.sh SECONDS [PART[:TARGET]]..., each target for so many seconds, one after the
# other. A part is a directory with a fuzz/ of its own: driver, sim, gateway, gateway/codec; without one, all of them.
#
# libFuzzer with rustc's own coverage instrumentation, which the stable toolchain has; only sanitizers need another.
# What is found stays in PART/fuzz/artifacts/TARGET; new inputs in found/TARGET; corpus/TARGET is committed and only read.
# fuzz/run.sh merge [PART[:TARGET]]... reduces corpus and found to the fewest small inputs with their coverage, into corpus.
# fuzz/run.sh build [PART]... only builds. fuzz/run.sh PART:TARGET FILE... runs these inputs alone, as after a finding.
# LOGS=DIRECTORY keeps libFuzzer's whole output, a file a target.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=${HOME:-/root}/.cargo/bin:$PATH
PARTS=(driver sim gateway gateway/codec)
usage="usage: fuzz/run.sh SECONDS|merge|build [PART[:TARGET]]... or fuzz/run.sh PART:TARGET FILE...; parts: ${PARTS[*]}"
what=${1:?$usage}
shift

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
# Names of a part's targets, in the order of its manifest.
targets() { sed -n '/^\[\[bin\]\]/,/^path/s/^name = "fuzz-\(.*\)"/\1/p' "$1/fuzz/Cargo.toml"; }

# The target is named so that build scripts and macros are not instrumented.
build() {
    nice cargo build --release --locked --quiet --target "$host" --manifest-path "$1/fuzz/Cargo.toml" \
        --target-dir "target/fuzz/$1"
}

# Where a part's target is: PART TARGET.
program() { printf 'target/fuzz/%s/%s/release/fuzz-%s' "$1" "$host" "$2"; }

if [[ $what == *:* ]]; then
    [ "$#" -gt 0 ] || { echo "$usage" >&2; exit 2; }
    build "${what%%:*}"
    exec "$(program "${what%%:*}" "${what##*:}")" "$@"
fi
[[ $what == merge || $what == build || $what =~ ^[0-9]+$ ]] || { echo "$usage" >&2; exit 2; }

[ "$#" -gt 0 ] || set -- "${PARTS[@]}"
built=
for which in "$@"; do
    part=${which%%:*}
    [ -f "$part/fuzz/Cargo.toml" ] || { echo "no part $part; $usage" >&2; exit 2; }
    if [[ $which == *:* ]]; then names=${which##*:}; else names=$(targets "$part"); fi
    [ "$built" = "$part" ] || build "$part"
    built=$part
    [ "$what" != build ] || continue
    for name in $names; do
        directory=$part/fuzz
        fuzzer=$(program "$part" "$name")
        [ -x "$fuzzer" ] || { echo "$part has no target $name; it has: $(targets "$part" | xargs)" >&2; exit 2; }
        corpus=$directory/corpus/$name found=$directory/found/$name artifacts=$directory/artifacts/$name
        mkdir -p "$corpus" "$found" "$artifacts"
        # Steps and requests in a row go further than one is long.
        if [ "$part" = gateway/codec ]; then longest=4096; else longest=1024; fi
        dictionary=()
        [ ! -f "$directory/dictionaries/$name" ] || dictionary=("-dict=$directory/dictionaries/$name")
        if [ "$what" = merge ]; then
            merged=$(mktemp -d)
            "$fuzzer" -merge=1 -max_len=1024 "$merged" "$corpus" "$found" 2>&1 | tail -n 1
            # What once broke something stays, whatever it covers.
            find "$corpus" -name 'finding-*' -exec cp {} "$merged" \;
            rm -rf "$corpus"
            mv "$merged" "$corpus"
            chmod 755 "$corpus"
            continue
        fi
        printf '== %s:%s for %s s\n' "$part" "$name" "$what"
        nice -n 19 "$fuzzer" -max_total_time="$what" -max_len="$longest" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
            "${dictionary[@]}" -artifact_prefix="$artifacts/" "$found" "$corpus" 2>&1 |
            if [ -n "${LOGS:-}" ]; then mkdir -p "$LOGS" && tee "$LOGS/$name.log"; else cat; fi |
            grep -E 'ERROR|panicked|SUMMARY|stat::|artifact|INITED|DONE' || true
        [ -z "$(ls "$artifacts")" ] || { echo "found: $artifacts" >&2; exit 1; }
    done
done
