#!/usr/bin/env bash
# Builds the guest's binaries: those that `make test-workspace` tests, features and all, so that after it only links are left.
#
#   build.sh DIR
#
# DIR gets `faam`, `device` (the suite of device behaviours), `witness` and `carriers`, stripped. The libraries that they need
# are this machine's, which run.sh takes into the guest.
set -euo pipefail
dir=$1

# executables: `NAME PATH` of what a build made, from cargo's messages.
executables() {
    python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] in sys.argv[1:]:
        print(message["target"]["name"], message["executable"])' "$@"
}

mkdir -p "$dir"
# ratios is there for its dependencies, as in the Makefile: without them the gateway would be compiled once more.
cargo build --locked --workspace --message-format=json-render-diagnostics \
    --bin faam --test device --test witness --test ratios --example carriers |
    executables faam device witness carriers | while read -r name path; do
    strip -o "$dir/$name" "$path"
done
