//! A caller: plain HTTP/1.1 over a connection of its own for each clone.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::HeaderMap;

/// How long one call may take: more than any deadline that a test sets.
const CALL_LIMIT: Duration = Duration::from_secs(60);
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
        Answer::read(request.send(body)?)
    }

    /// `GET url`, which may be another listener's; an empty answer with status 0 if none came.
    pub(crate) fn get(&self, url: &str) -> Answer {
        let answer = self.agent.get(url).call().and_then(Answer::read);
        answer.unwrap_or_else(|_| Answer {
            status: 0,
            headers: HeaderMap::new(),
            body: Vec::new(),
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
        })
    }

    /// A header's text, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
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
        self.header("Faam-Backend").split(',').map(engine).collect()
    }

    /// Check that this is a verified success on engines that `policy` allows, each honestly named.
    pub(crate) fn check_served(&self, policy: &str) -> Result<(), String> {
        if self.status != 200 {
            return Err(self.problem());
        }
        if self.header("Faam-Verify") != "ok" {
            return Err(format!("Faam-Verify is {:?}", self.header("Faam-Verify")));
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
                    self.header("Faam-Backend")
                ));
            }
        }
        Ok(())
    }
}
