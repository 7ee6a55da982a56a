//! The socket of a UDP listener: it tells which of the machine's addresses a datagram was sent to,
//! and answers from there. A client takes no answer that comes from another address than the one it
//! wrote to, and on a machine with several the system would choose by its routes.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use dormouse_core::limits::UDP_DATAGRAM_BYTES_MAX;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A bound socket of UDP clients.
#[derive(Debug)]
pub struct UdpListener {
    socket: UdpSocket,
    /// Datagrams that the system had dropped in all when it last told; it counts around.
    overrun: AtomicU32,
}

/// Who is at the other end, and which of our addresses they wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) client: SocketAddr,
    /// Absent where the socket has only one address, or the system does not know one of ours.
    pub(super) local: Option<IpAddr>,
}

/// One datagram, which lies in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) peer: Peer,
    pub(super) length: usize,
    /// Datagrams that the system has dropped since the one before, because nobody received them
    /// in time.
    pub(super) overrun: u32,
}

/// Room for the messages that a datagram brings along: two addresses at most, and a number.
const CONTROL_BYTES: usize = 128;

/// Bytes of datagrams that the system keeps until they are received.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

thread_local! {
    /// One buffer for all sockets of a thread: an idle flow keeps none.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; UDP_DATAGRAM_BYTES_MAX].into());
    static CONTROL: RefCell<Box<[u8]>> = RefCell::new(vec![0; CONTROL_BYTES].into());
}

/// Lends the buffer of this thread.
pub(super) fn with_buffer<T>(borrow: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| borrow(buffer))
}

impl UdpListener {
    /// Binds an address. Must be called within the runtime that is to read from it.
    ///
    /// # Errors
    /// When it is taken or not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // A herd comes all at once; the system grants what it allows.
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        if address.ip().is_unspecified() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        if address.ip().is_unspecified() && address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self { socket: UdpSocket::from_std(socket)?, overrun: AtomicU32::new(0) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until there is something to receive.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Receives one datagram into `buffer`, if there is one.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.try_io(Interest::READABLE, || self.receive_message(buffer))
    }

    /// Sends an answer, if the system takes it at once.
    pub(super) fn try_answer(&self, peer: &Peer, answer: &[u8]) -> io::Result<()> {
        self.socket.try_io(Interest::WRITABLE, || self.send_message(peer, answer))
    }

    /// Sends an answer as soon as the system takes it.
    pub(super) async fn answer(&self, peer: &Peer, answer: &[u8]) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, || self.send_message(peer, answer)).await
    }

    fn receive_message(&self, buffer: &mut [u8]) -> io::Result<Received> {
        CONTROL.with_borrow_mut(|control| {
            let mut parts = [IoSliceMut::new(buffer)];
            let fd = self.socket.as_raw_fd();
            let flags = MsgFlags::empty();
            let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(control), flags)?;
            let client = message.address.as_ref().and_then(client_of);
            let client = client.ok_or(io::ErrorKind::InvalidData)?;
            // A datagram without its messages is a datagram still.
            let told = message.cmsgs().ok().map(told_by).unwrap_or_default();
            let overrun = told
                .overrun
                .map_or(0, |now| now.wrapping_sub(self.overrun.swap(now, Ordering::Relaxed)));
            let peer = Peer { client, local: told.local };
            Ok(Received { peer, length: message.bytes, overrun })
        })
    }

    fn send_message(&self, peer: &Peer, answer: &[u8]) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        let to = SockaddrStorage::from(peer.client);
        let send = |from: &[ControlMessage<'_>]| {
            sendmsg(fd, &[IoSlice::new(answer)], from, MsgFlags::empty(), Some(&to))
        };
        match peer.local {
            None => send(&[]),
            Some(IpAddr::V4(local)) => {
                let source = in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
                let nowhere = in_addr { s_addr: 0 };
                let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: nowhere };
                send(&[ControlMessage::Ipv4PacketInfo(&info)])
            }
            Some(IpAddr::V6(local)) => {
                let source = in6_addr { s6_addr: local.octets() };
                let info = in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
                send(&[ControlMessage::Ipv6PacketInfo(&info)])
            }
        }?;
        Ok(())
    }
}

fn client_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|at| SocketAddr::V4((*at).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|at| SocketAddr::V6((*at).into())))
}

/// What the system tells beside a datagram.
#[derive(Default)]
struct Told {
    /// The address that an answer may come from.
    local: Option<IpAddr>,
    /// Every datagram that it has dropped so far.
    overrun: Option<u32>,
}

/// A socket of both families tells the address twice for IPv4, and only the message of IPv4 knows
/// our own where the datagram was a broadcast.
fn told_by(messages: impl Iterator<Item = ControlMessageOwned>) -> Told {
    let (mut v4, mut v6, mut overrun) = (None, None, None);
    for message in messages {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                v4 = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                v6 = Some(IpAddr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::RxqOvfl(dropped) => overrun = Some(dropped),
            _ => {}
        }
    }
    let local = v4.map(IpAddr::V4).or(v6);
    let local = local.filter(|address| !address.is_unspecified() && !address.is_multicast());
    Told { local, overrun }
}
