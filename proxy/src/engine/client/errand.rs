//! Commands about clients of all workers.

use std::time::Instant;

use super::filter::{self, NOBODY};
use super::{Filter, Selection};
use crate::commands::Spec;
use crate::control::{Answer, Question};
use crate::engine::info::string;
use crate::engine::link::{Kind, Link};
use crate::engine::profile::request;
use crate::engine::session::{Pending, Session};
use crate::engine::{Action, ClientId, Engine, arguments, texts};
use crate::topology::Upstream;

/// What a client wants to know or to have done.
#[derive(Debug)]
pub(in crate::engine) struct Errand {
    question: Question,
    /// In the client's words.
    pub(in crate::engine) said: Box<[u8]>,
    /// The client does not want the reply.
    mute: bool,
    /// So many the server has closed itself.
    elsewhere: u64,
    /// The client itself is among those that it wants closed.
    ends: bool,
}

impl Errand {
    pub(in crate::engine) fn new(question: Question, said: &[u8]) -> Self {
        Self {
            question,
            said: said.into(),
            mute: false,
            elsewhere: 0,
            ends: false,
        }
    }
}

impl Engine {
    /// So many other workers may be asked.
    pub(crate) fn expect_others(&mut self, others: usize) {
        self.others = others;
    }

    pub(super) fn list(
        &mut self,
        now: Instant,
        id: ClientId,
        said: &[u8],
        spec: Spec,
        selection: Selection,
    ) -> bool {
        let command = arguments(said).swap_remove(0);
        // The shortest one that any server takes.
        let question = request(&[&command, b"LIST", b"TYPE", b"master"]);
        let errand = Errand::new(Question::List(selection), said);
        self.ask_permission(now, id, &question, spec, errand)
    }

    pub(super) fn kill(
        &mut self,
        now: Instant,
        id: ClientId,
        said: &[u8],
        spec: Spec,
        filter: Filter,
    ) -> bool {
        let command = arguments(said).swap_remove(0);
        let question = filter.question(&command);
        let errand = Errand::new(Question::Kill(filter), said);
        self.ask_permission(now, id, &question, spec, errand)
    }

    /// Who is what a client may do is known to its server alone. This asks for nothing.
    fn ask_permission(
        &mut self,
        now: Instant,
        id: ClientId,
        question: &[u8],
        spec: Spec,
        errand: Errand,
    ) -> bool {
        self.send_query(now, id, question, spec, Pending::Permission(errand))
    }

    /// The server has nothing against it.
    pub(in crate::engine) fn permitted(
        &mut self,
        now: Instant,
        id: ClientId,
        mut errand: Errand,
        mute: bool,
        frame: &[u8],
    ) {
        errand.mute = mute;
        if let Question::Kill(filter) = &errand.question
            && filter.closes_replicas()
        {
            let count = frame.strip_prefix(b":").map(<[u8]>::trim_ascii);
            errand.elsewhere = count.and_then(filter::number).unwrap_or_default();
        }
        self.consult(now, id, errand);
    }

    fn consult(&mut self, now: Instant, id: ClientId, mut errand: Errand) {
        if let Question::Kill(filter) = &errand.question {
            let session = self.sessions.get(id.0).expect("a session that lives");
            errand.ends = filter.even_oneself && filter.takes(&self.traits(now, session));
        }
        let found = self.inform(now, &errand.question, Some((id, &errand.said)));
        if self.others == 0 {
            return self.conclude(id, errand, found);
        }
        self.actions.push(Action::Ask(id, errand.question.clone()));
        let pending = Pending::Control { errand, found };
        self.session(id).pending = Some(Box::new(pending));
        self.touch_client(id);
    }

    /// Another worker asks. `None`: that is not known yet, so ask again in the next turn.
    pub(crate) fn asked(&mut self, now: Instant, question: &Question) -> Option<Answer> {
        match question {
            Question::Link(number) if self.is_learning(*number) => None,
            Question::Address(number) if !self.is_addressed(now, *number) => None,
            _ => Some(self.inform(now, question, None)),
        }
    }

