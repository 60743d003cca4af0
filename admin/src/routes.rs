use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::HttpBody,
    extract::{Query, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{Report, SwitchoverDone, SwitchoverRequest};

/// How long a client waits for a switchover. Redis's pause of writes and the successor's promotion
/// take well under a second; what takes this long has failed or hangs.
pub(crate) const SWITCHOVER_TIMEOUT: Duration = Duration::from_secs(10);

const ROUTES: &str =
    "GET /livez, GET /readyz, GET /status, GET /metrics, POST /switchover[?to=NAME]";
/// That of Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn router(
    report: watch::Receiver<Arc<Report>>,
    switchovers: mpsc::Sender<SwitchoverRequest>,
    metrics: Metrics,
) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(self::metrics))
        .route("/switchover", post(switchover))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Node {
            report,
            switchovers,
            turn: Arc::new(Semaphore::new(1)),
            metrics,
        })
}

#[derive(Clone)]
struct Node {
    report: watch::Receiver<Arc<Report>>,
    switchovers: mpsc::Sender<SwitchoverRequest>,
    /// Held by the switchover under way.
    turn: Arc<Semaphore>,
    metrics: Metrics,
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

impl Node {
    /// The latest report, unless the loop that writes it is gone.
    fn report(&self) -> Result<Arc<Report>, Line> {
        if self.report.has_changed().is_err() {
            return Err(Line::unavailable("the node's main loop has ended"));
        }
        Ok(self.report.borrow().clone())
    }
}

async fn livez(State(node): State<Node>) -> Result<Line, Line> {
    if node.report()?.live {
        Ok(Line::ok())
    } else {
        Err(Line::unavailable("the node's main loop is not alive"))
    }
}

async fn readyz(State(node): State<Node>) -> Result<Line, Line> {
    match &node.report()?.ready {
        Ok(()) => Ok(Line::ok()),
        Err(reason) => Err(Line::unavailable(reason)),
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

/// A parameter that is misspelt would hand over to just anyone, so unknown ones are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Successor {
    to: Option<String>,
}

async fn switchover(
    State(node): State<Node>,
    Query(Successor { to }): Query<Successor>,
    request: Request,
) -> Result<Response, Line> {
    if !request.body().is_end_stream() || to.as_deref() == Some("") {
        let reason = "this takes no body; name a successor by ?to=NAME";
        return Err(Line(StatusCode::BAD_REQUEST, reason.to_owned()));
    }
    match timeout(SWITCHOVER_TIMEOUT, begin(&node, to)?).await {
        Ok(Ok(Ok(SwitchoverDone { from, to, took }))) => Ok(Json(
            json!({ "from": from, "to": to, "took_ms": took.as_millis() as u64 }),
        )
        .into_response()),
        Ok(Ok(Err(reason))) => Err(Line(StatusCode::CONFLICT, reason)),
        Ok(Err(_)) => Err(Line::unavailable("the node dropped the request")),
        Err(_) => {
            let reason = "no answer yet: it may still happen, see /status";
            Err(Line(StatusCode::GATEWAY_TIMEOUT, reason.to_owned()))
        }
    }
}

type Outcome = Result<SwitchoverDone, String>;

/// Hands the wish to the application. Its turn lasts until the application is done with it, even
/// if the client does not wait that long.
fn begin(node: &Node, to: Option<String>) -> Result<oneshot::Receiver<Outcome>, Line> {
    let turn = node.turn.clone().try_acquire_owned().map_err(|_| {
        let reason = "another switchover is under way";
        Line(StatusCode::CONFLICT, reason.to_owned())
    })?;
    let (answer, answered) = oneshot::channel();
    node.switchovers
        .try_send(SwitchoverRequest { to, answer })
        .map_err(|_| Line::unavailable("the node takes no requests"))?;
    let (client, outcome) = oneshot::channel();
    tokio::spawn(async move {
        let answer = answered.await;
        drop(turn);
        if let Ok(answer) = answer {
            // A client that left does not want it any more.
            _ = client.send(answer);
        }
    });
    Ok(outcome)
}

async fn unknown() -> Line {
    Line(StatusCode::NOT_FOUND, format!("there are {ROUTES}"))
}

async fn wrong_method() -> Line {
    Line(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("there are {ROUTES}"),
    )
}

/// An answer of one line.
#[derive(Debug)]
struct Line(StatusCode, String);

impl Line {
    fn ok() -> Self {
        Self(StatusCode::OK, "ok".to_owned())
    }

    fn unavailable(reason: &str) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned())
    }
}

impl IntoResponse for Line {
    fn into_response(self) -> Response {
        let line = self.1.replace(char::is_control, " ");
        (self.0, format!("{line}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn ask(node: &Node) -> Result<Response, Line> {
        let query = Query(Successor { to: None });
        switchover(State(node.clone()), query, Request::new(Body::empty())).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_switchover_is_given_up_but_keeps_its_turn() {
        let (_reports, report) = watch::channel(Arc::new(Report {
            live: true,
            ready: Ok(()),
            status: json!({}),
        }));
        let (switchovers, mut requests) = mpsc::channel(1);
        let turn = Arc::new(Semaphore::new(1));
        let node = Node {
            report,
            switchovers,
            turn: turn.clone(),
            metrics: Metrics::default(),
        };

        let refusal = ask(&node).await.unwrap_err();
        assert_eq!(refusal.0, StatusCode::GATEWAY_TIMEOUT);
        let refusal = ask(&node).await.unwrap_err();
        assert_eq!(
            refusal.0,
            StatusCode::CONFLICT,
            "the first still has its turn"
        );

        let request = requests.recv().await.unwrap();
        request.answer.send(Err("not now".to_owned())).unwrap();
        drop(turn.acquire().await.unwrap());
        let (answered, ()) = tokio::join!(ask(&node), async {
            let request = requests.recv().await.unwrap();
            request
                .answer
                .send(Err("no replica is fit".to_owned()))
                .unwrap();
        });
        assert_eq!(answered.unwrap_err().1, "no replica is fit");
    }
}
