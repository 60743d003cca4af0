//! Who may ask, and what they may do: bearer tokens and rules as of RBAC.

use std::collections::BTreeMap;

use super::call::Call;
use super::status::Failure;

/// A user of the API, with the token by which it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name, such as `system:serviceaccount:default:redis-0`.
    pub name: String,
    /// Its bearer token.
    pub token: String,
}

/// What a user may do: rules of which the last that fits decides. Without a rule, nothing.
///
/// ```
/// use bellwether_testkit::kube::Access;
///
/// let access = Access::none()
///     .allow(&["get", "create", "update"], "coordination.k8s.io", "leases")
///     .deny(&["delete"], "", "*");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Access {
    rules: Vec<Rule>,
    namespace: Option<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    allows: bool,
    verbs: Vec<String>,
    group: String,
    resource: String,
    names: Vec<String>,
}

impl Access {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::none().allow(&["*"], "*", "*")
    }

    /// Also these verbs (get, list, watch, create, update, patch, delete) on a resource by its
    /// plural, a subresource as `pods/status`; `*` stands for any.
    #[must_use]
    pub fn allow(self, verbs: &[&str], group: &str, resource: &str) -> Self {
        self.rule(true, verbs, group, resource)
    }

    /// But not these.
    #[must_use]
    pub fn deny(self, verbs: &[&str], group: &str, resource: &str) -> Self {
        self.rule(false, verbs, group, resource)
    }

    /// Restricts the rule before to objects of these names. As in RBAC, a list or a watch is then
    /// allowed only with a field selector for one of them.
    #[must_use]
    pub fn named(mut self, names: &[&str]) -> Self {
        if let Some(rule) = self.rules.last_mut() {
            rule.names = names.iter().map(|name| (*name).into()).collect();
        }
        self
    }

    /// Restricts all of it to one namespace, as a Role does in contrast to a `ClusterRole`.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    fn rule(mut self, allows: bool, verbs: &[&str], group: &str, resource: &str) -> Self {
        self.rules.push(Rule {
            allows,
            verbs: verbs.iter().map(|verb| (*verb).into()).collect(),
            group: group.into(),
            resource: resource.into(),
            names: Vec::new(),
        });
        self
    }

    fn allows(&self, call: &Call) -> bool {
        let Some(target) = &call.target else {
            // Every authenticated user may look at versions and health.
            return call.verb == "get";
        };
        if self
            .namespace
            .as_ref()
            .is_some_and(|only| *only != target.namespace)
        {
            return false;
        }
        let resource = if target.subresource.is_empty() {
            target.resource.clone()
        } else {
            format!("{}/{}", target.resource, target.subresource)
        };
        let fits = |pattern: &String, text: &str| pattern == "*" || pattern == text;
        let fitting = self.rules.iter().rev().find(|rule| {
            rule.verbs.iter().any(|verb| fits(verb, call.verb))
                && fits(&rule.group, &target.group)
                && fits(&rule.resource, &resource)
                && (rule.names.is_empty() || rule.names.contains(&target.name))
        });
        fitting.is_some_and(|rule| rule.allows)
    }
}

/// All users by token.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<String, (User, Access)>);

impl Users {
    pub(crate) fn add(&mut self, name: &str, access: Access) -> User {
        let token = format!("{:032x}", fastrand::u128(..));
        let user = User {
            name: name.into(),
            token,
        };
        let entry = (user.clone(), access);
        self.0.insert(user.token.clone(), entry);
        user
    }

    pub(crate) fn permit(&mut self, user: &User, access: Access) {
        let entry = (user.clone(), access);
        self.0.insert(user.token.clone(), entry);
    }

    pub(crate) fn remove(&mut self, user: &User) {
        self.0.remove(&user.token);
    }

    /// Whose token this header carries.
    pub(crate) fn of(&self, authorization: &str) -> Option<&User> {
        let token = authorization.strip_prefix("Bearer ")?;
        self.0.get(token.trim()).map(|(user, _)| user)
    }

    /// # Errors
    ///
    /// 403, as RBAC words it.
    pub(crate) fn authorize(&self, user: &User, call: &Call) -> Result<(), Failure> {
        let access = self.0.get(&user.token).map(|(_, access)| access);
        if access.is_some_and(|access| access.allows(call)) {
            return Ok(());
        }
        let (name, verb) = (&user.name, call.verb);
        let Some(target) = &call.target else {
            let path = call.uri.path();
            let why = format!("User {name:?} cannot {verb} path {path:?}");
            return Err(Failure::forbidden_path(&why));
        };
        let resource = if target.subresource.is_empty() {
            target.resource.clone()
        } else {
            format!("{}/{}", target.resource, target.subresource)
        };
        let group = &target.group;
        let place = if target.namespace.is_empty() {
            "at the cluster scope".into()
        } else {
            format!("in the namespace {:?}", target.namespace)
        };
        let why = format!(
            "User {name:?} cannot {verb} resource {resource:?} in API group {group:?} {place}"
        );
        Err(Failure::forbidden(
            group,
            &target.resource,
            &target.name,
            &why,
        ))
    }
}
