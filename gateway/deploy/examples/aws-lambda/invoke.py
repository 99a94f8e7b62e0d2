# Compresses a file by AWS Lambda's SDK for Python (pip install boto3):  python invoke.py FILE >FILE.gz
# Change: FAAM_URL to your gateway; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to what `faam key add --kind sigv4` printed.
import base64, json, os, sys
import boto3

client = boto3.client("lambda", endpoint_url=os.environ["FAAM_URL"], region_name="us-east-1")  # any region
with open(sys.argv[1], "rb") as file:
    event = {"data": base64.b64encode(file.read()).decode(), "level": 6}
answer = client.invoke(FunctionName="gzip", Payload=json.dumps(event))  # or gunzip, zstd, unzstd, ...
result = json.load(answer["Payload"])
if "FunctionError" in answer:
    sys.exit(f"{result['errorType']}: {result['errorMessage']}")
sys.stdout.buffer.write(base64.b64decode(result["data"]))
