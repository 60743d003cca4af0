//! Asks and is asked: sockets only, no policy.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    net::TcpListener as StdListener,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    Error,
    frame::{Fault, decode, encode},
    lease::{
        core::Event,
        failsafe::{
            Ask, Failsafe, Refusal, Verdict,
            seal::{Sealed, Sealer, Way, fresh},
            wire::{Question, Reply, question, read, write},
        },
    },
};

/// So many are heard at a time. One more, and the oldest is closed: a member has been answered by then,
/// and a crowd that says nothing keeps nobody out.
const MAX_QUESTIONS: usize = 64;

/// Who has not asked and been answered by then is closed.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);

/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What has come.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A fact that needs no answer.
    Event(Event),
    /// A leader asks.
    Asked(Ask, oneshot::Sender<Verdict>),
}

/// The peer port of one member, and its ways to those of the others.
pub(crate) struct Post {
    /// Who is asked and answers, as both ends have to say it.
    me: Arc<Me>,
    members: watch::Receiver<BTreeMap<String, (String, u16)>>,
    /// The list has changed, or was never told.
    news: bool,
    /// A member that has not answered by then is not asked any more.
    patience: Duration,
    listener: TcpListener,
    /// Those that are heard, the oldest first.
    heard: VecDeque<AbortHandle>,
    /// Questions and answers under way; the number of the round and the member that confirms.
    tasks: JoinSet<Option<(u64, String)>>,
    asking: mpsc::Sender<(Ask, oneshot::Sender<Verdict>)>,
    asked: mpsc::Receiver<(Ask, oneshot::Sender<Verdict>)>,
}

struct Me {
    group: String,
    member: String,
    sealer: Sealer,
}

impl Post {
    /// `patience` is for each question that this member asks.
    pub(crate) fn open(
        listener: &StdListener,
        failsafe: &Failsafe,
        (group, member): (String, String),
        patience: Duration,
    ) -> Result<Self, Error> {
        let convert = || {
            // One that stays open for a second run.
            let listener = listener.try_clone()?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = convert().map_err(|source| Error::Listen {
            address: failsafe.listen.to_string(),
            source,
        })?;
        let (asking, asked) = mpsc::channel(MAX_QUESTIONS);
        Ok(Self {
            me: Arc::new(Me {
                group,
                member,
                sealer: Sealer::new(failsafe.secret.as_ref()),
            }),
            members: failsafe.members.clone(),
            news: true,
            patience,
            listener,
            heard: VecDeque::new(),
            tasks: JoinSet::new(),
            asking,
            asked,
        })
    }

    /// Asks these members. Those of whom no address is known cannot confirm.
    pub(crate) fn ask(&mut self, round: u64, ask: &Ask, members: BTreeSet<String>) {
        for member in members {
            let Some(address) = self.members.borrow().get(&member).cloned() else {
                tracing::debug!(member, "cannot be asked: its address is not known");
                continue;
            };
            let (me, ask) = (Arc::clone(&self.me), ask.clone());
            let patience = self.patience;
            self.tasks.spawn(async move {
                match timeout(patience, exchange(address, &me, &member, ask)).await {
                    Ok(Ok(Verdict::Confirmed)) => return Some((round, member)),
                    Ok(Ok(Verdict::Refused(why))) => {
                        tracing::info!(member, "does not confirm this leader: {why}");
                    }
                    Ok(Err(fault)) => {
                        let cause = std::error::Error::source(&fault);
                        tracing::debug!(member, cause, "cannot be asked: {fault}");
                    }
                    Err(_) => tracing::debug!(member, "does not answer in time"),
                }
                None
            });
        }
    }

    /// What comes next.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Mail {
        loop {
            if std::mem::take(&mut self.news) {
                let names = self.members.borrow_and_update().keys().cloned().collect();
                return Mail::Event(Event::Members(names));
            }
            tokio::select! {
                Some((ask, answer)) = self.asked.recv() => return Mail::Asked(ask, answer),
                Some(ended) = self.tasks.join_next() => {
                    match ended {
                        Ok(Some((round, member))) => {
                            return Mail::Event(Event::Confirmed(round, member));
                        }
                        Ok(None) => {}
                        Err(error) => assert!(error.is_cancelled(), "a question ends: {error}"),
                    }
                }
                () = changed(&mut self.members) => self.news = true,
                stream = next_connection(&self.listener) => {
                    let (me, asking) = (Arc::clone(&self.me), self.asking.clone());
                    let task = self.tasks.spawn(async move {
                        let answered = async {
                            stream.set_nodelay(true)?;
                            answer(stream, &me, asking).await
                        };
                        match timeout(QUESTION_TIMEOUT, answered).await {
                            Ok(Ok(())) => {}
                            Ok(Err(fault)) => tracing::debug!("a question is not answered: {fault}"),
                            Err(_) => tracing::debug!("a question takes too long"),
                        }
                        None
                    });
                    self.hear(task);
                }
            }
        }
    }
}

