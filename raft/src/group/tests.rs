//! A node whose disk fails.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::{
    Commands, Config, Consistency, Error, Group, Leadership, Member, Roster, StateMachine, Storage,
    View, apply::Shared, group::start, home::Home, log::disk::sim::Sim,
};

/// Remembers all commands.
#[derive(Clone, Debug, Default, PartialEq)]
struct Diary(Vec<u8>);

impl StateMachine for Diary {
    type View = Diary;

    fn apply(&mut self, _: u64, commands: &Commands) -> Vec<Bytes> {
        commands.iter().for_each(|command| self.0.extend(command));
        Vec::new()
    }

    fn view(&self) -> Diary {
        self.clone()
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
        let mut all = Vec::new();
        from.read_to_end(&mut all)?;
        self.0 = all;
        Ok(())
    }
}

impl View for Diary {
    fn write(self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(&self.0)
    }
}

async fn alone(sim: &Sim) -> Group<Diary> {
    let storage = Storage::Directory("sim".into());
    let config = Config::new("flock", "dolly", ([127, 0, 0, 1], 0).into(), storage);
    let home = Home::on(&config, Arc::new(sim.clone())).unwrap();
    let roster = Roster::fixed([Member::new("dolly", "127.0.0.1", 1)]);
    let listener = start::listen(&config).unwrap();
    let diary = Shared::new(Diary::default());
    let group = Group::start_at(listener, home, config, roster, diary);
    let group = group.await.unwrap();
    let mut leadership = group.leadership();
    let leads = |now: &Leadership| matches!(now, Leadership::Leading { .. });
    leadership.wait_for(leads).await.unwrap();
    group
}

async fn local(group: &Group<Diary>) -> Vec<u8> {
    let read = group.read(Consistency::Local, |diary| diary.0.clone());
    read.await.unwrap()
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_node_and_no_lie_is_told() {
    for efforts in 0..4 {
        let sim = Sim::default();
        let group = alone(&sim).await;
        let mut acknowledged = vec![1];
        group.propose(vec![1].into()).await.unwrap();
        sim.fail_after(efforts);
        let mut number = 1;
        let refusal = loop {
            number += 1;
            match group.propose(vec![number].into()).await {
                Ok(_) => acknowledged.push(number),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(refusal, Error::Unknown | Error::Ended(_)),
            "{refusal:?}"
        );
        // What was applied can be read further, nothing more is taken.
        assert!(local(&group).await.starts_with(&acknowledged));
        let deadline = Instant::now() + Duration::from_secs(60);
        while group.status().ended.is_none() {
            assert!(Instant::now() < deadline, "it goes on");
            sleep(Duration::from_millis(5)).await;
        }
        let refused = group.propose(vec![99].into()).await;
        assert!(matches!(refused, Err(Error::Ended(_))), "{refused:?}");
        drop(group);

        sim.crash(&mut fastrand::Rng::with_seed(u64::from(efforts)));
        let again = alone(&sim).await;
        again.propose(vec![100].into()).await.unwrap();
        let found = local(&again).await;
        assert!(
            found.starts_with(&acknowledged),
            "{found:?} lacks {acknowledged:?}"
        );
        assert!(!found.contains(&99), "{found:?}");
    }
}
