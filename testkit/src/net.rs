//! Hosts in network namespaces of this machine, joined by a bridge that can be cut. Needs root.
//!
//! ```text
//!              switch namespace
//!   host 0 ──── p0 ┐
//!   host 1 ──── p1 ┼ bridge        a cut moves ports to bridges of their own
//!   host 2 ──── p2 ┘
//!     └──────────────── this machine: one management link for each host, which no cut touches
//! ```
//!
//! A frame to the other side of a cut vanishes, as in a cut cable that neither end notices: no
//! RST, no "unreachable", no carrier lost. Neighbour entries are permanent, because an unanswered
//! ARP request would tell the sender after seconds that the host is away.
//!
//! Each network has a number, claimed by a lock that ends with the process. Whatever bears a
//! number that can be claimed is of a run that crashed, and is removed.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

use crate::claim::{Claim, claim};
use crate::install;

/// Addresses are 10.213.number.0/24 among the hosts, 10.214.number.0/24 for management.
const NUMBERS: usize = 256;
/// A management link takes four of 256 addresses.
const MOST_HOSTS: usize = 60;

/// A host of a [`Network`]; clones name the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its network namespace, named as by `ip netns`.
    pub namespace: String,
    /// Where the other hosts reach it.
    pub address: IpAddr,
    /// Where this process reaches it, whatever is cut. Hosts do not reach each other by this.
    pub management: IpAddr,
}

impl Host {
    /// Runs `work` on a thread of its own inside the host: sockets that it opens stay there, also
    /// when they are used elsewhere afterwards.
    ///
    /// # Errors
    ///
    /// When the namespace is gone, and whatever `work` returns.
    ///
    /// # Panics
    ///
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.namespace);
        let namespace =
            std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Some hosts on one network. Dropping it kills what still runs in them and removes them.
#[derive(Debug)]
pub struct Network {
    number: usize,
    hosts: Vec<Host>,
    _claim: Claim,
}

