//! From what an agent knows to figures, without I/O or clock.

use std::time::Instant;

use bellwether_admin::Role;
use bellwether_replication::{Cause, Inspection, Kind, MemberStatus, Refusal, Tally, Whose};

use super::{
    Outside, Snapshot,
    table::{
        ANSWERED, CALLS, DECISIONS, DROPPED, EVENTS, FAILOVERS, FAILSAFE, FENCED, FENCES, Figure,
        KEYS, LAG, LEADER, LEASE, MEMBER_LAG, MEMBER_UP, MEMBERS, OFFSET, PAUSED, READY, REFUSALS,
        ROLE, SWITCHOVERS, SWITCHOVERS_TOOK, TERM, UP,
    },
};

/// One figure at one moment.
#[derive(Debug, PartialEq)]
pub(super) struct Value {
    pub(super) figure: Figure,
    /// What its label says, if it has one.
    pub(super) label: Option<String>,
    pub(super) value: f64,
}

/// All figures that are known.
pub(super) fn values(of: &Snapshot<'_>, now: Instant) -> Vec<Value> {
    let mut values = Values(Vec::new());
    values.node(of, now);
    values.server(of);
    values.members(of);
    values.tally(&of.status.tally);
    if let Some(outside) = &of.outside {
        values.put(PAUSED, of.report.paused);
        values.outside(outside, now);
    }
    values.0
}

struct Values(Vec<Value>);

impl Values {
    fn put(&mut self, figure: Figure, value: impl Into<f64>) {
        assert!(figure.label.is_none(), "{figure:?}");
        self.0.push(Value {
            figure,
            label: None,
            value: value.into(),
        });
    }

    fn count(&mut self, figure: Figure, value: u64) {
        self.put(figure, value as f64);
    }

    fn put_by(&mut self, figure: Figure, label: &str, value: f64) {
        assert!(figure.label.is_some(), "{figure:?}");
        self.0.push(Value {
            figure,
            label: Some(label.to_owned()),
            value,
        });
    }

    fn count_by(&mut self, figure: Figure, label: &str, value: u64) {
        self.put_by(figure, label, value as f64);
    }

    fn node(&mut self, of: &Snapshot<'_>, now: Instant) {
        self.put(READY, of.report.ready.is_ok());
        let until = match of.report.role {
            Role::Primary { until } => until,
            Role::Replica { .. } | Role::Neither => None,
        };
        // A report that is late must not call a former primary one.
        let lapsed = until.is_some_and(|until| now >= until);
        let role = match of.report.role {
            Role::Primary { .. } if !lapsed => "primary",
            Role::Replica { .. } => "replica",
            Role::Primary { .. } | Role::Neither => "neither",
        };
        for one in ["primary", "replica", "neither"] {
            self.put_by(ROLE, one, f64::from(one == role));
        }
        self.put(LEADER, of.status.leadership == "leading");
        self.count(TERM, of.status.term.map_or(0, |term| term.0));
        let remaining = until.map(|until| until.saturating_duration_since(now));
        self.put(LEASE, remaining.unwrap_or_default().as_secs_f64());
    }

    fn server(&mut self, of: &Snapshot<'_>) {
        let server = of.status.server.as_ref();
        self.put(UP, server.is_some());
        let is_fenced = |server: &Inspection| match &server.role {
            bellwether_replication::Role::Replica { of, .. } => of.is_nowhere(),
            bellwether_replication::Role::Primary => false,
        };
        self.put(FENCED, server.is_some_and(is_fenced));
        if let Some(server) = server {
            self.count(KEYS, server.keys);
            self.count(OFFSET, server.position.offset);
        }
        if let Role::Replica {
            lag_bytes: Some(lag),
        } = of.report.role
        {
            self.count(LAG, lag);
        }
    }

    fn members(&mut self, of: &Snapshot<'_>) {
        self.count(MEMBERS, 1 + of.status.members.len() as u64);
        let serves = of.view.primary.as_ref().is_some_and(|p| p.name == of.own);
        let own = of.status.server.as_ref().filter(|_| serves);
        for (name, MemberStatus { server, .. }) in &of.status.members {
            self.put_by(MEMBER_UP, name, f64::from(server.is_some()));
        }
        for (name, MemberStatus { server, .. }) in &of.status.members {
            let both = own.zip(server.as_ref());
            let lag = both.and_then(|(own, theirs)| own.position.bytes_beyond(&theirs.position));
            if let Some(lag) = lag {
                self.count_by(MEMBER_LAG, name, lag);
            }
        }
    }

