//! What INFO and ROLE say.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bellwether_resp::Value;

use crate::{Address, Inspection, Link, MinReplicas, Papers, Position, Role};

/// The oldest version that can end a pause of writes inside a transaction.
const OLDEST: (u32, u32) = (6, 2);

/// Redis's default, for a user who may not read the configuration.
const DEFAULT_PRIORITY: u32 = 100;

/// Reads the sections server, replication, persistence, keyspace and stats of INFO, and the reply to
/// `CONFIG GET replica-priority`. Says nothing of the passport, nor of what is demanded of replicas.
pub(super) fn inspection(info: &str, priority: &Value) -> Result<Inspection, String> {
    let fields: HashMap<&str, &str> = info
        .lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .collect();
    let field = |name: &str| {
        fields
            .get(name)
            .copied()
            .ok_or_else(|| format!("{name} is missing"))
    };
    check_version(field("redis_version")?)?;
    Ok(Inspection {
        min_replicas: None,
        run_id: field("run_id")?.to_owned(),
        role: role_of(&fields)?,
        position: Position {
            replication_id: field("master_replid")?.to_owned(),
            offset: number(field("master_repl_offset")?)?,
            previous: previous(&fields)?,
        },
        keys: keys(&fields)?,
        loading: field("loading")? != "0" || fields.get("async_loading").is_some_and(|v| *v != "0"),
        papers: Papers::Unknown,
        attached: attached(&fields),
        departed: departed(&fields)?,
        priority: configured(priority)
            .and_then(|text| text.parse().ok())
            .unwrap_or(DEFAULT_PRIORITY),
        failing_over: fields
            .get("master_failover_state")
            .is_some_and(|state| *state != "no-failover"),
    })
}

/// Whether a replica refuses writes, by the section replication of INFO.
pub(super) fn is_read_only(info: &str) -> bool {
    info.lines()
        .any(|line| line.trim_end() == "slave_read_only:1")
}

fn check_version(version: &str) -> Result<(), String> {
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version_number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version_number >= OLDEST {
        return Ok(());
    }
    let (major, minor) = OLDEST;
    Err(format!(
        "version {version} is too old: at least {major}.{minor} is needed"
    ))
}

fn role_of(fields: &HashMap<&str, &str>) -> Result<Role, String> {
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    if field("role") == "master" {
        return Ok(Role::Primary);
    }
    let of = Address {
        host: field("master_host").to_owned(),
        port: field("master_port")
            .parse()
            .map_err(|_| "master_port is no port".to_owned())?,
    };
    let link = if field("master_sync_in_progress") == "1" {
        Link::Syncing
    } else if field("master_link_status") == "up" {
        Link::Up
    } else {
        Link::Down
    };
    Ok(Role::Replica { of, link })
}

fn previous(fields: &HashMap<&str, &str>) -> Result<Option<(String, u64)>, String> {
    let id = fields.get("master_replid2").copied().unwrap_or_default();
    let end = fields.get("second_repl_offset").copied().unwrap_or("-1");
    if end == "-1" || id.bytes().all(|byte| byte == b'0') {
        return Ok(None);
    }
    Ok(Some((id.to_owned(), number(end)?)))
}

