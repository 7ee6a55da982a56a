//! One flow's own socket to its upstream, and the way back for the answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::drops::UdpDropped;
use super::flow::Flow;
use super::listener::Hall;
use super::socket::with_buffer;
use crate::gatekeeper::Gatekeeper;

/// A connected socket: the workload tells flows apart by its port, and the system tells it when
/// nobody listens.
#[derive(Debug)]
pub(super) struct Line {
    socket: UdpSocket,
    /// The opening to whose upstream it leads.
    pub(super) epoch: u64,
}

/// What became of one answer.
enum Passed {
    On,
    /// The listener's socket has no room for it yet.
    Late(Vec<u8>),
}

/// Answers that are passed on before others of the same thread have their turn.
const BURST: usize = 32;

impl Line {
    pub(super) fn connect(upstream: SocketAddr, epoch: u64) -> io::Result<Self> {
        let any: SocketAddr = match upstream {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(upstream)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, epoch })
    }

    /// Sends a datagram if the system takes it at once.
    pub(super) fn try_send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.try_send(datagram).map(drop)
    }

    /// Sends a datagram as soon as the system takes it.
    pub(super) async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram).await.map(drop)
    }

    /// Passes answers on until the socket tells of something else.
    pub(super) async fn relay<G: Gatekeeper>(
        &self,
        hall: &Hall<G>,
        flow: &Flow<G::Key>,
    ) -> io::Error {
        loop {
            if let Err(error) = self.relay_some(hall, flow).await {
                return error;
            }
        }
    }

    /// Passes on at least one answer.
    pub(super) async fn relay_some<G: Gatekeeper>(
        &self,
        hall: &Hall<G>,
        flow: &Flow<G::Key>,
    ) -> io::Result<()> {
        let mut passed = 0;
        while passed == 0 {
            let ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                self.take_error()?;
            }
            while passed < BURST {
                match self.pass_one(hall, flow) {
                    Ok(Passed::On) => {}
                    Ok(Passed::Late(answer)) => {
                        let sent = hall.listener.answer(&flow.peer(), &answer).await;
                        count_failed(hall, sent);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                passed += 1;
            }
        }
        Ok(())
    }

    /// What the system was told of an earlier datagram. It is nothing to read, so that nobody who
    /// waits for an answer learns of it.
    fn take_error(&self) -> io::Result<()> {
        let told = self.socket.try_io(Interest::ERROR, || match self.socket.take_error()? {
            Some(error) => Err(error),
            None => Err(io::ErrorKind::WouldBlock.into()),
        });
        match told {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            told => told,
        }
    }

    fn pass_one<G: Gatekeeper>(&self, hall: &Hall<G>, flow: &Flow<G::Key>) -> io::Result<Passed> {
        with_buffer(|buffer| {
            let length = self.socket.try_recv(buffer)?;
            let answer = &buffer[..length];
            let peer = flow.heard(Instant::now());
            match hall.listener.try_answer(&peer, answer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Ok(Passed::Late(answer.to_vec()))
                }
                sent => {
                    count_failed(hall, sent);
                    Ok(Passed::On)
                }
            }
        })
    }
}

fn count_failed<G: Gatekeeper>(hall: &Hall<G>, sent: io::Result<()>) {
    if let Err(error) = sent {
        hall.room.drops.count(UdpDropped::of(&error), 1);
    }
}
