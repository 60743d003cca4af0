//! The whole of it over a feed that follows a script, with the clock stopped: what takes seconds
//! in a cluster takes none here, and every time is exact.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::kube::api::{Asked, Failure, explain};
use crate::kube::endpoint::{Endpoint, Host, State};
use crate::kube::feed::Change;
use crate::kube::roster::Objects;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(10);

/// An API of one kind of object, whose versions count its changes.
#[derive(Default)]
struct Script(Mutex<Scene>);

#[derive(Default)]
struct Scene {
    objects: Objects,
    /// What each version changed.
    history: Vec<(String, Option<Vec<Endpoint>>)>,
    /// Changes before this are forgotten.
    forgotten: usize,
    watches: Vec<UnboundedSender<Change>>,
    mood: Mood,
    /// With the second at which each came.
    asked: Vec<String>,
    began: Option<Instant>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Answering,
    /// No request is answered, and no watch says or ends anything.
    Silent,
    /// With this status.
    Failing(u16),
    /// Lists are answered.
    WatchesFailing(u16),
    /// Each request takes 3 s.
    Slow,
}

impl Script {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap()
    }

    fn set(&self, mood: Mood) {
        self.scene().mood = mood;
    }

    fn change(&self, object: &str, endpoints: Option<Vec<Endpoint>>) {
        let mut scene = self.scene();
        match &endpoints {
            Some(endpoints) => scene.objects.insert(object.into(), endpoints.clone()),
            None => scene.objects.remove(object),
        };
        scene.history.push((object.into(), endpoints));
        if scene.mood != Mood::Silent {
            let change = scene.told(scene.history.len());
            scene.watches.retain(|watch| watch.send(change()).is_ok());
        }
    }

    /// A slice of pods, of which each is named and addressed by its number.
    fn put(&self, object: &str, pods: impl IntoIterator<Item = u8>) {
        self.change(object, Some(pods.into_iter().map(pod).collect()));
    }

    fn cut_watches(&self) {
        self.scene().watches.clear();
    }

    /// And how often, since the last look.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.scene().asked)
    }

    async fn answer(&self, verb: &'static str, what: String) -> Result<(), Failure> {
        let mood = {
            let mut scene = self.scene();
            let began = *scene.began.get_or_insert_with(Instant::now);
            let second = began.elapsed().as_secs();
            scene.asked.push(format!("{second}: {what}"));
            scene.mood
        };
        let asked = Asked {
            verb,
            resource: "slices",
            name: None,
            namespace: "flock".into(),
        };
        match mood {
            Mood::Silent => {
                sleep(5 * SECOND).await;
                Err(Failure::new(&asked, "silence"))
            }
            Mood::Failing(code) => Err(refusal(code, &asked)),
            Mood::WatchesFailing(code) if verb == "watch" => Err(refusal(code, &asked)),
            Mood::Slow => {
                sleep(3 * SECOND).await;
                Ok(())
            }
            Mood::WatchesFailing(_) | Mood::Answering => Ok(()),
        }
    }
}

impl Scene {
    fn told(&self, version: usize) -> impl Fn() -> Change + use<> {
        let (object, endpoints) = self.history[version - 1].clone();
        let version = version.to_string();
        move || match endpoints.clone() {
            Some(endpoints) => Change::Put {
                object: object.clone(),
                endpoints,
                version: version.clone(),
            },
            None => Change::Gone {
                object: object.clone(),
                version: version.clone(),
            },
        }
    }
}

#[async_trait]
impl Feed for Script {
    async fn list(&self) -> Result<(Objects, String), Failure> {
        self.answer("list", "list".into()).await?;
        let scene = self.scene();
        Ok((scene.objects.clone(), scene.history.len().to_string()))
    }

    async fn watch(&self, version: &str) -> Result<BoxStream<'static, Change>, Failure> {
        self.answer("watch", format!("watch {version}")).await?;
        let (sender, receiver) = unbounded_channel();
        let mut scene = self.scene();
        let version: usize = version.parse().unwrap();
        if version < scene.forgotten {
            sender.send(Change::Astray("too old".into())).unwrap();
            return Ok(changes(receiver));
        }
        for version in version + 1..=scene.history.len() {
            sender.send(scene.told(version)()).unwrap();
        }
        scene.watches.push(sender);
        Ok(changes(receiver))
    }
}

