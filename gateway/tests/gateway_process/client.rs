//! A caller: plain HTTP/1.1 over a connection of its own for each clone.

use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;
use ureq::http::HeaderMap;

/// How long one call may take: more than any deadline that a test sets.
const CALL_LIMIT: Duration = Duration::from_secs(240);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Calls one gateway with one key.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    authorization: String,
}

/// A complete answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// What became of it, where it was streamed and its headers could not say.
    facts: Option<Value>,
}

/// One engine of `Faam-Backend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) simulated: bool,
}

impl Client {
    pub(crate) fn new(url: String, key: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_LIMIT))
            .proxy(None);
        Self {
            agent: config.build().new_agent(),
            url,
            authorization: format!("Bearer {key}"),
        }
    }

    /// `POST path` with `body`; `Err` if no complete answer came.
    pub(crate) fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("Authorization", &self.authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = Answer::read(request.send(body)?)?;
        if answer.status == 200 && answer.header("Faam-Verify") == "on" {
            answer.facts = Some(self.final_facts(answer.header("Faam-Invocation-Id"))?);
        }
        Ok(answer)
    }

    /// The facts of a streamed answer whose last byte has come: kept a moment after it.
    fn final_facts(&self, id: &str) -> Result<Value, ureq::Error> {
        let url = format!("{}/v1/invocations/{id}", self.url);
        let until = Instant::now() + CALL_LIMIT;
        loop {
            let call = self.agent.get(&url);
            let answer = call.header("Authorization", &self.authorization).call()?;
            let facts: Value =
                serde_json::from_slice(&Answer::read(answer)?.body).unwrap_or_default();
            if facts["state"] != "running" || Instant::now() > until {
                return Ok(facts);
            }
            std::thread::yield_now();
        }
    }

    /// `GET url`, which may be another listener's; an empty answer with status 0 if none came.
    pub(crate) fn get(&self, url: &str) -> Answer {
        let answer = self.agent.get(url).call().and_then(Answer::read);
        answer.unwrap_or_else(|_| Answer {
            status: 0,
            headers: HeaderMap::new(),
            body: Vec::new(),
            facts: None,
        })
    }
}

impl Answer {
    fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Self, ureq::Error> {
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()?;
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
            facts: None,
        })
    }

    /// A header's text, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// A final fact: of a streamed answer by its name at `/v1/invocations`, else by its header.
    fn fact<'a>(&'a self, header: &str, name: &str) -> &'a str {
        match &self.facts {
            Some(facts) => facts[name].as_str().unwrap_or(""),
            None => self.header(header),
        }
    }

    /// Its problem details as `status type: detail`, for messages; of a success only the status.
    pub(crate) fn problem(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().unwrap_or("").to_owned();
        format!("{} {}: {}", self.status, text("type"), text("detail"))
    }

    /// The engines that served, from `Faam-Backend`.
    fn engines(&self) -> Vec<Engine> {
        let engine = |text: &str| {
            let mut parts = text.split(';').map(str::trim);
            let name = parts.next().unwrap_or("").to_owned();
            Engine {
                name,
                simulated: parts.any(|part| part == "simulated"),
            }
        };
        let backend = self.fact("Faam-Backend", "backend");
        backend.split(',').map(engine).collect()
    }

    /// Check that this is a verified success on engines that `policy` allows, each honestly named.
    pub(crate) fn check_served(&self, policy: &str) -> Result<(), String> {
        if self.status != 200 {
            return Err(self.problem());
        }
        let verify = self.fact("Faam-Verify", "verify");
        if verify != "ok" {
            return Err(format!("Faam-Verify is {verify:?}"));
        }
        for engine in self.engines() {
            let card = engine.name.starts_with("fpga0.");
            let allowed = match policy {
                "require-hw" => card,
                "cpu" => engine.name == "cpu",
                _ => card || engine.name == "cpu",
            };
            if !allowed || card != engine.simulated {
                return Err(format!(
                    "{policy} was served by {:?}",
                    self.fact("Faam-Backend", "backend")
                ));
            }
        }
        Ok(())
    }
}
