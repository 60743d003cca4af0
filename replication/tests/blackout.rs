//! Everything restarts, the member first that missed the latest writes: the latest data leads, or
//! nobody does. `BELLWETHER_BLACKOUTS` sets how often each is tried.

mod support;

use std::time::Duration;

use bellwether_replication::{Instance, Passport};
use bellwether_testkit::{Boot, Data, Options};
use support::{
    eventually,
    group::{Group, Kind},
    inspected, instance,
};

/// What a server keeps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Log,
    Snapshot,
}

impl Group {
    fn kept(kind: Kind, file: File) -> Self {
        let options = Options {
            persistent: file == File::Log,
            args: ["--appendfsync", "always"].map(String::from).to_vec(),
            ..Options::default()
        };
        let mut group = Self::without_agents(kind, 3, &options);
        (0..3).for_each(|number| group.start_agent(number));
        group
    }

    /// Ends a server and its agent, as a power cut does.
    fn cut(&mut self, number: usize, file: File) {
        self.kill_agent(number);
        if file == File::Snapshot {
            self.servers[number].command(&["SAVE"]).expect("it saves");
        }
        self.servers[number].kill().expect("it can be killed");
    }

    fn power_up(&mut self, number: usize) {
        self.servers[number]
            .restart(Data::Keep, Boot::ReplicaOfNowhere)
            .expect("it starts");
        self.start_agent(number);
    }

    async fn passport(&self, number: usize) -> Passport {
        eventually("a passport", || async {
            let found = instance(&self.servers[number]).inspect().await.ok()?;
            found.papers.passport().cloned()
        })
        .await
    }

    fn write(&self, number: usize, key: &str) {
        let reply = self.servers[number].command(&["SET", key, "kept"]);
        assert_eq!(reply.expect("it is a primary"), "OK");
    }

    async fn has(&self, living: &[usize], key: &str) {
        eventually(key, || async {
            let has = |number: &usize| {
                let value = self.servers[*number].command(&["GET", key]);
                value.is_ok_and(|value| value == "kept")
            };
            living.iter().all(has).then_some(())
        })
        .await;
    }
}

/// How late a dataset is.
fn issue(passport: &Passport) -> (u64, u64) {
    (passport.term.0, passport.mark)
}

async fn stale_first(kind: Kind, file: File, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut group = Group::kept(kind, file);
    let first = group.formed(&[0, 1, 2], 2).await;
    group.write(first, "early");
    group.has(&[0, 1, 2], "early").await;

    let stale = rng.usize(..3);
    let before = group.passport(stale).await;
    group.cut(stale, file);
    let mut others: Vec<_> = (0..3).filter(|number| *number != stale).collect();
    let primary = group.formed(&others, 1).await;
    group.write(primary, "late");
    group.has(&others, "late").await;
    for other in &others {
        eventually("a later passport", || async {
            (issue(&group.passport(*other).await) > issue(&before)).then_some(())
        })
        .await;
    }
    rng.shuffle(&mut others);
    others.iter().for_each(|number| group.cut(*number, file));
    group.forget_election();

    group.power_up(stale);
    if kind == Kind::Race {
        group
            .decided(stale, "has not told yet what its server has")
            .await;
        assert!(group.primaries().is_empty());
    }
    rng.shuffle(&mut others);
    others.iter().for_each(|number| group.power_up(*number));
    let primary = group.formed(&[0, 1, 2], 2).await;
    if kind == Kind::Race {
        assert_ne!(primary, stale);
    }
    group.has(&[0, 1, 2], "late").await;
    let after = group.passport(primary).await;
    assert!(issue(&after) > issue(&before));
}

