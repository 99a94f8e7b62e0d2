"""HTTP callers as Python's standard library has them: http.client, and urllib on top of it.

    python3 -I caller.py CALL

CALL is JSON: url, headers, body (a file), chunked, attempts, by ("http.client", "urllib", "write-first"). Each attempt has
a connection of its own and prints a line of JSON: what its caller saw, or the error that it got. "write-first" is
http.client, with the body made and the answer decoded on the way: `body` is a number of bytes then.
"""

import hashlib
import http.client
import json
import random
import sys
import urllib.error
import urllib.request
import zlib
from urllib.parse import urlsplit

TIMEOUT_S = 60
PIECE_BYTES = 1 << 20


def pieces(path):
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def whole(path):
    with open(path, "rb") as file:
        return file.read()


def seen(status, headers, content):
    outcome = {"status": status, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if headers.get_content_type() == "application/problem+json":
        outcome["problem"] = json.loads(content)["type"]
    return outcome


def connect(call):
    url = urlsplit(call["url"])
    target = url.path + ("?" + url.query if url.query else "")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.netloc, timeout=TIMEOUT_S), target


def by_http_client(call):
    connection, target = connect(call)
    headers, chunked = dict(call["headers"]), call["chunked"]
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    body = pieces(call["body"]) if chunked else whole(call["body"])
    connection.request("POST", target, body, headers, encode_chunked=chunked)
    response = connection.getresponse()
    outcome = {"status": response.status}
    try:
        return seen(response.status, response.headers, response.read())
    except Exception as error:
        return outcome | {"error": repr(error)}


def by_urllib(call):
    # An iterable has no length: urllib sends it in chunks.
    body = pieces(call["body"]) if call["chunked"] else whole(call["body"])
    request = urllib.request.Request(call["url"], body, call["headers"], method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        response = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        outcome = {"status": response.status}
        try:
            return seen(response.status, response.headers, response.read())
        except Exception as error:
            return outcome | {"error": repr(error)}


def write_first(call):
    """Everything is written before anything is read."""
    sent, source = hashlib.sha256(), random.Random(call["seed"])

    def body():
        for _ in range(call["body"] // PIECE_BYTES):
            piece = source.randbytes(PIECE_BYTES)
            sent.update(piece)
            yield piece

    connection, target = connect(call)
    headers = call["headers"] | {"Transfer-Encoding": "chunked"}
    connection.request("POST", target, body(), headers, encode_chunked=True)
    response = connection.getresponse()
    if response.status != 200:
        return seen(response.status, response.headers, response.read())
    decoder, received, length = zlib.decompressobj(31), hashlib.sha256(), 0
    while piece := response.read(PIECE_BYTES):
        data = decoder.decompress(piece)
        received.update(data)
        length += len(data)
    assert decoder.eof and not decoder.unused_data, "not one whole member"
    assert received.digest() == sent.digest(), "other bytes came back"
    return {"status": response.status, "bytes": length, "sha256": received.hexdigest()}


def main():
    call = json.loads(sys.argv[1])
    by = {"http.client": by_http_client, "urllib": by_urllib, "write-first": write_first}[call["by"]]
    for _ in range(call["attempts"]):
        try:
            outcome = by(call)
        except Exception as error:
            outcome = {"error": repr(error)}
        print(json.dumps(outcome), flush=True)


main()
