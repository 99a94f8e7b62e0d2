#!/usr/bin/env bash
# Lints the SystemVerilog: bitstreams/dv/lint.sh [VERIBLE], where VERIBLE is a verible-verilog-lint; without one its rules are skipped, and
# that is said.
#
# Verilator's -Wall goes over every top with the parameters that are built, verible over every file by the rules of
# verible.rules. Both are shown first that they notice what they are for.
set -euo pipefail
cd "$(dirname "$0")/../.."
verible=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verilate TOP [OPTION...]
verilate() {
    local top=$1
    shift
    verilator --lint-only -Wall "$@" bitstreams/dv/lint.vlt -y bitstreams/rtl -y bitstreams/dv/rtl -y "$work" --top-module "$top" bitstreams/rtl/*_pkg.sv "$top.sv"
}

cat >"$work/planted.sv" <<'PLANTED'
module planted (input logic clk, input logic [3:0] a, output logic [2:0] B);
  logic unused;
  always_comb if (clk) B = a;
endmodule
PLANTED
if verilate planted >/dev/null 2>&1; then
    echo "verilator --lint-only -Wall found nothing in a module with a latch, an unused signal and a lost bit" >&2
    exit 1
fi

tops=0
lint() {
    tops=$((tops + 1))
    verilate "$@"
}
for parameters in "13 4 1 1" "13 1 1 0" "12 2 1 1" "12 1 0 1" "13 2 0 0"; do
    read -r hash_bits ways lazy tables <<<"$parameters"
    lint faam_engine_bench "-GHASH_BITS=$hash_bits" "-GWAYS=$ways" "-GLAZY=$lazy" "-GTABLES=$tables"
done
lint faam_match_bench
for engines in 1 2; do lint faam_farm "-GENGINES=$engines"; done
lint faam_farm -GWAYS=1 -GTABLES=0
# What is a top of its own: nothing else uses it.
for file in bitstreams/rtl/faam_*.sv; do
    module=$(basename "$file" .sv)
    case $module in *_pkg | faam_engine | faam_match | faam_farm) continue ;; esac
    # Two files name a module that something else uses: its own and that.
    [ "$(grep -lE "\b$module\b" bitstreams/rtl/*.sv | wc -l)" -gt 1 ] || lint "$module"
done
echo "verilator --lint-only -Wall: $tops tops, no warning"

if [ -n "$verible" ]; then
    if "$verible" --rules_config bitstreams/dv/verible.rules "$work/planted.sv" >/dev/null 2>&1; then
        echo "verible found nothing in a module with a port B" >&2
        exit 1
    fi
    files=(bitstreams/rtl/*.sv bitstreams/dv/rtl/*.sv bitstreams/dv/formal/*.sv)
    "$verible" --rules_config bitstreams/dv/verible.rules "${files[@]}"
    echo "verible: ${#files[@]} files, nothing found"
else
    echo "skipped: verible (it comes with target/rtl-tools, which could not be made)"
fi
