//! Everything ends, and starts anew in any order: the newest data leads, or nobody does.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Data, until};

use crate::scene::{PATIENCE, Pod, Scene, Setting, from_environment, play};

/// How many orders, unless the environment says otherwise.
const ORDERS: u64 = 2;

/// How long agents wait for those who have not told what they have.
const FORM_TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn in_any_order_the_newest_append_only_file_leads() -> Result<()> {
    in_random_orders(true)
}

#[test]
fn in_any_order_the_newest_snapshot_leads() -> Result<()> {
    in_random_orders(false)
}

fn in_random_orders(persistent: bool) -> Result<()> {
    let orders = from_environment("BELLWETHER_ORDERS")?.unwrap_or(ORDERS);
    let seed = from_environment("BELLWETHER_SEED")?.unwrap_or_else(|| fastrand::u64(..));
    let form_timeout = format!("{}s", FORM_TIMEOUT.as_secs());
    let setting = Setting {
        persistent,
        flags: ["--members", "3", "--form-timeout", &form_timeout]
            .map(Into::into)
            .into(),
        ..Setting::default()
    };
    play(&setting, |scene| {
        for number in 0..orders {
            let seed = seed.wrapping_add(number);
            let mut order = Order::new(scene, seed, number);
            order
                .play()
                .with_context(|| format!("order {number}, BELLWETHER_SEED={seed}"))?;
        }
        Ok(())
    })
}

/// One restart of everything.
struct Order<'a> {
    scene: &'a mut Scene,
    rng: fastrand::Rng,
    number: u64,
}

impl<'a> Order<'a> {
    fn new(scene: &'a mut Scene, seed: u64, number: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        println!("order {number}, BELLWETHER_SEED={seed}");
        Self { scene, rng, number }
    }

    fn play(&mut self) -> Result<()> {
        self.scene.settled()?;
        let mut pods = [0, 1, 2];
        self.rng.shuffle(&mut pods);
        // Each is left behind in turn, so that the last, or the last two, have the newest.
        self.write("all")?;
        let [oldest, middle, newest] = pods;
        self.leave_behind(oldest, &[oldest])?;
        self.write("two")?;
        let mut holders = vec![middle, newest];
        if self.rng.bool() {
            self.leave_behind(middle, &[oldest, middle])?;
            self.write("one")?;
            holders = vec![newest];
        } else {
            self.end(middle)?;
        }
        self.end(newest)?;
        let word = if holders.len() == 1 { "one" } else { "two" };
        let watch = Watch::begin(self.scene, self.value(word));
        println!("  pods {pods:?}, the newest are {holders:?}");
        self.start_all(&holders)?;
        let leader = self.scene.settled()?;
        watch.end()?;
        for pod in &self.scene.pods {
            until(PATIENCE, "all have the newest", || {
                let found = pod.redis.command(&["GET", "order"])?;
                ensure!(found == self.value(word), "{} has {found}", pod.name);
                anyhow::Ok(())
            })?;
        }
        println!("  led by {leader}");
        Ok(())
    }

    /// Ends a pod and lets the others go on, until they have a later passport than it has: that takes
    /// as long as the leader does not look at its server.
    fn leave_behind(&mut self, pod: usize, gone: &[usize]) -> Result<()> {
        let left = self.end(pod)?;
        let leader = self.scene.settled_without(gone)?;
        until(PATIENCE, "a later passport", || {
            let now = issue(&self.scene.pods[leader])?;
            ensure!(now > left, "{now:?}, it has {left:?}");
            anyhow::Ok(())
        })
    }

    /// Starts them in any order, the stale ones first more often than not. Perhaps one comes late: if
    /// without it the newest data is missing, before agents give up to wait for it; else after
    /// another leads.
    fn start_all(&mut self, holders: &[usize]) -> Result<()> {
        let mut order = [0, 1, 2];
        self.rng.shuffle(&mut order);
        if self.rng.u8(..3) > 0 {
            order.sort_by_key(|pod| holders.contains(pod));
        }
        let late = (self.rng.u8(..3) == 0).then(|| order[self.rng.usize(..3)]);
        for pod in order.into_iter().filter(|pod| Some(*pod) != late) {
            self.pause(1500);
            self.scene.pods[pod].restart(Data::Keep)?;
        }
        let Some(late) = late else {
            println!("  started in the order {order:?}");
            return Ok(());
        };
        println!("  started in the order {order:?}, {late} late");
        if holders == [late] {
            self.pause(5000);
        } else {
            let leader = self.scene.settled_without(&[late])?;
            ensure!(holders.contains(&leader), "{leader} leads");
        }
        self.scene.pods[late].restart(Data::Keep)
    }

    fn pause(&mut self, most: u64) {
        thread::sleep(Duration::from_millis(self.rng.u64(..most)));
    }

    fn write(&self, word: &str) -> Result<()> {
        self.scene.set("order", &self.value(word))
    }

    fn value(&self, word: &str) -> String {
        format!("{} {word}", self.number)
    }

    /// Ends a pod, its agent in order or not, and its server so that its files are whole; the issue of
    /// its passport.
    fn end(&mut self, pod: usize) -> Result<(u64, u64)> {
        let pod = &mut self.scene.pods[pod];
        if self.rng.bool() {
            pod.agent.terminate()?;
            pod.agent.wait(PATIENCE)?;
        } else {
            pod.agent.kill()?;
        }
        // From here on it gets no more.
        pod.redis.command(&["REPLICAOF", "127.0.0.1", "1"])?;
        let issue = issue(pod)?;
        until(PATIENCE, "the server ends", || {
            // It ends the connection instead of answering, or refuses as long as it writes a file.
            let _ = pod.redis.command(&["SHUTDOWN", "SAVE"]);
            let ended = pod.redis.process().wait(Duration::from_secs(1));
            ended.map(drop)
        })?;
        Ok(issue)
    }
}

/// Term and mark of the passport of a pod's data.
fn issue(pod: &Pod) -> Result<(u64, u64)> {
    let passport = ["FCALL_RO", "bellwether_passport", "0"];
    let passport = pod.redis.command(&passport)?;
    let passport: serde_json::Value = serde_json::from_str(&passport)?;
    let number = |name: &str| passport[name].as_u64();
    let issue = number("term").zip(number("mark"));
    issue.with_context(|| format!("no passport: {passport}"))
}

/// Looks again and again whether a server is primary without the newest data.
struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn begin(scene: &Scene, newest: String) -> Self {
        let servers: Vec<_> = scene.pods.iter().map(|pod| pod.redis.address()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stopped, found) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for server in &servers {
                    // Who is down, or loads, leads nobody.
                    if let Ok(Some(wrong)) = leads_wrongly(*server, &newest) {
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.push(wrong);
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, seen, thread }
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic");
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(seen.is_empty(), "led without the newest data: {seen:?}");
        Ok(())
    }
}

fn leads_wrongly(server: SocketAddr, newest: &str) -> Result<Option<String>> {
    let patience = Duration::from_millis(200);
    let client = redis::Client::open(format!("redis://{server}"))?;
    let mut connection = client.get_connection_with_timeout(patience)?;
    connection.set_read_timeout(Some(patience))?;
    let (info, value): (String, Option<String>) = redis::pipe()
        .atomic()
        .cmd("INFO")
        .arg("replication")
        .cmd("GET")
        .arg("order")
        .query(&mut connection)?;
    let wrong = info.contains("role:master") && value.as_deref() != Some(newest);
    Ok(wrong.then(|| format!("{server} with {value:?}")))
}
