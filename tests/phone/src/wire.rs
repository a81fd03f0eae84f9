//! The phone's SIP socket: datagrams, or one connection to the server.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, UdpSocket};

use hotline_sip::api::{Path, Transport};
use hotline_sip::{Frame, Framer};

use crate::config::PhoneConfig;
use crate::phone::PhoneError;

pub(crate) enum Wire {
    Udp {
        socket: UdpSocket,
        buffer: Vec<u8>,
    },
    Tcp {
        reader: OwnedReadHalf,
        writer: OwnedWriteHalf,
        framer: Framer,
        buffer: Vec<u8>,
    },
    /// The connection broke; nothing can be sent or will come.
    Closed,
}

/// What came.
pub(crate) enum Came {
    Message { from: SocketAddr, bytes: Vec<u8> },
    Closed,
    Nothing,
}

impl Wire {
    /// Binds, and for TCP connects to the server.
    pub async fn open(config: &PhoneConfig) -> Result<(Self, SocketAddr), PhoneError> {
        let wrong = |source| PhoneError::Bind { address: config.bind, source };
        if !config.tcp {
            let socket = UdpSocket::bind(config.bind).await.map_err(wrong)?;
            let local = socket.local_addr().map_err(wrong)?;
            return Ok((Self::Udp { socket, buffer: vec![0; 65_536] }, local));
        }
        let socket = if config.bind.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(wrong)?;
        socket.bind(config.bind).map_err(wrong)?;
        let unreachable = |source| PhoneError::Connect { address: config.server, source };
        let stream = socket.connect(config.server).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let local = stream.local_addr().map_err(unreachable)?;
        let (reader, writer) = stream.into_split();
        Ok((Self::Tcp { reader, writer, framer: Framer::default(), buffer: vec![0; 16_384] }, local))
    }

    /// The path of requests to the server, or of what came from `remote`.
    pub fn path(&self, local: SocketAddr, remote: SocketAddr) -> Path {
        match self {
            Self::Udp { .. } => Path { transport: Transport::Udp, local, remote, connection: 0 },
            // The one connection there is.
            Self::Tcp { .. } | Self::Closed => Path { transport: Transport::Tcp, local, remote, connection: 1 },
        }
    }

    /// Waits for one message; dropping the future loses nothing.
    pub async fn receive(&mut self) -> Came {
        match self {
            // An error here is an earlier datagram's unreachable port.
            Self::Udp { socket, buffer } => match socket.recv_from(buffer).await {
                Ok((length, from)) => Came::Message { from, bytes: buffer.get(..length).unwrap_or_default().to_vec() },
                Err(_) => Came::Nothing,
            },
            Self::Tcp { reader, framer, buffer, .. } => {
                let Ok(from) = reader.peer_addr() else { return Came::Closed };
                loop {
                    match framer.next_frame() {
                        Ok(Some(Frame::Message(bytes))) => return Came::Message { from, bytes: bytes.to_vec() },
                        Ok(Some(Frame::Ping)) => {}
                        Ok(None) => match reader.read(buffer).await {
                            Ok(0) | Err(_) => return Came::Closed,
                            Ok(length) => framer.push(buffer.get(..length).unwrap_or_default()),
                        },
                        Err(_) => return Came::Closed,
                    }
                }
            }
            Self::Closed => std::future::pending().await,
        }
    }

    /// Sends one message; what cannot be sent is lost like a datagram.
    pub async fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        match self {
            Self::Udp { socket, .. } => drop(socket.send_to(bytes, to).await),
            Self::Tcp { writer, .. } => drop(writer.write_all(bytes).await),
            Self::Closed => {}
        }
    }
}
