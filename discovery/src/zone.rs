//! One question to DNS, all of it: search domains, both address families, and nothing hidden.

use std::error;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use crate::{DnsConfig, Error, Member, Members, Query};

/// What DNS says at one time.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) members: Members,
    /// How long it holds.
    pub(crate) ttl: Duration,
}

/// Whom to ask, and for which names.
#[derive(Clone)]
pub(crate) struct Zone {
    resolver: TokioResolver,
    /// Absolute, in the order in which they are tried; never empty.
    names: Vec<Name>,
}

impl Zone {
    pub(crate) fn new(query: &Query, config: &DnsConfig) -> Result<Self, Error> {
        let unanswered = |error| unanswered(query, error);
        let (servers, mut options) = if config.servers.is_empty() {
            read_system_conf().map_err(|error| unanswered(error.into()))?
        } else {
            (configured(config), ResolverOpts::default())
        };
        let name = Name::from_ascii(query.name()).map_err(|error| unanswered(error.into()))?;
        let names = candidates(&name, options.ndots, servers.search());

        if !config.servers.is_empty() {
            options.use_hosts_file = ResolveHosts::Never;
        }
        options.timeout = config.timeout / 3;
        options.attempts = 2;
        // Questions are asked when the answer is wanted anew.
        options.cache_size = 0;
        options.positive_max_ttl = Some(config.max_interval);
        options.negative_max_ttl = Some(config.max_empty_interval);
        let resolver = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| unanswered(error.into()))?;
        Ok(Self { resolver, names })
    }

    /// The records of the first name that has some. A name without leads to the next, a failure
    /// ends it: had that name been answered, the members might be its.
    pub(crate) async fn ask(&self, query: &Query) -> Result<Answer, Error> {
        let mut ttl = Duration::MAX;
        for name in &self.names {
            let records = self.records(query, name).await;
            let records = records.map_err(|error| unanswered(query, error.into()))?;
            // That a name has no records may change what a later name is asked for.
            ttl = ttl.min(records.ttl);
            if !records.records.is_empty() {
                let members = records.records.iter();
                let members = members.filter_map(|record| member(query, &record.data));
                return Ok(Answer {
                    members: members.collect(),
                    ttl,
                });
            }
        }
        Ok(Answer {
            members: Members::new(),
            ttl,
        })
    }

    async fn records(&self, query: &Query, name: &Name) -> Result<Records, NetError> {
        match query {
            Query::Addresses { .. } => {
                let (four, six) = tokio::try_join!(
                    self.lookup(name, RecordType::A),
                    self.lookup(name, RecordType::AAAA)
                )?;
                Ok(four.and(six))
            }
            Query::Services { .. } => self.lookup(name, RecordType::SRV).await,
        }
    }

    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Records, NetError> {
        match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => Ok(Records::of(&lookup, kind)),
            Err(error) => Records::none(error),
        }
    }
}

/// The records of one type of one name.
struct Records {
    records: Vec<Record>,
    ttl: Duration,
}

impl Records {
    fn of(lookup: &Lookup, kind: RecordType) -> Self {
        // An alias is followed by CNAME records, which are answers too.
        let wanted = lookup
            .answers()
            .iter()
            .filter(|record| record.record_type() == kind);
        Self {
            records: wanted.cloned().collect(),
            ttl: lookup
                .valid_until()
                .saturating_duration_since(Instant::now()),
        }
    }

    /// None, if that is what the server said; else its failure.
    fn none(error: NetError) -> Result<Self, NetError> {
        match &error {
            NetError::Dns(DnsError::NoRecordsFound(none))
                if matches!(
                    none.response_code,
                    ResponseCode::NXDomain | ResponseCode::NoError
                ) =>
            {
                Ok(Self {
                    records: Vec::new(),
                    ttl: Duration::from_secs(none.negative_ttl.unwrap_or_default().into()),
                })
            }
            _ => Err(error),
        }
    }

