use std::sync::Arc;

use axum::{Router, http::StatusCode, middleware::from_fn_with_state};
use tokio::sync::{mpsc, watch};

use crate::{
    Report, Request, changes,
    guard::{Guard, permit},
    line::Line,
    probes::{self, Metrics},
};

const ROUTES: &str = "there are GET /livez, GET /readyz, GET /primary, GET /replica[?lag=BYTES], \
    GET /status, GET /metrics, POST /switchover[?to=NAME], POST /pause, POST /resume";

/// All routes. Each request must carry where it comes from, as axum's `ConnectInfo`.
pub(crate) fn router(
    report: watch::Receiver<Arc<Report>>,
    requests: mpsc::Sender<Request>,
    metrics: Metrics,
    guard: Guard,
) -> Router {
    probes::routes(report, metrics)
        .merge(changes::routes(requests))
        .fallback(async || Line(StatusCode::NOT_FOUND, ROUTES.to_owned()))
        .method_not_allowed_fallback(async || {
            Line(StatusCode::METHOD_NOT_ALLOWED, ROUTES.to_owned())
        })
        .layer(from_fn_with_state(guard, permit))
}
