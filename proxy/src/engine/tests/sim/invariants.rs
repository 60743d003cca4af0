//! What holds in the engine itself after every step.

use std::collections::BTreeMap;

use super::super::super::link::{Owner, Phase};
use super::super::super::{Conn, Engine, LinkId, Session};
use super::server::Wire;

/// Whatever is counted, is counted right; all unanswered requests of a session are in one link;
/// what is kept is bounded.
pub(super) fn check(engine: &Engine, wires: &BTreeMap<LinkId, Wire>) {
    let mut entries: BTreeMap<_, (LinkId, u32)> = BTreeMap::new();
    for link in engine.links.iter() {
        for client in link.entries.iter().filter_map(|entry| entry.client) {
            if engine.sessions.get(client.0).is_none() {
                continue;
            }
            let (at, count) = entries.entry(client).or_insert((link.id, 0));
            assert_eq!(*at, link.id, "{client:?} has requests in two links");
            *count += 1;
        }
    }
    let (mut bytes, mut out) = (0, 0);
    for session in engine.sessions.iter() {
        let known = entries.get(&session.id);
        assert_eq!(
            known.map_or(0, |(_, count)| *count),
            session.outstanding,
            "outstanding: {session:?}"
        );
        assert!(
            known.is_none_or(|(at, _)| session.at == Some(*at)),
            "elsewhere: {session:?}"
        );
        let right = session.closing || session.counted == session.bytes_waiting();
        assert!(
            right,
            "{} bytes wait, {} are counted",
            session.bytes_waiting(),
            session.counted
        );
        let most = engine.settings.session_buffer;
        assert!(
            session.inbox.len() <= most + (64 << 10),
            "{} bytes are kept",
            session.inbox.len()
        );
        if session.leased {
            let link = engine
                .links
                .get(session.at.expect("a leased link").0)
                .expect("a leased link");
            assert_eq!(link.owner, Owner::Leased(session.id));
        }
        bytes += session.counted;
        out += session.out.len();
    }
    assert_eq!((bytes, out), (engine.bytes, engine.out_bytes), "counted");
    assert!(
        out <= engine.settings.output_buffer,
        "{out} bytes of replies"
    );
    check_links(engine, wires);
}

/// Where clients are closed with their primary, those that remain are served, or have their last
/// answers to come.
pub(super) fn check_orphans(engine: &Engine, served: impl Fn(&Session) -> bool) {
    for session in engine.sessions.iter() {
        let leaves = session.closing && !session.out.is_empty();
        assert!(leaves || served(session), "without a primary: {session:?}");
    }
}

/// Whether the engine itself asks a replica over this link how it is.
pub(super) fn is_probe(engine: &Engine, id: LinkId) -> bool {
    let link = engine.links.get(id.0);
    link.is_some_and(|link| link.owner == Owner::Probe)
}

fn check_links(engine: &Engine, wires: &BTreeMap<LinkId, Wire>) {
    let mut dedicated = 0;
    let mut of_server = vec![0; engine.servers.len()];
    for link in engine.links.iter() {
        dedicated += usize::from(matches!(link.owner, Owner::Leased(_) | Owner::Idle));
        of_server[link.server.0 as usize] += 1;
        if let Owner::Leased(client) = link.owner {
            let session = engine.sessions.get(client.0);
            let known =
                session.is_some_and(|session| session.leased && session.at == Some(link.id));
            assert!(
                known || link.phase == Phase::Doomed,
                "a lease is lost: {:?} {:?} {:?}",
                link.id,
                link.phase,
                session.map(|s| (s.id, s.at, s.leased, s.stuck, s.closing, s.gone, s.input))
            );
        }
        let Some(wire) = wires.get(&link.id) else {
            continue;
        };
        let quiet = link.phase == Phase::Ready
            && !link.is_busy()
            && engine.output(Conn::Upstream(link.id)).is_empty();
        if quiet && !wire.closed_by_server {
            let state = &wire.state;
            let profile = &link.profile;
            let same = state.database == profile.database()
                && state.resp3 == profile.is_resp3()
                && state.user == profile.user();
            assert!(same, "{state:?} is not {profile:?}");
        }
    }
    assert_eq!(dedicated, engine.dedicated, "links that are lent or may be");
    assert!(dedicated <= engine.settings.pool_max, "{dedicated} links");
    for (server, links) in engine.servers.iter().zip(of_server) {
        assert_eq!(server.as_ref().map_or(0, |server| server.links), links);
    }
}

/// Nobody is left, and nothing is asked: nothing may be kept.
pub(super) fn check_empty(engine: &Engine) {
    assert_eq!(
        (engine.sessions.len(), engine.bytes, engine.out_bytes),
        (0, 0, 0)
    );
    for link in engine.links.iter() {
        let owned = matches!(link.owner, Owner::Leased(_));
        assert!(!owned, "a link is leaked: {link:?}");
        assert!(!link.is_busy(), "a link is busy: {link:?}");
    }
}
