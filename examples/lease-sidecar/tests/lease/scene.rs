//! What every scene needs: pods as a cluster would run them, the API that tells of them, and a client
//! that finds the leader by its Service.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Boot, Data, DnsServer, Options, Process, Program, Redis, Role, Route, Writer, WriterOptions,
    install,
    kube::{Access, KubeApi, Link, User},
    ports, until,
};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_bellwether-lease");

/// Far more than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const POD_LABEL: &str = "statefulset.kubernetes.io/pod-name";

/// Some pods.
pub(crate) struct Scene {
    pub(crate) api: Arc<KubeApi>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) leader_port: u16,
    /// Where names are told, if members are reached by them.
    pub(crate) dns: Option<DnsServer>,
    dir: TempDir,
}

/// A redis-server and its agent, at an address of their own.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) redis: Redis,
    pub(crate) agent: Process,
    pub(crate) admin: SocketAddr,
    pub(crate) link: Link,
    pub(crate) user: User,
    program: Program,
    log: PathBuf,
}

/// How pods are started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    /// More flags for every agent, with `{ip}` for its own address.
    pub(crate) flags: Vec<String>,
    /// More arguments for every server.
    pub(crate) redis: Vec<String>,
    /// Whether servers keep their data in an append-only file.
    pub(crate) persistent: bool,
    /// Whether members are reached by their names in DNS, as by default, not by their addresses.
    pub(crate) names: bool,
    /// Whether agents find the API as a pod does, by its service account.
    pub(crate) service_account: bool,
    /// What agents may do; everything by default.
    pub(crate) access: Option<Access>,
}

/// Plays a scene with three pods; a failure shows what the agents logged.
pub(crate) fn play(setting: &Setting, scene: impl FnOnce(&mut Scene) -> Result<()>) -> Result<()> {
    let _turn = turn();
    install::redis_server()?;
    let mut stage = Scene::start(setting, 3)?;
    scene(&mut stage).with_context(|| stage.logs())
}

/// A number that says how long or how often, if it is given.
pub(crate) fn from_environment(name: &str) -> Result<Option<u64>> {
    let value = std::env::var(name).ok();
    let number = value.map(|value| value.parse().with_context(|| format!("{name}={value}")));
    number.transpose()
}

