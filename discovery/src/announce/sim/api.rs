//! The API of a world: versions, patches that are applied or rejected as a whole, and watches.

use std::collections::BTreeMap;

use json_patch::Patch;
use serde_json::{Value, json};

/// What happened to an object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) name: String,
    /// `None`: it was deleted.
    pub(super) object: Option<Value>,
}

/// Somebody who watches.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) node: usize,
    pub(super) id: u64,
    /// Up to which version it was told.
    pub(super) told: u64,
    pub(super) silent: bool,
    pub(super) cut: bool,
}

#[derive(Debug, Default)]
pub(super) struct Api {
    objects: BTreeMap<String, Value>,
    log: Vec<Change>,
    pub(super) version: u64,
    pub(super) watches: Vec<Watch>,
}

impl Api {
    pub(super) fn objects(&self) -> &BTreeMap<String, Value> {
        &self.objects
    }

    pub(super) fn put(&mut self, name: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["name"] = json!(name);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(self.version.to_string());
        }
        self.objects.insert(name.into(), object.clone());
        self.tell(name, Some(object));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.version += 1;
        if self.objects.remove(name).is_some() {
            self.tell(name, None);
        }
    }

    /// The object as it then is, or `None` when the patch does not apply.
    pub(super) fn patch(&mut self, name: &str, patch: &Patch) -> Option<Value> {
        let mut object = self.objects.get(name)?.clone();
        json_patch::patch(&mut object, patch).ok()?;
        self.put(name, object);
        self.objects.get(name).cloned()
    }

    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = &Change> {
        self.log
            .iter()
            .filter(move |change| change.version > version)
    }

    pub(super) fn cut_watches(&mut self) {
        for watch in &mut self.watches {
            watch.cut = true;
        }
    }

    fn tell(&mut self, name: &str, object: Option<Value>) {
        self.log.push(Change {
            version: self.version,
            name: name.into(),
            object,
        });
    }
}
