//! What a request asks for, read from its method, path and query as an API server does
//! (`apiserver/pkg/endpoints/request/requestinfo.go`).

use http::{Method, Uri, header, request::Parts};
use hyper::body::Bytes;

use super::patch;
use super::resource::Resource;

/// A request, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// As RBAC has it: get, list, watch, create, update, patch, delete, deletecollection; of what is
    /// no resource, the method in lower case.
    pub(crate) verb: &'static str,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) query: Vec<(String, String)>,
    /// Of what is no resource, `None`.
    pub(crate) target: Option<Target>,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) user_agent: String,
    pub(crate) body: Bytes,
}

/// What the request is about; perhaps a resource that is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    /// Empty for all namespaces.
    pub(crate) namespace: String,
    /// Empty for a collection.
    pub(crate) name: String,
}

impl Call {
    pub(crate) fn new(head: &Parts, body: Bytes) -> Self {
        let header = |name: header::HeaderName| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let mut call = Self::bare(&head.method, &head.uri, body);
        call.content_type = header(header::CONTENT_TYPE);
        call.accept = header(header::ACCEPT);
        call.user_agent = header(header::USER_AGENT);
        call
    }

    /// A call without headers, as the tests' direct access makes it.
    pub(crate) fn bare(method: &Method, uri: &Uri, body: Bytes) -> Self {
        let query = decode_query(uri.query().unwrap_or_default());
        let mut target = Target::of(uri.path());
        let verb = verb(method, target.as_ref(), &query);
        // A watch or list of one name is authorised, and told of, by that name.
        if let Some(target) = &mut target
            && matches!(verb, "list" | "watch" | "deletecollection")
            && let Some(name) = single_name(&query)
        {
            target.name = name;
        }
        Self {
            verb,
            method: method.clone(),
            uri: uri.clone(),
            query,
            target,
            content_type: "application/json".into(),
            accept: String::new(),
            user_agent: "testkit".into(),
            body,
        }
    }

    /// Of a write that creates its object if it is missing, the call that reads the object.
    pub(crate) fn read_of_what_may_be_created(&self) -> Option<Self> {
        let target = self.target.as_ref()?;
        let creates = match self.verb {
            "update" => target.served().is_some_and(|r| r.create_on_update),
            "patch" => self.media_type() == patch::APPLY,
            _ => false,
        };
        let creates = creates && target.subresource.is_empty();
        let uri = self.uri.path().parse().ok().filter(|_| creates)?;
        Some(Self::bare(&Method::GET, &uri, Bytes::new()))
    }

    /// The same as a creation, for RBAC.
    pub(crate) fn as_creation(&self) -> Self {
        Self {
            verb: "create",
            ..self.clone()
        }
    }

    /// A parameter of the query; empty when it is missing.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The content type without parameters.
    pub(crate) fn media_type(&self) -> &str {
        let first = self.content_type.split(';').next();
        first.unwrap_or_default().trim()
    }

    /// Whether a parameter is set to something true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        is_true(self.parameter(name))
    }
}

impl Target {
    fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match &parts[..] {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return None,
        };
        let about_namespaces = |sub: &str| matches!(sub, "status" | "finalize");
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !about_namespaces(rest[0]) =>
            {
                (*namespace, rest)
            }
            // A namespace is in itself, for RBAC.
            ["namespaces", namespace, ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let part = |index: usize| decode(rest.get(index).copied().unwrap_or_default());
        Some(Self {
            group: group.into(),
            version: version.into(),
            resource: part(0),
            subresource: part(2),
            namespace: decode(namespace),
            name: part(1),
        })
    }

    /// The entry of our table, if it is served.
    pub(crate) fn served(&self) -> Option<&'static Resource> {
        Resource::find(&self.group, &self.version, &self.resource)
    }
}

fn verb(method: &Method, target: Option<&Target>, query: &[(String, String)]) -> &'static str {
    let Some(target) = target else {
        return match *method {
            Method::GET => "get",
            Method::POST => "post",
            Method::PUT => "put",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "head",
        };
    };
    let watched = query
        .iter()
        .any(|(key, value)| key == "watch" && is_true(value));
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if target.name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        Method::GET if !target.name.is_empty() => "get",
        Method::GET if watched => "watch",
        Method::GET => "list",
        _ => "head",
    }
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "true")
}

/// The name in a field selector that allows one alone.
fn single_name(query: &[(String, String)]) -> Option<String> {
    let (_, selector) = query.iter().find(|(key, _)| key == "fieldSelector")?;
    let terms = selector.split(',');
    terms
        .filter_map(|term| term.strip_prefix("metadata.name="))
        .map(|name| name.trim_start_matches('=').to_owned())
        .next()
}

fn decode_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| {
            (
                decode(&key.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        })
        .collect()
}

/// Undoes percent-encoding; what is none stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(code) = code {
            bytes.push(code);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &Method, uri: &str) -> (&'static str, Option<Target>) {
        let call = Call::bare(method, &uri.parse().unwrap(), Bytes::new());
        (call.verb, call.target)
    }

    fn target(
        group: &str,
        resource: &str,
        sub: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Target> {
        Some(Target {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: sub.into(),
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    #[test]
    fn verbs_and_targets_are_those_of_rbac() {
        let leases = "/apis/coordination.k8s.io/v1/namespaces/a/leases";
        let group = "coordination.k8s.io";
        for (method, uri, verb, expected) in [
            (
                Method::GET,
                leases.to_owned(),
                "list",
                target(group, "leases", "", "a", ""),
            ),
            (
                Method::GET,
                format!("{leases}/x"),
                "get",
                target(group, "leases", "", "a", "x"),
            ),
            (
                Method::PUT,
                format!("{leases}/x"),
                "update",
                target(group, "leases", "", "a", "x"),
            ),
            (
                Method::POST,
                leases.to_owned(),
                "create",
                target(group, "leases", "", "a", ""),
            ),
            (
                Method::GET,
                format!("{leases}?watch=1&fieldSelector=metadata.name%3Dx"),
                "watch",
                target(group, "leases", "", "a", "x"),
            ),
            (
                Method::DELETE,
                leases.to_owned(),
                "deletecollection",
                target(group, "leases", "", "a", ""),
            ),
            (
                Method::GET,
                "/api/v1/pods?watch=true".into(),
                "watch",
                target("", "pods", "", "", ""),
            ),
            (
                Method::PATCH,
                "/api/v1/namespaces/a/pods/p/status".into(),
                "patch",
                target("", "pods", "status", "a", "p"),
            ),
            (
                Method::GET,
                "/api/v1/namespaces".into(),
                "list",
                target("", "namespaces", "", "", ""),
            ),
            (
                Method::PUT,
                "/api/v1/namespaces/a/finalize".into(),
                "update",
                target("", "namespaces", "finalize", "a", "a"),
            ),
            (
                Method::GET,
                format!("{leases}/x?watch=1"),
                "get",
                target(group, "leases", "", "a", "x"),
            ),
            (Method::GET, "/api/v1".into(), "get", None),
            (Method::GET, "/version".into(), "get", None),
        ] {
            assert_eq!(call(&method, &uri), (verb, expected), "{uri}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let uri = "/api/v1/pods?labelSelector=a%20in+%28b%2Cc%29&watch=1&odd=%zz";
        let call = Call::bare(&Method::GET, &uri.parse().unwrap(), Bytes::new());
        assert_eq!(call.parameter("labelSelector"), "a in (b,c)");
        assert_eq!(call.parameter("odd"), "%zz");
        assert_eq!(call.parameter("missing"), "");
        assert!(call.flag("watch"));
    }
}
