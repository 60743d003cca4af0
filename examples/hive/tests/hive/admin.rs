//! The admin port over plain HTTP, and what it does to a group.

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Group, InTurn, Writer, WriterOptions, until};

use crate::scene::{PATIENCE, ask, grows, http, kept, settled, status, three, with_group};

#[test]
fn probes_and_status() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        for (index, node) in group.nodes.iter().enumerate() {
            let get = |path: &str| http(node.admin, &format!("GET {path}"));
            ensure!(get("/livez")?.0 == 200);
            ensure!(get("/readyz")?.0 == 200);
            ensure!(get("/")?.0 == 404 && get("/switchover")?.0 == 405);
            ensure!(http(node.admin, "POST /status")?.0 == 405);
            let status = status(node.admin)?;
            ensure!(status["name"] == node.name.as_str(), "{status}");
            ensure!(
                status["primary"]["name"] == group.nodes[primary].name.as_str(),
                "{status}"
            );
            let leadership = if index == primary {
                "leading"
            } else {
                "following"
            };
            ensure!(status["leadership"] == leadership, "{status}");
            until(PATIENCE, "all members in the status", || {
                whole(group, index)
            })?;
        }
        let node = &group.nodes[primary];
        let _: () = ask(node.proxy, &["SET", "a", "1"])?;
        until(PATIENCE, "the write in the metrics", || {
            let (code, text) = http(node.admin, "GET /metrics")?;
            let counted = text.lines().any(|line| {
                line.starts_with("bellwether_proxy_request_microseconds_count")
                    && line.contains("family=\"string\"")
            });
            ensure!(code == 200 && counted, "{code} {text}");
            Ok(())
        })?;
        not_ready_without_its_server(group, (primary + 1) % 3)
    })
}

/// Whether a node's status shows two replicas, and two connected members whose servers answered.
fn whole(group: &Group, index: usize) -> Result<()> {
    let status = status(group.nodes[index].admin)?;
    let replicas = status["replicas"].as_array().context("replicas")?.len();
    ensure!(replicas == 2, "{status}");
    let members = status["members"].as_object().context("members")?;
    ensure!(members.len() == 2, "{status}");
    for member in members.values() {
        ensure!(member["connected"] == true, "{status}");
        ensure!(member["server"]["position"]["offset"].is_u64(), "{status}");
    }
    let decisions = status["decisions"].as_array().context("decisions")?;
    let told = |decision: &serde_json::Value| {
        decision["what"].is_string() && decision["why"].is_string() && decision["at_ms"].is_u64()
    };
    ensure!(
        !decisions.is_empty() && decisions.iter().all(told),
        "{status}"
    );
    Ok(())
}

fn not_ready_without_its_server(group: &mut Group, index: usize) -> Result<()> {
    group.nodes[index].redis.kill()?;
    until(PATIENCE, "the lost server to show", || {
        let (code, body) = http(group.nodes[index].admin, "GET /readyz")?;
        ensure!(code == 503 && !body.trim().is_empty(), "{code} {body}");
        Ok(())
    })?;
    ensure!(http(group.nodes[index].admin, "GET /livez")?.0 == 200);
    Ok(())
}

/// Round and round, and nobody notices: no error, nothing missing, nothing repeated.
#[test]
fn switchovers_lose_and_disturb_nothing() -> Result<()> {
    with_group(&three(), |group| {
        let mut primary = settled(group)?;
        let route = InTurn::new(group.nodes.iter().map(|node| node.proxy));
        let writer = Writer::start(route, WriterOptions::new("numbers"));
        for round in 0..6 {
            grows(&group.nodes[primary].redis, "numbers", 50)?;
            // To a named one, and then to whoever follows most closely.
            let to = (primary + 1) % 3;
            let request = match round % 2 {
                0 => format!("POST /switchover?to={}", group.nodes[to].name),
                _ => "POST /switchover".to_owned(),
            };
            let (code, body) = http(group.nodes[primary].admin, &request)?;
            ensure!(code == 200, "round {round}: {code} {body}");
            let done: serde_json::Value = serde_json::from_str(&body)?;
            ensure!(done["from"] == group.nodes[primary].name.as_str(), "{body}");
            let now = settled(group)?;
            ensure!(
                done["to"] == group.nodes[now].name.as_str(),
                "{now} after {body}"
            );
            ensure!(
                now != primary && (round % 2 == 1 || now == to),
                "{now} after {body}"
            );
            primary = now;
        }
        let record = writer.finish();
        let kept = kept(&record, &group.nodes[primary].redis)?;
        ensure!(kept.missing.is_empty(), "{} missing", kept.missing.len());
        ensure!(
            record.errors.is_empty() && record.refused == 0,
            "{:?}",
            record.errors
        );
        Ok(())
    })
}

#[test]
fn refused_switchovers_change_nothing() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        let (a, b) = ((primary + 1) % 3, (primary + 2) % 3);
        let refused = |at: usize, query: &str, code: u16, part: &str| -> Result<()> {
            let (found, body) = http(group.nodes[at].admin, &format!("POST /switchover{query}"))?;
            ensure!(
                found == code && body.contains(part),
                "{query}: {found} {body}"
            );
            Ok(())
        };
        refused(primary, "?to=nobody:1", 409, "nobody:1")?;
        refused(primary, "?to=", 400, "NAME")?;
        refused(primary, "?ot=x", 400, "")?;
        let to = format!("?to={}", group.nodes[primary].name);
        refused(primary, &to, 409, &group.nodes[primary].name)?;
        refused(a, "", 409, &group.nodes[primary].name)?;

        let unfit = &group.nodes[a];
        unfit
            .redis
            .command(&["CONFIG", "SET", "replica-priority", "0"])?;
        refused(primary, &format!("?to={}", unfit.name), 409, "priority")?;
        group.nodes[b]
            .redis
            .command(&["CONFIG", "SET", "replica-priority", "0"])?;
        refused(primary, "", 409, "priority")?;

        ensure!(settled(group)? == primary, "nothing has changed");
        let _: String = ask(group.nodes[a].proxy, &["SET", "still", "writable"])?;
        Ok(())
    })
}

/// The successor hangs: writes are resumed, and the primary stays.
#[test]
fn a_switchover_to_a_hung_server_is_undone() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        let hung = (primary + 1) % 3;
        group.nodes[hung].redis.stop()?;
        let request = format!("POST /switchover?to={}", group.nodes[hung].name);
        let (code, body) = http(group.nodes[primary].admin, &request)?;
        ensure!(code == 409, "{code} {body}");
        let _: String = ask(group.nodes[primary].proxy, &["SET", "still", "writable"])?;
        group.nodes[hung].redis.cont()?;
        ensure!(settled(group)? == primary, "nothing has changed");
        Ok(())
    })
}
