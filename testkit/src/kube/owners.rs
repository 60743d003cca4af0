//! Who owns which field of an object, and whose word counts when one is applied.
//!
//! Simplified in two ways: a list is one field, whatever its elements, and the owners are not shown
//! in `managedFields`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::status::Failure;

type Path = Vec<String>;

/// Which fields of one object each manager owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owners(BTreeMap<Manager, BTreeSet<Path>>);

/// Who writes, and whether by applying or by other writes: the same name is two managers then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Manager {
    name: String,
    applies: bool,
}

impl Owners {
    /// Notes a write that is no apply: what it changed is the writer's.
    pub(crate) fn written(&mut self, by: &str, before: Option<&Value>, after: &Value) {
        let old = before.map(fields).unwrap_or_default();
        let new = fields(after);
        let changed = |(path, value): &(&Path, &Value)| old.get(*path) != Some(*value);
        let changed: BTreeSet<Path> = new.iter().filter(changed).map(|(p, _)| p.clone()).collect();
        for owned in self.0.values_mut() {
            owned.retain(|path| new.contains_key(path) && !changed.contains(path));
        }
        let manager = Manager {
            name: by.into(),
            applies: false,
        };
        self.0.entry(manager).or_default().extend(changed);
        self.0.retain(|_, owned| !owned.is_empty());
    }

    /// The object as it is after `by` applied `wanted`, and who owns what then.
    ///
    /// # Errors
    ///
    /// 409 if another manager owns a field of which `wanted` says something else, unless forced.
    pub(crate) fn apply(
        &self,
        by: &str,
        live: &Value,
        wanted: &Value,
        force: bool,
    ) -> Result<(Value, Self), Failure> {
        let me = Manager {
            name: by.into(),
            applies: true,
        };
        let is = fields(live);
        let shall = fields(wanted);
        let differs = |path: &Path| is.get(path) != shall.get(path);
        let conflicts: Vec<(&Manager, &Path)> = self
            .0
            .iter()
            .filter(|(manager, _)| **manager != me)
            .flat_map(|(manager, owned)| owned.iter().map(move |path| (manager, path)))
            .filter(|(_, path)| shall.contains_key(*path) && differs(path))
            .collect();
        if !conflicts.is_empty() && !force {
            let version = wanted["apiVersion"].as_str().unwrap_or_default();
            return Err(conflict(&conflicts, version));
        }
        let mut owners = self.clone();
        for (_, owned) in owners.0.iter_mut().filter(|(manager, _)| **manager != me) {
            owned.retain(|path| !shall.contains_key(path) || !differs(path));
        }
        let before = owners.0.remove(&me).unwrap_or_default();
        let mut object = live.clone();
        // What it applied before and does not now, goes, unless somebody else wants it too.
        let kept = |path: &Path| owners.0.values().any(|owned| owned.contains(path));
        for path in before.iter().filter(|path| !shall.contains_key(*path)) {
            if !kept(path) {
                remove(&mut object, path);
            }
        }
        for (path, value) in &shall {
            set(&mut object, path, value.clone());
        }
        owners.0.insert(me, shall.into_keys().collect());
        owners.0.retain(|_, owned| !owned.is_empty());
        Ok((object, owners))
    }
}

fn conflict(conflicts: &[(&Manager, &Path)], version: &str) -> Failure {
    let who = |manager: &Manager| {
        let name = &manager.name;
        if manager.applies {
            format!("{name:?}")
        } else {
            format!("{name:?} using {version}")
        }
    };
    let told: Vec<(String, String)> = conflicts
        .iter()
        .map(|(manager, path)| (who(manager), format!(".{}", path.join("."))))
        .collect();
    let causes: Vec<_> = told
        .iter()
        .map(|(who, field)| {
            let message = format!("conflict with {who}");
            json!({"reason": "FieldManagerConflict", "message": message, "field": field})
        })
        .collect();
    let message = match &told[..] {
        [(who, field)] => format!("Apply failed with 1 conflict: conflict with {who}: {field}"),
        several => {
            let mut message = format!("Apply failed with {} conflicts: ", several.len());
            for (index, (who, field)) in several.iter().enumerate() {
                // The managers are sorted, so that the fields of each stand together.
                if index == 0 || several[index - 1].0 != *who {
                    let line = if index == 0 { "" } else { "\n" };
                    message += &format!("{line}conflicts with {who}:");
                }
                message += &format!("\n- {field}");
            }
            message
        }
    };
    Failure::new(409, "Conflict", &message, json!({"causes": causes}))
}

