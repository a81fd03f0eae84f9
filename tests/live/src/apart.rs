//! Nodes in network namespaces of their own, with the hotline's cloud, that can be cut off from everything.

use anyhow::{Context, Result, bail};
use hotline_net::Star;
use hotline_phone::{Phone, PhoneConfig};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::hotline::{Hotline, eventually, metric};

/// The nodes' SIP port.
const SIP: u16 = 5_060;
/// The nodes' health port.
const HEALTH: u16 = 9_060;
/// The cloud's door at the hub.
const CLOUD: u16 = 4_566;

/// Nodes at the rays of a star, phones and the cloud's door at its hub; all gone when dropped.
pub struct Apart {
    star: Star,
    nodes: Vec<Node>,
    door: Option<Door>,
}

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Apart {
    /// Takes the hotline's own nodes away and starts as many apart.
    pub fn start(hotline: &Hotline, nodes: u8) -> Result<Self> {
        for nth in 1..=nodes {
            hotline.command(&["node", "stop", &nth.to_string()])?;
        }
        let star = Star::new(nodes)?;
        let listener = star.hub.run(|| TcpListener::bind((Star::HUB, CLOUD)))?;
        let door = Some(Door::open(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, Hotline::cloud_port()?)))?);
        let mut apart = Self { star, nodes: Vec::new(), door };
        for nth in 0..nodes {
            let node = apart.node(hotline, nth)?;
            apart.nodes.push(node);
        }
        Ok(apart)
    }

    fn node(&self, hotline: &Hotline, nth: u8) -> Result<Node> {
        let address = Star::ray(nth);
        let folder = hotline.scratch(&format!("apart-{nth}"))?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut command = Command::new(hotline.program("media-node"));
        command
            .arg("--config")
            .arg(hotline.local().join("node.toml"))
            .envs([
                ("HOTLINE_NODE_NODE_DATA_DIR", folder.join("data").display().to_string()),
                ("HOTLINE_NODE_SIP_LISTEN", format!("udp:{address}:{SIP},tcp:{address}:{SIP}")),
                ("HOTLINE_NODE_SIP_WSS_LISTEN", String::new()),
                ("HOTLINE_NODE_SIP_TRUSTED", "10.78.0.0/16".into()),
                ("HOTLINE_NODE_MEDIA_BIND", address.to_string()),
                ("HOTLINE_NODE_MEDIA_PORTS", "20000-20999".into()),
                ("HOTLINE_NODE_HTTP_LISTEN", format!("{address}:{HEALTH}")),
                ("AWS_ENDPOINT_URL", format!("http://{}:{CLOUD}", Star::HUB)),
                ("AWS_ACCESS_KEY_ID", "test".into()),
                ("AWS_SECRET_ACCESS_KEY", "test".into()),
                ("AWS_REGION", "us-east-1".into()),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // Whatever is started from within a namespace belongs to it.
        let ray = self.star.rays.get(usize::from(nth)).context("ray")?;
        let node = Node(ray.run(move || command.spawn()).context("cannot start the media node")?);
        eventually(Duration::from_secs(20), || {
            let ready = self.http(nth, "/readyz")?;
            if ready.starts_with("HTTP/1.1 200") { Ok(()) } else { bail!("node {nth} is not ready: {ready}") }
        })?;
        Ok(node)
    }

    /// The SIP address of the `nth` node, from 0.
    pub fn sip(nth: u8) -> SocketAddr {
        SocketAddr::from((Star::ray(nth), SIP))
    }

    /// Cuts a node off from phones, cloud and other nodes.
    pub fn cut(&self, nth: u8) -> Result<()> {
        self.star.cut(nth)
    }

    /// Joins it again.
    pub fn mend(&self, nth: u8) -> Result<()> {
        self.star.mend(nth)
    }

    /// A phone at the hub; it runs with the caller's runtime.
    pub async fn phone(&self, node: SocketAddr, change: impl FnOnce(&mut PhoneConfig)) -> Result<Phone> {
        let mut config = PhoneConfig::new(SocketAddr::from((Star::HUB, 0)), node);
        change(&mut config);
        let runtime = tokio::runtime::Handle::current();
        let start = || self.star.hub.run(move || runtime.block_on(Phone::start(config)));
        Ok(tokio::task::block_in_place(start)?)
    }

    /// A figure of a node's own.
    pub fn metric(&self, nth: u8, name: &str) -> Result<u64> {
        metric(&self.http(nth, "/metrics")?, name)
    }

    fn http(&self, nth: u8, path: &str) -> Result<String> {
        let (address, path) = (SocketAddr::from((Star::ray(nth), HEALTH)), path.to_owned());
        self.star.hub.run(move || {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // They give their leases back while the door is open.
        for node in &self.nodes {
            // SAFETY: kill(2) takes plain integers.
            unsafe { libc::kill(node.0.id() as i32, libc::SIGTERM) };
        }
        for node in &mut self.nodes {
            let _ = eventually(Duration::from_secs(20), || match node.0.try_wait()? {
                Some(_) => Ok(()),
                None => bail!("the node still runs"),
            });
        }
        self.door = None;
    }
}

/// Connections to a socket in one namespace go on to an address in another.
struct Door {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Door {
    fn open(listener: TcpListener, to: SocketAddr) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((near, _)) => drop(pass(near, to)),
                    // Paces the loop; nothing depends on its length.
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Ok(Self { over, thread: Some(thread) })
    }
}

/// Copies both directions until either side closes.
fn pass(near: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    near.set_nonblocking(false)?;
    let far = TcpStream::connect(to)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
            let _ = from.shutdown(std::net::Shutdown::Both);
        });
    }
    Ok(())
}

impl Drop for Door {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