impl Post {
    /// Makes room for one more.
    fn hear(&mut self, task: AbortHandle) {
        self.heard.retain(|task| !task.is_finished());
        if self.heard.len() >= MAX_QUESTIONS
            && let Some(oldest) = self.heard.pop_front()
        {
            oldest.abort();
        }
        self.heard.push_back(task);
    }
}

/// Asks one member and hears its answer.
async fn exchange(
    (host, port): (String, u16),
    me: &Me,
    member: &str,
    ask: Ask,
) -> Result<Verdict, Fault> {
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    converse(stream, me, member, ask).await
}

/// The same by a connection.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    me: &Me,
    member: &str,
    ask: Ask,
) -> Result<Verdict, Fault> {
    let theirs = read(&mut stream).await?;
    let question = Question {
        nonce: fresh()?,
        group: me.group.clone(),
        member: member.to_owned(),
        ask,
    };
    let sealed = me.sealer.seal(Way::Question, &theirs, encode(&question));
    write(&mut stream, &sealed).await?;

    let sealed: Sealed = read(&mut stream).await?;
    let checked = me.sealer.check(Way::Reply, &question.nonce, &sealed);
    let reply: Reply = decode(&sealed.body)?;
    match (checked, reply.verdict) {
        (Ok(()), _) => {}
        // Whoever said that: it is no worse than silence.
        (Err(Refusal::Unsealed), Verdict::Refused(why)) if why.is_of_seals() => {
            return Ok(reply.verdict);
        }
        // What does not confirm needs no seal; what confirms does.
        (Err(_), _) => return Ok(Verdict::Refused(Refusal::Forged)),
    }
    if reply.group != question.group {
        return Ok(Verdict::Refused(Refusal::Group));
    }
    if reply.member != question.member {
        return Ok(Verdict::Refused(Refusal::Member));
    }
    Ok(reply.verdict)
}

/// Hears a question and answers it.
async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    me: &Me,
    asking: mpsc::Sender<(Ask, oneshot::Sender<Verdict>)>,
) -> Result<(), Fault> {
    let ours = fresh()?;
    write(&mut stream, &ours).await?;
    let sealed: Sealed = read(&mut stream).await?;
    let reply = |verdict| {
        encode(&Reply {
            group: me.group.clone(),
            member: me.member.clone(),
            verdict,
        })
    };
    if let Err(refusal) = me.sealer.check(Way::Question, &ours, &sealed) {
        // A stranger gets nothing sealed, by which it could try guesses at the secret.
        let body = reply(Verdict::Refused(refusal));
        return write(&mut stream, &Sealed { body, seal: None }).await;
    }
    let question = question(&sealed.body)?;
    let nonce = question.nonce;
    let Some(verdict) = decide(question, me, asking).await else {
        return Ok(());
    };
    let sealed = me.sealer.seal(Way::Reply, &nonce, reply(verdict));
    write(&mut stream, &sealed).await
}

/// What this member says to a question; `None` if the election has ended.
async fn decide(
    question: Question,
    me: &Me,
    asking: mpsc::Sender<(Ask, oneshot::Sender<Verdict>)>,
) -> Option<Verdict> {
    if question.group != me.group {
        return Some(Verdict::Refused(Refusal::Group));
    }
    if question.member != me.member {
        return Some(Verdict::Refused(Refusal::Member));
    }
    let (answering, answered) = oneshot::channel();
    asking.send((question.ask, answering)).await.ok()?;
    answered.await.ok()
}

/// Without its sender, the last list stays.
async fn changed(members: &mut watch::Receiver<BTreeMap<String, (String, u16)>>) {
    if members.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// The next one that asks.
///
/// # Cancel safety
///
/// A connection is accepted or left waiting, never lost.
async fn next_connection(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a question of another member");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