/// Every field that can be owned, with its value.
fn fields(object: &Value) -> BTreeMap<Path, Value> {
    fn walk(value: &Value, path: &Path, into: &mut BTreeMap<Path, Value>) {
        match value.as_object() {
            Some(map) if !is_atomic(path) => {
                for (key, value) in map {
                    let mut path = path.clone();
                    path.push(key.clone());
                    if !is_the_systems(&path) {
                        walk(value, &path, into);
                    }
                }
            }
            _ => {
                into.insert(path.clone(), value.clone());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(object, &Vec::new(), &mut all);
    all
}

/// Maps that are one field, by their schema: applying a selector replaces it.
fn is_atomic(path: &[String]) -> bool {
    matches!(path, [spec, field] if spec == "spec" && matches!(field.as_str(), "selector" | "nodeSelector"))
        || matches!(path, [field] if field == "involvedObject")
}

fn is_the_systems(path: &Path) -> bool {
    const METADATA: [&str; 9] = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "managedFields",
    ];
    match &path[..] {
        [first] => matches!(first.as_str(), "apiVersion" | "kind"),
        [first, second] => first == "metadata" && METADATA.contains(&second.as_str()),
        _ => false,
    }
}

fn set(object: &mut Value, path: &Path, value: Value) {
    let place = path.iter().fold(object, |object, part| {
        if !object.is_object() {
            *object = json!({});
        }
        &mut object[part]
    });
    *place = value;
}

fn remove(object: &mut Value, path: &[String]) {
    if let Some((last, parents)) = path.split_last() {
        let parent = parents
            .iter()
            .try_fold(object, |object, part| object.get_mut(part));
        if let Some(map) = parent.and_then(Value::as_object_mut) {
            map.remove(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_one_owner_who_says_its_value() {
        let owners = Owners::default();
        let base = json!({"metadata": {"name": "a"}});
        let mine = json!({"spec": {"holder": "a", "count": 1}});
        let (object, owners) = owners.apply("one", &base, &mine, false).unwrap();
        assert_eq!(object["spec"], json!({"holder": "a", "count": 1}));

        let other = json!({"spec": {"holder": "b"}});
        let refused = owners.apply("two", &object, &other, false).unwrap_err();
        assert_eq!(refused.code.as_u16(), 409);
        assert_eq!(
            refused.status["details"]["causes"][0]["field"],
            ".spec.holder"
        );

        let same = json!({"spec": {"holder": "a"}});
        let (_, shared) = owners.apply("two", &object, &same, false).unwrap();
        assert!(shared.apply("one", &object, &other, false).is_err());

        let (object, owners) = owners.apply("two", &object, &other, true).unwrap();
        assert_eq!(object["spec"], json!({"holder": "b", "count": 1}));
        // What it does not own any more is not removed with what it gives up.
        let (object, _) = owners.apply("one", &object, &json!({}), false).unwrap();
        assert_eq!(object["spec"], json!({"holder": "b"}));
    }

    #[test]
    fn other_writes_take_over_what_they_change() {
        let mut owners = Owners::default();
        let first = json!({"spec": {"holder": "a", "count": 1}});
        owners.written("kubectl", None, &first);
        let second = json!({"spec": {"holder": "b", "count": 1}});
        owners.written("controller", Some(&first), &second);
        let wanted = json!({"apiVersion": "v1", "spec": {"holder": "c"}});
        let refused = owners.apply("me", &second, &wanted, false).unwrap_err();
        let message = refused.status["message"].as_str().unwrap();
        assert!(
            message.contains("conflict with \"controller\" using v1"),
            "{message}"
        );
        let unchanged = json!({"spec": {"holder": "b"}});
        assert!(owners.apply("me", &second, &unchanged, false).is_ok());
    }
}