/// Held by the scene whose turn it is.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene {
    fn start(setting: &Setting, count: u8) -> Result<Self> {
        let api = Arc::new(KubeApi::start()?);
        let (redis_port, leader_port) = (ports::free()?, ports::free()?);
        for (name, spec) in [
            (
                "redis",
                json!({ "clusterIP": "None", "publishNotReadyAddresses": true,
                "selector": { "app": "redis" }, "ports": [{ "port": redis_port }] }),
            ),
            (
                "redis-leader",
                json!({ "ports": [{ "port": 6379, "targetPort": leader_port }] }),
            ),
        ] {
            api.put(&json!({ "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": name, "namespace": "default" }, "spec": spec }))?;
        }
        // As its manifest has it: the first leader need not wait for a lease that nobody had.
        api.put(
            &json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "redis", "namespace": "default" }, "spec": {} }),
        )?;
        let dir = TempDir::new()?;
        let mut scene = Self {
            api,
            pods: Vec::new(),
            leader_port,
            dns: setting
                .names
                .then(DnsServer::start_for_system)
                .transpose()?,
            dir,
        };
        for number in 0..count {
            let pod = scene.pod(setting, number, redis_port)?;
            scene.pods.push(pod);
        }
        scene.tell_members()?;
        Ok(scene)
    }

    fn pod(&self, setting: &Setting, number: u8, redis_port: u16) -> Result<Pod> {
        let dir = self.dir.path().join(format!("data-{number}"));
        self.pod_at(
            setting,
            number,
            redis_port,
            Ipv4Addr::new(127, 0, 1, number + 1),
            dir,
        )
    }

    fn pod_at(
        &self,
        setting: &Setting,
        number: u8,
        redis_port: u16,
        ip: Ipv4Addr,
        volume: PathBuf,
    ) -> Result<Pod> {
        let name = format!("redis-{number}");
        let made = self.api.put(&json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "labels": { "app": "redis", POD_LABEL: name } },
            "spec": { "containers": [{ "name": "redis", "image": "redis" }] } }))?;
        let mut mounts = Vec::new();
        if let Some(dns) = &self.dns {
            let resolv_conf = self.dir.path().join("resolv.conf");
            fs::write(&resolv_conf, dns.resolv_conf())?;
            mounts.push((resolv_conf, "/etc/resolv.conf".into()));
        }
        let redis = Redis::start(Options {
            port: Some(redis_port),
            bind: Some(ip.into()),
            dir: Some(volume),
            persistent: setting.persistent,
            args: setting.redis.clone(),
            mounts: mounts.clone(),
            ..Options::default()
        })?;
        let link = self.api.new_link()?;
        let user = self.api.user(
            &format!("system:serviceaccount:default:{name}"),
            setting.access.clone().unwrap_or_else(Access::all),
        );
        let cluster = if setting.service_account {
            let run = self.dir.path().join(format!("run-{number}"));
            mounts.push((run.clone(), "/var/run".into()));
            self.service_account(&run, &link, &user)?
        } else {
            let kubeconfig = self.dir.path().join(format!("{name}.yaml"));
            fs::write(&kubeconfig, self.api.kubeconfig_by(&link, &user, "default"))?;
            vec![("KUBECONFIG", kubeconfig.to_string_lossy().into_owned())]
        };
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let log = self.dir.path().join(format!("{name}.log"));
        let own = ip.to_string();
        let flags = setting.flags.iter().map(|flag| flag.replace("{ip}", &own));
        let mut program = Program::new(AGENT)
            .args(["--redis", &format!("{ip}:{redis_port}")])
            .args(["--leader-listen", &format!("{ip}:{}", self.leader_port)])
            .args(["--lease", "redis", "--leader-service", "redis-leader"])
            .args(["--headless-service", "redis", "--member", &name])
            .args(["--protected-mode", "no"])
            .args(["--admin-listen", &admin.to_string()])
            .args([
                "--pod-uid",
                made["metadata"]["uid"].as_str().unwrap_or_default(),
            ])
            .args(flags)
            .env(
                "RUST_LOG",
                "debug,kube=info,hyper=info,tower=info,rustls=info",
            )
            .log(&log);
        if !setting.names {
            program = program.args(["--reach-by", "addresses", "--advertise", &ip.to_string()]);
        }
        for (name, value) in cluster {
            program = program.env(name, value);
        }
        for (source, over) in mounts {
            program = program.mounted(source, over);
        }
        let agent = program.spawn()?;
        Ok(Pod {
            name,
            ip: ip.into(),
            redis,
            agent,
            admin,
            link,
            user,
            program,
            log,
        })
    }

    /// What the kubelet puts into a pod: a directory to be mounted at `/var/run`, and environment.
    fn service_account(
        &self,
        run: &Path,
        link: &Link,
        user: &User,
    ) -> Result<Vec<(&'static str, String)>> {
        let dir = run.join("secrets/kubernetes.io/serviceaccount");
        fs::create_dir_all(&dir)?;
        for (name, content) in [
            ("token", user.token.as_str()),
            ("ca.crt", self.api.ca_pem()),
            ("namespace", "default"),
        ] {
            fs::write(dir.join(name), content)?;
        }
        Ok(vec![
            ("KUBECONFIG", String::new()),
            ("KUBERNETES_SERVICE_HOST", link.address().ip().to_string()),
            ("KUBERNETES_SERVICE_PORT", link.address().port().to_string()),
        ])
    }

    /// Makes a pod anew, with its volume, at another address. Who has to know is told by
    /// [`tell_members`](Self::tell_members).
    pub(crate) fn reschedule(&mut self, setting: &Setting, index: usize) -> Result<()> {
        let [a, b, c, d] = self.pods[index].octets();
        self.reschedule_at(setting, &[(index, Ipv4Addr::new(a, b, c + 1, d))])
    }

    /// The same for several that end together, at these addresses.
    pub(crate) fn reschedule_at(
        &mut self,
        setting: &Setting,
        moves: &[(usize, Ipv4Addr)],
    ) -> Result<()> {
        for (index, _) in moves {
            self.pods[*index].agent.kill()?;
            self.pods[*index].redis.kill()?;
        }
        for (index, ip) in moves {
            let port = self.pods[*index].redis.port();
            let volume = self.dir.path().join(format!("data-{index}"));
            let number = u8::try_from(*index)?;
            self.pods[*index] = self.pod_at(setting, number, port, *ip, volume)?;
        }
        Ok(())
    }

    /// What the controller of endpoints would write, and DNS would tell.
    pub(crate) fn tell_members(&self) -> Result<()> {
        self.tell_endpoints()?;
        self.tell_names()
    }

    pub(crate) fn tell_names(&self) -> Result<()> {
        let Some(dns) = &self.dns else { return Ok(()) };
        for pod in &self.pods {
            dns.set_addresses(&in_dns(&pod.name), Duration::from_secs(1), &[pod.ip])?;
        }
        Ok(())
    }

    /// Where the others reach a pod's server.
    pub(crate) fn host(&self, index: usize) -> String {
        let pod = &self.pods[index];
        match self.dns {
            Some(_) => in_dns(&pod.name),
            None => pod.ip.to_string(),
        }
    }

    pub(crate) fn tell_endpoints(&self) -> Result<()> {
        // A real API server takes none of loopback; by names, nobody reads them.
        let address = |pod: &Pod| match (&self.dns, pod.octets()) {
            (Some(_), [_, b, c, d]) => Ipv4Addr::new(10, b, c, d).to_string(),
            (None, _) => pod.ip.to_string(),
        };
        let endpoints: Vec<_> = self
            .pods
            .iter()
            .map(|pod| {
                json!({ "addresses": [address(pod)],
                    "conditions": { "ready": true, "serving": true, "terminating": false },
                    "targetRef": { "kind": "Pod", "name": pod.name, "namespace": "default" } })
            })
            .collect();
        let port = self.pods.first().map_or(6379, |pod| pod.redis.port());
        self.api.put(
            &json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": "redis-abc", "namespace": "default",
                "labels": { "kubernetes.io/service-name": "redis" } },
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{ "name": "redis", "port": port, "protocol": "TCP" }] }),
        )?;
        Ok(())
    }

    /// The pod that the leader Service names.
    pub(crate) fn announced(&self) -> Option<usize> {
        let name = announced(&self.api)?;
        self.pods.iter().position(|pod| pod.name == name)
    }

    /// Waits until one is primary, all others follow it, and the Service names it; which one.
    pub(crate) fn settled(&self) -> Result<usize> {
        self.settled_without(&[])
    }

    /// The same, whatever becomes of some pods.
    pub(crate) fn settled_without(&self, gone: &[usize]) -> Result<usize> {
        until(
            PATIENCE,
            "one primary that all follow, and that is announced",
            || {
                let counted = || (0..self.pods.len()).filter(|index| !gone.contains(index));
                let roles: Vec<_> = self.pods.iter().map(Pod::role).collect();
                let primaries: Vec<_> = counted()
                    .filter(|index| roles[*index].as_ref().is_ok_and(Role::is_primary))
                    .collect();
                ensure!(primaries.len() == 1, "{roles:?}");
                let primary = primaries[0];
                for index in counted().filter(|index| *index != primary) {
                    let follows = |role: &Role| match role {
                        Role::Replica { host, link, .. } => {
                            *host == self.host(primary) && link == "connected"
                        }
                        Role::Primary { .. } => false,
                    };
                    ensure!(
                        roles[index].as_ref().is_ok_and(follows),
                        "{index}: {roles:?}"
                    );
                }
                ensure!(
                    self.announced() == Some(primary),
                    "announced: {:?}",
                    self.announced()
                );
                Ok(primary)
            },
        )
    }

    /// A client as any: it goes where the Service points, and again when it was cut.
    pub(crate) fn writer(&self, key: &str) -> Writer {
        let mut options = WriterOptions::new(key);
        options.patience = Duration::from_secs(1);
        Writer::start(self.route(), options)
    }

    pub(crate) fn route(&self) -> ByService {
        ByService {
            api: Arc::clone(&self.api),
            pods: self
                .pods
                .iter()
                .map(|pod| (pod.name.clone(), pod.ip))
                .collect(),
            port: self.leader_port,
            last: None,
        }
    }

    /// Sets a key through the leader, on all servers that follow it.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        let mut route = self.route();
        until(PATIENCE, "a write", || {
            let address = route.next(None).context("nobody is announced")?;
            let client = redis::Client::open(format!("redis://{address}"))?;
            let mut client = client.get_connection_with_timeout(PATIENCE)?;
            let () = redis::cmd("SET").arg(key).arg(value).query(&mut client)?;
            let replicas = self.pods.iter().filter(|pod| pod.role().is_ok()).count() - 1;
            let copies: usize = redis::cmd("WAIT")
                .arg(replicas)
                .arg(5000)
                .query(&mut client)?;
            ensure!(copies >= replicas, "{copies} of {replicas} have it");
            Ok(())
        })
    }

    pub(crate) fn logs(&self) -> String {
        self.pods
            .iter()
            .map(|pod| format!("--- {} ({})\n{}", pod.name, pod.redis.address(), pod.log()))
            .collect()
    }
}

