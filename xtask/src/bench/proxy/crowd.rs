//! Memory for clients that do nothing, and what clients that do harm cost the others.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Program, Redis};

use super::{
    Arguments,
    cpu::resident_bytes,
    hostile::Hostile,
    machine,
    spread::Spread,
    stand::{self, measure},
    targets::{self, Target},
    workload::Workload,
};
use crate::bench::table::Table;

const IDLE_CLIENTS: usize = 10_000;
/// Bytes of memory for each of them, at most.
const IDLE_LIMIT: f64 = 8192.0;
/// An allocator gives memory back after a while, jemalloc after 10 s.
const SETTLING: Duration = Duration::from_secs(15);

/// Beside hostile clients, the p99 of the others may grow to so many times its value.
const P99_LIMIT: f64 = 2.0;

const MIDDLING: (&str, usize) = ("middling", 20 << 10);
const BIG: (&str, usize) = ("big", 100 << 10);

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    stand::install()?;
    let program = targets::ours(arguments.proxy.as_ref())?;
    // Here and in the proxy, a socket for each client.
    machine::allow_open_files(IDLE_CLIENTS as u64 + 4096)?;
    machine::warn_if_unfit()?;
    // A proxy that lets answers pile up in the server is cut; the machine survives.
    let server = stand::filled_server(&["--client-output-buffer-limit", "normal 512mb 0 0"])?;
    for (key, bytes) in [MIDDLING, BIG] {
        server.command(&["SET", key, &"x".repeat(bytes)])?;
    }
    let start = |flags: &str| {
        let flags = format!("{flags} {}", arguments.ours_flags.join(" "));
        Target::ours(Program::new(&program), server.address(), flags.trim())
    };
    let idle = idle_bytes(&start("--max-clients 11000")?)?;
    let others = others(arguments, &server, &start("")?)?;
    verdict(idle, others)
}

fn verdict(idle: f64, others: Vec<(Hostile, Spread)>) -> Result<()> {
    let mut table = Table::new(["what", "measured", "at most", ""]);
    let mut missed = Vec::new();
    let mut row = |what: String, measured: String, limit: String, met: bool| {
        let verdict = if met { "met" } else { "missed" };
        table.row(vec![what.clone(), measured, limit, verdict.to_owned()]);
        if !met {
            missed.push(what);
        }
    };
    row(
        "memory for an idle client".to_owned(),
        format!("{idle:.0} bytes"),
        format!("{IDLE_LIMIT:.0} bytes"),
        idle <= IDLE_LIMIT,
    );
    for (hostile, ratio) in others {
        row(
            format!("p99 of 50 clients beside {}", hostile.name()),
            format!("{ratio:.2} times"),
            format!("{P99_LIMIT:.2} times"),
            ratio.median <= P99_LIMIT,
        );
    }
    println!();
    table.print();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// What each idle client keeps resident, after it was not idle for a moment.
fn idle_bytes(proxy: &Target) -> Result<f64> {
    let mut first = connect(proxy.address)?;
    use_for_a_moment(&mut first)?;
    let before = resident_bytes(proxy.pid())?;
    let mut clients = Vec::new();
    for number in 0..IDLE_CLIENTS {
        let mut client = connect(proxy.address)?;
        use_for_a_moment(&mut client).with_context(|| format!("client {number}"))?;
        clients.push(client);
    }
    let per_client = || -> Result<f64> {
        let now = resident_bytes(proxy.pid())?;
        Ok((now as f64 - before as f64) / IDLE_CLIENTS as f64)
    };
    let at_once = per_client()?;
    let settled = Instant::now() + SETTLING;
    while Instant::now() < settled {
        // An allocator tidies up when it is used; in life, some client is always awake.
        ping(&mut first)?;
        thread::sleep(Duration::from_millis(100));
    }
    let idle = per_client()?;
    println!("{IDLE_CLIENTS} idle clients: {at_once:.0} bytes each at once, {idle:.0} settled");
    for client in &mut clients {
        ping(client).context("an idle client was closed")?;
    }
    Ok(idle)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(client)
}

fn use_for_a_moment(client: &mut TcpStream) -> Result<()> {
    ping(client)?;
    let (key, bytes) = MIDDLING;
    let request = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
    client.write_all(request.as_bytes())?;
    let mut reply = vec![0; format!("${bytes}\r\n").len() + bytes + 2];
    client.read_exact(&mut reply)?;
    ensure!(reply.starts_with(b"$"), "a GET was answered otherwise");
    Ok(())
}

fn ping(client: &mut TcpStream) -> Result<()> {
    client.write_all(b"PING\r\n")?;
    let mut reply = [0; 7];
    client.read_exact(&mut reply)?;
    ensure!(reply == *b"+PONG\r\n", "a PING was answered otherwise");
    Ok(())
}

/// The p99 of 50 clients beside hostile ones, as a ratio to theirs alone just before.
fn others(arguments: &Arguments, server: &Redis, proxy: &Target) -> Result<Vec<(Hostile, Spread)>> {
    let load = Workload::GetC50.load();
    let requests = stand::calibrate(server, load, arguments.seconds)?;
    let run = || measure(server, Some(proxy), load, requests);
    let all = [
        Hostile::NeverReads(BIG.0),
        Hostile::Drips,
        Hostile::Reconnects,
    ];
    let mut ratios = all.map(|hostile| (hostile, Vec::new()));
    let (mut disturbed, mut pairs) = (0, 0);
    for round in 1..=arguments.rounds(5) {
        for (hostile, ratios) in &mut ratios {
            let alone = run()?;
            let mut crowd = hostile.start(proxy.address)?;
            let beside = run()?;
            let rate = crowd.end()?;
            pairs += 1;
            disturbed += usize::from(alone.is_disturbed() || beside.is_disturbed());
            let (alone, beside) = (alone.service.p99, beside.service.p99);
            ratios.push(beside / alone);
            println!(
                "round {round}, {}: p99 {alone:.2} ms alone, {beside:.2} ms beside; \
                 cut or gone {rate:.0} times a second",
                hostile.name()
            );
        }
    }
    stand::ensure_quiet(disturbed, pairs)?;
    Ok(ratios
        .map(|(hostile, ratios)| (hostile, Spread::of(ratios)))
        .into())
}