fn changes(receiver: UnboundedReceiver<Change>) -> BoxStream<'static, Change> {
    let next = |mut receiver: UnboundedReceiver<Change>| async move {
        let change = receiver.recv().await?;
        Some((change, receiver))
    };
    stream::unfold(receiver, next).boxed()
}

fn refusal(code: u16, asked: &Asked) -> Failure {
    let status = ::kube::core::Status::failure("no", "No").with_code(code);
    explain(&::kube::Error::Api(status.boxed()), asked)
}

fn pod(number: u8) -> Endpoint {
    Endpoint {
        state: State::Ready,
        name: Some(format!("redis-{number}")),
        label: None,
        address: Some(Host::Ip([10, 0, 0, number].into())),
        port: Some(6379),
    }
}

fn flock() -> (Arc<Script>, Kubernetes) {
    let script = Arc::new(Script::default());
    let config = KubernetesConfig::new(Source::Service("redis".into()), 6379);
    let discovery = Kubernetes::fed(Arc::<Script>::clone(&script), config, "flock");
    (script, discovery)
}

/// The numbers of the pods that are told of next.
async fn next(discovery: &mut Kubernetes) -> Result<Vec<u8>, Error> {
    let next = timeout(600 * SECOND, discovery.changed()).await;
    let members = next.expect("something happens in time")?;
    let numbers = members.into_iter().map(|member| {
        let number = member.name.strip_prefix("redis-");
        number.and_then(|number| number.parse().ok()).unwrap()
    });
    Ok(numbers.collect())
}

async fn nothing_for(time: Duration, discovery: &mut Kubernetes) {
    let news = timeout(time, discovery.changed()).await;
    assert!(news.is_err(), "{news:?} is no news");
}

#[tokio::test(start_paused = true)]
async fn at_rest_there_is_one_watch_each_max_silence_and_nothing_else() {
    let (script, mut discovery) = flock();
    script.put("a", [1, 2]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1, 2]);
    nothing_for(MOMENT, &mut discovery).await;
    assert_eq!(script.asked(), ["0: list", "0: watch 1"]);
    // This API never ends a watch, so each is ended by us, 5 s after its time.
    nothing_for(100 * SECOND, &mut discovery).await;
    assert_eq!(script.asked(), ["35: watch 1", "70: watch 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_api_is_noticed_in_time_and_told_once() {
    let (script, mut discovery) = flock();
    script.put("a", [1]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1]);
    nothing_for(MOMENT, &mut discovery).await;
    script.set(Mood::Silent);
    script.put("a", [1, 2]);
    let silent = Instant::now();
    let error = next(&mut discovery).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "kubernetes://flock/service/redis is not answered"
    );
    assert!(silent.elapsed() <= 40 * SECOND, "{:?}", silent.elapsed());
    nothing_for(60 * SECOND, &mut discovery).await;
    script.set(Mood::Answering);
    let back = Instant::now();
    assert_eq!(next(&mut discovery).await.unwrap(), [1, 2]);
    assert!(back.elapsed() <= 7 * SECOND, "{:?}", back.elapsed());

    nothing_for(MOMENT, &mut discovery).await;
    script.set(Mood::Silent);
    next(&mut discovery).await.expect_err("a new outage");
    script.set(Mood::Answering);
    nothing_for(60 * SECOND, &mut discovery).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_watch_goes_on_where_it_was() {
    let (script, mut discovery) = flock();
    script.put("a", [1]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1]);
    nothing_for(2 * SECOND, &mut discovery).await;
    script.cut_watches();
    script.put("b", [2]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1, 2]);
    script.change("a", None);
    script.put("b", [2, 3]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1, 2, 3]);
    assert_eq!(next(&mut discovery).await.unwrap(), [2, 3]);
    assert_eq!(script.asked(), ["0: list", "0: watch 1", "2: watch 1"]);
    script.cut_watches();
    nothing_for(SECOND, &mut discovery).await;
    assert_eq!(script.asked(), ["3: watch 4"], "nothing is told twice");
}

