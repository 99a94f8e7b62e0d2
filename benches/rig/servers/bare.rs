//! `rig-bare LEVEL [unverified]`: hyper, the gateway's own engines and verification on the thread that reads, and nothing
//! else. What no gateway in this frame can go below: no credential, admission, fairness, metering, tracing, limits or
//! streaming.
//!
//! Prints `listening on ADDRESS`.

use std::cell::RefCell;
use std::convert::Infallible;

use bytes::Bytes;
use faam_codec::{
    BlockChecksum, CpuEngines, EngineError, Format, Level, Position, Verifier, output_bytes_max,
    write_header, write_trailer,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

thread_local! {
    static ENGINES: RefCell<(CpuEngines, Verifier)> = RefCell::new((CpuEngines::new(), Verifier::new()));
}

/// What is done to each body.
#[derive(Clone, Copy)]
struct Service {
    level: Level,
    verified: bool,
}

impl Service {
    fn of_arguments() -> Option<Self> {
        let level = std::env::args().nth(1)?.parse().ok()?;
        let verified = match std::env::args().nth(2).as_deref() {
            None => true,
            Some("unverified") => false,
            Some(_) => return None,
        };
        let level = Level::new(level).ok()?;
        Some(Self { level, verified })
    }

    /// One member of one block.
    fn compress(self, body: &[u8]) -> Result<Bytes, EngineError> {
        ENGINES.with_borrow_mut(|(engines, verifier)| {
            let mut out = Vec::with_capacity(output_bytes_max(body.len()));
            write_header(Format::Gzip, self.level, &mut out);
            if self.verified {
                let draft = engines.draft_block(body, self.level, Position::Last, &mut out)?;
                if let Err(error) = verifier.finish(draft, body, &mut out) {
                    // As in the gateway, bytes that were not proven are not sent; this server is no more than a floor.
                    eprintln!("rig-bare: {error}");
                    std::process::exit(1);
                }
            } else {
                engines.compress_block(body, self.level, Position::Last, &mut out)?;
            }
            write_trailer(&BlockChecksum::of(Format::Gzip, body), &mut out);
            Ok(out.into())
        })
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let made = match request.into_body().collect().await {
            Ok(body) => self.compress(&body.to_bytes()).ok(),
            Err(_) => None,
        };
        let mut response = Response::new(Full::new(made.clone().unwrap_or_default()));
        match made {
            Some(_) => {
                let gzip = HeaderValue::from_static("application/gzip");
                response.headers_mut().insert(CONTENT_TYPE, gzip);
            }
            None => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        }
        Ok(response)
    }
}

fn main() -> std::io::Result<()> {
    let Some(service) = Service::of_arguments() else {
        eprintln!("usage: rig-bare LEVEL [unverified], LEVEL being 1 to 12");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let answer = service_fn(move |request| service.answer(request));
                // A caller that breaks off ends its own connection.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    })
}
