"""What boto3 makes of Lambda's Invoke, as JSON.

    python lambda.py TOOLS KEYS

KEYS is JSON: endpoint, bearer, signer and slow (access key id and secret each).
"""

import base64
import datetime
import gzip
import hashlib
import json
import socket
import sys
import urllib.error
import urllib.request
from unittest import mock

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.config import Config
from botocore.exceptions import ClientError

KEYS = json.loads(sys.argv[2])
TEXT = b"hello hello hello " * 500
TIMEOUT_S = 30
IN_A_ROW = 20
LATE = datetime.timedelta(hours=1)


def client(key, attempts=3, token=None):
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=TIMEOUT_S,
        read_timeout=TIMEOUT_S,
    )
    return boto3.session.Session().client(
        "lambda",
        region_name="eu-central-1",
        endpoint_url=KEYS["endpoint"],
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        aws_session_token=token,
        config=config,
    )


def event(data, **options):
    return json.dumps({"data": base64.b64encode(data).decode(), **options})


def attempts(metadata):
    return metadata.get("RetryAttempts", 0) + 1


def error(by, name="gzip", payload="{}", **options):
    try:
        by.invoke(FunctionName=name, Payload=payload, **options)
    except ClientError as refused:
        answer, metadata = refused.response, refused.response["ResponseMetadata"]
        # Those that the service's model has are classes of their own.
        modelled = hasattr(by.exceptions, answer["Error"]["Code"])
        assert not modelled or isinstance(refused, getattr(by.exceptions, answer["Error"]["Code"]))
        return {
            "status": metadata["HTTPStatusCode"],
            "name": answer["Error"]["Code"],
            "message": answer["Error"]["Message"],
            "attempts": attempts(metadata),
            "reason": answer.get("Reason"),
            "retry_after": answer.get("retryAfterSeconds"),
        }
    return {"name": "none"}


def failed(by, name, payload):
    answer = by.invoke(FunctionName=name, Payload=payload)
    return {
        "status": answer["StatusCode"],
        "function_error": answer.get("FunctionError"),
        "payload": json.load(answer["Payload"]),
    }


def round_trip(by, there, back):
    packed = json.load(by.invoke(FunctionName=there, Payload=event(TEXT, level=3))["Payload"])
    if there == "gzip":
        assert gzip.decompress(base64.b64decode(packed["data"])) == TEXT
    answer = by.invoke(FunctionName=back, Payload=json.dumps({"data": packed["data"]}))
    return "ok" if base64.b64decode(json.load(answer["Payload"])["data"]) == TEXT else "differs"


