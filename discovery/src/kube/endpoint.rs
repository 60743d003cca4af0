//! What the objects of Kubernetes say of a member, one by one.
#![deny(clippy::disallowed_methods)]

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::Port;
use crate::kube::names;

/// One address of a member, as one object tells of it. A member may have several, in several
/// objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// The best comes first in order.
    pub(crate) state: State,
    /// Of the pod, or where there is none, the host name.
    pub(crate) name: Option<String>,
    /// Under which DNS knows the member in its headless Service.
    pub(crate) label: Option<String>,
    /// `None` for a pod that has none yet.
    pub(crate) address: Option<Host>,
    /// `None` when it has no port of the name that is asked for.
    pub(crate) port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Ready,
    Unready,
    /// It was told to end and still runs.
    Terminating,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// Of a slice whose type of address is FQDN.
    Name(String),
}

/// Which port and which names are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) port: Port,
    pub(crate) headless_service: Option<String>,
}

impl Reader {
    /// One for each endpoint, of its first address: others have no meaning (EndpointSlice v1).
    pub(crate) fn slice(&self, slice: &EndpointSlice) -> Vec<Endpoint> {
        let port = self.slice_port(slice);
        let endpoints = slice.endpoints.iter();
        endpoints
            .filter_map(|endpoint| {
                let address = endpoint.addresses.first()?;
                let host = match slice.address_type.as_str() {
                    "FQDN" if !address.is_empty() => {
                        Host::Name(address.trim_end_matches('.').to_ascii_lowercase())
                    }
                    _ => Host::Ip(address.parse().ok()?),
                };
                let target = endpoint.target_ref.as_ref();
                let pod = target
                    .filter(|target| target.kind.as_deref() == Some("Pod"))
                    .and_then(|target| target.name.clone());
                // With the watched Service itself headless, an endpoint has a host name exactly
                // if DNS knows it. Of another Service it cannot be read here: the pods of a
                // StatefulSet are known there by their names.
                let label = match &self.headless_service {
                    Some(_) => endpoint.hostname.clone().or_else(|| pod.clone()),
                    None => endpoint.hostname.clone(),
                };
                Some(Endpoint {
                    state: slice_state(endpoint),
                    label: label.filter(|label| names::is_label(label)),
                    name: pod.or_else(|| endpoint.hostname.clone()),
                    address: Some(host),
                    port,
                })
            })
            .collect()
    }

    fn slice_port(&self, slice: &EndpointSlice) -> Option<u16> {
        let wanted = match &self.port {
            Port::Number(number) => return Some(*number),
            Port::Named(name) => name,
        };
        let mut ports = slice.ports.iter().flatten();
        let port = ports
            .find(|port| port.name.as_ref() == Some(wanted) && is_tcp(port.protocol.as_deref()))?;
        number(port.port?)
    }

    /// One for each address; none once it has ended.
    pub(crate) fn pod(&self, pod: &Pod) -> Vec<Endpoint> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return Vec::new();
        }
        let spec = pod.spec.as_ref();
        let known = spec.filter(|spec| {
            self.headless_service.is_some() && spec.subdomain == self.headless_service
        });
        let endpoint = Endpoint {
            state: pod_state(pod),
            name: pod.metadata.name.clone(),
            label: known
                .and_then(|spec| spec.hostname.clone())
                .filter(|label| names::is_label(label)),
            address: None,
            port: self.pod_port(pod),
        };
        let all = status.and_then(|status| status.pod_ips.as_ref());
        let one = status.and_then(|status| status.pod_ip.as_ref());
        let ips: Vec<IpAddr> = match all {
            Some(all) => all.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
            None => one.iter().filter_map(|ip| ip.parse().ok()).collect(),
        };
        if ips.is_empty() {
            return vec![endpoint];
        }
        let at = |ip| Endpoint {
            address: Some(Host::Ip(ip)),
            ..endpoint.clone()
        };
        ips.into_iter().map(at).collect()
    }

    fn pod_port(&self, pod: &Pod) -> Option<u16> {
        let wanted = match &self.port {
            Port::Number(number) => return Some(*number),
            Port::Named(name) => name,
        };
        let spec = pod.spec.as_ref()?;
        // An init container that is restarted always runs beside the others.
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
        let ports = |container: &Container| {
            let mut ports = container.ports.iter().flatten();
            let port = ports.find(|port| {
                port.name.as_ref() == Some(wanted) && is_tcp(port.protocol.as_deref())
            })?;
            number(port.container_port)
        };
        spec.containers.iter().chain(sidecars).find_map(ports)
    }
}

/// `serving` tells readiness also where `ready` is overruled, by `publishNotReadyAddresses` or
/// because the pod is terminating. What is not said counts as in favour (EndpointSlice v1).
fn slice_state(endpoint: &SliceEndpoint) -> State {
    let said = endpoint.conditions.as_ref();
    let terminating = said.and_then(|said| said.terminating);
    let serving = said.and_then(|said| said.serving.or(said.ready));
    state(serving.unwrap_or(true), terminating.unwrap_or(false))
}

fn pod_state(pod: &Pod) -> State {
    let conditions = pod.status.as_ref().and_then(|it| it.conditions.as_ref());
    let ready = conditions.is_some_and(|conditions| {
        let mut conditions = conditions.iter();
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    });
    state(ready, pod.metadata.deletion_timestamp.is_some())
}

fn state(serving: bool, terminating: bool) -> State {
    match (serving, terminating) {
        (_, true) => State::Terminating,
        (true, false) => State::Ready,
        (false, false) => State::Unready,
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("TCP"))
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|&port| port > 0)
}

#[cfg(test)]
mod tests;
