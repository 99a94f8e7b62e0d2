#!/bin/sh
# In the guest: a gateway on a card behind the kernel's VFIO, without root, compresses a file over HTTP.
set -eu
function=${FUNCTIONS%% *}
group=/dev/vfio/$(basename "$(readlink "/sys/bus/pci/devices/$function/iommu_group")")
work=/tmp/gateway
key=faam_guest-key-of-the-conformance-suite
mkdir "$work"
mkfifo "$work/log"
trap 'cat "$work/log.read"; exit 1' TERM
trap '[ $? -eq 0 ] || cat "$work/log.read"' EXIT

# A user of its own, whom two permissions are given: the function's group, and memory to lock.
echo 'root:x:0:0::/:/bin/sh
faam:x:1000:1000::/:/bin/sh' >/etc/passwd
chown faam "$work" "$group"
chmod 666 /dev/vfio/vfio
ls -l "$group"

# serve LOCK_KIB: start the gateway with a limit of locked memory; its log goes to the pipe.
serve() {
    (
        # shellcheck disable=SC3045 # busybox has it
        ulimit -l "$1"
        export FAAM_DATA_DIR="$work/data" FAAM_ARENA_BYTES=8MiB FAAM_BOOTSTRAP_KEY="$key" NO_COLOR=1
        exec su faam -c "exec faam serve --devices pci:$function" >"$work/log" 2>&1
    ) &
    gateway=$!
}

# until_logged PATTERN: read the log until a line has it.
until_logged() {
    while read -r line; do
        echo "$line" >>"$work/log.read"
        case $line in
        *"$1"*)
            echo "$line"
            return
            ;;
        esac
    done <&3
    echo "the gateway ended without saying \"$1\""
    return 1
}

echo "with too little memory to lock:"
serve 64
exec 3<"$work/log"
until_logged RLIMIT_MEMLOCK
kill "$gateway"
wait "$gateway" || true
exec 3<&-

serve 16384
exec 3<"$work/log"
until_logged "in service"
cat <&3 >/dev/null &

faam compress --key "$key" --backend require-hw --verbose -c /etc/sample 2>&1 >/tmp/sample.gz | cat
gunzip -c /tmp/sample.gz | cmp - /etc/sample
wget -S --header "Authorization: Bearer $key" --header 'Faam-Backend: require-hw' --post-file /etc/sample \
    -O /tmp/answer.gz http://127.0.0.1:8080/v1/compress 2>&1 | grep -iE 'HTTP/|faam-|saved' | tee /tmp/head
grep -qi 'faam-backend: fpga0' /tmp/head
gunzip -c /tmp/answer.gz | cmp - /etc/sample
echo "$(wc -c </etc/sample) bytes to $(wc -c </tmp/answer.gz) over HTTP; unpacked by busybox they are the same"
kill "$gateway"
wait "$gateway"
