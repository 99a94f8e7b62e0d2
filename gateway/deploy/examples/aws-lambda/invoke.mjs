// Compresses a file by AWS Lambda's SDK for JavaScript (npm install @aws-sdk/client-lambda):  node invoke.mjs FILE >FILE.gz
// Change: FAAM_URL to your gateway; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to what `faam key add --kind sigv4` printed.
import { readFileSync, writeFileSync } from "node:fs";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";

const client = new LambdaClient({ endpoint: process.env.FAAM_URL, region: "us-east-1" }); // any region
const event = { data: readFileSync(process.argv[2]).toString("base64"), level: 6 };
const answer = await client.send(
  new InvokeCommand({ FunctionName: "gzip", Payload: JSON.stringify(event) }), // or gunzip, zstd, unzstd, ...
);
const result = JSON.parse(Buffer.from(answer.Payload).toString());
if (answer.FunctionError) throw new Error(`${result.errorType}: ${result.errorMessage}`);
writeFileSync(1, Buffer.from(result.data, "base64"));