    /// What may be counted is there from the start, so that the first time is seen as an increase.
    fn tally(&mut self, tally: &Tally) {
        for kind in Kind::NAMES {
            let count = tally.decisions.get(kind).copied();
            self.count_by(DECISIONS, kind, count.unwrap_or(0));
        }
        for reason in Refusal::ALL {
            let count = tally.refusals.get(&reason).copied();
            self.count_by(REFUSALS, reason.name(), count.unwrap_or(0));
        }
        for cause in Cause::ALL.into_iter().filter(|cause| cause.is_failover()) {
            let count = tally.promotions.get(&cause).copied();
            self.count_by(FAILOVERS, cause.name(), count.unwrap_or(0));
        }
        self.count_by(SWITCHOVERS, "done", tally.switchovers);
        self.count_by(SWITCHOVERS, "failed", tally.switchovers_failed);
        self.put(SWITCHOVERS_TOOK, tally.switchovers_took.as_secs_f64());
        for (name, whose) in [("own", Whose::Own), ("other", Whose::Other)] {
            let count = tally.fences.get(&whose).copied();
            self.count_by(FENCES, name, count.unwrap_or(0));
        }
        self.count(DROPPED, tally.dropped_bytes);
    }

    fn outside(&mut self, outside: &Outside, now: Instant) {
        for (state, is_so) in &outside.failsafe {
            self.put_by(FAILSAFE, state, f64::from(*is_so));
        }
        self.count_by(CALLS, "ok", outside.calls);
        self.count_by(CALLS, "failed", outside.failures);
        if let Some(answered) = outside.answered {
            let ago = now.saturating_duration_since(answered);
            self.put(ANSWERED, ago.as_secs_f64());
        }
        self.count_by(EVENTS, "told", outside.told);
        self.count_by(EVENTS, "dropped", outside.dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use bellwether_admin::Report;
    use bellwether_election::Term;
    use bellwether_replication::{
        Address, Link, Papers, Position, Role as ServerRole, Server, Status, View,
    };

    use super::{super::table::Form, *};

    /// A member `a` and what it knows.
    struct Scene {
        now: Instant,
        view: View,
        status: Status,
        report: Report,
        outside: Option<Outside>,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                now: Instant::now(),
                view: View::default(),
                status: Status::default(),
                report: Report {
                    live: true,
                    ready: Err("not yet".into()),
                    paused: false,
                    role: Role::Neither,
                    status: serde_json::Value::Null,
                },
                outside: None,
            }
        }

        fn all(&self) -> Vec<Value> {
            let snapshot = Snapshot {
                own: "a",
                view: &self.view,
                status: &self.status,
                report: &self.report,
                outside: self.outside.clone(),
            };
            values(&snapshot, self.now)
        }

        /// As in Prometheus: the name, and in braces the label.
        fn value(&self, wanted: &str) -> Option<f64> {
            let shown = |value: &Value| match &value.label {
                Some(label) => format!("{}{{{label}}}", value.figure.name),
                None => value.figure.name.to_owned(),
            };
            let found = self.all().into_iter().find(|value| shown(value) == wanted);
            found.map(|found| found.value)
        }

        #[track_caller]
        fn says(&self, wanted: &[(&str, f64)]) {
            for (name, value) in wanted {
                let found = self.value(&format!("bellwether_{name}"));
                assert_eq!(found, Some(*value), "{name}");
            }
        }

        #[track_caller]
        fn lacks(&self, names: &[&str]) {
            for name in names {
                assert_eq!(self.value(&format!("bellwether_{name}")), None, "{name}");
            }
        }

        /// A primary whose lease lasts for 3 s, and 10 bytes behind it `b`.
        fn serving() -> Self {
            let mut scene = Self::new();
            let until = Some(scene.now + Duration::from_secs(3));
            scene.report.ready = Ok(());
            scene.report.role = Role::Primary { until };
            scene.view = View {
                term: Term(4),
                until,
                primary: Some(server("a")),
                replicas: vec![server("b")],
            };
            scene.status.leadership = "leading".into();
            scene.status.term = Some(Term(5));
            scene.status.server = Some(inspection(ServerRole::Primary, 100));
            let of = server("a").address;
            let copy = ServerRole::Replica { of, link: Link::Up };
            scene.status.members = [
                ("b".to_owned(), member(Some(inspection(copy, 90)))),
                ("c".to_owned(), member(None)),
            ]
            .into();
            scene
        }
    }

    fn server(name: &str) -> Server {
        Server {
            name: name.into(),
            address: Address::new(name, 6379),
        }
    }

    fn member(server: Option<Inspection>) -> MemberStatus {
        MemberStatus {
            redis: Address::new("x", 6379),
            connected: true,
            server,
        }
    }

    fn inspection(role: ServerRole, offset: u64) -> Inspection {
        Inspection {
            run_id: "run".into(),
            role,
            position: Position {
                replication_id: "x".into(),
                offset,
                previous: None,
            },
            keys: 7,
            papers: Papers::None,
            attached: BTreeSet::new(),
            departed: 0,
            loading: false,
            priority: 100,
            failing_over: false,
            min_replicas: None,
        }
    }

    #[test]
    fn an_agent_that_knows_nothing_says_so() {
        let scene = Scene::new();
        scene.says(&[
            ("ready", 0.0),
            ("role{neither}", 1.0),
            ("role{primary}", 0.0),
            ("leader", 0.0),
            ("term", 0.0),
            ("lease_remaining_seconds", 0.0),
            ("server_up", 0.0),
            ("members", 1.0),
            ("failovers_total{server_down}", 0.0),
            ("decisions_total{serve}", 0.0),
            ("refusals_total{behind}", 0.0),
            ("fences_total{own}", 0.0),
        ]);
        scene.lacks(&["server_keys", "server_offset_bytes", "lag_bytes"]);
        scene.lacks(&["api_calls_total{ok}", "events_total{told}"]);
    }

