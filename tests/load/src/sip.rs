//! Many callers and agents on two UDP sockets: just enough SIP to place calls, answer and end them.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// First repeat of an unanswered request (RFC 3261 T1).
const T1_MS: u64 = 500;
/// A request unanswered for so long has failed (64 × T1).
const GIVE_UP_MS: u64 = 32_000;

/// Where a caller's call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Inviting,
    Up,
    Ending,
    /// Over as intended; `by_node`: the other side sent the BYE.
    Done {
        by_node: bool,
    },
    /// Refused with this status; 408 where nothing came.
    Failed(u16),
}

/// A caller.
#[derive(Debug, Clone)]
pub struct Call {
    pub state: State,
    pub started_ms: u64,
    pub answered_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    /// Where the subject wants this caller's audio.
    pub rtp: Option<SocketAddrV4>,
    request: String,
    /// Dialogue identifiers and target once answered.
    to: String,
    target: String,
    next_repeat_ms: u64,
    repeat_ms: u64,
    deadline_ms: u64,
}

/// What happened at the agents.
#[derive(Debug, Clone)]
pub struct Answered {
    pub call_id: String,
    /// The user part of the request URI.
    pub user: String,
    /// The user part of From.
    pub from: String,
    pub rtp: SocketAddrV4,
    pub at_ms: u64,
}

struct AgentCall {
    user: String,
    response: String,
    acked: bool,
    next_repeat_ms: u64,
    repeat_ms: u64,
    peer: SocketAddr,
    /// For a BYE of ours.
    from: String,
    to: String,
    target: String,
    ended: bool,
    /// It was over when others were dropped last.
    old: bool,
}

/// The SIP side of the load tool.
pub struct Sip {
    callers: UdpSocket,
    agents: UdpSocket,
    node: SocketAddr,
    caller_port: u16,
    agent_port: u16,
    rtp_ports: [u16; 2],
    run: u32,
    pub calls: Vec<Call>,
    /// All before it are over and forgotten.
    first_open: usize,
    agent_calls: HashMap<String, AgentCall>,
    pub answered: Vec<Answered>,
    /// Call-IDs of agents' calls that ended.
    pub agent_ended: Vec<String>,
    /// Statuses that would mean a fault of the tool itself.
    pub unexpected: u64,
    buffer: Vec<u8>,
}

fn bind(port: u16) -> Result<UdpSocket> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(8 << 20)?;
    socket.bind(&address.into()).with_context(|| format!("UDP port {port} of the load tool"))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The first header of this name, without its name.
fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// All headers of this name, as lines to be copied into a response.
fn copied(message: &str, name: &str) -> String {
    let lines = message.lines().skip(1).take_while(|line| !line.is_empty());
    let same = lines.filter(|line| line.split_once(':').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(name)));
    same.map(|line| format!("{line}\r\n")).collect()
}

fn uri(address: &str) -> &str {
    match address.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((uri, _)) => uri,
        None => address.split(';').next().unwrap_or_default(),
    }
}

fn user(address: &str) -> &str {
    uri(address).strip_prefix("sip:").and_then(|rest| rest.split_once('@')).map_or("", |(user, _)| user)
}

fn media(message: &str) -> Option<SocketAddrV4> {
    let ip = message.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?.trim().parse().ok()?;
    let port = message.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').next()?.parse().ok()?;
    Some(SocketAddrV4::new(ip, port))
}

