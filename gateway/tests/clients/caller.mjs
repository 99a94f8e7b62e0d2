// HTTP callers as Node has them: http.request, http2, and fetch (undici).
//
//     node caller.mjs CALL
//
// CALL is JSON: url, headers, body (a file), chunked, attempts, by ("http", "http2", "fetch", "write-first"). Each attempt has a
// connection of its own and prints a line of JSON: what its caller saw, or the error that it got. "write-first" is
// http.request, with the body made and the answer decoded on the way: `body` is a number of bytes then.

import { createCipheriv, createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import { Readable } from "node:stream";
import { once } from "node:events";
import { createGunzip } from "node:zlib";
import { pipeline } from "node:stream/promises";

const TIMEOUT_MS = 60_000;
const PIECE_BYTES = 1 << 20;

const sha256 = () => createHash("sha256");
const text = (error) => {
    const cause = error.cause ? `: ${error.cause.code ?? error.cause.message}` : "";
    return `${error.code ?? error.name} ${error.message}${cause}`;
};

function seen(status, type, content) {
    const outcome = { status, bytes: content.length, sha256: sha256().update(content).digest("hex") };
    if (type?.startsWith("application/problem+json")) outcome.problem = JSON.parse(content).type;
    return outcome;
}

async function byHttp(call) {
    // No Content-Length and no end() with everything in hand: Node sends chunks.
    const headers = call.chunked
        ? call.headers
        : { ...call.headers, "Content-Length": readFileSync(call.body).length };
    const { request: open } = call.url.startsWith("https:") ? https : http;
    const request = open(call.url, { method: "POST", headers, agent: false, timeout: TIMEOUT_MS });
    request.on("timeout", () => request.destroy(new Error("time-out")));
    const answered = new Promise((resolve, reject) => {
        request.on("response", resolve);
        request.on("error", reject);
    });
    if (call.chunked) createReadStream(call.body, { highWaterMark: PIECE_BYTES }).pipe(request);
    else request.end(readFileSync(call.body));
    const response = await answered;
    const pieces = [];
    try {
        for await (const piece of response) pieces.push(piece);
    } catch (error) {
        return { status: response.statusCode, error: text(error) };
    }
    // What Node's documentation says to look at: whether the message was received whole.
    if (!response.complete) return { status: response.statusCode, error: "incomplete" };
    const outcome = seen(response.statusCode, response.headers["content-type"], Buffer.concat(pieces));
    return { ...outcome, trailers: response.trailers };
}

async function byHttp2(call) {
    const { origin, pathname, search } = new URL(call.url);
    const session = http2.connect(origin);
    // What ends the session ends its stream as well, which says so.
    session.on("error", () => {});
    const headers = { ":method": "POST", ":path": pathname + search, ...call.headers };
    const body = readFileSync(call.body);
    if (!call.chunked) headers["content-length"] = body.length;
    const stream = session.request(headers);
    stream.setTimeout(TIMEOUT_MS, () => stream.destroy(new Error("time-out")));
    try {
        const answered = once(stream, "response");
        if (call.chunked) createReadStream(call.body, { highWaterMark: PIECE_BYTES }).pipe(stream);
        else stream.end(body);
        const [head] = await answered;
        const pieces = [];
        try {
            for await (const piece of stream) pieces.push(piece);
        } catch (error) {
            return { status: head[":status"], error: text(error) };
        }
        return seen(head[":status"], head["content-type"], Buffer.concat(pieces));
    } finally {
        session.destroy();
    }
}

async function byFetch(call) {
    const body = call.chunked
        ? Readable.toWeb(createReadStream(call.body, { highWaterMark: PIECE_BYTES }))
        : readFileSync(call.body);
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(call.url, { method: "POST", headers: call.headers, body, duplex: "half", signal });
    try {
        const content = Buffer.from(await response.arrayBuffer());
        return seen(response.status, response.headers.get("content-type"), content);
    } catch (error) {
        return { status: response.status, error: text(error) };
    }
}

// Everything is written before anything is read: the response is left alone until the request has finished.
async function writeFirst(call) {
    const source = createCipheriv("aes-128-ctr", Buffer.alloc(16, call.seed), Buffer.alloc(16));
    const zeros = Buffer.alloc(PIECE_BYTES);
    const sent = sha256();
    const request = http.request(call.url, { method: "POST", headers: call.headers, agent: false });
    const answered = once(request, "response");
    for (let left = call.body; left > 0; left -= PIECE_BYTES) {
        const piece = source.update(zeros);
        sent.update(piece);
        if (!request.write(piece)) await once(request, "drain");
    }
    const finished = once(request, "finish");
    request.end();
    await finished;
    const [response] = await answered;
    if (response.statusCode !== 200) {
        const pieces = [];
        for await (const piece of response) pieces.push(piece);
        return seen(response.statusCode, response.headers["content-type"], Buffer.concat(pieces));
    }
    const received = sha256();
    let bytes = 0;
    await pipeline(response, createGunzip(), async (data) => {
        for await (const piece of data) {
            received.update(piece);
            bytes += piece.length;
        }
    });
    const digest = received.digest("hex");
    if (digest !== sent.digest("hex")) throw new Error("other bytes came back");
    return { status: response.statusCode, bytes, sha256: digest };
}

const call = JSON.parse(process.argv[2]);
const by = { http: byHttp, http2: byHttp2, fetch: byFetch, "write-first": writeFirst }[call.by];
for (let attempt = 0; attempt < call.attempts; attempt++) {
    let outcome;
    try {
        outcome = await by(call);
    } catch (error) {
        outcome = { error: text(error) };
    }
    console.log(JSON.stringify(outcome));
}
// A connection that fetch keeps must not keep this process.
process.exit(0);
