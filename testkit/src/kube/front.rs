//! What stands before the backend: who asks, may he, what fails, and the record of it all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::access::{User, Users};
use super::call::Call;
use super::fault::{Act, Faults};
use super::record::{Record, Request};
use super::reply::{Backend, Payload, Reply};
use super::status::Failure;
use super::watches::{Cut, Lines, Mood, Watches};

/// The largest body that is read, in bytes; Kubernetes' own limit.
const LARGEST: usize = 3 * 1024 * 1024;

/// The same front, whatever is behind it.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) users: Mutex<Users>,
    pub(crate) record: Record,
    pub(crate) faults: Faults,
    pub(crate) watches: Arc<Watches>,
    pub(crate) backend: Arc<dyn Backend>,
}

type Answer = Response<Either<Full<Bytes>, Lines>>;

impl Front {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            users: Mutex::default(),
            record: Record::default(),
            faults: Faults::default(),
            watches: Arc::default(),
            backend,
        }
    }

    pub(crate) fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request, or cuts its connection.
    pub(crate) async fn serve(
        self: Arc<Self>,
        request: http::Request<Incoming>,
    ) -> Result<Answer, Cut> {
        let (head, body) = request.into_parts();
        let authorization = head.headers.get(header::AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let user = self.users().of(authorization.unwrap_or_default()).cloned();
        let body = match Limited::new(body, LARGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let call = Call::new(&head, Bytes::new());
                let number = self
                    .record
                    .open(Request::new(&call, user.map(|user| user.name)));
                self.record
                    .answered(number, StatusCode::PAYLOAD_TOO_LARGE.as_u16());
                return Ok(self.respond(Failure::too_large(LARGEST).into(), None));
            }
            Err(_) => return Err(Cut),
        };
        let call = Call::new(&head, body);
        let (answer, answered) = oneshot::channel();
        // On its own, so that it takes effect even if its client goes away meanwhile.
        tokio::spawn(async move {
            let outcome = self.handle(call, user).await;
            // Nobody may wait for it any more.
            let _ = answer.send(outcome);
        });
        answered.await.unwrap_or(Err(Cut))
    }

    async fn handle(&self, call: Call, user: Option<User>) -> Result<Answer, Cut> {
        let name = user.as_ref().map(|user| user.name.clone());
        let request = Request::new(&call, name);
        let number = self.record.open(request.clone());
        let acts = self.faults.strike(&request);
        for act in &acts {
            match act {
                Act::Delay(time) => sleep(*time).await,
                Act::DropBefore => return Err(Cut),
                Act::Hang => std::future::pending().await,
                Act::Refuse(refusal) => {
                    let reply = refusal.reply(&request);
                    self.record.answered(number, reply.code.as_u16());
                    return Ok(self.respond(reply, None));
                }
                Act::DelayAnswer(_)
                | Act::DropAfter
                | Act::HangAfter
                | Act::RefuseAfter(_)
                | Act::SilentWatch => {}
            }
        }
        let mut reply = match self.authorize(user.as_ref(), &call).await {
            Ok(()) => self.backend.answer(call).await,
            Err(failure) => failure.into(),
        };
        let mut mood = Mood::Flowing;
        for act in &acts {
            match act {
                Act::DelayAnswer(time) => sleep(*time).await,
                Act::DropAfter => return Err(Cut),
                Act::HangAfter => std::future::pending().await,
                Act::RefuseAfter(refusal) => reply = refusal.reply(&request),
                Act::SilentWatch => mood = Mood::Silent,
                Act::Delay(_) | Act::DropBefore | Act::Hang | Act::Refuse(_) => {}
            }
        }
        self.record.answered(number, reply.code.as_u16());
        Ok(self.respond(reply, Some((request, mood))))
    }

    /// Whether the user may do this. What would create an object by the way needs the permission to
    /// create, too.
    async fn authorize(&self, user: Option<&User>, call: &Call) -> Result<(), Failure> {
        let user = user.ok_or_else(Failure::unauthorized)?;
        self.users().authorize(user, call)?;
        let Some(read) = call.read_of_what_may_be_created() else {
            return Ok(());
        };
        let refused = self.users().authorize(user, &call.as_creation());
        match refused {
            Err(refused) if self.backend.answer(read).await.code == StatusCode::NOT_FOUND => {
                Err(refused)
            }
            _ => Ok(()),
        }
    }

    /// `watch` says whose the lines are that may follow.
    fn respond(&self, reply: Reply, watch: Option<(Request, Mood)>) -> Answer {
        let body = match (reply.body, watch) {
            (Payload::Whole(bytes), _) => Either::Left(Full::new(bytes)),
            (Payload::Stream(lines), Some((request, mood))) => {
                Either::Right(self.watches.run(request, lines, mood))
            }
            (Payload::Stream(_), None) => Either::Left(Full::default()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = reply.code;
        let headers = response.headers_mut();
        let content_type = HeaderValue::try_from(reply.content_type);
        let content_type = content_type.unwrap_or(HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, content_type);
        if reply.retry_after > 0 {
            headers.insert(header::RETRY_AFTER, reply.retry_after.into());
        }
        response
    }
}