def by_hand(headers):
    url = f"{KEYS['endpoint']}/2015-03-31/functions/gzip/invocations"
    request = urllib.request.Request(url, data=event(TEXT).encode(), headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(request, timeout=TIMEOUT_S).status
    except urllib.error.HTTPError as refused:
        return [refused.code, refused.headers["x-amzn-ErrorType"]]


def before_body(more="", signed=""):
    """The answer to an access key that nobody has, of whose body nothing is sent."""
    now = datetime.datetime.now(datetime.timezone.utc)
    scope = f"FAAM{'A' * 16}/{now:%Y%m%d}/eu-central-1/lambda/aws4_request"
    host, port = KEYS["endpoint"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as stream:
        stream.sendall(
            f"POST /2015-03-31/functions/gzip/invocations HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6000000\r\n{more}"
            f"X-Amz-Date: {now:%Y%m%dT%H%M%SZ}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={scope}, "
            f"SignedHeaders=host;{signed}x-amz-date, Signature={'0' * 64}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            piece = stream.recv(65536)
            assert piece, head
            head += piece
    lines = head.decode("latin-1").lower().split("\r\n")
    kind = next(line.split(": ")[1] for line in lines if line.startswith("x-amzn-errortype: "))
    return [int(lines[0].split()[1]), kind]


class Chunked(botocore.auth.SigV4Auth):
    """Signs a request whose body is signed in chunks, as botocore signs, and then the chunks."""

    def payload(self, request):
        return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"

    def body(self, request, chunks):
        text = request.headers["Authorization"]
        previous = text.rsplit("Signature=", 1)[1]
        empty, framed = hashlib.sha256(b"").hexdigest(), b""
        for chunk in [*chunks, b""]:
            lines = ["AWS4-HMAC-SHA256-PAYLOAD", request.context["timestamp"], self.credential_scope(request), previous, empty]
            previous = self.signature("\n".join([*lines, hashlib.sha256(chunk).hexdigest()]), request)
            framed += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + chunk + b"\r\n"
        return framed


def in_chunks(chunks, spoilt=lambda body: body):
    """The status of a call whose body is signed in chunks, and its error, or the length of what it was made of."""
    key = botocore.credentials.Credentials(*KEYS["signer"])
    url = f"{KEYS['endpoint']}/2015-03-31/functions/gzip/invocations"
    length = sum(len(chunk) for chunk in chunks)
    headers = {
        "X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "X-Amz-Decoded-Content-Length": str(length),
        "Content-Encoding": "aws-chunked",
    }
    request = botocore.awsrequest.AWSRequest("POST", url, headers)
    signs = Chunked(key, "lambda", "eu-central-1")
    signs.add_auth(request)
    sent = urllib.request.Request(url, spoilt(signs.body(request, chunks)), dict(request.headers.items()), method="POST")
    try:
        with urllib.request.urlopen(sent, timeout=TIMEOUT_S) as answer:
            return [answer.status, json.load(answer)["bytes_in"]]
    except urllib.error.HTTPError as refused:
        return [refused.code, refused.headers["x-amzn-ErrorType"]]


signer = client(KEYS["signer"])
seen = {"round_trips": {}}
for there, back in {"gzip": "gunzip", "zlib": "unzlib", "deflate": "inflate", "zstd": "unzstd", "lz4": "unlz4"}.items():
    seen["round_trips"][there] = round_trip(signer, there, back)

context = base64.b64encode(b'{"custom": {}}').decode()
answer = signer.invoke(FunctionName="gzip", LogType="Tail", ClientContext=context, Payload=event(TEXT, level=6))
seen["result"] = json.load(answer["Payload"])
seen["executed_version"] = answer["ExecutedVersion"]
seen["request_id"] = answer["ResponseMetadata"]["RequestId"]
seen["log"] = base64.b64decode(answer["LogResult"]).decode()

seen["corrupt"] = failed(signer, "gunzip", event(b"\x1f\x8b\x08" + bytes(40)))
seen["not_base64"] = failed(signer, "gzip", '{"data": "%%%"}')
seen["no_data"] = failed(signer, "gzip", "{}")
seen["level_99"] = failed(signer, "gzip", event(TEXT, level=99))
seen["long_result"] = failed(signer, "gunzip", event(gzip.compress(bytes(7 << 20))))

seen["unknown_function"] = error(signer, "rar")
seen["unknown_qualifier"] = error(signer, Qualifier="prod")
seen["event"] = error(signer, payload=event(TEXT), InvocationType="Event")
seen["no_json"] = error(signer, payload=b'{"data": ')
seen["wrong_secret"] = error(client([KEYS["signer"][0], "x" * 43]), payload=event(TEXT))
seen["unknown_key"] = error(client(["FAAM" + "A" * 16, KEYS["signer"][1]]), payload=event(TEXT))
seen["no_engine"] = error(client(KEYS["signer"], 2), payload=event(TEXT, backend="require-hw"))
seen["long_request"] = error(signer, payload=event(bytes(5 << 20)))
real = botocore.auth.get_current_datetime
with mock.patch.object(botocore.auth, "get_current_datetime", lambda *a, **k: real(*a, **k) - LATE):
    seen["skewed"] = error(signer, payload=event(TEXT))

# Two within a second are beyond one a second: of some in a row, two are.
impatient, patient = client(KEYS["slow"], 1), client(KEYS["slow"], 10)
for _ in range(IN_A_ROW):
    seen["throttled"] = error(impatient, payload=event(TEXT))
    if seen["throttled"]["name"] != "none":
        break
for _ in range(IN_A_ROW):
    answer = patient.invoke(FunctionName="gzip", Payload=event(TEXT))
    seen["retried"] = {"status": answer["StatusCode"], "attempts": attempts(answer["ResponseMetadata"])}
    if seen["retried"]["attempts"] > 1:
        break

seen["dry_run"] = signer.invoke(FunctionName="gzip", InvocationType="DryRun", Payload="{}")["StatusCode"]
big = (TEXT * (4_600_000 // len(TEXT) + 1))[:4_600_000]
packed = json.load(signer.invoke(FunctionName="gzip", Payload=event(big, level=1))["Payload"])
back = json.load(signer.invoke(FunctionName="gunzip", Payload=json.dumps({"data": packed["data"]}))["Payload"])
seen["nearly_6_mb"] = "ok" if base64.b64decode(back["data"]) == big else "differs"
for what, name in {
    "arn": "arn:aws:lambda:eu-central-1:123456789012:function:gzip",
    "partial_arn": "123456789012:function:gzip",
    "qualified": "gzip:$LATEST",
}.items():
    seen[what] = signer.invoke(FunctionName=name, Payload=event(TEXT))["StatusCode"]

seen["bearer"] = by_hand({"Authorization": f"Bearer {KEYS['bearer']}"})
seen["no_credential"] = by_hand({})
seen["session_token"] = client(KEYS["signer"], token="of nobody").invoke(FunctionName="gzip", Payload=event(TEXT))["StatusCode"]
seen["before_body"] = before_body()
for payload in ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"]:
    seen[payload] = before_body(f"X-Amz-Content-Sha256: {payload}\r\n", "x-amz-content-sha256;")
seen["chunked"] = in_chunks([event(TEXT)[:9000].encode(), event(TEXT)[9000:].encode()])
seen["chunked_changed"] = in_chunks([event(TEXT).encode()], lambda body: body.replace(b'"data"', b'"atad"'))
seen["chunked_cut"] = in_chunks([event(TEXT).encode()], lambda body: body[:-1] + b"x")
print(json.dumps(seen))