async fn many(kind: Kind, file: File) {
    let times = std::env::var("BELLWETHER_BLACKOUTS").map_or(2, |text| {
        text.parse().expect("BELLWETHER_BLACKOUTS is a number")
    });
    let seed = fastrand::u64(..);
    for seed in seed..seed.saturating_add(times) {
        println!("seed {seed}");
        stale_first(kind, file, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_leads_after_a_power_cut_with_append_only_files() {
    many(Kind::Race, File::Log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_leads_after_a_power_cut_with_snapshots() {
    many(Kind::Race, File::Snapshot).await;
}

/// One that comes back alone has waited long enough some day.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_passport_leads_alone_after_a_while_and_whoever_has_none_does_not() {
    let mut group = Group::kept(Kind::Race, File::Log);
    let primary = group.formed(&[0, 1, 2], 2).await;
    group.write(primary, "k");
    group.has(&[0, 1, 2], "k").await;
    // While all are gone, one of them loses its passport, and another its data.
    (0..3).for_each(|number| group.cut(number, File::Log));
    group.forget_election();
    group.configure = |config| config.form_timeout = Duration::from_secs(1);
    group.power_up(0);
    assert_eq!(group.formed(&[0], 0).await, 0);
    group.servers[0].command(&["FUNCTION", "FLUSH"]).unwrap();
    group.passport(0).await;
    group.kill_agent(0);
    group.servers[0].command(&["FUNCTION", "FLUSH"]).unwrap();
    group.servers[0].kill().unwrap();
    group.forget_election();
    group.power_up(0);
    group.decided(0, "--allow-data-loss").await;
    let trouble = group.handles[0].status().borrow().trouble.clone();
    assert!(trouble.unwrap().contains("--allow-data-loss"));
    assert!(group.primaries().is_empty());
    // The others come back, and are compared with it.
    group.power_up(1);
    group.power_up(2);
    let primary = group.formed(&[0, 1, 2], 2).await;
    assert_ne!(primary, 0);
    assert_eq!(group.handles[0].status().borrow().trouble, None);
}

/// A server that restarted without its data gives way, whoever comes first.
#[tokio::test(flavor = "multi_thread")]
async fn a_blank_server_waits_for_those_with_data() {
    let mut group = Group::kept(Kind::Race, File::Log);
    let primary = group.formed(&[0, 1, 2], 2).await;
    group.write(primary, "k");
    group.has(&[0, 1, 2], "k").await;
    (0..3).for_each(|number| group.cut(number, File::Log));
    group.forget_election();
    group.configure = |config| config.form_timeout = Duration::from_secs(1);
    let server = &mut group.servers[2];
    server.restart(Data::Empty, Boot::ReplicaOfNowhere).unwrap();
    group.start_agent(2);
    group.decided(2, "--allow-data-loss").await;
    group.power_up(0);
    group.power_up(1);
    assert_ne!(group.formed(&[0, 1, 2], 2).await, 2);
    group.has(&[0, 1, 2], "k").await;
    // What all had is removed by a user: that is not the same as having nothing.
    let primary = group.formed(&[0, 1, 2], 2).await;
    let behind = (primary + 1) % 3;
    let before = group.passport(behind).await;
    group.cut(behind, File::Log);
    let others: Vec<_> = (0..3).filter(|number| *number != behind).collect();
    group.formed(&others, 1).await;
    group.servers[primary].command(&["FLUSHALL"]).unwrap();
    for other in &others {
        let instance = instance(&group.servers[*other]);
        inspected(&instance, "the flush", |found| {
            let passport = found.papers.passport();
            !found.has_data() && passport.is_some_and(|passport| issue(passport) > issue(&before))
        })
        .await;
    }
    others
        .iter()
        .for_each(|number| group.cut(*number, File::Log));
    group.forget_election();
    group.configure = |_| {};
    (0..3).for_each(|number| group.power_up(number));
    assert_ne!(group.formed(&[0, 1, 2], 2).await, behind);
    let flushed = instance(&group.servers[behind]);
    inspected(&flushed, "the flush", |found| !found.has_data()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_of_another_group_is_left_alone() {
    let mut group = Group::without_agents(Kind::Race, 3, &Options::default());
    let foreign = Passport {
        group: "elsewhere".into(),
        ..support::passport(1_000)
    };
    let stranger = instance(&group.servers[2]);
    stranger.promote(&foreign).await.unwrap();
    group.servers[2].command(&["SET", "k", "foreign"]).unwrap();
    (0..3).for_each(|number| group.start_agent(number));
    let primary = group.formed(&[0, 1], 1).await;
    assert_ne!(primary, 2);
    group.decided(2, "elsewhere").await;
    let trouble = group.handles[2].status().borrow().trouble.clone();
    assert!(trouble.unwrap().contains("elsewhere"));
    // It serves where it belongs, for all that is known here.
    let found = stranger.inspect().await.unwrap();
    assert!(found.is_primary() && found.papers.passport() == Some(&foreign));
    assert_eq!(group.servers[2].command(&["GET", "k"]).unwrap(), "foreign");
    // Nor is it chosen when it is the only one.
    for number in [0, 1] {
        group.kill_agent(number);
        group.servers[number].kill().unwrap();
    }
    eventually("nobody to lead", || async {
        let status = group.handles[2].status().borrow().clone();
        (status.leadership == "vacant" && status.primary.is_none()).then_some(())
    })
    .await;
    group.kill_agent(2);
    group.configure = |config| {
        config.form_timeout = Duration::from_secs(1);
        config.allow_data_loss = true;
    };
    // Unless the operator says so: then it is of this group from its promotion on.
    group.forget_election();
    group.start_agent(2);
    assert_eq!(group.formed(&[2], 0).await, 2);
    inspected(&stranger, "the passport", |found| {
        found
            .papers
            .passport()
            .is_some_and(|passport| passport.group == "flock")
    })
    .await;
    assert_eq!(group.servers[2].command(&["GET", "k"]).unwrap(), "foreign");
}