impl Pod {
    pub(crate) fn octets(&self) -> [u8; 4] {
        match self.ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => unreachable!("they are all of one family"),
        }
    }

    pub(crate) fn role(&self) -> Result<Role> {
        self.redis.role_within(Duration::from_millis(200))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }

    pub(crate) fn restart_agent(&mut self) -> Result<()> {
        self.agent.kill()?;
        self.agent = self.program.spawn().context("the agent")?;
        Ok(())
    }

    /// The pod starts anew: server and agent, with its volume or without.
    pub(crate) fn restart(&mut self, data: Data) -> Result<()> {
        self.agent.kill()?;
        self.redis.restart(data, Boot::ReplicaOfNowhere)?;
        self.restart_agent()
    }

    /// What its admin port says to a GET; status and body.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        self.ask("GET", path)
    }

    /// What it says to any request without a body.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Result<(u16, String)> {
        self.ask_with("", method, path)
    }

    /// The same, with more lines in the request's head.
    pub(crate) fn ask_with(&self, head: &str, method: &str, path: &str) -> Result<(u16, String)> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect_timeout(&self.admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n{head}\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }
}

/// As the headless Service has DNS name the pods of the StatefulSet.
pub(crate) fn in_dns(pod: &str) -> String {
    format!("{pod}.redis.default.svc.cluster.local")
}

/// As a Service's address: connections go to the pod that its selector names.
pub(crate) struct ByService {
    api: Arc<KubeApi>,
    pods: Vec<(String, IpAddr)>,
    port: u16,
    last: Option<SocketAddr>,
}

impl Route for ByService {
    fn next(&mut self, failed: Option<SocketAddr>) -> Option<SocketAddr> {
        if self.last.is_none() || failed.is_some() {
            let name = announced(&self.api);
            let pod = self.pods.iter().find(|(pod, _)| Some(pod) == name.as_ref());
            self.last = pod.map(|(_, ip)| SocketAddr::new(*ip, self.port));
        }
        self.last
    }
}

fn announced(api: &KubeApi) -> Option<String> {
    let service = api.object("services", "default", "redis-leader").ok()??;
    Some(service["spec"]["selector"][POD_LABEL].as_str()?.to_owned())
}
