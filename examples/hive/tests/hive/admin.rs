//! The admin port over plain HTTP, and what it does to a group.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Group, GroupOptions, InTurn, Writer, WriterOptions, until};
use tempfile::TempDir;

use crate::scene::{
    PATIENCE, ask, grows, http, http_with, kept, ready, settled, settled_without, status, three,
    with_group,
};

#[test]
fn probes_and_status() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        for (index, node) in group.nodes.iter().enumerate() {
            let get = |path: &str| http(node.admin, &format!("GET {path}"));
            ensure!(get("/livez")?.0 == 200);
            // Whose copy has just ended may be syncing yet by its agent's last look.
            until(PATIENCE, "the copy to show", || ready(node.admin))?;
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

/// Waits until the node's `/primary` and `/replica` answer with these codes.
fn shows(admin: SocketAddr, primary: u16, replica: u16) -> Result<()> {
    until(PATIENCE, "the role that balancers see", || {
        let codes = (
            http(admin, "OPTIONS /primary")?.0,
            http(admin, "GET /replica")?.0,
        );
        ensure!(codes == (primary, replica), "{codes:?}");
        Ok(())
    })
}

/// What a balancer sees follows the group through a switchover, a failover, and the loss of a link.
#[test]
fn balancers_see_who_is_what() -> Result<()> {
    with_group(&three(), |group| {
        let first = settled(group)?;
        let roles = |group: &Group, primary: usize, gone: &[usize]| {
            for (index, node) in group.nodes.iter().enumerate() {
                match index {
                    _ if gone.contains(&index) => shows(node.admin, 503, 503)?,
                    _ if index == primary => shows(node.admin, 200, 503)?,
                    _ => shows(node.admin, 503, 200)?,
                }
            }
            Ok::<_, anyhow::Error>(())
        };
        roles(group, first, &[])?;

        let (code, body) = http(group.nodes[first].admin, "POST /switchover")?;
        ensure!(code == 200, "{code} {body}");
        let second = settled(group)?;
        ensure!(second != first, "{body}");
        roles(group, second, &[])?;

        group.nodes[second].redis.kill()?;
        let third = settled_without(group, &[second])?;
        roles(group, third, &[second])
    })
}

/// A replica that is stopped keeps its link, falls behind, and catches up when it continues.
#[test]
fn a_lag_is_measured_and_bounded() -> Result<()> {
    let options = GroupOptions {
        // Its agent waits for its answer, and meanwhile goes by the last one.
        flags: ["--down-after", "60s"].map(str::to_owned).into(),
        ..three()
    };
    with_group(&options, |group| {
        let primary = settled(group)?;
        let replica = (primary + 1) % 3;
        let admin = group.nodes[replica].admin;
        let answers = |bound: &str, code: u16, part: &str| {
            until(PATIENCE, &format!("{code} within {bound}"), || {
                let (found, body) = http(admin, &format!("GET /replica?lag={bound}"))?;
                ensure!(found == code && body.contains(part), "{found} {body}");
                Ok(())
            })
        };
        answers("0", 200, "ok")?;
        answers("10M", 400, "10MB")?;
        let at_primary = http(group.nodes[primary].admin, "GET /replica?lag=1TB")?;
        ensure!(at_primary.0 == 503, "{}", at_primary.1);

        group.nodes[replica].redis.stop()?;
        let big = "x".repeat(100_000);
        group.nodes[primary].redis.command(&["SET", "big", &big])?;
        answers("50kB", 503, "bytes behind")?;
        answers("1MB", 200, "ok")?;
        group.nodes[replica].redis.cont()?;
        answers("0", 200, "ok")
    })
}

/// A group whose agents take changes from whoever gives a token.
#[test]
fn changes_need_the_token_of_the_file() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("token");
    fs::write(&file, "open-sesame\n")?;
    let options = GroupOptions {
        environment: vec![(
            "BELLWETHER_ADMIN_TOKEN_FILE".into(),
            file.to_string_lossy().into_owned(),
        )],
        ..three()
    };
    with_group(&options, |group| {
        let primary = settled(group)?;
        let admin = group.nodes[primary].admin;
        for headers in ["", "Authorization: Bearer open-sesam\r\n"] {
            let (code, body) = http_with(admin, "POST /switchover", headers)?;
            ensure!(
                code == 401 && body.contains("Bearer TOKEN"),
                "{code} {body}"
            );
        }
        ensure!(settled(group)? == primary, "nothing has changed");
        let right = "Authorization: Bearer open-sesame\r\n";
        let (code, body) = http_with(admin, "POST /switchover", right)?;
        ensure!(code == 200, "{code} {body}");
        ensure!(settled(group)? != primary, "{body}");
        ensure!(!group.logs().contains("sesame"), "the token is in a log");
        Ok(())
    })
}

#[test]
fn this_program_cannot_pause() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        for path in ["/pause", "/resume"] {
            for node in &group.nodes {
                let (code, body) = http(node.admin, &format!("POST {path}"))?;
                ensure!(
                    code == 409
                        && body.contains("cannot pause")
                        && body.contains("replica-priority"),
                    "{code} {body}"
                );
            }
        }
        ensure!(settled(group)? == primary, "nothing has changed");
        Ok(())
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
