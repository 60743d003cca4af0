//! The objects, one counter of revisions for all of them, and what happened to them: the part of
//! etcd that an API server shows.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use super::owners::Owners;
use super::resource::Resource;
use super::status::Failure;

/// How many changes are remembered; what is older is compacted.
const HISTORY: usize = 10_000;
/// How many changes a watch may lag behind before it is ended, as a real server does too.
const LAG: usize = 1_000;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) plural: &'static str,
    /// Empty for what is in no namespace.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        let namespace = if resource.namespaced { namespace } else { "" };
        Self {
            plural: resource.plural,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// One write: what was there, and what is now.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) after: Option<Arc<Value>>,
}

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    /// Changes up to this one are forgotten.
    compacted: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    pub(crate) owners: BTreeMap<Key, Owners>,
    history: VecDeque<Arc<Change>>,
    listeners: Vec<mpsc::Sender<Arc<Change>>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            // A version of 0 means "any" to clients, so that nothing may have it.
            revision: 1,
            compacted: 0,
            objects: BTreeMap::new(),
            owners: BTreeMap::new(),
            history: VecDeque::new(),
            listeners: Vec::new(),
        }
    }
}

impl Store {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    /// All objects of a resource in one namespace, or, if that is empty, in all, by namespace and
    /// name.
    pub(crate) fn all(&self, resource: &Resource, namespace: &str) -> Vec<(Key, Arc<Value>)> {
        let first = Key::new(resource, namespace, "");
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|(key, _)| key.plural == resource.plural)
            .take_while(|(key, _)| namespace.is_empty() || key.namespace == namespace)
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    /// Whether the changes after a revision are no longer known.
    pub(crate) fn is_compacted(&self, revision: u64) -> bool {
        revision < self.compacted
    }

    /// As [`all`](Self::all), as it was at an earlier revision that is not compacted.
    pub(crate) fn all_at(
        &self,
        resource: &Resource,
        namespace: &str,
        revision: u64,
    ) -> Vec<(Key, Arc<Value>)> {
        let mut then: BTreeMap<_, _> = self.all(resource, namespace).into_iter().collect();
        let later = self.history.iter().rev();
        for change in later.take_while(|change| change.revision > revision) {
            let ours = change.key.plural == resource.plural
                && (namespace.is_empty() || change.key.namespace == namespace);
            match &change.before {
                Some(before) if ours => {
                    then.insert(change.key.clone(), Arc::clone(before));
                }
                _ => {
                    then.remove(&change.key);
                }
            }
        }
        then.into_iter().collect()
    }

    /// Writes an object, or with `None` removes it, under the next revision.
    pub(crate) fn commit(&mut self, key: &Key, after: Option<Value>) -> Option<Arc<Value>> {
        self.revision += 1;
        let after = after.map(|object| Arc::new(with_version(object, self.revision)));
        let before = match &after {
            Some(object) => self.objects.insert(key.clone(), Arc::clone(object)),
            None => {
                self.owners.remove(key);
                self.objects.remove(key)
            }
        };
        let change = Arc::new(Change {
            revision: self.revision,
            key: key.clone(),
            before,
            after: after.clone(),
        });
        // Who is gone, or too slow, loses its watch.
        self.listeners
            .retain(|listener| listener.try_send(Arc::clone(&change)).is_ok());
        self.history.push_back(change);
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.compacted = oldest.revision;
        }
        after
    }

    /// What happened after `from`, and, from now on, what happens.
    ///
    /// # Errors
    ///
    /// 410 if part of that is compacted.
    pub(crate) fn changes(&mut self, from: u64) -> Result<mpsc::Receiver<Arc<Change>>, Failure> {
        if self.is_compacted(from) {
            let (from, oldest) = (from, self.compacted);
            let message = format!("too old resource version: {from} ({oldest})");
            return Err(Failure::expired(&message));
        }
        let (listener, changes) = mpsc::channel(HISTORY + LAG);
        for change in self.history.iter().filter(|change| change.revision > from) {
            listener
                .try_send(Arc::clone(change))
                .expect("the channel holds the whole history");
        }
        self.listeners.push(listener);
        Ok(changes)
    }

    /// Forgets the history. Running watches go on.
    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }
}

/// The object with this resourceVersion.
pub(crate) fn with_version(mut object: Value, revision: u64) -> Value {
    object["metadata"]["resourceVersion"] = revision.to_string().into();
    object
}
