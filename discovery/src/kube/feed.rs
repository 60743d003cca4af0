use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{ListParams, WatchParams};
use kube::core::WatchEvent;
use kube::{Api, Resource};

use crate::kube::api::{Asked, Failure, explain, within};
use crate::kube::endpoint::{Endpoint, Reader};
use crate::kube::roster::Objects;

/// Objects in one answer. As client-go asks for.
const PAGE: u32 = 500;

/// Lists that go on are not listed to their end.
const MOST_OBJECTS: usize = 100_000;

/// What a watch says.
#[derive(Debug)]
pub(crate) enum Change {
    /// An object is new or has changed, in this version.
    Put {
        object: String,
        endpoints: Vec<Endpoint>,
        version: String,
    },
    /// An object is no more, from this version on.
    Gone { object: String, version: String },
    /// Nothing else has changed up to this version.
    Reached(String),
    /// What comes next cannot be known: list anew.
    Astray(String),
    /// The connection is lost.
    Cut(Failure),
}

/// Where objects come from: the API, or in tests a script.
#[async_trait]
pub(crate) trait Feed: Send + Sync {
    /// Everything, and the version of it.
    async fn list(&self) -> Result<(Objects, String), Failure>;

    /// What changes after a version. It ends by itself.
    async fn watch(&self, version: &str) -> Result<BoxStream<'static, Change>, Failure>;
}

/// The objects of one kind in a namespace that match a selector.
pub(crate) struct Watched<K> {
    pub(crate) api: Api<K>,
    /// As in a Role, with its group.
    pub(crate) resource: &'static str,
    pub(crate) namespace: String,
    /// Of labels.
    pub(crate) selector: String,
    /// Of one request.
    pub(crate) timeout: Duration,
    /// Of a watch.
    pub(crate) lasts: Duration,
    pub(crate) reader: Reader,
    pub(crate) read: fn(&Reader, &K) -> Vec<Endpoint>,
}

impl<K> Watched<K> {
    fn asked(&self, verb: &'static str) -> Asked {
        Asked {
            verb,
            resource: self.resource,
            name: None,
            namespace: self.namespace.clone(),
        }
    }
}

#[async_trait]
impl<K> Feed for Watched<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    async fn list(&self) -> Result<(Objects, String), Failure> {
        let asked = self.asked("list");
        let mut objects = Objects::new();
        let mut params = ListParams::default().labels(&self.selector).limit(PAGE);
        loop {
            let page = within(self.timeout, &asked, self.api.list(&params)).await?;
            for object in &page.items {
                if let Some(name) = &object.meta().name {
                    objects.insert(name.clone(), (self.read)(&self.reader, object));
                }
            }
            if objects.len() > MOST_OBJECTS {
                let why = format!("there are more than {MOST_OBJECTS}");
                return Err(Failure::new(&asked, why));
            }
            let further = page.metadata.continue_.filter(|token| !token.is_empty());
            params.continue_token = further;
            if params.continue_token.is_none() {
                let version = page.metadata.resource_version;
                let version = version.filter(|version| !version.is_empty());
                let no_version = || Failure::new(&asked, "the answer has no resourceVersion");
                return Ok((objects, version.ok_or_else(no_version)?));
            }
        }
    }

    async fn watch(&self, version: &str) -> Result<BoxStream<'static, Change>, Failure> {
        let asked = self.asked("watch");
        let seconds = u32::try_from(self.lasts.as_secs()).unwrap_or(u32::MAX);
        let params = WatchParams::default()
            .labels(&self.selector)
            .timeout(seconds);
        let stream = within(self.timeout, &asked, self.api.watch(&params, version)).await?;
        let (reader, read) = (self.reader.clone(), self.read);
        let changes =
            stream.map(move |event| change(event, &asked, |object| read(&reader, object)));
        Ok(changes.boxed())
    }
}

fn change<K: Resource>(
    event: kube::Result<WatchEvent<K>>,
    asked: &Asked,
    read: impl Fn(&K) -> Vec<Endpoint>,
) -> Change {
    let named = |object: &K| {
        let meta = object.meta();
        meta.name.clone().zip(meta.resource_version.clone())
    };
    let nameless = || Change::Astray("an object has no name or no resourceVersion".into());
    match event {
        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
            named(&object).map_or_else(nameless, |(name, version)| Change::Put {
                object: name,
                endpoints: read(&object),
                version,
            })
        }
        Ok(WatchEvent::Deleted(object)) => {
            named(&object).map_or_else(nameless, |(object, version)| Change::Gone {
                object,
                version,
            })
        }
        Ok(WatchEvent::Bookmark(mark)) => Change::Reached(mark.metadata.resource_version),
        Ok(WatchEvent::Error(status)) => {
            Change::Astray(explain(&kube::Error::Api(status), asked).to_string())
        }
        Err(error @ (kube::Error::Api(_) | kube::Error::SerdeError(_))) => {
            Change::Astray(explain(&error, asked).to_string())
        }
        Err(error) => Change::Cut(explain(&error, asked)),
    }
}
