//! The routes that ask the application for something.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::HttpBody,
    extract::{self, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::{Answer, Request, SwitchoverDone, line::Line};

/// How long a client waits for the application. Redis's pause of writes and the successor's
/// promotion take well under a second; what takes this long has failed or hangs.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn routes(requests: mpsc::Sender<Request>) -> Router {
    Router::new()
        .route("/switchover", post(switchover))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .with_state(Desk::new(requests))
}

/// Hands requests to the application, one of a kind at a time.
#[derive(Clone)]
struct Desk {
    requests: mpsc::Sender<Request>,
    switchover: Kind,
    pause: Kind,
}

/// What cannot be done twice at a time.
#[derive(Clone)]
struct Kind {
    name: &'static str,
    /// Held by the request under way.
    turn: Arc<Semaphore>,
}

impl Kind {
    fn new(name: &'static str) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { name, turn }
    }
}

impl Desk {
    fn new(requests: mpsc::Sender<Request>) -> Self {
        Self {
            requests,
            switchover: Kind::new("switchover"),
            // So that who pauses and who resumes at once are not both told that it was done.
            pause: Kind::new("pause or resume"),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        kind: &Kind,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, Line> {
        match timeout(REQUEST_TIMEOUT, self.begin(kind, request)?).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(reason))) => Err(Line::refused(reason)),
            Ok(Err(_)) => Err(Line::unavailable("the node dropped the request")),
            Err(_) => {
                let reason = "no answer yet: it may still happen, see /status";
                Err(Line(StatusCode::GATEWAY_TIMEOUT, reason.to_owned()))
            }
        }
    }

    /// Hands the wish to the application. Its turn lasts until the application is done with it,
    /// even if the client does not wait that long.
    fn begin<T: Send + 'static>(
        &self,
        kind: &Kind,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<oneshot::Receiver<Result<T, String>>, Line> {
        let turn = kind.turn.clone().try_acquire_owned();
        let turn =
            turn.map_err(|_| Line::refused(format!("another {} is under way", kind.name)))?;
        let (answer, answered) = oneshot::channel();
        self.requests
            .try_send(request(answer))
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
}

/// A parameter that is misspelt would hand over to just anyone, so unknown ones are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Successor {
    to: Option<String>,
}

async fn switchover(
    State(desk): State<Desk>,
    Query(Successor { to }): Query<Successor>,
    request: extract::Request,
) -> Result<Response, Line> {
    if has_body(&request) || to.as_deref() == Some("") {
        return Err(Line::wrong(
            "this takes no body; name a successor by ?to=NAME",
        ));
    }
    let SwitchoverDone { from, to, took } = desk
        .ask(&desk.switchover, |answer| Request::Switchover {
            to,
            answer,
        })
        .await?;
    let took_ms = took.as_millis() as u64;
    Ok(Json(json!({ "from": from, "to": to, "took_ms": took_ms })).into_response())
}

/// Who gives a parameter, such as an end, would believe that it counts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn pause(
    State(desk): State<Desk>,
    Query(Nothing {}): Query<Nothing>,
    request: extract::Request,
) -> Result<Line, Line> {
    plain(&request)?;
    desk.ask(&desk.pause, |answer| Request::Pause { answer })
        .await?;
    Ok(Line::ok("paused"))
}

async fn resume(
    State(desk): State<Desk>,
    Query(Nothing {}): Query<Nothing>,
    request: extract::Request,
) -> Result<Line, Line> {
    plain(&request)?;
    desk.ask(&desk.pause, |answer| Request::Resume { answer })
        .await?;
    Ok(Line::ok("resumed"))
}

fn plain(request: &extract::Request) -> Result<(), Line> {
    if has_body(request) {
        return Err(Line::wrong("this takes no body"));
    }
    Ok(())
}

fn has_body(request: &extract::Request) -> bool {
    !request.body().is_end_stream()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pause(desk: &Desk) -> Result<(), Line> {
        desk.ask(&desk.pause, |answer| Request::Pause { answer })
            .await
    }

    async fn switchover(desk: &Desk) -> Result<SwitchoverDone, Line> {
        let to = None;
        desk.ask(&desk.switchover, |answer| Request::Switchover {
            to,
            answer,
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_request_is_given_up_but_keeps_its_turn() {
        let (requests, mut received) = mpsc::channel(2);
        let desk = Desk::new(requests);
        let refusal = switchover(&desk).await.unwrap_err();
        assert_eq!(refusal.0, StatusCode::GATEWAY_TIMEOUT);
        let refusal = switchover(&desk).await.unwrap_err();
        assert_eq!(refusal.1, "another switchover is under way");

        let Some(Request::Switchover { answer, .. }) = received.recv().await else {
            panic!("no switchover was asked for");
        };
        answer.send(Err("not now".to_owned())).unwrap();
        drop(desk.switchover.turn.acquire().await.unwrap());
        let (answered, ()) = tokio::join!(switchover(&desk), async {
            let Some(Request::Switchover { answer, .. }) = received.recv().await else {
                panic!("no switchover was asked for");
            };
            answer.send(Err("no replica is fit".to_owned())).unwrap();
        });
        assert_eq!(answered.unwrap_err().1, "no replica is fit");
    }

    #[tokio::test(start_paused = true)]
    async fn a_switchover_that_hangs_does_not_keep_anyone_from_pausing() {
        let (requests, mut received) = mpsc::channel(2);
        let desk = Desk::new(requests);
        let refusal = switchover(&desk).await.unwrap_err();
        assert_eq!(refusal.0, StatusCode::GATEWAY_TIMEOUT);
        let (paused, _hanging) = tokio::join!(pause(&desk), async {
            let hanging = received.recv().await.unwrap();
            let Some(Request::Pause { answer }) = received.recv().await else {
                panic!("no pause was asked for");
            };
            answer.send(Ok(())).unwrap();
            hanging
        });
        paused.unwrap();
    }
}
