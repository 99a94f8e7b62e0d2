//! Faults of our own simulated cards, for an operator who rehearses a failure.
//!
//! Invariant: each change is an event with its actor; a card that is not to fail is answered with what would help. What a
//! rule means is the card's affair (`faam-sim`, `fault_plan`).

use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use faam_sim::FaultRule;

use super::admin_devices::named;
use super::admin_tenants::Actor;
use super::app::App;
use super::json_body::JsonBody;
use super::path_name::PathName;
use crate::card_faults::CardFaults;
use crate::error::Problem;
use crate::events::{event, kind};

/// A rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    function: Option<u8>,
    after: Option<u64>,
    times: Option<u64>,
    chance: Option<f64>,
    ms: Option<u32>,
    factor: Option<u32>,
}

impl Rule {
    /// The rule, for one function where it names none of its own.
    fn parse(self, function: Option<u8>) -> Result<FaultRule, Problem> {
        let keys = [
            (
                "function",
                self.function.or(function).map(|it| it.to_string()),
            ),
            ("after", self.after.map(|it| it.to_string())),
            ("times", self.times.map(|it| it.to_string())),
            ("chance", self.chance.map(|it| it.to_string())),
            ("ms", self.ms.map(|it| it.to_string())),
            ("factor", self.factor.map(|it| it.to_string())),
        ];
        let mut text = self.name;
        for (key, value) in keys {
            if let Some(value) = value {
                text.push_str(&format!(",{key}={value}"));
            }
        }
        text.parse()
            .map_err(|error: faam_sim::RuleError| Problem::invalid_option(error.to_string()))
    }
}

pub(super) fn routes() -> Router<App> {
    Router::new().route(
        "/admin/v1/devices/{name}/faults",
        get(list).post(add).delete(clear),
    )
}

async fn list(
    State(app): State<App>,
    PathName(name): PathName,
) -> Result<Json<CardFaults>, Problem> {
    let (card, _) = place(&app, &name)?;
    Ok(Json(app.dispatcher.card_faults(card).await?))
}

/// Answers with the rule alone: a card that was just told to stop has no more to say.
async fn add(
    State(app): State<App>,
    Extension(Actor(actor)): Extension<Actor>,
    PathName(name): PathName,
    rule: Result<JsonBody<Rule>, Problem>,
) -> Result<Json<serde_json::Value>, Problem> {
    let (card, function) = place(&app, &name)?;
    let JsonBody(rule) = rule?;
    let rule = rule.parse(function)?.to_string();
    app.dispatcher.add_card_fault(card, &rule).await?;
    let card = format!("fpga{card}");
    let detail = json!({ "rule": rule });
    app.events
        .record(event(kind::CARD_FAULT, actor, &card, detail));
    Ok(Json(json!({ "card": card, "rule": rule })))
}

async fn clear(
    State(app): State<App>,
    Extension(Actor(actor)): Extension<Actor>,
    PathName(name): PathName,
) -> Result<Json<CardFaults>, Problem> {
    let (card, _) = place(&app, &name)?;
    app.dispatcher.clear_card_faults(card).await?;
    let cleared = json!({ "rule": null });
    app.events.record(event(
        kind::CARD_FAULT,
        actor,
        &format!("fpga{card}"),
        cleared,
    ));
    Ok(Json(app.dispatcher.card_faults(card).await?))
}

/// The card that a name names or that the function of this name is of, and that function.
fn place(app: &App, name: &str) -> Result<(u8, Option<u8>), Problem> {
    let functions = named(app, name)?;
    let first = functions.first().map(|(number, _)| *number);
    let one = functions.len() == 1;
    Ok(first.map_or((0, None), |first| {
        (first.card, one.then_some(first.function))
    }))
}
