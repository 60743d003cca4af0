use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{SOA, SRV};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net;
use tokio::sync::oneshot;

use crate::claim::{Claim, claim};
use crate::ports;

/// What a negative answer allows to be cached for: the minimum of DNS, so that tests are quick.
const NEGATIVE_TTL: u32 = 1;

/// A real DNS server on a free port of 127.0.0.1, by UDP and TCP, whose records change at run time.
///
/// It has authority over every name: one without records does not exist (NXDOMAIN), and one
/// without records of the type asked for gets an empty answer. By UDP it sends at most 512 bytes,
/// so that a longer answer makes the resolver ask again by TCP.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _claim: Option<Claim>,
}

impl DnsServer {
    /// Starts one without records.
    ///
    /// # Errors
    ///
    /// When no port is free, or the system refuses sockets.
    pub fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, ports::free()?).into())
    }

    /// Starts one where a system's resolver asks, at port 53 of a loopback address that nobody else
    /// has: 127.53.x.y. Needs root. See [`resolv_conf`](Self::resolv_conf).
    ///
    /// # Errors
    ///
    /// When all of them are taken, or the port is not permitted.
    pub fn start_for_system() -> Result<Self> {
        for number in 1..=u8::MAX {
            let Some(claim) = claim("dns", number.into())? else {
                continue;
            };
            let mut server = Self::start_at((Ipv4Addr::new(127, 53, 0, number), 53).into())?;
            server._claim = Some(claim);
            return Ok(server);
        }
        bail!("all addresses for name servers are claimed by tests")
    }

    /// What `/etc/resolv.conf` has to say for programs to resolve by this one, each question asked
    /// twice, a second apart. Only for one that was [started for the system](Self::start_for_system).
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        let ip = self.address.ip();
        format!("nameserver {ip}\noptions timeout:1 attempts:2\n")
    }

    fn start_at(address: SocketAddr) -> Result<Self> {
        let zone = Arc::new(Zone::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let (udp, tcp) = {
            // Not by `block_on`, which a test that is itself asynchronous must not call.
            let _inside = runtime.enter();
            (
                net::UdpSocket::from_std(udp)?,
                net::TcpListener::from_std(tcp)?,
            )
        };
        let handler = Handler(Arc::clone(&zone));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let mut server = Server::new(handler);
                server.register_socket(udp);
                server.register_listener(tcp, Duration::from_secs(60), 64);
                // Either the stop was asked for, or the value that could ask is gone.
                let _ = stopped.await;
            });
        });
        Ok(Self {
            address,
            zone,
            stop: Some(stop),
            thread: Some(thread),
            _claim: None,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the A and AAAA records of a name to exactly these.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn set_addresses(&self, name: &str, ttl: Duration, addresses: &[IpAddr]) -> Result<()> {
        let (four, six): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.iter().partition(|address| address.is_ipv4());
        let data = |addresses: Vec<IpAddr>| addresses.into_iter().map(RData::from).collect();
        self.set(name, RecordType::A, ttl, data(four))?;
        self.set(name, RecordType::AAAA, ttl, data(six))
    }

    /// Sets the SRV records of a name to exactly these targets and ports.
    ///
    /// # Errors
    ///
    /// When a name is none.
    pub fn set_services(&self, name: &str, ttl: Duration, services: &[(&str, u16)]) -> Result<()> {
        let data = services
            .iter()
            .map(|&(target, port)| Ok(RData::SRV(SRV::new(0, 0, port, fqdn(target)?))))
            .collect::<Result<_>>()?;
        self.set(name, RecordType::SRV, ttl, data)
    }

    /// Makes a name not exist.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        let name = LowerName::from(fqdn(name)?);
        self.zone.locked().records.retain(|(of, _), _| *of != name);
        Ok(())
    }

    /// Stops answering: questions are received and counted, connections accepted.
    pub fn silence(&self) {
        self.zone.locked().mood = Mood::Silent;
    }

    /// Answers every question with SERVFAIL.
    pub fn fail(&self) {
        self.zone.locked().mood = Mood::Failing;
    }

    /// Answers every question about one name, and no other, with SERVFAIL.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn fail_for(&self, name: &str) -> Result<()> {
        self.zone.locked().mood = Mood::FailingFor(fqdn(name)?.into());
        Ok(())
    }

    /// Answers again.
    pub fn revive(&self) {
        self.zone.locked().mood = Mood::Answering;
    }

    /// How many questions have come so far. One for A and AAAA counts as two, one that is asked
    /// again by TCP too.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.zone.locked().queries
    }

    fn set(&self, name: &str, kind: RecordType, ttl: Duration, data: Vec<RData>) -> Result<()> {
        let name = fqdn(name)?;
        let ttl = u32::try_from(ttl.as_secs())?;
        let records: Vec<_> = data
            .into_iter()
            .map(|data| Record::from_rdata(name.clone(), ttl, data))
            .collect();
        let key = (LowerName::from(name), kind);
        let mut zone = self.zone.locked();
        if records.is_empty() {
            zone.records.remove(&key);
        } else {
            zone.records.insert(key, records);
        }
        Ok(())
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the DNS server on {} has panicked", self.address);
        }
    }
}