fn sdp(port: u16, version: u32) -> String {
    format!(
        "v=0\r\no=load 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

impl Sip {
    /// Binds callers and agents. `rtp_ports` are what their SDP says.
    ///
    /// # Errors
    /// A port is taken.
    pub fn new(node: SocketAddr, caller_port: u16, agent_port: u16, rtp_ports: [u16; 2]) -> Result<Sip> {
        Ok(Sip {
            callers: bind(caller_port)?,
            agents: bind(agent_port)?,
            node,
            caller_port,
            agent_port,
            rtp_ports,
            run: 0,
            calls: Vec::new(),
            first_open: 0,
            agent_calls: HashMap::new(),
            answered: Vec::new(),
            agent_ended: Vec::new(),
            unexpected: 0,
            buffer: vec![0; 65_536],
        })
    }

    /// Forgets all calls; late messages of theirs are ignored.
    pub fn reset(&mut self) {
        self.run += 1;
        self.calls.clear();
        self.first_open = 0;
        self.agent_calls.clear();
        self.answered.clear();
        self.agent_ended.clear();
    }

    /// Points the callers at another subject.
    pub fn set_node(&mut self, node: SocketAddr) {
        self.node = node;
    }

    /// Places a call and returns its index.
    pub fn call(&mut self, number: &str, now_ms: u64) -> usize {
        let index = self.calls.len();
        let (port, node) = (self.caller_port, self.node);
        let body = sdp(self.rtp_ports[0], 1);
        let request = format!(
            "INVITE sip:{number}@{node} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKi{run}-{index};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:c{index}@127.0.0.1:{port}>;tag=f{run}-{index}\r\nTo: <sip:{number}@{node}>\r\nCall-ID: {run}-{index}@load\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:c{index}@127.0.0.1:{port}>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}",
            run = self.run,
            length = body.len()
        );
        let _ = self.callers.send_to(request.as_bytes(), node);
        self.calls.push(Call {
            state: State::Inviting,
            started_ms: now_ms,
            answered_ms: None,
            ended_ms: None,
            rtp: None,
            request,
            to: String::new(),
            target: format!("sip:{number}@{node}"),
            next_repeat_ms: now_ms + T1_MS,
            repeat_ms: T1_MS,
            deadline_ms: now_ms + GIVE_UP_MS,
        });
        index
    }

    fn in_dialog(&self, index: usize, method: &str, sequence: u32) -> Option<String> {
        let call = self.calls.get(index)?;
        let (run, port) = (self.run, self.caller_port);
        Some(format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{method}{run}-{index};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:c{index}@127.0.0.1:{port}>;tag=f{run}-{index}\r\nTo: {to}\r\nCall-ID: {run}-{index}@load\r\nCSeq: {sequence} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            target = call.target,
            to = call.to
        ))
    }

    /// Hangs a caller up.
    pub fn hang_up(&mut self, index: usize, now_ms: u64) {
        let Some(request) = self.in_dialog(index, "BYE", 2) else { return };
        let Some(call) = self.calls.get_mut(index).filter(|call| call.state == State::Up) else { return };
        call.state = State::Ending;
        call.next_repeat_ms = now_ms + T1_MS;
        call.repeat_ms = T1_MS;
        call.deadline_ms = now_ms + GIVE_UP_MS;
        let _ = self.callers.send_to(request.as_bytes(), self.node);
        call.request = request;
    }

    /// Hangs an agent up.
    pub fn agent_hangs_up(&mut self, call_id: &str) {
        let port = self.agent_port;
        let Some(call) = self.agent_calls.get_mut(call_id).filter(|call| !call.ended) else { return };
        call.ended = true;
        let request = format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKb{call_id};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
            target = call.target,
            from = call.to,
            to = call.from
        );
        let _ = self.agents.send_to(request.as_bytes(), call.peer);
        let user = call.user.clone();
        self.agent_ended.push(user);
    }

    /// Receives what has come and repeats what was not answered.
    pub fn tick(&mut self, now_ms: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Ok((length, from)) = self.callers.recv_from(&mut buffer) {
            if let Ok(message) = std::str::from_utf8(&buffer[..length]) {
                self.at_callers(message, from, now_ms);
            }
        }
        while let Ok((length, from)) = self.agents.recv_from(&mut buffer) {
            if let Ok(message) = std::str::from_utf8(&buffer[..length]) {
                self.at_agents(message, from, now_ms);
            }
        }
        self.buffer = buffer;
        if now_ms.is_multiple_of(20) {
            self.repeat(now_ms);
        }
    }

    fn repeat(&mut self, now_ms: u64) {
        for call in self.calls.iter_mut().skip(self.first_open) {
            if !matches!(call.state, State::Inviting | State::Ending) || now_ms < call.next_repeat_ms {
                continue;
            }
            if now_ms >= call.deadline_ms {
                call.state = State::Failed(408);
                call.ended_ms = Some(now_ms);
                continue;
            }
            if !call.request.is_empty() {
                let _ = self.callers.send_to(call.request.as_bytes(), self.node);
            }
            call.repeat_ms = (call.repeat_ms * 2).min(4_000);
            call.next_repeat_ms = now_ms + call.repeat_ms;
        }
        for call in self.agent_calls.values_mut() {
            if !call.acked && !call.ended && now_ms >= call.next_repeat_ms {
                let _ = self.agents.send_to(call.response.as_bytes(), call.peer);
                call.repeat_ms = (call.repeat_ms * 2).min(4_000);
                call.next_repeat_ms = now_ms + call.repeat_ms;
            }
        }
    }

    /// The index of a call of this run, from its Call-ID.
    fn index_of(&self, message: &str) -> Option<usize> {
        let id = header(message, "Call-ID").or_else(|| header(message, "i"))?;
        let (run, index) = id.strip_suffix("@load")?.split_once('-')?;
        (run.parse::<u32>().ok()? == self.run).then_some(())?;
        index.parse().ok().filter(|index| *index < self.calls.len())
    }

    fn at_callers(&mut self, message: &str, from: SocketAddr, now_ms: u64) {
        let Some(index) = self.index_of(message) else { return };
        let Some(status) =
            message.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|text| text.parse::<u16>().ok())
        else {
            if message.starts_with("BYE ") {
                self.respond(false, message, from, "200 OK", "", "");
                if let Some(call) =
                    self.calls.get_mut(index).filter(|call| matches!(call.state, State::Up | State::Ending))
                {
                    call.state = State::Done { by_node: true };
                    call.ended_ms = Some(now_ms);
                }
            }
            return;
        };
        let method = header(message, "CSeq").and_then(|cseq| cseq.split(' ').nth(1)).unwrap_or_default();
        match (method, status) {
            ("INVITE", 100..=199) => {
                // A provisional answer ends the repeats (RFC 3261 §17.1.1.2).
                self.calls[index].request.clear();
            }
            ("INVITE", 200..=299) => self.answer(index, message, now_ms),
            ("INVITE", _) => {
                let to = header(message, "To").unwrap_or_default().to_string();
                let (run, port) = (self.run, self.caller_port);
                let call = &mut self.calls[index];
                let request_uri = call.target.clone();
                let ack = format!(
                    "ACK {request_uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKi{run}-{index};rport\r\nMax-Forwards: 70\r\n\
                     From: <sip:c{index}@127.0.0.1:{port}>;tag=f{run}-{index}\r\nTo: {to}\r\nCall-ID: {run}-{index}@load\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
                );
                let _ = self.callers.send_to(ack.as_bytes(), self.node);
                if call.state == State::Inviting {
                    call.state = State::Failed(status);
                    call.ended_ms = Some(now_ms);
                }
            }
            ("BYE", 200..=299 | 481) => {
                let call = &mut self.calls[index];
                if call.state == State::Ending {
                    call.state = State::Done { by_node: false };
                    call.ended_ms = Some(now_ms);
                }
            }
            _ => self.unexpected += 1,
        }
    }

    fn answer(&mut self, index: usize, message: &str, now_ms: u64) {
        let call = &mut self.calls[index];
        if call.state == State::Inviting {
            call.state = State::Up;
            call.answered_ms = Some(now_ms);
            call.rtp = media(message);
            call.to = header(message, "To").unwrap_or_default().to_string();
            if let Some(contact) = header(message, "Contact").or_else(|| header(message, "m")) {
                call.target = uri(contact).to_string();
            }
        }
        // A repeated 200 is acknowledged again.
        if let Some(ack) = self.in_dialog(index, "ACK", 1) {
            let _ = self.callers.send_to(ack.as_bytes(), self.node);
        }
    }

    fn respond(
        &mut self,
        at_agents: bool,
        request: &str,
        to: SocketAddr,
        status: &str,
        tag: &str,
        body: &str,
    ) -> String {
        let port = if at_agents { self.agent_port } else { self.caller_port };
        let mut to_line = copied(request, "To");
        if !tag.is_empty() && !to_line.contains(";tag=") {
            to_line = format!("{};tag={tag}\r\n", to_line.trim_end());
        }
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let response = format!(
            "SIP/2.0 {status}\r\n{}{}{}{to_line}{}{}Contact: <sip:load@127.0.0.1:{port}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            copied(request, "Via"),
            copied(request, "Record-Route"),
            copied(request, "From"),
            copied(request, "Call-ID"),
            copied(request, "CSeq"),
            body.len()
        );
        let socket = if at_agents { &self.agents } else { &self.callers };
        let _ = socket.send_to(response.as_bytes(), to);
        response
    }

    fn at_agents(&mut self, message: &str, from: SocketAddr, now_ms: u64) {
        let Some(id) = header(message, "Call-ID").map(str::to_string) else { return };
        let method = message.split(' ').next().unwrap_or_default();
        match method {
            "INVITE" => {
                if let Some(call) = self.agent_calls.get(&id) {
                    let _ = self.agents.send_to(call.response.as_bytes(), from);
                    return;
                }
                let tag = format!("a{}", self.agent_calls.len());
                self.respond(true, message, from, "180 Ringing", &tag, "");
                let response = self.respond(true, message, from, "200 OK", &tag, &sdp(self.rtp_ports[1], 1));
                let called = message.split(' ').nth(1).map(user).unwrap_or_default().to_string();
                let caller = header(message, "From").unwrap_or_default();
                if let Some(rtp) = media(message) {
                    self.answered.push(Answered {
                        call_id: id.clone(),
                        user: called.clone(),
                        from: user(caller).to_string(),
                        rtp,
                        at_ms: now_ms,
                    });
                }
                let call = AgentCall {
                    user: called,
                    acked: false,
                    next_repeat_ms: now_ms + T1_MS,
                    repeat_ms: T1_MS,
                    peer: from,
                    from: caller.to_string(),
                    to: header(&response, "To").unwrap_or_default().to_string(),
                    target: header(message, "Contact").map(uri).unwrap_or_default().to_string(),
                    ended: false,
                    old: false,
                    response,
                };
                self.agent_calls.insert(id, call);
            }
            "ACK" => {
                if let Some(call) = self.agent_calls.get_mut(&id) {
                    call.acked = true;
                }
            }
            "BYE" | "CANCEL" | "OPTIONS" => {
                self.respond(true, message, from, "200 OK", "o", "");
                if method == "BYE"
                    && let Some(call) = self.agent_calls.get_mut(&id).filter(|call| !call.ended)
                {
                    call.ended = true;
                    call.acked = true;
                    let user = call.user.clone();
                    self.agent_ended.push(user);
                }
            }
            _ => {}
        }
    }

    /// Drops what was kept of a call that is over, for repetitions: of this one, and of agents'
    /// calls that ended long before.
    pub fn forget(&mut self, index: usize) {
        if let Some(call) = self.calls.get_mut(index) {
            (call.request, call.to, call.target) = Default::default();
        }
        while self.calls.get(self.first_open).is_some_and(|call| call.request.is_empty() && call.target.is_empty()) {
            self.first_open += 1;
        }
        if index % 1_000 == 999 {
            self.agent_calls.retain(|_, call| !call.ended || !std::mem::replace(&mut call.old, true));
        }
    }

    /// Callers in this state.
    pub fn count(&self, wanted: impl Fn(State) -> bool) -> usize {
        self.calls.iter().filter(|call| wanted(call.state)).count()
    }

    /// INVITE to 200 of all answered calls, milliseconds, sorted.
    pub fn setup_times_ms(&self) -> Vec<u64> {
        let mut times: Vec<u64> =
            self.calls.iter().filter_map(|call| Some(call.answered_ms? - call.started_ms)).collect();
        times.sort_unstable();
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_apart() {
        let message = "SIP/2.0 200 OK\r\nVia: a\r\nvia: b\r\nTo: \"x\" <sip:7@h:1;p>;tag=9\r\nContact:<sip:c@127.0.0.1:9>\r\n\r\nv=0\r\n\
                       c=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\nTo: body\r\n";
        assert_eq!(header(message, "contact").map(uri), Some("sip:c@127.0.0.1:9"));
        assert_eq!(copied(message, "Via"), "Via: a\r\nvia: b\r\n");
        assert_eq!(user(header(message, "To").unwrap()), "7");
        assert_eq!(media(message), Some("127.0.0.1:4000".parse().unwrap()));
        assert_eq!(uri("sip:x@y;tag=1"), "sip:x@y");
    }

    #[test]
    fn callers_and_agents_of_the_tool_understand_each_other() {
        let mut sip = Sip::new("127.0.0.1:1".parse().unwrap(), 0, 0, [1_000, 1_001]).unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        (sip.caller_port, sip.agent_port) = (port(&sip.callers), port(&sip.agents));
        sip.set_node(SocketAddr::from((Ipv4Addr::LOCALHOST, sip.agent_port)));
        sip.call("700", 0);
        for now in 0..50 {
            sip.tick(now);
        }
        assert_eq!((sip.calls[0].state, sip.answered.len()), (State::Up, 1));
        assert_eq!(sip.calls[0].rtp, Some("127.0.0.1:1001".parse().unwrap()));
        assert!(sip.agent_calls.values().all(|call| call.acked));
        sip.hang_up(0, 100);
        for now in 100..150 {
            sip.tick(now);
        }
        assert_eq!(sip.calls[0].state, State::Done { by_node: false });
        assert_eq!(sip.agent_ended, ["700"]);
    }
}
