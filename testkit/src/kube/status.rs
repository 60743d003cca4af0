//! The `Status` objects by which an API server refuses: codes, reasons and wording are
//! Kubernetes' own (`apimachinery/pkg/api/errors`), since clients and people go by them.

use http::StatusCode;
use serde_json::{Value, json};

use super::resource::Resource;

/// A refusal: what is answered instead of an object.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    pub(crate) status: Value,
}

/// One field that is wrong, as it stands in the message and among the causes of [`Failure::invalid`].
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    reason: &'static str,
    field: String,
    message: String,
}

impl Cause {
    /// A value that is not allowed.
    pub(crate) fn invalid(field: &str, value: &Value, detail: &str) -> Self {
        Self::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {detail}"),
        )
    }

    /// A value that is missing.
    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let colon = if detail.is_empty() { "" } else { ": " };
        Self::new(
            "FieldValueRequired",
            field,
            format!("Required value{colon}{detail}"),
        )
    }

    /// A value that must not stand here.
    pub(crate) fn forbidden(field: &str, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// A value that is none of those allowed.
    pub(crate) fn unsupported(field: &str, value: &Value, allowed: &[&str]) -> Self {
        let allowed: Vec<_> = allowed.iter().map(|value| format!("{value:?}")).collect();
        let allowed = allowed.join(", ");
        let message = format!("Unsupported value: {value}: supported values: {allowed}");
        Self::new("FieldValueNotSupported", field, message)
    }

    /// More than fits.
    pub(crate) fn too_long(field: &str, detail: &str) -> Self {
        Self::new("FieldValueTooLong", field, format!("Too long: {detail}"))
    }

    fn new(reason: &'static str, field: &str, message: String) -> Self {
        Self {
            reason,
            field: field.into(),
            message,
        }
    }
}

