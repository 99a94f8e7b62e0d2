//! What the OpenAPI document says of Lambda's Invoke.
//!
//! Invariant: what is refused is documented with the status that the front's table has. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType};
use utoipa::openapi::{Ref, RefOr, Required, Response, Schema, Type};
use utoipa::{IntoParams, IntoResponses, PartialSchema, ToSchema};

use super::openapi::{header, parameter, text, words};
use crate::error::{PROBLEM_JSON, ProblemKind};
use crate::fronts::error_map::ErrorMap;
use crate::fronts::lambda::LATEST;
use crate::fronts::lambda::errors::Lambda;

const JSON: &str = "application/json";

/// Any JSON: what a function does not like of it is its own error, and no refusal.
pub(super) struct Event;

impl PartialSchema for Event {
    fn schema() -> RefOr<Schema> {
        let any = ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .examples([json!({"data": "aGVsbG8gaGVsbG8gaGVsbG8=", "level": 6})]);
        RefOr::T(any.build().into())
    }
}

impl ToSchema for Event {}

/// Where and how to invoke.
pub(super) struct InvokeParams;

impl IntoParams for InvokeParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let name = text()
            .pattern(Some("^[a-zA-Z0-9_-]+$"))
            .max_length(Some(64));
        let mut name = parameter(
            "name",
            ParameterIn::Path,
            "The function: `gzip`, `gunzip`, ...",
            name.examples([json!("gzip")]),
        );
        name.required = Required::True;
        vec![
            name,
            parameter(
                "Qualifier",
                ParameterIn::Query,
                "Version of the function: there is one.",
                words(&[LATEST]),
            ),
            parameter(
                "X-Amz-Invocation-Type",
                ParameterIn::Header,
                "`DryRun`: only whether the function is there and may be invoked. `Event` is refused.",
                words(&["RequestResponse", "DryRun"]),
            ),
            parameter(
                "X-Amz-Log-Type",
                ParameterIn::Header,
                "`Tail`: the answer's `X-Amz-Log-Result` has the invocation's log, in base64.",
                words(&["None", "Tail"]),
            ),
        ]
    }
}

/// Results and errors.
pub(super) struct InvokeResponses;

impl IntoResponses for InvokeResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let object = || {
            ContentBuilder::new()
                .schema(Some(ObjectBuilder::new()))
                .build()
        };
        let request_id = || header("The invocation's id.", Type::String);
        let result = ResponseBuilder::new()
            .description("The function's result, or its own error: `{errorMessage, errorType}` with `X-Amz-Function-Error`")
            .content(JSON, object())
            .header("x-amzn-RequestId", request_id())
            .header("X-Amz-Executed-Version", header("`$LATEST`.", Type::String))
            .header("X-Amz-Function-Error", header("`Unhandled`, where the function failed.", Type::String))
            .header("X-Amz-Log-Result", header("The end of the log, in base64.", Type::String));
        let dry = ResponseBuilder::new()
            .description("A dry run found nothing in the way")
            .header("x-amzn-RequestId", request_id());
        let mut responses = BTreeMap::from([
            ("200".to_owned(), RefOr::T(result.build())),
            ("204".to_owned(), RefOr::T(dry.build())),
        ]);
        let statuses: BTreeSet<u16> = ProblemKind::ALL
            .map(|kind| Lambda::map(kind).status)
            .into_iter()
            .chain([413, 431])
            .filter(|status| *status >= 400)
            .collect();
        for status in statuses {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
            let error = ResponseBuilder::new()
                .description("Lambda's error of this status: `{Type, Message}` with `x-amzn-ErrorType`; or a problem, where the request is none")
                .content(JSON, object())
                .content(PROBLEM_JSON, problem.build());
            responses.insert(status.to_string(), RefOr::T(error.build()));
        }
        responses
    }
}
