//! What each front is sent, and where its answer has the result.
//!
//! Owns the rows and their wire forms, as the platforms' own clients make them. It measures nothing.

use std::net::SocketAddr;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::signature::Signer;

/// A way to have a body compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// `POST /v1/compress`, which the others are held against.
    Direct,
    /// AWS Lambda's Invoke, on the same gateway, signed.
    Lambda,
    /// OpenWhisk's `/run`, a gateway of its own.
    OpenWhisk,
    /// The same, before the gateway of `Direct`.
    OpenWhiskBefore,
    /// A body posted to Knative's container.
    Knative,
    /// A CloudEvent in the binary mode.
    EventBinary,
    /// A CloudEvent in the structured mode.
    EventStructured,
    /// A body posted to OpenFaaS' container.
    OpenFaas,
    /// Azure's envelope of an HTTP trigger with a binary body.
    Azure,
}

/// The process that serves rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// `faam serve`.
    Gateway,
    /// `faam action-proxy` of a platform, with its own gateway.
    Own(&'static str),
    /// The same, before the gateway of `Gateway`.
    Before(&'static str),
}

impl Row {
    /// Every row, the baseline first.
    pub(super) const ALL: [Self; 9] = [
        Self::Direct,
        Self::Lambda,
        Self::OpenWhisk,
        Self::OpenWhiskBefore,
        Self::Knative,
        Self::EventBinary,
        Self::EventStructured,
        Self::OpenFaas,
        Self::Azure,
    ];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "/v1/compress",
            Self::Lambda => "lambda",
            Self::OpenWhisk => "openwhisk",
            Self::OpenWhiskBefore => "openwhisk --url",
            Self::Knative => "knative",
            Self::EventBinary => "event, binary",
            Self::EventStructured => "event, structured",
            Self::OpenFaas => "openfaas",
            Self::Azure => "azure",
        }
    }

    /// Who serves it.
    pub(super) const fn process(self) -> Process {
        match self {
            Self::Direct | Self::Lambda => Process::Gateway,
            Self::OpenWhisk => Process::Own("openwhisk"),
            Self::OpenWhiskBefore => Process::Before("openwhisk"),
            Self::Knative | Self::EventBinary | Self::EventStructured => Process::Own("knative"),
            Self::OpenFaas => Process::Own("openfaas"),
            Self::Azure => Process::Own("azure"),
        }
    }

    /// A request for `block` to the process at `address`.
    ///
    /// # Errors
    /// It cannot be signed.
    pub(super) fn request(
        self,
        address: SocketAddr,
        access: &Access,
        block: &Bytes,
    ) -> anyhow::Result<Request> {
        let base64 = || STANDARD.encode(block);
        let json = |value: Value| Bytes::from(value.to_string());
        let host = address.to_string();
        let (path, extra, body) = match self {
            Self::Direct => (
                "/v1/compress",
                format!("Authorization: Bearer {}\r\n", access.key),
                block.clone(),
            ),
            Self::Lambda => {
                let path = "/2015-03-31/functions/gzip/invocations";
                let body = json(json!({ "data": base64() }));
                let signed = access.signer.headers(&host, path, &body)?;
                (path, format!("Content-Type: application/json\r\n{signed}"), body)
            }
            Self::OpenWhisk | Self::OpenWhiskBefore => (
                "/run",
                "Content-Type: application/json\r\n".to_owned(),
                json(json!({
                    "value": { "data": base64() },
                    "namespace": "guest",
                    "action_name": "/guest/gzip",
                    "api_host": "http://127.0.0.1:3233",
                    "activation_id": "3f1c2e7a9b4d4e8f8a6b5c4d3e2f1a0b",
                    "transaction_id": "kQ2v3Jt0x1",
                })),
            ),
            Self::Knative | Self::OpenFaas => (
                "/",
                "Content-Type: application/octet-stream\r\n".to_owned(),
                block.clone(),
            ),
            Self::EventBinary => (
                "/",
                "Content-Type: application/octet-stream\r\nce-specversion: 1.0\r\nce-id: 7\r\nce-source: /rig\r\n\
                 ce-type: rig.block\r\n"
                    .to_owned(),
                block.clone(),
            ),
            Self::EventStructured => (
                "/",
                "Content-Type: application/cloudevents+json\r\n".to_owned(),
                json(json!({
                    "specversion": "1.0",
                    "id": "7",
                    "source": "/rig",
                    "type": "rig.block",
                    "datacontenttype": "application/octet-stream",
                    "data_base64": base64(),
                })),
            ),
            Self::Azure => (
                "/gzip",
                "Content-Type: application/json\r\nX-Azure-Functions-InvocationId: 4dd1ab0c\r\n".to_owned(),
                json(json!({
                    "Data": { "req": {
                        "Url": "http://localhost/api/gzip",
                        "Method": "POST",
                        "Query": {},
                        "Headers": { "Content-Type": ["application/octet-stream"] },
                        "Params": {},
                        "Body": base64(),
                    } },
                    "Metadata": { "sys": { "MethodName": "gzip" } },
                })),
            ),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Length: {}\r\n\r\n",
            body.len()
        );
        Ok(Request {
            head: head.into_bytes(),
            body,
        })
    }

    /// The gzip that an answer has.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn result(self, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        if body.starts_with(&[0x1f, 0x8b]) {
            return Ok(body.to_vec());
        }
        let value: Value = serde_json::from_slice(body).context("neither gzip nor JSON")?;
        gzip_in(&value).context("its JSON has no gzip in base64")
    }
}

/// The first string of a value that is gzip in base64, also in JSON in a string.
fn gzip_in(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) if text.starts_with("H4sI") => STANDARD.decode(text).ok(),
        Value::String(text) => gzip_in(
            &serde_json::from_str::<Value>(text)
                .ok()
                .filter(Value::is_object)?,
        ),
        Value::Array(values) => values.iter().find_map(gzip_in),
        Value::Object(members) => members.values().find_map(gzip_in),
        _ => None,
    }
}

/// Credentials of the gateway.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// A key.
    pub(super) key: String,
    /// An access key.
    pub(super) signer: Signer,
}

/// A request, made before it is measured.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Up to the empty line.
    pub(super) head: Vec<u8>,
    /// After it.
    pub(super) body: Bytes,
}
