# Compresses a file by a Knative service, as plain HTTP and as a CloudEvent:  URL=http://gzip.default.example.com sh call.sh FILE
# Change: URL to what `kubectl get ksvc gzip` shows. The answer of an event is an event: its id tells repeated ones apart.
set -eu
curl -sS --fail-with-body --data-binary "@$1" -H 'Content-Type: application/octet-stream' "$URL/?level=6" >"$1.gz"
curl -sS --fail-with-body --data-binary "@$1" -H 'Content-Type: application/octet-stream' \
    -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /example' -H 'ce-type: com.example.file' \
    -D "$1.event" "$URL/" >"$1.event.gz"