    /// A name with records of one type only is asked again by these records' TTL: the negative
    /// answer for the other type holds as long as any.
    fn and(mut self, other: Self) -> Self {
        self.ttl = match (self.records.is_empty(), other.records.is_empty()) {
            (false, true) => self.ttl,
            (true, false) => other.ttl,
            _ => self.ttl.min(other.ttl),
        };
        self.records.extend(other.records);
        self
    }
}

fn member(query: &Query, data: &RData) -> Option<Member> {
    match (query, data) {
        (Query::Services { .. }, RData::SRV(service)) => {
            let offered = service.port != 0 && !service.target.is_root();
            let target = service.target.to_ascii().to_ascii_lowercase();
            offered.then(|| Member::at(target.trim_end_matches('.'), service.port))
        }
        (Query::Addresses { port, .. }, data) => {
            data.ip_addr().map(|ip| Member::at(ip.to_string(), *port))
        }
        _ => None,
    }
}

fn configured(config: &DnsConfig) -> ResolverConfig {
    let servers = config.servers.iter().map(|address| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    });
    ResolverConfig::from_name_servers(servers.collect())
}

/// The names to try for one that was given, as resolv.conf(5) has it: one with at least `ndots`
/// dots first as it is, then with each search domain; another the other way round.
///
/// hickory would try them itself, but takes the last one's answer for the whole: after a timeout
/// for the right name, the next name's NXDOMAIN would empty the group.
fn candidates(name: &Name, ndots: usize, search: &[Name]) -> Vec<Name> {
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    if name.is_fqdn() {
        return vec![absolute];
    }
    // A name that grows too long with a search domain does not exist there.
    let mut names: Vec<Name> = search
        .iter()
        .filter_map(|domain| name.clone().append_domain(domain).ok())
        .collect();
    let first = usize::from(name.num_labels()) > ndots;
    names.insert(if first { 0 } else { names.len() }, absolute);
    names
}

fn unanswered(query: &Query, source: Box<dyn error::Error + Send + Sync>) -> Error {
    Error::Unanswered {
        query: query.to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use bellwether_testkit::DnsServer;

    use super::*;

    #[test]
    fn search_domains_come_first_for_names_with_few_dots() {
        let search = ["ns.svc.cluster.local.", "cluster.local."];
        let search = search.map(|domain| Name::from_ascii(domain).unwrap());
        let tried = |name: &str, ndots| -> Vec<String> {
            let name = Name::from_ascii(name).unwrap();
            candidates(&name, ndots, &search)
                .iter()
                .map(Name::to_ascii)
                .collect()
        };
        assert_eq!(
            tried("a", 5),
            ["a.ns.svc.cluster.local.", "a.cluster.local.", "a."]
        );
        assert_eq!(
            tried("a.b", 1),
            ["a.b.", "a.b.ns.svc.cluster.local.", "a.b.cluster.local."]
        );
        assert_eq!(
            tried("a.b", 2),
            ["a.b.ns.svc.cluster.local.", "a.b.cluster.local.", "a.b."]
        );
        assert_eq!(tried("a.", 5), ["a."]);
    }

    /// A server that fails for one name, and asked for that one, then another.
    #[tokio::test]
    async fn a_failure_for_one_name_is_not_hidden_by_the_next() {
        let server = DnsServer::start().unwrap();
        let config = DnsConfig {
            servers: vec![server.address()],
            timeout: Duration::from_secs(30),
            ..DnsConfig::default()
        };
        let query: Query = "dns://flock:3000".parse().unwrap();
        let mut zone = Zone::new(&query, &config).unwrap();
        zone.names = ["flock.near.", "flock.far."]
            .map(|name| Name::from_ascii(name).unwrap())
            .into();

        assert_eq!(zone.ask(&query).await.unwrap().members, Members::new());
        let address = "10.0.0.1".parse().unwrap();
        server
            .set_addresses("flock.far", Duration::from_secs(1), &[address])
            .unwrap();
        let found = Members::from([Member::at("10.0.0.1", 3000)]);
        assert_eq!(zone.ask(&query).await.unwrap().members, found);
        server.fail_for("flock.near").unwrap();
        zone.ask(&query).await.unwrap_err();
        server.revive();
        server.fail_for("flock.far").unwrap();
        zone.ask(&query).await.unwrap_err();
    }
}
