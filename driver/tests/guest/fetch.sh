#!/usr/bin/env bash
# Fetches QEMU and a kernel for the guest into a directory of their own: nothing is installed.
#
#   fetch.sh DIR
#
# DIR/root gets the unpacked packages, DIR/packages their names and versions. What is there already is
# kept; remove DIR to fetch it anew. QEMU must be 10.1 or later for vfio-user-pci; Debian 12 has 7.2,
# so both come from Debian 13 and its backports, by this machine's own mirror.
set -euo pipefail
dir=$(realpath -m "$1")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'guest: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
[ ! -e "$dir/ready" ] || exit 0

[ -r "$keyring" ] || fail "no $keyring. To install it: sudo apt-get install -y debian-archive-keyring"
# The source of this machine's own release, whether or not its lists were ever fetched: a line `CODENAME URI`, or `SUITE URI`.
# Any other source may be a stranger's.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$codename" ] || fail "/etc/os-release names no release of Debian, so there is no mirror to fetch QEMU from"
sources=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 'Component: main')
mirror=$(awk -v codename="$codename" '$1 == codename && !uri { uri = $2 } END { print uri }' <<<"$sources")
[ -n "$mirror" ] || fail "this machine's package sources do not name Debian's $codename (an entry of that codename and component main in /etc/apt; then sudo apt-get update), so there is no mirror to fetch QEMU from"

rm -rf "$dir"
mkdir -p "$dir"/apt/{state/lists/partial,cache/archives/partial} "$dir/root"
: >"$dir/apt/status"
for suite in trixie trixie-backports; do
    echo "deb [signed-by=$keyring] $mirror $suite main"
done >"$dir/apt/sources.list"
# Of the machine's own configuration only how it gets out: its hooks clean up elsewhere.
apt-config dump | grep -E '^Acquire::https?::' >"$dir/apt/apt.conf" || true
cat >>"$dir/apt/apt.conf" <<CONFIG
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$dir/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$dir/apt/state";
Dir::State::status "$dir/apt/status";
Dir::Cache "$dir/apt/cache";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
CONFIG
export APT_CONFIG=$dir/apt/apt.conf
cd "$dir/apt/cache/archives"
apt-get update -qq >&2 || fail "the package lists of trixie and trixie-backports cannot be had from $mirror"
apt-get install -qq -y --download-only -t trixie-backports qemu-system-x86 >/dev/null ||
    fail "qemu-system-x86 of trixie-backports cannot be had from $mirror"
kernel=$(apt-cache depends linux-image-cloud-amd64/trixie | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
apt-get download -qq "${kernel:-linux-image-cloud-amd64}" busybox-static || fail "the guest's kernel cannot be had from $mirror"
unset APT_CONFIG
for package in *.deb; do dpkg-deb --extract "$package" "$dir/root"; done
for package in *.deb; do echo "${package%.deb}"; done >"$dir/packages"
rm -rf "$dir/apt"
touch "$dir/ready"
say "$(grep -c . "$dir/packages") packages, $(du -sm "$dir/root" | cut -f1) MB: $(grep -E '^(qemu-system-x86|linux-image)' "$dir/packages" | tr '\n' ' ')"
