//! Tells the recorder of the `metrics` facade, if the program has one, what the proxy does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::{SharedString, counter, describe_counter, describe_gauge, gauge};
use tokio::time::{MissedTickBehavior, interval};

use crate::stats::{Board, FamilyStats, Stats, UpstreamRole, UpstreamState, UpstreamStats};

const EVERY: Duration = Duration::from_secs(1);

/// A figure's name, what it says, and where it is.
type Figure = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTERS: [Figure; 16] = [
    (
        "bellwether_proxy_accepted_total",
        "Clients accepted.",
        |s| s.accepted,
    ),
    (
        "bellwether_proxy_requests_total",
        "Requests received.",
        |s| s.requests,
    ),
    (
        "bellwether_proxy_held_total",
        "Requests that had to wait for a primary.",
        |s| s.held,
    ),
    (
        "bellwether_proxy_replayed_total",
        "Requests that were refused or lost and sent again.",
        |s| s.replayed,
    ),
    (
        "bellwether_proxy_unknown_total",
        "Requests whose outcome nobody knows.",
        |s| s.unknown,
    ),
    (
        "bellwether_proxy_refused_total",
        "Requests that no primary took in time.",
        |s| s.refused,
    ),
    (
        "bellwether_proxy_suspected_total",
        "Times a primary was suspected.",
        |s| s.suspected,
    ),
    (
        "bellwether_proxy_connects_total",
        "Connections to servers begun.",
        |s| s.connects,
    ),
    (
        "bellwether_proxy_pool_exhausted_total",
        "Times all connections were lent.",
        |s| s.pool_exhausted,
    ),
    (
        "bellwether_proxy_cut_total",
        "Clients cut because they read too slowly.",
        |s| s.cut,
    ),
    (
        "bellwether_proxy_orphaned_total",
        "Clients closed for want of a primary.",
        |s| s.orphaned,
    ),
    (
        "bellwether_proxy_resubscribed_total",
        "Times subscriptions were made again.",
        |s| s.resubscribed,
    ),
    (
        "bellwether_proxy_client_bytes_in_total",
        "Bytes read from clients.",
        |s| s.client_bytes_in,
    ),
    (
        "bellwether_proxy_client_bytes_out_total",
        "Bytes written to clients.",
        |s| s.client_bytes_out,
    ),
    (
        "bellwether_proxy_server_bytes_in_total",
        "Bytes read from servers.",
        |s| s.server_bytes_in,
    ),
    (
        "bellwether_proxy_server_bytes_out_total",
        "Bytes written to servers.",
        |s| s.server_bytes_out,
    ),
];

const GAUGES: [Figure; 7] = [
    ("bellwether_proxy_clients", "Clients connected.", |s| {
        s.clients
    }),
    (
        "bellwether_proxy_waiting",
        "Clients that wait for a primary or a connection.",
        |s| s.waiting,
    ),
    (
        "bellwether_proxy_waiting_bytes",
        "Bytes of requests that wait.",
        |s| s.waiting_bytes,
    ),
    (
        "bellwether_proxy_output_bytes",
        "Bytes of replies that wait.",
        |s| s.output_bytes,
    ),
    (
        "bellwether_proxy_links_shared",
        "Connections that plain commands share.",
        |s| s.links_shared,
    ),
    (
        "bellwether_proxy_links_leased",
        "Connections lent to one client.",
        |s| s.links_leased,
    ),
    (
        "bellwether_proxy_links_idle",
        "Connections that wait to be lent.",
        |s| s.links_idle,
    ),
];

const BUCKET: &str = "bellwether_proxy_request_microseconds_bucket";
const SUM: &str = "bellwether_proxy_request_microseconds_sum";
const COUNT: &str = "bellwether_proxy_request_microseconds_count";

const UP: &str = "bellwether_proxy_upstream_up";
const PRIMARY: &str = "bellwether_proxy_upstream_primary";
const PENDING: &str = "bellwether_proxy_upstream_pending";
const LINKS: &str = "bellwether_proxy_upstream_links";
const LAG: &str = "bellwether_proxy_upstream_lag_bytes";