/// Adds up the lines of the keyspace section, such as `db0:keys=1,expires=0,avg_ttl=0`.
fn keys(fields: &HashMap<&str, &str>) -> Result<u64, String> {
    let mut sum = 0;
    for (name, value) in fields {
        let is_database = name
            .strip_prefix("db")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
        if is_database && let Some(rest) = value.strip_prefix("keys=") {
            sum += number(rest.split(',').next().unwrap_or_default())?;
        }
    }
    Ok(sum)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// Reads the reply to `CONFIG GET min-replicas-*`.
pub(super) fn min_replicas(reply: &Value) -> Option<MinReplicas> {
    let words = reply.as_array()?;
    let setting = |name: &str| {
        let mut pairs = words.chunks_exact(2);
        let pair = pairs.find(|pair| pair[0].as_str() == Some(name))?;
        pair[1].as_str()?.parse::<u32>().ok()
    };
    Some(MinReplicas {
        count: setting("min-replicas-to-write")?,
        max_lag: Duration::from_secs(setting("min-replicas-max-lag")?.into()),
    })
}

/// The value in the reply to `CONFIG GET` of one setting.
pub(super) fn configured(reply: &Value) -> Option<&str> {
    reply.as_array()?.get(1)?.as_str()
}

/// Collects the lines such as `slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=1`.
fn attached(fields: &HashMap<&str, &str>) -> BTreeSet<Address> {
    let replica = |(name, value): (&&str, &&str)| {
        let number = name.strip_prefix("slave")?;
        number.parse::<u32>().ok()?;
        let part = |key: &str| {
            let mut parts = value.split(',');
            parts.find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
        };
        let port = part("port")?.parse().ok()?;
        (part("state")? == "online").then_some(Address::new(part("ip")?, port))
    };
    fields.iter().filter_map(replica).collect()
}

/// Every copy that is begun connects a replica in the same moment.
fn departed(fields: &HashMap<&str, &str>) -> Result<i64, String> {
    let count = |name: &str| fields.get(name).map_or(Ok(0), |text| number(text));
    let begun = count("sync_full")? + count("sync_partial_ok")?;
    let known = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(known(begun) - known(count("connected_slaves")?))
}

/// What ROLE says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RoleReply {
    Primary,
    Replica { of: Address, connected: bool },
}

pub(super) fn role(reply: &Value) -> Option<RoleReply> {
    let parts = reply.as_array()?;
    match parts.first()?.as_str()? {
        "master" => Some(RoleReply::Primary),
        "slave" => Some(RoleReply::Replica {
            of: Address::new(
                parts.get(1)?.as_str()?,
                u16::try_from(parts.get(2)?.as_int()?).ok()?,
            ),
            connected: parts.get(3)?.as_str()? == "connected",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICA: &str = "redis_version:7.0.15\r\nrun_id:abc\r\nloading:0\r\nrole:slave\r\n\
        master_host:::1\r\nmaster_port:6379\r\nmaster_link_status:down\r\n\
        master_sync_in_progress:0\r\nmaster_replid:aa\r\nmaster_replid2:bb\r\n\
        master_repl_offset:120\r\nsecond_repl_offset:100\r\n\
        db0:keys=3,expires=0,avg_ttl=0\r\ndb12:keys=4,expires=1,avg_ttl=9\r\ndbsize:9\r\n";

    #[test]
    fn a_replica_is_read() {
        let found = inspection(REPLICA, &Value::Null).unwrap();
        assert_eq!(found.keys, 7);
        assert_eq!(found.position.previous, Some(("bb".to_owned(), 100)));
        assert_eq!(found.link(), Some(Link::Down));
        assert!(found.follows(&Address::new("::1", 6379)));
        assert_eq!(found.priority, 100);
    }

    #[test]
    fn replicas_in_step_are_counted() {
        let primary = REPLICA.replace("role:slave", "role:master").replace(
            "master_replid:",
            "sync_full:3\r\nsync_partial_ok:4\r\nconnected_slaves:2\r\n\
             slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=1\r\n\
             slave1:ip=::1,port=6380,state=wait_bgsave,offset=0,lag=0\r\nmaster_replid:",
        );
        let found = inspection(&primary, &Value::Null).unwrap();
        let online = Address::new("10.0.0.1", 6379);
        assert_eq!(found.attached, BTreeSet::from([online]));
        assert_eq!(found.departed, 5);
    }

    #[test]
    fn what_is_missing_or_too_old_is_named() {
        let old = REPLICA.replace("7.0.15", "6.0.16");
        assert!(inspection(&old, &Value::Null).unwrap_err().contains("6.2"));
        let cut = REPLICA.replace("run_id", "walk_id");
        assert!(
            inspection(&cut, &Value::Null)
                .unwrap_err()
                .contains("run_id")
        );
    }
}
