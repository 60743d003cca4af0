//! The table of what is served, and the rules that differ from resource to resource.

/// One kind of object that is served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// API group; empty for the core.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    /// What people type instead; empty for nothing.
    pub(crate) short: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    /// A PUT to a missing object creates it.
    pub(crate) create_on_update: bool,
    /// A PUT without resourceVersion overwrites; otherwise it is refused.
    pub(crate) unconditional_update: bool,
    /// Its status is written through the subresource `status` alone.
    pub(crate) has_status: bool,
    /// DELETE answers the object, otherwise a Status.
    pub(crate) returns_deleted: bool,
    pub(crate) names: Names,
    /// Fields that a field selector may name beside metadata.name and metadata.namespace.
    pub(crate) fields: &'static [&'static str],
}

/// What an object may be called.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Names {
    /// Labels with dots between, 253 bytes in all (RFC 1123).
    Subdomain,
    /// One label of at most 63 bytes (RFC 1123).
    Label,
    /// One label that begins with a letter (RFC 1035).
    LetterLabel,
}

/// The rules of `pkg/registry/<group>/<resource>/strategy.go` in Kubernetes.
pub(crate) static RESOURCES: [Resource; 6] = [
    Resource {
        group: "coordination.k8s.io",
        version: "v1",
        plural: "leases",
        singular: "lease",
        short: "",
        kind: "Lease",
        namespaced: true,
        create_on_update: true,
        unconditional_update: false,
        has_status: false,
        returns_deleted: false,
        names: Names::Subdomain,
        fields: &[],
    },
    Resource {
        group: "discovery.k8s.io",
        version: "v1",
        plural: "endpointslices",
        singular: "endpointslice",
        short: "",
        kind: "EndpointSlice",
        namespaced: true,
        create_on_update: false,
        unconditional_update: true,
        has_status: false,
        returns_deleted: false,
        names: Names::Subdomain,
        fields: &[],
    },
    Resource {
        group: "",
        version: "v1",
        plural: "pods",
        singular: "pod",
        short: "po",
        kind: "Pod",
        namespaced: true,
        create_on_update: false,
        unconditional_update: true,
        has_status: true,
        returns_deleted: true,
        names: Names::Subdomain,
        fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    },
    Resource {
        group: "",
        version: "v1",
        plural: "services",
        singular: "service",
        short: "svc",
        kind: "Service",
        namespaced: true,
        create_on_update: true,
        unconditional_update: true,
        has_status: true,
        returns_deleted: true,
        names: Names::LetterLabel,
        fields: &["spec.clusterIP", "spec.type"],
    },
    Resource {
        group: "events.k8s.io",
        version: "v1",
        plural: "events",
        singular: "event",
        short: "ev",
        kind: "Event",
        namespaced: true,
        create_on_update: true,
        unconditional_update: true,
        has_status: false,
        returns_deleted: false,
        names: Names::Subdomain,
        fields: &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "type",
        ],
    },
    Resource {
        group: "",
        version: "v1",
        plural: "namespaces",
        singular: "namespace",
        short: "ns",
        kind: "Namespace",
        namespaced: false,
        create_on_update: false,
        unconditional_update: true,
        has_status: true,
        returns_deleted: true,
        names: Names::Label,
        fields: &["status.phase"],
    },
];

impl Resource {
    /// The one served under these names.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES
            .iter()
            .find(|r| (r.group, r.version, r.plural) == (group, version, plural))
    }

    /// The one of which an object says that it is.
    pub(crate) fn of_kind(api_version: &str, kind: &str) -> Option<&'static Self> {
        RESOURCES
            .iter()
            .find(|r| r.kind == kind && r.api_version() == api_version)
    }

    /// The one with this plural, of whatever group.
    pub(crate) fn named(plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|r| r.plural == plural)
    }

    /// `v1` or `coordination.k8s.io/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `leases.coordination.k8s.io`.
    pub(crate) fn qualified(&self) -> String {
        qualified(self.group, self.plural)
    }

    /// `Pod` or `Lease.coordination.k8s.io`.
    pub(crate) fn qualified_kind(&self) -> String {
        qualified(self.group, self.kind)
    }

    /// The path of a collection, or of an object in it. Without a namespace, of all namespaces.
    pub(crate) fn path(&self, namespace: &str, name: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            "/api/"
        } else {
            "/apis/"
        };
        let mut path = format!("{root}{}", self.api_version());
        if self.namespaced && !namespace.is_empty() {
            path += &format!("/namespaces/{namespace}");
        }
        path += &format!("/{}", self.plural);
        if let Some(name) = name {
            path += &format!("/{name}");
        }
        path
    }
}

/// A plural or a kind with its group.
pub(crate) fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() {
        name.into()
    } else {
        format!("{name}.{group}")
    }
}
