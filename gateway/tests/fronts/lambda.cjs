// What @aws-sdk/client-lambda makes of Lambda's Invoke, as JSON.
//
//     node lambda.cjs TOOLS KEYS
//
// KEYS is JSON: endpoint, signer and slow (access key id and secret each).

const { createRequire } = require("node:module");
const { gzipSync, gunzipSync } = require("node:zlib");
const { InvokeCommand, LambdaClient, LambdaServiceException } = createRequire(`${process.argv[2]}/package.json`)("@aws-sdk/client-lambda");

const KEYS = JSON.parse(process.argv[3]);
const TEXT = Buffer.from("hello hello hello ".repeat(500));
const LATE_MS = 3_600_000;
const IN_A_ROW = 20;

const client = ([accessKeyId, secretAccessKey], more = {}) =>
    new LambdaClient({ endpoint: KEYS.endpoint, region: "eu-central-1", credentials: { accessKeyId, secretAccessKey }, maxAttempts: 3, ...more });
const event = (data, options = {}) => JSON.stringify({ data: data.toString("base64"), ...options });
const invoke = (by, FunctionName, Payload, more = {}) => by.send(new InvokeCommand({ FunctionName, Payload, ...more }));
const result = (answer) => JSON.parse(Buffer.from(answer.Payload).toString());

async function error(by, name = "gzip", payload = "{}", more = {}) {
    try {
        await invoke(by, name, payload, more);
    } catch (refused) {
        if (!(refused instanceof LambdaServiceException)) throw refused;
        const { httpStatusCode: status, attempts } = refused.$metadata;
        return { status, name: refused.name, message: refused.message, attempts, reason: refused.Reason, retry_after: refused.retryAfterSeconds };
    }
    return { name: "none" };
}

async function failed(by, name, payload) {
    const answer = await invoke(by, name, payload);
    return { status: answer.StatusCode, function_error: answer.FunctionError, payload: result(answer) };
}

async function roundTrip(by, there, back) {
    const packed = result(await invoke(by, there, event(TEXT, { level: 3 })));
    if (there === "gzip" && !gunzipSync(Buffer.from(packed.data, "base64")).equals(TEXT)) return "differs";
    const answer = result(await invoke(by, back, JSON.stringify({ data: packed.data })));
    return Buffer.from(answer.data, "base64").equals(TEXT) ? "ok" : "differs";
}

async function main() {
    const signer = client(KEYS.signer);
    const seen = { round_trips: {} };
    for (const [there, back] of Object.entries({ gzip: "gunzip", zlib: "unzlib", deflate: "inflate", zstd: "unzstd", lz4: "unlz4" })) {
        seen.round_trips[there] = await roundTrip(signer, there, back);
    }

    const ClientContext = Buffer.from('{"custom": {}}').toString("base64");
    const answer = await invoke(signer, "gzip", event(TEXT, { level: 6 }), { LogType: "Tail", ClientContext });
    seen.result = result(answer);
    seen.executed_version = answer.ExecutedVersion;
    seen.request_id = answer.$metadata.requestId;
    seen.log = Buffer.from(answer.LogResult, "base64").toString();

    seen.corrupt = await failed(signer, "gunzip", event(Buffer.concat([Buffer.from([0x1f, 0x8b, 8]), Buffer.alloc(40)])));
    seen.not_base64 = await failed(signer, "gzip", '{"data": "%%%"}');
    seen.no_data = await failed(signer, "gzip", "{}");
    seen.level_99 = await failed(signer, "gzip", event(TEXT, { level: 99 }));
    seen.long_result = await failed(signer, "gunzip", event(gzipSync(Buffer.alloc(7 << 20))));

    seen.unknown_function = await error(signer, "rar");
    seen.unknown_qualifier = await error(signer, "gzip", "{}", { Qualifier: "prod" });
    seen.event = await error(signer, "gzip", event(TEXT), { InvocationType: "Event" });
    seen.no_json = await error(signer, "gzip", '{"data": ');
    seen.wrong_secret = await error(client([KEYS.signer[0], "x".repeat(43)]), "gzip", event(TEXT));
    seen.unknown_key = await error(client([`FAAM${"A".repeat(16)}`, KEYS.signer[1]]), "gzip", event(TEXT));
    seen.no_engine = await error(client(KEYS.signer, { maxAttempts: 2 }), "gzip", event(TEXT, { backend: "require-hw" }));
    seen.long_request = await error(signer, "gzip", event(Buffer.alloc(5 << 20)));
    const late = { systemClockOffset: -LATE_MS };
    seen.skewed = await error(client(KEYS.signer, { ...late, maxAttempts: 1 }), "gzip", event(TEXT));
    const set = await invoke(client(KEYS.signer, late), "gzip", event(TEXT));
    seen.clock_set = { status: set.StatusCode, attempts: set.$metadata.attempts };

    // Two within a second are beyond one a second: of some in a row, two are.
    const [impatient, patient] = [1, 10].map((maxAttempts) => client(KEYS.slow, { maxAttempts }));
    for (let call = 0; call < IN_A_ROW; call++) {
        seen.throttled = await error(impatient, "gzip", event(TEXT));
        if (seen.throttled.name !== "none") break;
    }
    for (let call = 0; call < IN_A_ROW; call++) {
        const retried = await invoke(patient, "gzip", event(TEXT));
        seen.retried = { status: retried.StatusCode, attempts: retried.$metadata.attempts };
        if (seen.retried.attempts > 1) break;
    }

    seen.dry_run = (await invoke(signer, "gzip", "{}", { InvocationType: "DryRun" })).StatusCode;
    const big = Buffer.alloc(4_600_000, TEXT);
    const packed = result(await invoke(signer, "gzip", event(big, { level: 1 })));
    const back = result(await invoke(signer, "gunzip", JSON.stringify({ data: packed.data })));
    seen.nearly_6_mb = Buffer.from(back.data, "base64").equals(big) ? "ok" : "differs";
    const names = { arn: "arn:aws:lambda:eu-central-1:123456789012:function:gzip", partial_arn: "123456789012:function:gzip", qualified: "gzip:$LATEST" };
    for (const [what, name] of Object.entries(names)) {
        seen[what] = (await invoke(signer, name, event(TEXT))).StatusCode;
    }
    process.stdout.write(JSON.stringify(seen));
}

main().catch((failure) => {
    console.error(failure);
    process.exit(1);
});
