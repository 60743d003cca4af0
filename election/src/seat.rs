//! The two ends of an election: the application holds a [`Participant`], the backend a [`Seat`].

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::watch;

use crate::{Leadership, NodeId, Rank};

/// A card is at most this long, in bytes.
pub const MAX_CARD: usize = 4096;

/// A rank is at most this long, in bytes.
pub const MAX_RANK: usize = 1024;

/// What the application wants, as its backend sees it: the latest wish, not the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// What the peers are told about this member.
    pub card: Bytes,
    /// The rank with which the application stands; `None` while it does not want to lead.
    pub candidacy: Option<Rank>,
    /// Counts the calls of [`Participant::resign`], so that a resignation that was followed by a
    /// new campaign is not missed.
    pub resignations: u64,
    /// Who shall take over after the latest resignation.
    pub successor: Option<NodeId>,
    /// The vacancy (see [`Seat::vacancies`]) that the application last spoke in.
    pub spoke_in: u64,
}

/// What is known of another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it last announced.
    pub card: Bytes,
    /// Whom it holds for the leader, itself included.
    pub leader: Option<NodeId>,
}

/// Binds an application to a backend: the application keeps the [`Participant`], the backend runs
/// on the [`Seat`].
///
/// # Panics
///
/// If the card is longer than [`MAX_CARD`].
#[must_use]
pub fn seat(card: Bytes) -> (Participant, Seat) {
    assert!(
        card.len() <= MAX_CARD,
        "a card has at most {MAX_CARD} bytes"
    );
    let (wishes, intent) = watch::channel(Intent {
        card,
        ..Intent::default()
    });
    let (news, state) = watch::channel(State {
        vacancies: 1,
        leadership: Leadership::Vacant,
    });
    let (leadership_news, leadership) = watch::channel(Leadership::Vacant);
    let (peer_news, peers) = watch::channel(BTreeMap::new());
    let participant = Participant {
        wishes,
        state,
        leadership,
        peers,
    };
    let seat = Seat {
        intent,
        news,
        leadership_news,
        peer_news,
    };
    (participant, seat)
}

#[derive(Debug)]
struct State {
    vacancies: u64,
    leadership: Leadership,
}

/// The application's end of an election.
///
/// All methods return at once; the backend acts on the latest wish. Dropping it withdraws the
/// member: a backend ends its run as after a resignation without successor.
#[derive(Debug)]
pub struct Participant {
    wishes: watch::Sender<Intent>,
    state: watch::Receiver<State>,
    leadership: watch::Receiver<Leadership>,
    peers: watch::Receiver<BTreeMap<NodeId, Peer>>,
}

impl Participant {
    /// Stands for leadership with this rank; again with another rank at any time.
    ///
    /// # Panics
    ///
    /// If the rank is longer than [`MAX_RANK`].
    pub fn campaign(&self, rank: Rank) {
        assert!(
            rank.0.len() <= MAX_RANK,
            "a rank has at most {MAX_RANK} bytes"
        );
        let spoke_in = self.state.borrow().vacancies;
        self.wishes.send_if_modified(|intent| {
            let news = intent.candidacy.as_ref() != Some(&rank) || intent.spoke_in != spoke_in;
            intent.candidacy = Some(rank);
            intent.spoke_in = spoke_in;
            news
        });
    }

    /// Withdraws: gives leadership up if this member leads, and does not stand until it campaigns
    /// again. With a successor, the others hold back for a while in its favour. A leader that
    /// resigns has thereby spoken in the vacancy that follows.
    pub fn resign(&self, successor: Option<NodeId>) {
        let spoke_in = self.state.borrow().vacancies;
        self.wishes.send_modify(|intent| {
            intent.candidacy = None;
            intent.resignations += 1;
            intent.successor = successor;
            intent.spoke_in = spoke_in;
        });
    }