    #[test]
    fn a_primary_shows_its_lease_and_how_far_the_others_are() {
        let mut scene = Scene::serving();
        scene.says(&[
            ("ready", 1.0),
            ("role{primary}", 1.0),
            ("role{replica}", 0.0),
            ("leader", 1.0),
            ("term", 5.0),
            ("lease_remaining_seconds", 3.0),
            ("server_up", 1.0),
            ("server_fenced", 0.0),
            ("server_keys", 7.0),
            ("server_offset_bytes", 100.0),
            ("members", 3.0),
            ("member_up{b}", 1.0),
            ("member_up{c}", 0.0),
            ("member_lag_bytes{b}", 10.0),
        ]);
        scene.lacks(&["lag_bytes", "member_lag_bytes{c}"]);
        // Asked later, while nothing was told anew.
        scene.now += Duration::from_secs(2);
        scene.says(&[("lease_remaining_seconds", 1.0), ("role{primary}", 1.0)]);
        scene.now += Duration::from_secs(1);
        scene.says(&[("lease_remaining_seconds", 0.0), ("role{neither}", 1.0)]);
    }

    #[test]
    fn a_replica_shows_its_own_lag_and_a_fenced_server_that_it_is() {
        let mut scene = Scene::serving();
        scene.view.primary = Some(server("b"));
        scene.report.role = Role::Replica {
            lag_bytes: Some(12),
        };
        scene.says(&[("role{replica}", 1.0), ("lag_bytes", 12.0)]);
        scene.lacks(&["member_lag_bytes{b}"]);
        let (host, port) = Address::NOWHERE;
        let nowhere = ServerRole::Replica {
            of: Address::new(host, port),
            link: Link::Down,
        };
        scene.report.role = Role::Neither;
        scene.status.server = Some(inspection(nowhere, 100));
        scene.says(&[("server_fenced", 1.0), ("role{neither}", 1.0)]);
        scene.lacks(&["lag_bytes"]);
    }

    #[test]
    fn what_was_counted_is_told_by_label() {
        let mut scene = Scene::new();
        scene.status.tally = Tally {
            decisions: [("serve", 3)].into(),
            promotions: [(Cause::First, 1), (Cause::ServerDown, 2)].into(),
            refusals: [(Refusal::Empty, 4)].into(),
            fences: [(Whose::Other, 5)].into(),
            dropped_bytes: 6,
            switchovers: 7,
            switchovers_took: Duration::from_millis(800),
            switchovers_failed: 9,
        };
        scene.report.paused = true;
        scene.outside = Some(Outside {
            failsafe: vec![("ready", true), ("asking", false)],
            calls: 10,
            failures: 11,
            answered: scene.now.checked_sub(Duration::from_millis(500)),
            told: 12,
            dropped: 13,
        });
        scene.says(&[
            ("decisions_total{serve}", 3.0),
            ("failovers_total{server_down}", 2.0),
            ("refusals_total{empty}", 4.0),
            ("fences_total{other}", 5.0),
            ("dropped_bytes_total", 6.0),
            ("switchovers_total{done}", 7.0),
            ("switchover_seconds_total", 0.8),
            ("switchovers_total{failed}", 9.0),
            ("paused", 1.0),
            ("failsafe{ready}", 1.0),
            ("failsafe{asking}", 0.0),
            ("api_calls_total{ok}", 10.0),
            ("api_calls_total{failed}", 11.0),
            ("api_answered_seconds", 0.5),
            ("events_total{told}", 12.0),
            ("events_total{dropped}", 13.0),
        ]);
        scene.lacks(&["failovers_total{first}", "failovers_total{handed_over}"]);
    }

    /// What is told is documented, and the other way round.
    #[test]
    fn the_documented_figures_are_these() {
        let mut scene = Scene::serving();
        scene.outside = Some(Outside {
            failsafe: vec![("ready", true)],
            answered: Some(scene.now),
            ..Outside::default()
        });
        let mut told = scene.all();
        scene.report.role = Role::Replica { lag_bytes: Some(1) };
        told.extend(scene.all());
        let row = |figure: &Figure| {
            let form = match figure.form {
                Form::Counter => "counter",
                Form::Gauge => "gauge",
            };
            let label = figure.label.map(|label| format!("`{label}`"));
            let label = label.unwrap_or_default();
            (figure.name.to_owned(), form.to_owned(), label)
        };
        let told: BTreeSet<_> = told.iter().map(|value| row(&value.figure)).collect();
        let page = include_str!("../../METRICS.md");
        let (page, _) = page.split_once("## Of the ports").expect("its heading");
        let read = |line: &str| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (form, rest) = rest.split_once(" |")?;
            let label = rest.split([':', '|']).next()?.trim();
            Some((name.to_owned(), form.to_owned(), label.to_owned()))
        };
        let documented: BTreeSet<_> = page.lines().filter_map(read).collect();
        assert_eq!(told, documented);
    }
}
