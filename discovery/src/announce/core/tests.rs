//! Facts in, orders out.

use std::time::{Duration, Instant};

use fastrand::Rng;
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::super::selector::Selector;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const TERM: &str = "bellwether.dev/term";

/// A core in front of one Service, whose shell is the test.
struct Scene {
    core: Core<Selector>,
    now: Instant,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn new() -> Self {
        let config = AnnouncerConfig::new("leader");
        let selector = Selector::new(&config, "prod");
        Self {
            core: Core::new(selector, &config, Rng::with_seed(1)),
            now: Instant::now(),
        }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.core.step(self.now, event)
    }

    /// Lets time pass until the core wants it, and answers how long that took.
    fn wake(&mut self) -> (Duration, Vec<Action>) {
        let at = self.core.wake_at().expect("it waits for something");
        let waited = at - self.now;
        self.now = at;
        (waited, self.step(Event::Tick))
    }

    fn lead(&mut self, term: u64) -> Vec<Action> {
        self.step(Event::Leader(leader(term, None)))
    }

    /// Leads in term 5, has announced it and listens.
    fn announced() -> Self {
        let mut this = Self::new();
        assert_eq!(this.lead(5), [Action::Read, pending()]);
        let actions = this.step(read("r-1", "5"));
        assert_eq!(actions, [Action::Watch, told_right(this.now, None)]);
        assert_eq!(this.step(Event::Watching), []);
        this
    }

    fn is_idle(&self) -> bool {
        self.core.wake_at().is_none() && self.core.told == Announcement::Idle
    }
}

fn leader(term: u64, until: Option<Instant>) -> Option<Leader> {
    Some(Leader {
        member: "r-1".into(),
        term,
        until,
    })
}

/// The Service as it points at a pod, in a term that may be empty.
fn seen(version: &str, pod: &str, term: &str) -> Seen {
    let service: Service = serde_json::from_value(json!({
        "metadata": {
            "name": "leader",
            "resourceVersion": version,
            "annotations": {TERM: term},
        },
        "spec": {"selector": {POD_NAME: pod}},
    }))
    .unwrap();
    Selector::new(&AnnouncerConfig::new("leader"), "prod").see(service)
}

fn read(pod: &str, term: &str) -> Event {
    Event::Read(Ok([("leader".into(), seen("1", pod, term))].into()))
}

fn pending() -> Action {
    Action::Tell(Announcement::Pending { term: 5 })
}

fn retrying(reason: &str) -> Action {
    let reason = reason.into();
    Action::Tell(Announcement::Retrying { term: 5, reason })
}

fn told_right(at: Instant, hindrance: Option<&str>) -> Action {
    Action::Tell(Announcement::Announced {
        term: 5,
        at,
        hindrance: hindrance.map(Into::into),
    })
}

fn is_write(actions: &[Action]) -> bool {
    matches!(actions, [Action::Write(_), ..])
}

fn away() -> Failure {
    Failure::Away("away".into())
}

#[test]
fn whoever_does_not_lead_does_nothing() {
    let mut it = Scene::new();
    assert_eq!(it.step(Event::Leader(None)), []);
    assert_eq!(it.step(Event::Tick), []);
    let now = it.now;
    assert_eq!(it.step(Event::Leader(leader(5, Some(now)))), []);
    assert!(it.is_idle());
}

#[test]
fn it_reads_writes_and_watches() {
    let mut it = Scene::new();
    assert_eq!(it.lead(5), [Action::Read, pending()]);
    let actions = it.step(read("r-0", "4"));
    assert!(is_write(&actions) && actions.len() == 1, "{actions:?}");
    it.now += SECOND;
    let actions = it.step(Event::Wrote(Ok(seen("2", "r-1", "5"))));
    assert_eq!(actions, [Action::Watch, told_right(it.now, None)]);
    assert_eq!(it.step(Event::Watching), []);
    // Its own write, as the watch shows it.
    assert_eq!(it.step(Event::Changed(seen("2", "r-1", "5"))), []);
    assert_eq!(it.core.wake_at(), None, "nothing is to be done at rest");
}