impl Network {
    /// Builds a network of `size` hosts that all reach each other.
    ///
    /// # Errors
    ///
    /// When this is not root, when `ip` is missing and cannot be installed, and when the kernel
    /// refuses.
    pub fn new(size: usize) -> Result<Self> {
        ensure!(
            (1..=MOST_HOSTS).contains(&size),
            "a network has 1 to {MOST_HOSTS} hosts"
        );
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces need root"
        );
        install::ip()?;
        remove_stale()?;
        let (number, claim) = first_free()?;
        let network = Self {
            number,
            hosts: (0..size).map(|index| host(number, index)).collect(),
            _claim: claim,
        };
        network.build()?;
        Ok(network)
    }

    /// The hosts, in order.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Cuts the network into these groups of host numbers: within one all reach each other, and
    /// between two nothing passes, either way, on standing connections too. A host in no group is
    /// alone. An earlier cut is undone first.
    ///
    /// # Errors
    ///
    /// When a host is in two groups or does not exist, or `ip` fails.
    pub fn partition(&self, groups: &[&[usize]]) -> Result<()> {
        let mut bridge_of = vec![None; self.hosts.len()];
        for (bridge, group) in groups.iter().enumerate() {
            for &host in *group {
                let slot = bridge_of.get_mut(host);
                let slot = slot.with_context(|| format!("there is no host {host}"))?;
                ensure!(
                    slot.replace(bridge).is_none(),
                    "host {host} is in two groups"
                );
            }
        }
        ensure!(groups.len() <= self.hosts.len(), "more groups than hosts");
        let switch = self.switch();
        let ports = bridge_of.iter().enumerate();
        let ports = ports.map(|(host, bridge)| match bridge {
            Some(bridge) => format!("link set p{host} master br{bridge}"),
            None => format!("link set p{host} nomaster"),
        });
        ip_batch(&switch, &ports.collect::<Vec<_>>())
    }

    /// Undoes the cut.
    ///
    /// # Errors
    ///
    /// When `ip` fails.
    pub fn heal(&self) -> Result<()> {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        self.partition(&[&all])
    }

    fn switch(&self) -> String {
        format!("{}s", prefix(self.number))
    }

    fn build(&self) -> Result<()> {
        let switch = self.switch();
        ip(&["netns", "add", &switch])?;
        // One bridge for each group that there may be.
        let bridges = (0..self.hosts.len()).flat_map(|index| {
            [
                format!("link add br{index} type bridge stp_state 0 mcast_snooping 0"),
                format!("link set br{index} up"),
            ]
        });
        ip_batch(&switch, &bridges.collect::<Vec<_>>())?;
        for index in 0..self.hosts.len() {
            self.build_host(index, &switch)?;
        }
        self.heal()
    }

    fn build_host(&self, index: usize, switch: &str) -> Result<()> {
        let Host {
            namespace,
            address,
            management,
        } = &self.hosts[index];
        let near = management_link(self.number, index);
        let near_address = Ipv4Addr::from([10, 214, subnet(self.number), octet(4 * index + 1)]);
        ip(&["netns", "add", namespace])?;
        ip(&[
            "link", "add", &near, "type", "veth", "peer", "name", "mgmt0", "netns", namespace,
        ])?;
        ip(&["addr", "add", &format!("{near_address}/30"), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        let peers = (0..self.hosts.len())
            .filter(|&peer| peer != index)
            .map(|peer| {
                let address = self.hosts[peer].address;
                format!(
                    "neigh replace {address} lladdr {} dev eth0 nud permanent",
                    mac(peer)
                )
            });
        let mut setup = vec![
            "link set lo up".to_owned(),
            format!(
                "link add eth0 address {} type veth peer name p{index} netns {switch}",
                mac(index)
            ),
            format!("addr add {address}/24 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("addr add {management}/30 dev mgmt0"),
            "link set mgmt0 up".to_owned(),
        ];
        setup.extend(peers);
        ip_batch(namespace, &setup)?;
        ip_batch(switch, &[format!("link set p{index} up")])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = remove(self.number) {
            eprintln!("cannot remove network {}: {error:#}", self.number);
        }
    }
}

fn host(number: usize, index: usize) -> Host {
    let (subnet, last) = (subnet(number), octet(index + 1));
    Host {
        namespace: format!("{}h{index}", prefix(number)),
        address: Ipv4Addr::from([10, 213, subnet, last]).into(),
        management: Ipv4Addr::from([10, 214, subnet, octet(4 * index + 2)]).into(),
    }
}

/// With a separator, so that number 1 is no prefix of number 12.
fn prefix(number: usize) -> String {
    format!("bellwether-{number}-")
}

/// The name of the near end of a host's management link: at most 15 characters.
fn management_link(number: usize, index: usize) -> String {
    format!("bw{number}m{index}")
}

fn mac(index: usize) -> String {
    format!("02:be:11:00:00:{:02x}", index + 1)
}

fn subnet(number: usize) -> u8 {
    octet(number)
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).expect("numbers of networks and hosts are bounded")
}

fn first_free() -> Result<(usize, Claim)> {
    for number in 0..NUMBERS {
        if let Some(claim) = claim("network", number)? {
            return Ok((number, claim));
        }
    }
    bail!("all {NUMBERS} networks are in use")
}

/// Removes the networks whose process is gone.
fn remove_stale() -> Result<()> {
    let mut numbers: Vec<usize> = namespaces()?
        .iter()
        .filter_map(|name| {
            name.strip_prefix("bellwether-")?
                .split_once('-')?
                .0
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers {
        if let Some(_claim) = claim("network", number)? {
            remove(number)?;
        }
    }
    Ok(())
}

/// Removes all of a network, after killing whatever runs in it.
fn remove(number: usize) -> Result<()> {
    for namespace in namespaces()? {
        let Some(rest) = namespace.strip_prefix(&prefix(number)) else {
            continue;
        };
        for pid in ip(&["netns", "pids", &namespace])?.split_whitespace() {
            let pid = nix::unistd::Pid::from_raw(pid.parse()?);
            match nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error).context("cannot kill what runs in a host"),
            }
        }
        if let Some(index) = rest.strip_prefix('h') {
            // The kernel removes a namespace's links some time after it, but the name of this one
            // may be wanted again at once.
            let link = management_link(number, index.parse()?);
            if std::path::Path::new("/sys/class/net").join(&link).exists() {
                ip(&["link", "del", &link])?;
            }
        }
        ip(&["netns", "del", &namespace])?;
    }
    Ok(())
}

fn namespaces() -> Result<Vec<String>> {
    let list = ip(&["netns", "list"])?;
    Ok(list
        .lines()
        .filter_map(|line| Some(line.split_whitespace().next()?.into()))
        .collect())
}

/// Runs several commands of `ip` inside a namespace, in one process.
fn ip_batch(namespace: &str, commands: &[String]) -> Result<()> {
    use std::io::Write;

    let mut file = tempfile::NamedTempFile::new()?;
    for command in commands {
        writeln!(file, "{command}")?;
    }
    let path = file
        .path()
        .to_str()
        .context("the temporary directory has a strange name")?;
    ip(&["-netns", namespace, "-batch", path]).map(drop)
}

fn ip(args: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("cannot run ip")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("ip {} failed: {}", args.join(" "), errors.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
