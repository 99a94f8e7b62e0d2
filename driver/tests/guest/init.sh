#!/bin/sh
# The guest's first and only process: binds functions to vfio-pci, runs the steps, powers off.
#
# `step NAME: STATUS` is what run.sh judges by. Binaries and a sample come in the initramfs; /etc/guest.env
# says where the devices are.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /tmp /run
. /etc/guest.env
failed=0

# step NAME LIMIT_S CMD...: run it, and say how it ended and when.
step() {
    name=$1
    limit=$2
    shift 2
    case "${ONLY:-$name}" in *"$name"*) ;; *) return ;; esac
    read -r began _ </proc/uptime
    timeout -k 2 "$limit" "$@"
    status=$?
    read -r ended _ </proc/uptime
    [ $status -eq 0 ] || failed=1
    echo "step $name: $status, from $began s to $ended s of the guest's clock"
}

bind() {
    device=/sys/bus/pci/devices/$1
    echo vfio-pci >"$device/driver_override"
    echo "$1" >/sys/bus/pci/drivers_probe
    echo "$1 $(cat "$device/vendor"):$(cat "$device/device"): group $(basename "$(readlink "$device/iommu_group")")," \
        "driver $(basename "$(readlink "$device/driver")"), reset by $(cat "$device/reset_method" 2>/dev/null)"
}

for module in irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci; do
    insmod "/lib/modules/$module.ko" || echo "insmod $module failed"
done
ip link set lo up
echo "Linux $(uname -r), up after $(cut -d ' ' -f 1 /proc/uptime) s; huge pages: $(cat /proc/sys/vm/nr_hugepages)"
bind "$WITNESS"
for function in $FUNCTIONS; do bind "$function"; done
for port in /sys/class/virtio-ports/*; do
    if [ "$(cat "$port/name" 2>/dev/null)" = faults ]; then export FAAM_TEST_CARD_ADMIN="/dev/${port##*/}"; fi
done

export RUST_BACKTRACE=0
FAAM_TEST_WITNESS=$WITNESS step witness 60 /bin/witness --nocapture --test-threads=1

FAAM_TEST_FUNCTIONS=$(echo "$FUNCTIONS" | tr " " ,)
export FAAM_TEST_FUNCTIONS FAAM_TEST_CARRIER=kernel-vfio
export FUNCTIONS WITNESS
step manual 60 /bin/manual.sh
step gateway 60 /bin/gateway.sh
step carriers 60 /bin/carriers "pci:${FUNCTIONS%% *}" "$FAAM_TEST_CARD_ADMIN"
# The last, for its last test kills the card.
step device 400 /bin/device.sh

echo "IOMMU faults that the kernel reported:"
dmesg | grep -E 'DMAR:.*fault addr' | sed 's/^\[ *[0-9.]*\] //'
echo "end: $failed"
# Not in good order: the card is dead, and the kernel would wait for it.
echo b >/proc/sysrq-trigger