#[test]
fn nothing_is_written_from_the_end_of_the_lease_on() {
    let mut it = Scene::new();
    let until = it.now + SECOND;
    let _ = it.step(Event::Leader(leader(5, Some(until))));
    assert_eq!(it.core.wake_at(), Some(until));
    it.now = until;
    let idle = Action::Tell(Announcement::Idle);
    assert_eq!(it.step(read("r-0", "4")), [Action::Drop, idle]);
    assert!(it.is_idle());
    let later = leader(5, Some(until + SECOND));
    let actions = it.step(Event::Leader(later));
    assert_eq!(actions, [Action::Read, pending()], "it is known anew");
}

#[test]
fn a_renewed_lease_disturbs_nothing() {
    let mut it = Scene::announced();
    for n in 1..5 {
        let until = it.now + n * SECOND;
        assert_eq!(it.step(Event::Leader(leader(5, Some(until)))), []);
        assert_eq!(it.core.wake_at(), Some(until));
    }
    assert_eq!(it.step(Event::Leader(leader(5, None))), []);
}

#[test]
fn another_term_begins_anew_and_drops_what_is_under_way() {
    let mut it = Scene::new();
    let _ = it.lead(5);
    assert!(is_write(&it.step(read("r-0", "4"))));
    let actions = it.lead(6);
    assert_eq!(actions[..2], [Action::Drop, Action::Read]);
    let actions = it.step(Event::Leader(None));
    assert_eq!(actions, [Action::Drop, Action::Tell(Announcement::Idle)]);
}

#[test]
fn a_higher_term_stops_it_for_as_long_as_it_is_there() {
    let mut it = Scene::announced();
    let superseded = Announcement::Superseded { term: 5, higher: 6 };
    let actions = it.step(Event::Changed(seen("2", "r-0", "6")));
    assert_eq!(actions, [Action::Tell(superseded)]);
    assert_eq!(it.step(Event::Changed(seen("3", "r-0", "7"))).len(), 1);
    assert!(is_write(&it.step(Event::Changed(seen("4", "r-0", "")))));
}

#[test]
fn a_missing_service_is_waited_for() {
    let mut it = Scene::new();
    let _ = it.lead(5);
    let missing = "there is no Service \"leader\" in the namespace \"prod\": create it";
    let actions = it.step(Event::Read(Ok(View::new())));
    assert_eq!(actions, [Action::Watch, retrying(missing)]);
    assert_eq!(it.step(Event::Watching), []);
    assert!(is_write(&it.step(Event::Changed(seen("1", "r-0", "")))));

    let mut it = Scene::announced();
    let actions = it.step(Event::Gone("leader".into()));
    assert_eq!(actions, [retrying(missing)]);
}

#[test]
fn a_change_is_put_back_at_once_and_a_fight_slows_down() {
    let mut it = Scene::announced();
    let mut pauses = Vec::new();
    for version in 1..8 {
        let edit = seen(&version.to_string(), "r-0", "5");
        let mut actions = it.step(Event::Changed(edit));
        let mut pause = Duration::ZERO;
        if !is_write(&actions) {
            let [Action::Tell(Announcement::Retrying { reason, .. })] = &actions[..] else {
                panic!("{actions:?}");
            };
            assert!(reason.contains("again and again"), "{reason}");
            (pause, actions) = it.wake();
        }
        assert!(is_write(&actions), "{actions:?}");
        pauses.push(pause.as_secs());
        let _ = it.step(Event::Wrote(Ok(seen("9", "r-1", "5"))));
    }
    assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16]);
    it.now += 60 * SECOND;
    assert!(is_write(&it.step(Event::Changed(seen("10", "r-0", "5")))));
}

#[test]
fn while_it_waits_to_put_back_it_listens() {
    let mut it = Scene::announced();
    for _ in 0..2 {
        assert!(is_write(&it.step(Event::Changed(seen("2", "r-0", "5")))));
        let _ = it.step(Event::Wrote(Ok(seen("3", "r-1", "5"))));
    }
    let _ = it.step(Event::Changed(seen("4", "r-0", "5")));
    assert!(it.core.wake_at().is_some());
    let now = it.now;
    let actions = it.step(Event::Changed(seen("5", "r-1", "5")));
    assert_eq!(actions, [told_right(now, None)], "somebody else did it");
    assert_eq!(it.core.wake_at(), None);
}

