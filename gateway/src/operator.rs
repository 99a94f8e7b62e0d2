//! An operator's calls about tenants and keys: of the gateway that runs, or of its store where none does.
//!
//! Invariants: the words and their meaning are the same either way, for the same code answers; where no gateway runs, the data
//! directory is locked for as long as the store is open, so that none starts meanwhile. It does not know what is asked.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use faam_gateway::credentials::keyring::Keyring;
use faam_gateway::directory::{DirectoryOptions, TenantDirectory};
use faam_gateway::gateway::{STORE_FILE, lock_data_dir};
use faam_gateway::http::admin_tenants;
use faam_gateway::tenants::TenantLimits;
use faam_store::Store;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::admin_client::{AdminClient, AdminError, OperatorFlags};
use crate::offline_store::runtime;

/// Bytes of an answer, of a store that is asked here.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Whoever answers.
pub(crate) enum Operator {
    /// A gateway that runs.
    Gateway(AdminClient),
    /// Its store, in this process.
    Store(Offline),
}

/// A store that this process has opened.
pub(crate) struct Offline {
    router: Router,
    store: Store,
    runtime: Runtime,
    _lock: File,
}

/// Whether a store is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhereNone {
    /// It is.
    Make,
    /// It is said that there is none.
    Refuse,
}

impl Operator {
    /// Of the data directory that the flags name.
    ///
    /// # Errors
    /// Neither a gateway nor a store, or one that cannot be asked.
    pub(crate) fn reach(flags: &OperatorFlags, where_none: WhereNone) -> anyhow::Result<Self> {
        let client = AdminClient::new(&flags.data_dir);
        match client.get("/admin/v1") {
            Ok(_) => Ok(Self::Gateway(client)),
            Err(AdminError::NoGateway { .. }) => {
                Offline::open(&flags.data_dir, where_none).map(Self::Store)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks, with `body` as JSON if there is any.
    ///
    /// # Errors
    /// A refusal, in its words.
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        match self {
            Self::Gateway(client) => Ok(client.change(method, path, body)?),
            Self::Store(offline) => offline.ask(method, path, body),
        }
    }

    /// Every page of a list, in one; `path` has no query, or one that ends.
    ///
    /// # Errors
    /// As [`Operator::ask`].
    pub(crate) fn list(&self, path: &str, member: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let page = match &after {
                None => path.to_owned(),
                Some(name) => format!("{path}{mark}after={}", crate::admin_client::in_path(name)),
            };
            let answer = self.ask(Method::GET, &page, None)?;
            let items = answer.get(member).and_then(Value::as_array);
            all.extend(items.into_iter().flatten().cloned());
            let next = answer.get("next").and_then(Value::as_str);
            match next {
                // A page that ends where it began would never end.
                Some(next) if after.as_deref() < Some(next) => after = Some(next.to_owned()),
                _ => return Ok(all),
            }
        }
    }

    /// Done with it.
    ///
    /// # Errors
    /// A store that does not close.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Gateway(_) => Ok(()),
            Self::Store(offline) => Ok(offline.runtime.block_on(offline.store.close())?),
        }
    }
}

impl Offline {
    fn open(data_dir: &Path, where_none: WhereNone) -> anyhow::Result<Self> {
        let path = data_dir.join(STORE_FILE);
        if where_none == WhereNone::Refuse && !path.exists() {
            bail!(
                "no gateway answers on the data directory {}, and there is no store in it: name the directory of a gateway with \
                 --data-dir",
                data_dir.display()
            );
        }
        let is_new = !path.exists();
        let lock = lock_data_dir(data_dir)?;
        let keyring = Keyring::open(data_dir, Keyring::credentials_dir().as_deref())?;
        let runtime = runtime()?;
        let (store, directory) = runtime.block_on(async {
            let store = Store::open(&path).await?;
            let options = DirectoryOptions {
                keyring,
                defaults: TenantLimits::default(),
                demo_key: None,
                events: None,
            };
            let directory = TenantDirectory::open(store.clone(), options).await?;
            anyhow::Ok((store, directory))
        })?;
        if is_new {
            // Whatever comes of what is asked: somebody may have meant another one.
            eprintln!(
                "note: a new store was made in {}, where there was none and no gateway runs; --data-dir or FAAM_DATA_DIR names another",
                data_dir.display()
            );
        }
        Ok(Self {
            router: admin_tenants::offline(directory),
            store,
            runtime,
            _lock: lock,
        })
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::from(body))?;
        let (succeeded, bytes) = self.runtime.block_on(async {
            let Ok(response) = self.router.clone().oneshot(request).await;
            let succeeded = response.status().is_success();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((succeeded, body.to_bytes()))
        })?;
        let value: Value = serde_json::from_slice(&bytes)?;
        match succeeded {
            true => Ok(value),
            false => Err(AdminError::refused(&value).into()),
        }
    }
}

/// Prints an answer for a program.
///
/// # Errors
/// Standard output.
pub(crate) fn print_json(value: &Value) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints lines for people.
///
/// # Errors
/// Standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A member for people: `-` where it is not there, or nothing.
pub(crate) fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) if parts.is_empty() => "-".to_owned(),
        Some(Value::Array(parts)) => {
            let parts: Vec<_> = parts.iter().map(|part| plain(Some(part))).collect();
            parts.join(",")
        }
        Some(other) => other.to_string(),
    }
}