    /// All other workers have answered.
    pub(crate) fn informed(&mut self, id: ClientId, others: Answer) {
        let Some(session) = self.sessions.get_mut(id.0) else {
            return;
        };
        if session.closing {
            // It was told its last word.
            return;
        }
        match session.pending.take().map(|pending| *pending) {
            Some(Pending::Control { errand, mut found }) => {
                found.add(others);
                self.conclude(id, errand, found);
            }
            other => unreachable!("others were asked, but it waits for {other:?}"),
        }
    }

    fn inform(
        &mut self,
        now: Instant,
        question: &Question,
        asker: Option<(ClientId, &[u8])>,
    ) -> Answer {
        let mut answer = Answer::default();
        match question {
            Question::List(selection) => {
                let sessions = self.sessions.iter();
                let meant = sessions.filter(|session| selection.takes(&self.traits(now, session)));
                let line = |session: &Session| {
                    let said = asker
                        .filter(|(id, _)| *id == session.id)
                        .map(|(_, said)| said);
                    (session.identity.number, self.line(now, session, said))
                };
                answer.lines = meant.map(line).collect();
            }
            Question::Kill(filter) => answer.killed = self.close_all(now, filter, asker),
            Question::Link(number) | Question::Address(number) => {
                answer.link = self.link_of(*number);
            }
            Question::Pause(pause) => self.pause_writes(now, *pause),
        }
        answer
    }

    /// Closes clients, but not who asks: that must be answered before. How many they are.
    fn close_all(
        &mut self,
        now: Instant,
        filter: &Filter,
        asker: Option<(ClientId, &[u8])>,
    ) -> u64 {
        let asker = asker.map(|(id, _)| id);
        let sessions = self.sessions.iter().filter(|session| {
            let spared = Some(session.id) == asker && !filter.even_oneself;
            !spared && !session.closing && filter.takes(&self.traits(now, session))
        });
        let meant: Vec<_> = sessions.map(|session| session.id).collect();
        for id in &meant {
            if Some(*id) != asker {
                // At once, so that nobody is told of it any more.
                self.remove(now, *id);
            }
        }
        meant.len() as u64
    }

    fn conclude(&mut self, id: ClientId, errand: Errand, found: Answer) {
        let resp3 = self.session(id).profile.is_resp3();
        let reply = match errand.question {
            Question::List(selection) => string(selection.text(found.lines).as_bytes(), resp3),
            // Those that the proxy relays are among those that the server has closed.
            Question::Kill(filter) => match (filter.old_form, found.killed.max(errand.elsewhere)) {
                (true, 0) => filter::refusal("No such client"),
                (true, _) => texts::OK.to_vec(),
                (false, count) => format!(":{count}\r\n").into_bytes(),
            },
            Question::Pause(_) => texts::OK.to_vec(),
            question @ (Question::Link(_) | Question::Address(_)) => {
                self.session(id).found = Some(Box::new((question, found)));
                return self.touch_client(id);
            }
        };
        if !errand.mute {
            self.tell(id, &reply);
        }
        self.session(id).closing |= errand.ends;
        self.touch_client(id);
    }

    /// CLIENT UNBLOCK: the server wakes the connection that the client has for itself.
    pub(super) fn unblock(&mut self, now: Instant, id: ClientId, said: &[u8], spec: Spec) -> bool {
        let mut words = arguments(said);
        let Some(number) = filter::number(&words[2]) else {
            return self.send(now, id, said, Kind::Write, spec);
        };
        let Some(link) = self.find_link(now, id, Question::Link(number)) else {
            return false;
        };
        words[2] = link.unwrap_or_else(|| NOBODY.to_vec());
        let words: Vec<_> = words.iter().map(Vec::as_slice).collect();
        let sent = self.send(now, id, &request(&words), Kind::Write, spec);
        if sent {
            self.session(id).pending = Some(Box::new(Pending::Translated(said.into())));
        }
        sent
    }

    /// What the primary calls the connection that the client in question has for itself, if it has
    /// one. `None`: this session must wait until that is known.
    pub(super) fn find_link(
        &mut self,
        now: Instant,
        id: ClientId,
        question: Question,
    ) -> Option<Option<Vec<u8>>> {
        if self.session(id).outstanding > 0 {
            return None;
        }
        let found = self
            .session(id)
            .found
            .take()
            .filter(|found| found.0 == question);
        let answer = match found {
            Some(found) => found.1,
            None => {
                let Some(found) = self.asked(now, &question) else {
                    self.stick(now, id);
                    return None;
                };
                if found.link.is_none() && self.others > 0 {
                    let errand = Errand::new(question, &[]);
                    self.consult(now, id, errand);
                    return None;
                }
                found
            }
        };
        let primary = self.primary.map(|primary| &self.server(primary).upstream);
        let here = answer.link.filter(|(server, _)| primary == Some(server));
        Some(here.map(|(_, number)| number.to_string().into_bytes()))
    }

