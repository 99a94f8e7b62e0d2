#!/bin/sh
# In the guest: runs the manual, /etc/manual.md, as its reader would, on a machine that was put back to where the manual begins.
#
# Every line of a block marked `sh guest` is run in this shell. `#=> TEXT` after it must stand in what it wrote, `#=! N` is the
# status that it must end with (0 unless said).
set -u
manual=/etc/manual.md
work=/tmp/manual
mkdir -p "$work" /var/log
# Where the manual begins: no function with vfio, vfio not loaded, nothing set up.
faam device unbind $FUNCTIONS $WITNESS
for module in vfio_pci vfio_pci_core vfio_iommu_type1 vfio irqbypass; do rmmod $module; done
# What useradd would write, which busybox does not have.
printf 'root:x:0:0::/:/bin/sh\nfaam:x:990:990::/nonexistent:/bin/false\n' >/etc/passwd
printf 'root:x:0:\nfaam:x:990:\n' >/etc/group
# A kernel's modules are found by name: what a package of a kernel comes with.
modules=/lib/modules/$(uname -r)
mkdir -p "$modules"
cp /lib/modules/*.ko "$modules"
depmod
export NO_COLOR=1

# How the command before was to end, once all that was said of it is known.
settle() {
    [ -n "$command" ] || return 0
    runs=$((runs + 1))
    [ "$status" = "$expected" ] && return 0
    echo "manual: status $status, expected $expected: $command"
    failed=$((failed + 1))
}

awk '/^```sh guest$/ { on = 1; next } /^```/ { on = 0 } on' "$manual" >"$work/lines"
command='' runs=0 failed=0
while IFS= read -r line <&3; do
    case $line in
    '#=> '*)
        text=${line#\#=> }
        grep -qF -- "$text" "$work/said" && continue
        echo "manual: expected \"$text\" of: $command"
        failed=$((failed + 1))
        ;;
    '#=! '*) expected=${line#\#=! } ;;
    *)
        settle
        command=$line expected=0
        echo "\$ $command"
        eval "$command" >"$work/said" 2>&1 3<&-
        status=$?
        cat "$work/said"
        ;;
    esac
done 3<"$work/lines"
settle
[ "$failed" -eq 0 ] || cat /var/log/faam.log
# As those who come after it expect the machine.
faam device bind --force $FUNCTIONS $WITNESS || failed=$((failed + 1))
echo "manual: $runs commands, $failed not as it says"
[ "$runs" -ge 30 ] && [ "$failed" -eq 0 ]