impl Failure {
    /// Any refusal; `details` may be null.
    pub(crate) fn new(code: u16, reason: &str, message: &str, details: Value) -> Self {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "code": code,
        });
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        if !details.is_null() {
            status["details"] = details;
        }
        Self {
            code: StatusCode::from_u16(code).expect("only real codes are passed"),
            status,
        }
    }

    /// After how many seconds to come again; 0 for no such hint.
    pub(crate) fn retry_after(&self) -> u64 {
        self.status["details"]["retryAfterSeconds"]
            .as_u64()
            .unwrap_or(0)
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", &message, about(resource, name))
    }

    /// Nothing is served at this path.
    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message, json!({}))
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", &message, about(resource, name))
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        Self::conflict_as(resource.group, resource.plural, name, why)
    }

    /// A precondition of a deletion that is not met. Here the server names the kind.
    pub(crate) fn conflict_of_kind(resource: &Resource, name: &str, why: &str) -> Self {
        Self::conflict_as(resource.group, resource.kind, name, why)
    }

    /// The resourceVersion that was sent is not the current one.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::modified_as(resource.group, resource.plural, name)
    }

    /// As [`modified`](Self::modified), of a resource that need not be known to us.
    pub(crate) fn modified_as(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict_as(group, resource, name, why)
    }

    fn conflict_as(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let of = super::resource::qualified(group, resource);
        let message = format!("Operation cannot be fulfilled on {of} {name:?}: {why}");
        let details = without_empty(json!({"group": group, "kind": resource, "name": name}));
        Self::new(409, "Conflict", &message, details)
    }

    /// The resourceVersion that was asked for is no longer known.
    pub(crate) fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message, Value::Null)
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        if resource.kind == "Event" {
            // Its strategy is older than its group.
            let details = json!({"kind": resource.kind, "name": name});
            return Self::invalid_as(resource.kind, name, details, causes);
        }
        let details = json!({"group": resource.group, "kind": resource.kind, "name": name});
        Self::invalid_as(&resource.qualified_kind(), name, details, causes)
    }

    /// The version is missing where it must not. Here the server names the resource, not the kind.
    pub(crate) fn version_required(resource: &Resource, name: &str) -> Self {
        let detail = "must be specified for an update";
        let cause = Cause::invalid("metadata.resourceVersion", &0.into(), detail);
        let details = about(resource, name);
        Self::invalid_as(&resource.qualified(), name, details, &[cause])
    }

    /// Parameters of a request that make no sense, such as `ListOptions`.
    pub(crate) fn invalid_options(kind: &str, causes: &[Cause]) -> Self {
        let details = json!({"group": "meta.k8s.io", "kind": kind});
        Self::invalid_as(&format!("{kind}.meta.k8s.io"), "", details, causes)
    }

    /// As [`invalid`](Self::invalid), of something that is no resource.
    pub(crate) fn invalid_as(what: &str, name: &str, mut details: Value, causes: &[Cause]) -> Self {
        let wrong: Vec<_> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let wrong = match &wrong[..] {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let message = format!("{what} {name:?} is invalid: {wrong}");
        details["causes"] = causes
            .iter()
            .map(|cause| {
                json!({"reason": cause.reason, "message": cause.message, "field": cause.field})
            })
            .collect();
        Self::new(422, "Invalid", &message, without_empty(details))
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::new(400, "BadRequest", message, Value::Null)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", Value::Null)
    }

    /// `resource` is group and plural, both perhaps unknown to us.
    pub(crate) fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let of = super::resource::qualified(group, resource);
        let message = if name.is_empty() {
            format!("{of} is forbidden: {why}")
        } else {
            format!("{of} {name:?} is forbidden: {why}")
        };
        let details = without_empty(json!({"group": group, "kind": resource, "name": name}));
        Self::new(403, "Forbidden", &message, details)
    }

    /// What is not about a resource, such as `/version`.
    pub(crate) fn forbidden_path(why: &str) -> Self {
        Self::new(403, "Forbidden", &format!("forbidden: {why}"), json!({}))
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, json!({}))
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", &message, Value::Null)
    }

    /// A body of another type than JSON, of which a real server would also take YAML and protobuf.
    pub(crate) fn unsupported_media_type() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types \
                       include: application/json";
        Self::new(415, "UnsupportedMediaType", message, Value::Null)
    }

    /// A patch of a type that is not served.
    pub(crate) fn unsupported_patch() -> Self {
        let message = "415: Unsupported Media Type";
        Self::new(415, "UnsupportedMediaType", message, json!({}))
    }

    /// An answer of another type than JSON is wanted.
    pub(crate) fn not_acceptable() -> Self {
        let message = "406: Not Acceptable\n\nAvailable representations: application/json";
        Self::new(406, "NotAcceptable", message, json!({}))
    }

    /// A JSON patch that cannot be applied, a failed `test` among them. The server does not say why.
    pub(crate) fn patch_rejected() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message, json!({}))
    }

    /// The namespace is on its way out, and takes nothing in.
    pub(crate) fn terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut failure = Self::forbidden(resource.group, resource.plural, name, &why);
        failure.status["details"]["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        failure
    }

    /// What Go says of a version that is no number.
    pub(crate) fn no_version(prefix: &str, text: &str) -> Self {
        let message = format!("{prefix}strconv.ParseUint: parsing {text:?}: invalid syntax");
        Self::new(500, "", &message, Value::Null)
    }

    pub(crate) fn too_many_requests(retry_after: u64) -> Self {
        let message = "Too many requests: the server has asked us to try again later";
        Self::new(
            429,
            "TooManyRequests",
            message,
            json!({"retryAfterSeconds": retry_after}),
        )
    }

    pub(crate) fn internal(why: &str) -> Self {
        let message = format!("Internal error occurred: {why}");
        Self::new(
            500,
            "InternalError",
            &message,
            json!({"causes": [{"message": why}]}),
        )
    }

    pub(crate) fn unavailable() -> Self {
        let message = "the server is currently unable to handle the request";
        Self::new(503, "ServiceUnavailable", message, Value::Null)
    }

    /// The request took too long inside the server. It may take effect yet.
    pub(crate) fn late() -> Self {
        let message = "Timeout: request did not complete within requested timeout - context \
                       deadline exceeded";
        Self::new(504, "Timeout", message, json!({}))
    }

    /// A version was asked for that is not yet.
    pub(crate) fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = json!({
            "reason": "ResourceVersionTooLarge",
            "message": "Too large resource version",
        });
        let details = json!({"causes": [cause], "retryAfterSeconds": 1});
        Self::new(504, "Timeout", &message, details)
    }
}

fn about(resource: &Resource, name: &str) -> Value {
    without_empty(json!({"group": resource.group, "kind": resource.plural, "name": name}))
}

/// Go leaves out empty strings.
fn without_empty(mut details: Value) -> Value {
    if let Some(fields) = details.as_object_mut() {
        fields.retain(|_, value| value.as_str() != Some(""));
    }
    details
}
