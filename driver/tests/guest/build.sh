#!/usr/bin/env bash
# Builds the guest's binaries, linked statically, for the guest has no libraries.
#
#   build.sh DIR
#
# DIR gets `faam`, `device` (the suite of device behaviours), `witness` and `carriers`, stripped. They have a
# directory of their own below target, for --target names one, so that neither build undoes the other.
set -euo pipefail
dir=$1
target=x86_64-unknown-linux-gnu
export RUSTFLAGS='-C target-feature=+crt-static'
# ISA-L is opened at run time, which a static binary cannot.
export FAAM_NO_ISAL=1

# executables: `NAME PATH` of what a build made, from cargo's messages.
executables() {
    python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"):
        print(message["target"]["name"], message["executable"])'
}

mkdir -p "$dir"
{
    cargo build --locked --target "$target" --message-format=json-render-diagnostics -p faam-gateway --bin faam
    cargo test --no-run --locked --target "$target" --message-format=json-render-diagnostics -p faam-driver --test device --test witness
    cargo build --locked --target "$target" --message-format=json-render-diagnostics -p faam-driver --example carriers
} | executables | while read -r name path; do
    strip -o "$dir/$name" "$path"
done