#[test]
fn a_conflict_is_read_again_at_once_and_then_slowly() {
    let mut it = Scene::new();
    let _ = it.lead(5);
    for expected in [0, 1, 1] {
        assert!(is_write(&it.step(read("r-0", "4"))));
        let conflict = Failure::Outdated("conflict".into());
        let mut actions = it.step(Event::Wrote(Err(conflict)));
        if expected > 0 {
            let (waited, later) = it.wake();
            assert!(waited >= SECOND / 10, "{waited:?}");
            actions = later;
        }
        assert_eq!(actions[0], Action::Read);
    }
}

#[test]
fn a_patch_that_is_rejected_twice_for_one_version_is_refused() {
    let mut it = Scene::new();
    let _ = it.lead(5);
    let rejected = || Event::Wrote(Err(Failure::Rejected("422".into())));
    assert!(is_write(&it.step(read("r-0", "4"))));
    assert_eq!(it.step(rejected()), [Action::Read], "it may be outdated");
    assert!(is_write(&it.step(read("r-0", "4"))));
    assert_eq!(it.step(rejected()), [retrying("422")]);
    assert_eq!(it.wake().1, [Action::Read]);
}

#[test]
fn an_outage_is_told_once_and_does_not_take_back_what_was_announced() {
    let mut it = Scene::announced();
    let at = it.now;
    it.now += 5 * SECOND;
    let actions = it.step(Event::Unwatched(Err(away())));
    assert_eq!(actions, [told_right(at, Some("away"))]);
    for _ in 0..50 {
        let (waited, actions) = it.wake();
        assert!(waited <= 2 * SECOND, "{waited:?}");
        assert_eq!(actions, [Action::Read]);
        let other = Failure::Away("another wording".into());
        assert_eq!(it.step(Event::Read(Err(other))), []);
    }
    let (_, actions) = it.wake();
    assert_eq!(actions, [Action::Read]);
    assert_eq!(it.step(read("r-1", "5")), [Action::Watch]);
    assert_eq!(it.step(Event::Watching), []);
    let (waited, actions) = it.wake();
    assert_eq!((waited, actions), (SECOND, vec![told_right(at, None)]));
}

#[test]
fn what_people_must_change_is_retried_slowly() {
    let mut it = Scene::new();
    let _ = it.lead(5);
    let refused = || Failure::Refused("no permission".into());
    let actions = it.step(Event::Read(Err(refused())));
    assert_eq!(actions, [retrying("no permission")]);
    for tries in 0..20 {
        let (waited, actions) = it.wake();
        let least = if tries < 8 { SECOND / 20 } else { 5 * SECOND };
        assert!((least..=10 * SECOND).contains(&waited), "{waited:?}");
        assert_eq!(actions, [Action::Read]);
        assert_eq!(it.step(Event::Read(Err(refused()))), []);
    }
}

#[test]
fn the_api_is_left_alone_for_as_long_as_it_asks() {
    let mut it = Scene::new();
    let _ = it.lead(5);
    let busy = Failure::Busy(Some(7 * SECOND), "429".into());
    assert_eq!(it.step(Event::Read(Err(busy))), [retrying("429")]);
    let (waited, actions) = it.wake();
    assert!((7 * SECOND..=11 * SECOND).contains(&waited), "{waited:?}");
    assert_eq!(actions, [Action::Read]);
}

#[test]
fn a_write_that_succeeds_ends_the_trouble() {
    let mut it = Scene::new();
    let _ = it.lead(5);
    assert_eq!(it.step(Event::Read(Err(away()))), [retrying("away")]);
    let _ = it.wake();
    assert!(is_write(&it.step(read("r-0", "4"))));
    let actions = it.step(Event::Wrote(Ok(seen("2", "r-1", "5"))));
    assert_eq!(actions, [Action::Watch, told_right(it.now, None)]);
}

#[test]
fn the_end_of_a_watch_is_followed_by_a_read() {
    let mut it = Scene::announced();
    it.now += 30 * SECOND;
    assert_eq!(it.step(Event::Unwatched(Ok(()))), [Action::Read]);
    assert_eq!(it.step(read("r-1", "5")), [Action::Watch]);
    let _ = it.step(Event::Watching);

    let cut = "watches are cut at once";
    let actions = it.step(Event::Unwatched(Ok(())));
    assert_eq!(actions, [told_right(it.now - 30 * SECOND, Some(cut))]);
    assert!(it.core.wake_at().is_some_and(|at| at > it.now));
}
