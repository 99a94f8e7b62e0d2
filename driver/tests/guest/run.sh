#!/usr/bin/env bash
# Runs the driver on the kernel's VFIO, in a guest: QEMU, an emulated VT-d IOMMU, Debian's kernel.
#
#   run.sh WORK PACKAGES BINARIES
#
# PACKAGES is what fetch.sh made, BINARIES what build.sh made. What carriers cost is measured here over the card's socket
# as well, before the guest has it. The simulated card's two functions, each in a slot and an IOMMU group of its own, are served by `faam sim` on
# this machine. All that the guest says is in WORK/console.log, the suite's result lines are in WORK/behaviours. The exit status is 0 if every step was.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(realpath -m "$1") packages=$(realpath "$2") binaries=$(realpath "$3")
root=$packages/root
busybox=$root/usr/bin/busybox

# Where the devices are, in the guest.
witness=0000:00:05.0 functions=(0000:00:06.0 0000:00:07.0) faults=0000:00:08.0
memory=512M huge_pages=16
# Longest run of the guest. It takes three minutes; on a machine under load it takes longer.
guest_s_max=${GUEST_SECONDS_MAX:-560}

say() { printf 'guest: %s\n' "$*"; }
began=$(date +%s%N)
lap() { say "[$((($(date +%s%N) - began) / 1000000)) ms] $*"; }

rm -rf "$work"
mkdir -p "$work"
# Paths of sockets are short by nature.
sockets=$(mktemp -d)
card=
clean_up() {
    [ -z "$card" ] || kill "$card" 2>/dev/null || true
    rm -rf "$sockets"
}
trap clean_up EXIT

# The kernel as an ELF file, which QEMU enters by PVH: unpacking it in the guest takes longer than all of its boot.
# Where the payload lies: Linux, Documentation/arch/x86/boot.rst (setup_sects, payload_offset, payload_length).
kernel=$(basename "$(echo "$root"/boot/vmlinuz-*)")
version=${kernel#vmlinuz-}
vmlinux=$packages/vmlinux-$version
if [ ! -s "$vmlinux" ]; then
    image=$root/boot/$kernel
    setup=$(od -An -tu1 -j 497 -N 1 "$image")
    read -r offset length < <(od -An -tu4 -j 584 -N 8 "$image")
    # The last four bytes are the unpacked size, and not zstd's.
    dd if="$image" iflag=skip_bytes,count_bytes skip=$(((setup + 1) * 512 + offset)) count=$((length - 4)) bs=1M status=none |
        zstd -dcq >"$vmlinux.new"
    mv "$vmlinux.new" "$vmlinux"
fi

# The initramfs: busybox, the modules, the binaries, and what they are told.
initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,dev,etc,proc,sys,lib/modules}
cp "$busybox" "$initramfs/bin/"
for applet in $("$busybox" --list); do [ -e "$initramfs/bin/$applet" ] || ln -s busybox "$initramfs/bin/$applet"; done
for module in virt/lib/irqbypass drivers/vfio/vfio drivers/vfio/vfio_iommu_type1 drivers/vfio/pci/vfio-pci-core drivers/vfio/pci/vfio-pci; do
    xz -dc "$root/usr/lib/modules/$version/kernel/$module.ko.xz" >"$initramfs/lib/modules/$(basename "$module").ko"
done
cp "$binaries"/* "$initramfs/bin/"
# Their libraries and their loader, each where it is here, for there the loader looks.
ldd "$binaries"/* | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | sort -u | while read -r library; do
    install -D "$library" "$initramfs$library"
done
cp "$here"/{gateway,device,manual}.sh "$initramfs/bin/"
cp "$here/../../README.md" "$initramfs/etc/manual.md"
cp "$here/init.sh" "$initramfs/init"
chmod +x "$initramfs/init" "$initramfs"/bin/*.sh
head -c 100000 "$here/../../../benches/sample/json_logs" >"$initramfs/etc/sample"
{
    echo "export WITNESS=$witness FUNCTIONS='${functions[*]}'"
    echo "ONLY='${GUEST_ONLY:-}'"
} >"$initramfs/etc/guest.env"
(cd "$initramfs" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$work/initramfs.cpio"
lap "kernel $version, initramfs of $(du -m "$work/initramfs.cpio" | cut -f1) MB"

mkfifo "$work/card.in"
"$binaries/faam" sim --dir "$sockets" --allow-faults --exit-on-stdin-eof <"$work/card.in" >"$work/card.log" 2>&1 &
card=$!
# Its end by SIGKILL is the suite's last behaviour, and no news.
disown "$card"
# Held open until this script ends, however it does.
exec 8>"$work/card.in"
for _ in $(seq 100); do
    grep -q '^ready' "$work/card.log" && break
    kill -0 "$card" 2>/dev/null || break
    sleep 0.05
done
grep -q '^ready' "$work/card.log" || {
    say "the simulated card did not start:"
    cat "$work/card.log"
    exit 1
}

# slot ADDRESS: the slot on the root bus, as QEMU takes it.
slot() { cut -d : -f 3 <<<"$1"; }
echo "On this machine, without a guest:"
"$binaries/carriers" "vfio-user:$sockets/fn0" "$sockets/faults"

devices=(-device "edu,bus=pcie.0,addr=$(slot "$witness")")
for n in "${!functions[@]}"; do
    devices+=(-device "{\"driver\":\"vfio-user-pci\",\"bus\":\"pcie.0\",\"addr\":\"$(slot "${functions[n]}")\",\"socket\":{\"type\":\"unix\",\"path\":\"$sockets/fn$n\"}}")
done
devices+=(-chardev "socket,id=faults,path=$sockets/faults" -device "virtio-serial-pci,bus=pcie.0,addr=$(slot "$faults")"
    -device "virtserialport,chardev=faults,name=faults")
# The memory must be shared, or maps come to the card without a descriptor. no_timer_check: under TCG the check fails at
# times, and then the kernel panics.
# shellcheck disable=SC2054 # the commas are QEMU's
qemu=(timeout -k 5 "$guest_s_max" "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu"
    "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu"
    -accel tcg -cpu qemu64,+rdrand,+rdseed -machine q35,kernel-irqchip=split,memory-backend=memory
    -object "memory-backend-memfd,id=memory,size=$memory,share=on" -m "$memory"
    -nodefaults -no-user-config -display none -serial stdio -no-reboot
    -device intel-iommu,intremap=on,caching-mode=on "${devices[@]}"
    -kernel "$vmlinux" -initrd "$work/initramfs.cpio"
    -append "console=ttyS0 loglevel=2 intel_iommu=on iommu=nopt panic=-1 no_timer_check mitigations=off nokaslr cryptomgr.notests hugepages=$huge_pages")
status=0
"${qemu[@]}" </dev/null 2>"$work/qemu.log" 8>&- | tr -d '\r' | tee "$work/console.log" || status=$?
lap "the guest has ended"
grep -E '^(behaviour|mutation|fault): ' "$work/console.log" >"$work/behaviours" || true
if ! grep -q '^end: 0$' "$work/console.log"; then
    say "failed: QEMU's status $status; its own words and the card's last ones:"
    tail -n 20 "$work/qemu.log" "$work/card.log"
    exit 1
fi