#[tokio::test(start_paused = true)]
async fn watches_that_are_always_cut_do_not_keep_us_busy() {
    let (script, mut discovery) = flock();
    script.put("a", [1]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1]);
    for _ in 0..6_000 {
        script.cut_watches();
        nothing_for(MOMENT, &mut discovery).await;
    }
    let asked = script.asked().len();
    assert!((30..80).contains(&asked), "asked {asked} times in 60 s");
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_listed_anew() {
    let (script, mut discovery) = flock();
    script.put("a", [1, 2]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1, 2]);
    nothing_for(2 * SECOND, &mut discovery).await;
    script.cut_watches();
    script.change("a", None);
    script.put("b", [2, 3]);
    script.scene().forgotten = 3;
    script.asked();
    assert_eq!(next(&mut discovery).await.unwrap(), [1, 2, 3]);
    assert_eq!(next(&mut discovery).await.unwrap(), [2, 3]);
    assert_eq!(script.asked(), ["2: watch 1", "2: list", "2: watch 3"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_permitted_is_told_once_and_asked_slowly() {
    let (script, mut discovery) = flock();
    script.set(Mood::Failing(403));
    let error = next(&mut discovery).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    nothing_for(100 * SECOND, &mut discovery).await;
    let asked = script.asked().len();
    assert!((11..=21).contains(&asked), "asked {asked} times in 100 s");
    script.put("a", [1]);
    script.set(Mood::Answering);
    let permitted = Instant::now();
    assert_eq!(next(&mut discovery).await.unwrap(), [1]);
    assert!(permitted.elapsed() <= 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn where_only_lists_are_permitted_they_go_on() {
    let (script, mut discovery) = flock();
    script.set(Mood::WatchesFailing(403));
    script.put("a", [1]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1]);
    let error = next(&mut discovery).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    script.put("a", [1, 2]);
    assert_eq!(next(&mut discovery).await.unwrap(), [1, 2]);
    nothing_for(60 * SECOND, &mut discovery).await;
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_away_from_the_start_is_told_and_found_later() {
    let (script, mut discovery) = flock();
    script.set(Mood::Failing(503));
    let error = next(&mut discovery).await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { .. }), "{error:?}");
    nothing_for(60 * SECOND, &mut discovery).await;
    let asked = script.asked().len();
    assert!((30..=70).contains(&asked), "asked {asked} times in 60 s");
    script.set(Mood::Answering);
    assert_eq!(next(&mut discovery).await.unwrap(), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_loses_nothing() {
    let (script, mut discovery) = flock();
    script.set(Mood::Slow);
    script.put("a", []);
    let mut dropped = 0;
    for number in 0..40 {
        let found = loop {
            tokio::select! {
                biased;
                members = discovery.changed() => break members.unwrap().len(),
                () = sleep(SECOND / 2) => dropped += 1,
            }
            // Time goes on while nobody calls.
            sleep(SECOND / 4).await;
        };
        assert_eq!(found, number, "each change is told, and once");
        script.put("a", 0..=u8::try_from(number).unwrap());
        if number % 10 == 9 {
            script.cut_watches();
        }
    }
    assert!(dropped > 10, "{dropped} calls were dropped");
    let asked = script.asked();
    let lists = asked.iter().filter(|asked| asked.ends_with("list"));
    assert_eq!(
        lists.count(),
        1,
        "no question was asked anew because a call was dropped: {asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_is_not_lost_with_a_dropped_call() {
    let (script, mut discovery) = flock();
    script.set(Mood::Silent);
    let mut looks = 0;
    let error = loop {
        looks += 1;
        tokio::select! {
            biased;
            news = discovery.changed() => break news.unwrap_err(),
            () = sleep(SECOND / 2) => {}
        }
    };
    assert!(matches!(error, Error::Unanswered { .. }), "{error:?}");
    assert!(looks >= 9, "{looks}");
    assert_eq!(
        script.asked(),
        ["0: list"],
        "one question, over all the calls"
    );
}