/// Records all workers' figures each second, until it is dropped.
pub(crate) async fn record(board: Arc<Board>, listen: SocketAddr) {
    describe();
    let mut recorder = Recorder {
        listen: listen.to_string().into(),
        upstreams: BTreeSet::new(),
    };
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        recorder.stats(&board.stats());
        for family in board.families().iter().filter(|family| family.requests > 0) {
            recorder.family(family);
        }
        recorder.upstreams(&board.upstreams());
    }
}

fn describe() {
    for (name, text, _) in COUNTERS {
        describe_counter!(name, text);
    }
    for (name, text, _) in GAUGES {
        describe_gauge!(name, text);
    }
    describe_counter!(BUCKET, "Answered requests that took at most so long.");
    describe_counter!(SUM, "How long answered requests took in all.");
    describe_counter!(COUNT, "Answered requests.");
    describe_gauge!(UP, "1: the server gets commands.");
    describe_gauge!(PRIMARY, "1: the server is the primary.");
    describe_gauge!(PENDING, "Requests that the server has not answered.");
    describe_gauge!(LINKS, "Connections to the server.");
    describe_gauge!(LAG, "How far the replica is behind the primary.");
}

struct Recorder {
    /// Tells the proxies of one program apart.
    listen: SharedString,
    /// Those that were recorded: whoever is not there any more must not seem to be.
    upstreams: BTreeSet<String>,
}

impl Recorder {
    fn stats(&self, stats: &Stats) {
        for (name, _, of) in COUNTERS {
            counter!(name, "listen" => self.listen.clone()).absolute(of(stats));
        }
        for (name, _, of) in GAUGES {
            gauge!(name, "listen" => self.listen.clone()).set(of(stats) as f64);
        }
    }

    /// In the form of Prometheus's histograms, but as counters, since they are counted already.
    fn family(&self, family: &FamilyStats) {
        let total = u64::try_from(family.total.as_micros()).unwrap_or(u64::MAX);
        let labels = [
            ("listen", self.listen.clone()),
            ("family", family.name.into()),
        ];
        counter!(SUM, &labels).absolute(total);
        counter!(COUNT, &labels).absolute(family.requests);
        let mut upto = 0;
        for bucket in &family.buckets {
            upto += bucket.requests;
            let le: SharedString = match bucket.below {
                Duration::MAX => "+Inf".into(),
                // Whole microseconds are counted, so that less than 2 is 1 at most.
                below => (below.as_micros() - 1).to_string().into(),
            };
            let [listen, family] = labels.clone();
            counter!(BUCKET, &[listen, family, ("le", le)]).absolute(upto);
        }
    }

    fn upstreams(&mut self, upstreams: &[UpstreamStats]) {
        let mut gone = std::mem::take(&mut self.upstreams);
        for upstream in upstreams {
            gone.remove(&upstream.name);
            self.upstreams.insert(upstream.name.clone());
            let up = upstream.state == UpstreamState::Connected;
            let primary = upstream.role == UpstreamRole::Primary;
            let figures = [
                (UP, f64::from(u8::from(up))),
                (PRIMARY, f64::from(u8::from(primary))),
                (PENDING, upstream.pending as f64),
                (LINKS, upstream.links as f64),
                (LAG, upstream.lag_bytes.map_or(f64::NAN, |lag| lag as f64)),
            ];
            self.upstream(&upstream.name, figures);
        }
        for name in gone {
            let figures = [UP, PRIMARY, PENDING, LINKS].map(|figure| (figure, 0.0));
            self.upstream(&name, figures);
            self.upstream(&name, [(LAG, f64::NAN)]);
        }
    }

    fn upstream<const N: usize>(&self, name: &str, figures: [(&'static str, f64); N]) {
        let labels = [
            ("listen", self.listen.clone()),
            ("upstream", name.to_owned().into()),
        ];
        for (figure, value) in figures {
            gauge!(figure, &labels).set(value);
        }
    }
}
