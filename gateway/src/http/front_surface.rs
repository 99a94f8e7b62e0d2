//! A listener whose requests are all one front's.
//!
//! Invariant: a request of a front is named, bounded, logged and counted as one of the public surface is, and a panic of a
//! front is our own error, told in its platform's form. It knows no platform.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{Request, Response};

use super::app::{bound, caught};
use super::invocation::Observer;
use super::invocations::Invocations;
use super::limits::HttpLimits;
use super::listener::{Answers, Peer, Scheme};
use crate::error;
use crate::fronts::front::Front;
use crate::metrics::Metrics;
use crate::telemetry::Telemetry;

/// See the module's head. Cheap to clone.
#[derive(Clone)]
pub struct FrontSurface(Arc<Parts>);

struct Parts {
    front: Arc<dyn Front>,
    observer: Observer,
    limits: HttpLimits,
}

impl FrontSurface {
    /// All requests are `front`'s; what is observed of them goes to the others.
    #[must_use]
    pub fn new(
        front: Arc<dyn Front>,
        metrics: Arc<Metrics>,
        telemetry: Option<Arc<Telemetry>>,
        invocations: Invocations,
        limits: HttpLimits,
    ) -> Self {
        let observer = Observer {
            metrics,
            telemetry,
            invocations,
        };
        Self(Arc::new(Parts {
            front,
            observer,
            limits,
        }))
    }
}

impl Answers for FrontSurface {
    async fn answer(self, _scheme: Scheme, peer: Peer, request: Request<Body>) -> Response<Body> {
        let Parts {
            front,
            observer,
            limits,
        } = &*self.0;
        let path = request.uri().path().to_owned();
        let told = &path;
        let answer = |invocation, request| {
            let answered = caught(bound(*limits, request, move |request| {
                front.answer(invocation, request)
            }));
            async move {
                let mut response = answered.await;
                let Some(problem) = error::untold(&mut response) else {
                    return response;
                };
                let mut telling = front.tell(problem, told);
                // A layer below knows whether the connection can go on.
                if let Some(connection) = response.headers_mut().remove(CONNECTION) {
                    telling.headers_mut().insert(CONNECTION, connection);
                }
                telling
            }
        };
        let response = observer
            .observe_front(Some(front.name()), request, peer, None, answer)
            .await;
        if let Some(logged) = front.logged(&response) {
            logged.await;
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::http::header::HOST;
    use http_body_util::BodyExt;

    use super::*;
    use crate::error::Problem;
    use crate::fronts::front::Answered;
    use crate::fronts::front_name::FrontName;
    use crate::http::invocation::Invocation;

    /// Panics, and has words of its own for it.
    struct Broken;

    impl Front for Broken {
        fn name(&self) -> FrontName {
            FrontName::Azure
        }

        fn answer(&self, _: Invocation, _: Request<Body>) -> Answered<'_> {
            Box::pin(async { panic!("a secret") })
        }

        fn tell(&self, problem: Problem, path: &str) -> Response<Body> {
            let words = format!("{path} {}", problem.kind().name());
            let mut response = Response::new(Body::from(words));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            problem.told_by(response)
        }
    }

    async fn ask(request: Request<Body>) -> (Response<Body>, String) {
        let metrics = Arc::new(Metrics::new());
        let surface = FrontSurface::new(
            Arc::new(Broken),
            Arc::clone(&metrics),
            None,
            Invocations::default(),
            HttpLimits::default(),
        );
        let response = surface.answer(Scheme("http"), Peer(None), request).await;
        (response, metrics.render())
    }

    #[tokio::test]
    async fn a_panic_is_told_in_the_platforms_form_named_and_counted() {
        let request = Request::post("/run").header(HOST, "faam.test");
        let (response, metrics) = ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert!(response.headers().contains_key("faam-invocation-id"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"/run internal");
        assert!(
            metrics.contains(r#"faam_refused_total{reason="internal"} 1"#),
            "{metrics}"
        );
    }

    #[tokio::test]
    async fn a_request_that_is_refused_before_the_front_is_told_in_its_form_and_its_connection_ends()
     {
        let (response, _) = ask(Request::post("/run").body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers().get(CONNECTION).unwrap(), "close");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"/run invalid-option");
    }
}
