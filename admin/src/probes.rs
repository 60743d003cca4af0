//! The routes that answer from the latest report.

use std::{fmt, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{MethodFilter, get, on},
};
use serde::Deserialize;
use tokio::{sync::watch, time::Instant};

use crate::{
    Report, Role,
    lag::{self, FORM},
    line::Line,
};

/// That of Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// So that who wonders why nothing takes over need not look any further.
const PAUSED: &str = "; automatic failover is paused";

pub(crate) fn routes(report: watch::Receiver<Arc<Report>>, metrics: Metrics) -> Router {
    // HAProxy's checks say OPTIONS unless told otherwise, and mean GET. HEAD comes with GET.
    let probed = MethodFilter::GET.or(MethodFilter::OPTIONS);
    Router::new()
        .route("/livez", on(probed, livez))
        .route("/readyz", on(probed, readyz))
        .route("/primary", on(probed, primary))
        .route("/replica", on(probed, replica))
        .route("/status", get(status))
        .route("/metrics", get(self::metrics))
        .with_state(Node { report, metrics })
}

#[derive(Clone)]
struct Node {
    report: watch::Receiver<Arc<Report>>,
    metrics: Metrics,
}

impl Node {
    /// The latest report, unless the loop that writes it is gone.
    fn report(&self) -> Result<Arc<Report>, Line> {
        if self.report.has_changed().is_err() {
            return Err(Line::unavailable("the node's main loop has ended"));
        }
        Ok(self.report.borrow().clone())
    }

    fn live_report(&self) -> Result<Arc<Report>, Line> {
        let report = self.report()?;
        if report.live {
            Ok(report)
        } else {
            Err(Line::unavailable("the node's main loop is not alive"))
        }
    }
}

async fn livez(State(node): State<Node>) -> Result<Line, Line> {
    node.live_report()?;
    Ok(Line::ok("ok"))
}

async fn readyz(State(node): State<Node>) -> Result<Line, Line> {
    let report = node.report()?;
    let words = if report.paused { PAUSED } else { "" };
    match &report.ready {
        Ok(()) => Ok(Line::ok(format!("ok{words}"))),
        Err(reason) => Err(Line::unavailable(format!("{reason}{words}"))),
    }
}

async fn primary(State(node): State<Node>) -> Result<Line, Line> {
    let Role::Primary { until } = node.live_report()?.role else {
        return Err(Line::unavailable("this node's server is not the primary"));
    };
    if until.is_some_and(|until| Instant::now().into_std() >= until) {
        return Err(Line::unavailable(
            "this node's server was the primary, and that was not renewed in time",
        ));
    }
    Ok(Line::ok("ok"))
}

/// A bound that is misspelt would send readers to a replica however far behind, so unknown
/// parameters are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    lag: Option<String>,
}

async fn replica(
    State(node): State<Node>,
    Query(Bound { lag }): Query<Bound>,
) -> Result<Line, Line> {
    let bound = match lag {
        Some(text) => Some(lag::bytes(&text).ok_or_else(|| Line::wrong(FORM))?),
        None => None,
    };
    let Role::Replica { lag_bytes } = node.live_report()?.role else {
        return Err(Line::unavailable(
            "this node's server is not a replica with a working link",
        ));
    };
    match (bound, lag_bytes) {
        (Some(_), None) => Err(Line::unavailable("how far it is behind is not known")),
        (Some(bound), Some(behind)) if behind > bound => {
            Err(Line::unavailable(format!("it is {behind} bytes behind")))
        }
        _ => Ok(Line::ok("ok")),
    }
}

/// Also of a node whose loop is gone: its last words are what one wants to read then.
async fn status(State(node): State<Node>) -> Response {
    let report = node.report.borrow().clone();
    Json(&report.status).into_response()
}

async fn metrics(State(node): State<Node>) -> Result<Response, Line> {
    match &node.metrics.0 {
        Some(render) => Ok(([(CONTENT_TYPE, METRICS_TYPE)], render()).into_response()),
        None => {
            let reason = "this node shows no metrics";
            Err(Line(StatusCode::NOT_FOUND, reason.to_owned()))
        }
    }
}

/// What the application shows at `/metrics`.
#[derive(Clone, Default)]
pub(crate) struct Metrics(Option<Arc<Render>>);

type Render = dyn Fn() -> String + Send + Sync;

impl Metrics {
    pub(crate) fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(render)))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Metrics(..)"
        } else {
            "Metrics"
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::advance;

    use super::*;

    fn node(role: Role) -> (watch::Sender<Arc<Report>>, Node) {
        let (reports, report) = watch::channel(Arc::new(Report {
            live: true,
            ready: Ok(()),
            paused: false,
            role,
            status: json!({}),
        }));
        let metrics = Metrics::default();
        (reports, Node { report, metrics })
    }

    #[tokio::test(start_paused = true)]
    async fn a_primary_that_is_not_renewed_ends_by_itself() {
        let until = Instant::now().into_std() + Duration::from_secs(3);
        let (_reports, node) = node(Role::Primary { until: Some(until) });
        let code = async || match primary(State(node.clone())).await {
            Ok(line) | Err(line) => line.0,
        };
        advance(Duration::from_millis(2999)).await;
        assert_eq!(code().await, StatusCode::OK);
        advance(Duration::from_millis(1)).await;
        assert_eq!(code().await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
