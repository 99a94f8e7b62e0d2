#!/bin/sh
# In the guest: a gateway on a card behind the kernel's VFIO, without root, compresses a file over HTTP.
set -eu
work=$(mktemp -d)
chmod 711 "$work"
echo 'root:x:0:0::/:/bin/sh
faam:x:1000:1000::/:/bin/sh' >/etc/passwd
for function in $FUNCTIONS; do
    chown 1000:1000 "/dev/vfio/$(basename "$(readlink "/sys/bus/pci/devices/$function/iommu_group")")"
done
chmod 666 /dev/vfio/vfio
install -d -o 1000 -g 1000 "$work/data"
echo gateway
