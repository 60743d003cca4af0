//! Passwords: by environment and by file, for users of few rights, wrong ones, and none in a log.

use std::fs;

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Boot, Data, Group, InTurn, Writer, WriterOptions, install, until};
use tempfile::NamedTempFile;

use crate::scene::{
    Lone, LoneOptions, PATIENCE, ask, grows, http, kept, one_tail, ready, settled, settled_without,
    three, turn, with_group,
};

const PASSWORD: &str = "correct-horse-battery-5871";
const REPLICATION: &str = "staple-of-replicas-9023";

/// Neither logs nor status show them, whatever is logged.
fn nothing_leaked(group: &Group) -> Result<()> {
    for node in &group.nodes {
        let (_, status) = http(node.admin, "GET /status")?;
        let texts = [node.log(), status];
        for (secret, text) in [PASSWORD, REPLICATION]
            .iter()
            .flat_map(|secret| texts.iter().map(move |text| (secret, text)))
        {
            // Also as it looks where bytes are shown in decimal.
            let decimal = format!("{:?}", secret.as_bytes());
            let decimal = decimal.trim_matches(['[', ']']);
            let found = text
                .lines()
                .find(|line| line.contains(*secret) || line.contains(decimal));
            ensure!(found.is_none(), "{}: {found:?}", node.name);
        }
        ensure!(node.log().contains("DEBUG"), "more than usual was logged");
    }
    Ok(())
}

#[test]
fn a_password_for_all_by_environment() -> Result<()> {
    let mut options = three();
    options.password = Some(PASSWORD.to_owned());
    options.environment = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    with_group(&options, |group| {
        let old = settled(group)?;
        let mut writing = WriterOptions::new("numbers");
        writing.password = options.password.clone();
        let route = InTurn::new(group.nodes.iter().map(|node| node.proxy));
        let writer = Writer::start(route, writing);
        grows(&group.nodes[old].redis, "numbers", 100)?;
        group.nodes[old].redis.kill()?;
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "numbers", 100)?;
        group.nodes[old]
            .redis
            .restart(Data::Keep, Boot::ReplicaOfNowhere)?;
        ensure!(settled(group)? == new);
        let record = writer.finish();
        let kept = kept(&record, &group.nodes[new].redis)?;
        one_tail(&record, &kept)?;
        let unknown = redis::Client::open(format!("redis://{}", group.nodes[new].proxy))?;
        let mut unknown = unknown.get_connection_with_timeout(PATIENCE)?;
        let refused = redis::cmd("GET")
            .arg("numbers")
            .query::<String>(&mut unknown);
        let refused = refused
            .err()
            .context("a client without password is served")?;
        ensure!(refused.to_string().contains("NOAUTH"), "{refused}");
        nothing_leaked(group)
    })
}

/// The rights that the documentation asks for, and no other; replicas log in as another user.
#[test]
fn users_of_few_rights_by_file_and_environment() -> Result<()> {
    let file = NamedTempFile::new()?;
    fs::write(file.path(), format!("{PASSWORD}\n"))?;
    let mut options = three();
    let agent = format!(
        "--user agent on >{PASSWORD} +auth +client +config +exec +failover +fcall_ro +function \
         +info +multi \
         +replicaof +role"
    );
    let copies = format!("--user copies on >{REPLICATION} +psync +replconf +ping");
    options.redis = [agent, copies]
        .iter()
        .flat_map(|user| user.split_whitespace().map(str::to_owned))
        .collect();
    let file = format!("file:{}", file.path().display());
    options.flags = ["--redis-user", "agent", "--redis-password-from", &file]
        .into_iter()
        .chain(["--replication-user", "copies"])
        .chain(["--replication-password-from", "env:COPIES"])
        .map(str::to_owned)
        .collect();
    options.environment = [("COPIES", REPLICATION), ("RUST_LOG", "trace")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    with_group(&options, |group| {
        let old = settled(group)?;
        let _: String = ask(group.nodes[old].proxy, &["SET", "a", "1"])?;
        let clients = group.nodes[old].redis.command(&["CLIENT", "LIST"])?;
        let by = |user: &str, flag: &str| {
            let user = format!("user={user} ");
            let of = clients.lines().filter(|line| line.contains(&user));
            of.filter(|line| line.contains(flag)).count()
        };
        ensure!(by("copies", "flags=S ") == 2, "{clients}");
        ensure!(by("agent", "name=bellwether") >= 3, "{clients}");
        // Everything that an agent does: fail over, hand over, follow.
        group.nodes[old].redis.kill()?;
        let new = settled_without(group, &[old])?;
        group.nodes[old]
            .redis
            .restart(Data::Keep, Boot::ReplicaOfNowhere)?;
        settled(group)?;
        let (code, body) = http(group.nodes[new].admin, "POST /switchover")?;
        ensure!(code == 200, "{code} {body}");
        settled(group)?;
        let read: String = ask(group.nodes[old].proxy, &["GET", "a"])?;
        ensure!(read == "1");
        for node in &group.nodes {
            let denied = node.redis.command(&["ACL", "LOG"])?;
            ensure!(denied.is_empty(), "{}: {denied}", node.name);
        }
        nothing_leaked(group)
    })
}

#[test]
fn a_wrong_password_is_said_once_and_heals() -> Result<()> {
    let _turn = turn();
    install::redis_server()?;
    let file = NamedTempFile::new()?;
    fs::write(file.path(), PASSWORD)?;
    let mut options = LoneOptions::alone()?;
    options.password = Some("something-else".to_owned());
    options.log = "info";
    let from = format!("file:{}", file.path().display());
    options.flags = vec!["--redis-password-from".to_owned(), from];
    let node = options.start()?;
    heals(&node).with_context(|| node.log())
}

fn heals(node: &Lone) -> Result<()> {
    until(PATIENCE, "the refusal to show", || {
        let (code, body) = http(node.admin, "GET /readyz")?;
        ensure!(code == 503 && body.contains("WRONGPASS"), "{code} {body}");
        Ok(())
    })?;
    let refused = || -> Result<u64> {
        let stats = node.redis.info("commandstats")?;
        let count = |name: &str| -> u64 {
            let field = stats.get(name).map_or("", String::as_str);
            let failed = field
                .split_once("failed_calls=")
                .map_or("", |(_, rest)| rest);
            failed
                .split(',')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        };
        Ok(count("cmdstat_auth") + count("cmdstat_hello"))
    };
    let before = refused()?;
    until(PATIENCE, "many more tries", || {
        let now = refused()?;
        ensure!(now >= before + 20, "{before} refused, now {now}");
        Ok(())
    })?;
    let log = node.log();
    let said = log
        .lines()
        .filter(|line| line.contains("WRONGPASS"))
        .count();
    ensure!((1..=2).contains(&said), "said {said} times");
    let live = http(node.admin, "GET /livez")?.0;
    ensure!(live == 200, "/livez says {live}");
    ensure!(!log.contains(PASSWORD), "the log has the password");

    node.redis
        .command(&["CONFIG", "SET", "requirepass", PASSWORD])?;
    until(PATIENCE, "readiness", || ready(node.admin))
}