fn fqdn(name: &str) -> Result<Name> {
    let mut name = Name::from_utf8(name).with_context(|| format!("{name:?} is no name"))?;
    name.set_fqdn(true);
    Ok(name)
}

#[derive(Debug, Default)]
struct Zone(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<(LowerName, RecordType), Vec<Record>>,
    queries: u64,
    mood: Mood,
}

#[derive(Debug, Default)]
enum Mood {
    #[default]
    Answering,
    Silent,
    Failing,
    FailingFor(LowerName),
}

impl Zone {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the question; `None` when it shall not be answered.
    fn answer(&self, name: &LowerName, kind: RecordType) -> Option<(ResponseCode, Vec<Record>)> {
        let mut state = self.locked();
        state.queries += 1;
        let fails = match &state.mood {
            Mood::Silent => return None,
            Mood::Failing => true,
            Mood::FailingFor(of) => of == name,
            Mood::Answering => false,
        };
        if fails {
            return Some((ResponseCode::ServFail, Vec::new()));
        }
        if let Some(records) = state.records.get(&(name.clone(), kind)) {
            return Some((ResponseCode::NoError, records.clone()));
        }
        let exists = state.records.keys().any(|(of, _)| of == name);
        let code = if exists {
            ResponseCode::NoError
        } else {
            ResponseCode::NXDomain
        };
        Some((code, Vec::new()))
    }
}

struct Handler(Arc<Zone>);

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let answer = match request.request_info() {
            Ok(info) => self.0.answer(info.query.name(), info.query.query_type()),
            Err(_) => Some((ResponseCode::FormErr, Vec::new())),
        };
        if let Some((code, records)) = answer {
            metadata.response_code = code;
            let soa = soa_of_negative(code, &records);
            let response = MessageResponseBuilder::from_message_request(request).build(
                metadata,
                &records,
                iter::empty(),
                soa.as_slice(),
                iter::empty(),
            );
            match response_handle.send_response(response).await {
                Ok(sent) => return sent,
                Err(error) => eprintln!("the DNS server cannot answer: {error}"),
            }
        }
        // Only hickory's own log sees this.
        ResponseInfo::from(Header {
            metadata,
            counts: HeaderCounts::default(),
        })
    }
}

/// A negative answer says by its SOA how long it may be cached.
fn soa_of_negative(code: ResponseCode, records: &[Record]) -> Option<Record> {
    let negative = records.is_empty() && code != ResponseCode::ServFail;
    negative.then(|| {
        let soa = SOA::new(Name::root(), Name::root(), 1, 60, 60, 60, NEGATIVE_TTL);
        Record::from_rdata(Name::root(), NEGATIVE_TTL, RData::SOA(soa))
    })
}