    /// Replaces the card.
    ///
    /// # Panics
    ///
    /// If the card is longer than [`MAX_CARD`].
    pub fn announce(&self, card: Bytes) {
        assert!(
            card.len() <= MAX_CARD,
            "a card has at most {MAX_CARD} bytes"
        );
        self.wishes.send_if_modified(|intent| {
            let news = intent.card != card;
            intent.card = card;
            news
        });
    }

    /// Who leads. When the backend has ended, the last value is [`Leadership::Vacant`].
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The other members and their cards, as far as the backend knows them.
    #[must_use]
    pub fn peers(&self) -> watch::Receiver<BTreeMap<NodeId, Peer>> {
        self.peers.clone()
    }
}

/// The backend's end of an election. Dropping it publishes [`Leadership::Vacant`].
#[derive(Debug)]
pub struct Seat {
    intent: watch::Receiver<Intent>,
    news: watch::Sender<State>,
    leadership_news: watch::Sender<Leadership>,
    peer_news: watch::Sender<BTreeMap<NodeId, Peer>>,
}

impl Seat {
    /// What the application wants, now and in future. Its sender is gone when the application
    /// dropped its [`Participant`].
    #[must_use]
    pub fn intent(&self) -> watch::Receiver<Intent> {
        self.intent.clone()
    }

    /// Counts the vacancies that were published, the present one included. The application has
    /// spoken in the present vacancy when [`Intent::spoke_in`] equals this number.
    #[must_use]
    pub fn vacancies(&self) -> u64 {
        self.news.borrow().vacancies
    }

    /// Tells the application who leads; a vacancy that follows a leadership is a new one.
    pub fn publish(&self, leadership: Leadership) {
        self.news.send_if_modified(|state| {
            if state.leadership == leadership {
                return false;
            }
            if leadership == Leadership::Vacant {
                state.vacancies += 1;
            }
            state.leadership = leadership.clone();
            self.leadership_news.send_replace(leadership);
            true
        });
    }

    /// Tells the application about its peers.
    pub fn publish_peers(&self, peers: BTreeMap<NodeId, Peer>) {
        self.peer_news.send_if_modified(|known| {
            let news = *known != peers;
            *known = peers;
            news
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.publish(Leadership::Vacant);
        self.publish_peers(BTreeMap::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Term;

    fn leading() -> Leadership {
        Leadership::Leading {
            term: Term(1),
            until: None,
        }
    }

    #[test]
    fn an_application_speaks_in_one_vacancy_at_a_time() {
        let (participant, seat) = seat(Bytes::new());
        let spoke = || seat.intent().borrow().spoke_in == seat.vacancies();
        assert!(!spoke());
        participant.campaign(Rank::default());
        assert!(spoke());
        seat.publish(Leadership::Vacant);
        assert!(spoke(), "the same vacancy");
        seat.publish(leading());
        seat.publish(Leadership::Vacant);
        assert!(!spoke(), "a new vacancy");
        participant.resign(None);
        assert!(spoke());
    }

    #[test]
    fn the_same_wish_is_no_news() {
        let (participant, seat) = seat("card".into());
        participant.campaign(Rank::default());
        let mut intent = seat.intent();
        intent.mark_unchanged();
        participant.campaign(Rank::default());
        participant.announce("card".into());
        assert!(!intent.has_changed().unwrap());
        participant.resign(None);
        assert!(intent.has_changed().unwrap());
        intent.mark_unchanged();
        participant.resign(None);
        assert!(intent.has_changed().unwrap(), "each resignation counts");
        assert_eq!(intent.borrow().resignations, 2);
    }

    #[test]
    fn a_seat_that_is_left_is_vacant() {
        let (participant, seat) = seat(Bytes::new());
        seat.publish(leading());
        drop(seat);
        assert_eq!(*participant.leadership().borrow(), Leadership::Vacant);
        // An application may speak to nobody.
        participant.campaign(Rank::default());
    }

    #[test]
    #[should_panic(expected = "a rank has at most")]
    fn a_rank_is_bounded() {
        let (participant, _seat) = seat(Bytes::new());
        participant.campaign(Rank(vec![0; MAX_RANK + 1]));
    }
}
