// npm `cloudevents` as the sender and the receiver of events: node cloudevents.mjs TOOLS URL.
//
// The SDK leaves a header's characters as they are. Node writes them one character a byte, but for a body that is a string: then
// head and body leave as one text in UTF-8.

import assert from "node:assert/strict";
import http from "node:http";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { gunzipSync } from "node:zlib";

const [tools, url] = process.argv.slice(2);
const { CloudEvent, HTTP } = createRequire(resolve(tools, "package.json"))("cloudevents");

const TEXT = "hello ".repeat(100);
const DATA = { order: 1, note: TEXT };

function post({ headers, body }) {
  return new Promise((told, failed) => {
    const request = http.request(url, { method: "POST", headers, timeout: 30_000 }, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("error", failed);
      response.on("end", () => {
        const body = Buffer.concat(pieces);
        told({ status: response.statusCode, headers: response.headers, body });
      });
    });
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.on("error", failed);
    request.end(body);
  });
}

function event(more) {
  return new CloudEvent({
    id: "js-1",
    source: "/tests/js",
    type: "example.order.placed",
    partitionkey: "42",
    data: DATA,
    ...more,
  });
}

// As the SDK reads an answer; text for the modes that are text.
function received(told) {
  assert.equal(told.status, 200, told.body.toString());
  const isText = told.headers["content-type"].startsWith("application/cloudevents");
  return HTTP.toEvent({ headers: told.headers, body: isText ? told.body.toString() : told.body });
}

const unpacked = (event) => gunzipSync(Buffer.from(event.data)).toString();

const cases = {
  async binary() {
    const answer = received(await post(HTTP.binary(event())));
    assert.equal(answer.type, "faam.compressed");
    assert.equal(answer.source, "/faam/functions/gzip");
    assert.equal(answer.partitionkey, "42");
    assert.equal(answer.faamcauseid, "js-1");
    assert.deepEqual(JSON.parse(unpacked(answer)), DATA);
    assert.ok(answer.validate());
  },
  async "binary bytes"() {
    const bytes = Uint8Array.from({ length: 4096 }, (_, index) => index & 255);
    const sent = event({ data: bytes, datacontenttype: "application/octet-stream" });
    const answer = received(await post(HTTP.binary(sent)));
    assert.deepEqual(gunzipSync(Buffer.from(answer.data)), Buffer.from(bytes));
  },
  async structured() {
    const answer = received(await post(HTTP.structured(event({ subject: "Euro €" }))));
    assert.equal(answer.subject, "Euro €");
    assert.deepEqual(JSON.parse(unpacked(answer)), DATA);
  },
  async "structured bytes"() {
    const bytes = Uint8Array.from({ length: 4096 }, (_, index) => index & 255);
    const sent = event({ data: bytes, datacontenttype: "application/octet-stream" });
    const answer = received(await post(HTTP.structured(sent)));
    assert.deepEqual(gunzipSync(Buffer.from(answer.data)), Buffer.from(bytes));
  },
  async "batch with a duplicate"() {
    const events = ["1", "2", "1"].map((id) => event({ id }).toJSON());
    const headers = { "content-type": "application/cloudevents-batch+json" };
    const told = await post({ headers, body: JSON.stringify(events) });
    const answers = received(told);
    assert.deepEqual(answers.map((answer) => answer.faamcauseid), ["1", "2"]);
    for (const answer of JSON.parse(told.body)) {
      const plain = gunzipSync(Buffer.from(answer.data_base64, "base64"));
      assert.deepEqual(JSON.parse(plain), DATA);
    }
  },
  async "a duplicate is known by source and id"() {
    const [first, second] = [
      received(await post(HTTP.binary(event()))),
      received(await post(HTTP.structured(event()))),
    ];
    assert.deepEqual([first.source, first.id], [second.source, second.id]);
  },
  async "raw UTF-8, as Node writes a head with a string"() {
    const told = await post(HTTP.binary(event({ subject: "café" })));
    assert.equal(decodeURIComponent(received(told).subject), "café");
  },
  async "raw Latin-1, as Node writes a head with bytes"() {
    const { headers, body } = HTTP.binary(event({ subject: "café" }));
    const told = await post({ headers, body: Buffer.from(body) });
    assert.equal(decodeURIComponent(received(told).subject), "café");
  },
  async "raw UTF-8, byte by byte"() {
    const { headers, body } = HTTP.binary(event());
    headers["ce-subject"] = Buffer.from("Euro € 😀").toString("latin1");
    const told = await post({ headers, body: Buffer.from(body) });
    assert.equal(decodeURIComponent(received(told).subject), "Euro € 😀");
  },
  async "percent-encoded"() {
    const message = HTTP.binary(event({ subject: encodeURIComponent("Euro € 100%") }));
    assert.equal(decodeURIComponent(received(await post(message)).subject), "Euro € 100%");
  },
};

let held = 0;
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    held += 1;
  } catch (error) {
    console.error(`${name}: ${error.stack}`);
  }
}
console.log(`${held} of ${Object.keys(cases).length} held`);
process.exitCode = held === Object.keys(cases).length ? 0 : 1;