    fn link_of(&self, number: u64) -> Option<(Upstream, u64)> {
        let link = self.lease_of(number)?;
        let primary = self.primary.filter(|primary| *primary == link.server)?;
        Some((self.server(primary).upstream.clone(), link.number?))
    }

    /// Whether this client has a connection for itself whose number is known, or is none of this
    /// worker's. If not, it will be so.
    fn is_addressed(&mut self, now: Instant, number: u64) -> bool {
        let is = |session: &&mut Session| session.identity.number == number;
        let Some(session) = self.sessions.iter_mut().find(is) else {
            return true;
        };
        session.addressed = true;
        let (id, busy) = (session.id, session.outstanding > 0);
        session.wanted = busy && !session.leased;
        let link = match session.at.filter(|_| session.leased) {
            Some(link) => link,
            None if busy => return false,
            None => match self.lend(now, id) {
                Some(link) => link,
                None => return false,
            },
        };
        let link = self.links.get(link.0).expect("a leased link");
        if link.is_ready() && link.number.is_none() && !link.is_learning() {
            let link = link.id;
            self.identify(now, link);
        }
        let link = self.lease_of(number).expect("it has one");
        link.number.is_some()
    }

    /// Whether the server is about to say what it calls the connection of this client.
    fn is_learning(&self, number: u64) -> bool {
        self.lease_of(number).is_some_and(Link::is_learning)
    }

    /// The link that the client of this number has for itself.
    fn lease_of(&self, number: u64) -> Option<&Link> {
        let is = |session: &&Session| session.identity.number == number;
        let session = self.sessions.iter().find(is)?;
        let link = session.at.filter(|_| session.leased)?;
        self.links.get(link.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use super::*;
    use crate::control::{Inquiry, Mail};
    use crate::engine::slab::Slab;
    use crate::ready::ReadyList;

    fn mail(list: &ReadyList) -> Vec<Mail> {
        list.take(&mut Vec::new())
    }

    fn answer(list: &ReadyList) -> Option<u64> {
        match mail(list).pop()? {
            Mail::Answered(_, answer) => Some(answer.killed),
            Mail::Asked(_) => panic!("it asks itself"),
        }
    }

    fn killed(killed: u64) -> Answer {
        Answer {
            killed,
            ..Answer::default()
        }
    }

    #[test]
    fn nobody_waits_for_a_worker_that_has_ended() {
        let client = ClientId(Slab::default().insert(|_| ()));
        let question = || Question::Pause(std::time::Duration::ZERO);
        let lists: [Arc<ReadyList>; 3] = Default::default();
        let [asker, others @ ..] = &lists;
        Inquiry::send(asker, others, client, question());
        for (count, other) in (1..).zip(others) {
            assert_eq!(answer(asker), None);
            let Some(Mail::Asked(inquiry)) = mail(other).pop() else {
                panic!("it is not asked");
            };
            inquiry.answer(killed(count));
        }
        assert_eq!(answer(asker), Some(3), "answers add up");
        // One ends before it reads, the other one while it answers.
        Inquiry::send(asker, others, client, question());
        let asked = mail(&others[0]);
        others[1].close();
        assert_eq!(answer(asker), None);
        drop(asked);
        assert_eq!(answer(asker), Some(0));
        Inquiry::send(asker, &others[1..], client, question());
        assert_eq!(answer(asker), Some(0), "it has ended long since");
        asker.close();
        Inquiry::send(asker, others, client, question());
    }

    #[test]
    fn mail_wakes_a_worker() {
        let list = ReadyList::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(list.poll_any(&mut cx).is_pending());
        let client = ClientId(Slab::default().insert(|_| ()));
        list.post(Mail::Answered(client, Answer::default()));
        assert!(list.poll_any(&mut cx).is_ready());
        assert_eq!(mail(&list).len(), 1);
        assert!(list.poll_any(&mut cx).is_pending());
    }
}
