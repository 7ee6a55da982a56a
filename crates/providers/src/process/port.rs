//! Which port a process is told to listen on.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::provider::ProviderError;

/// Tries for a port that no other process of ours was given.
const TRIES_MAX: usize = 64;

/// The port for the next start: the named one if nobody listens there, or the one of the last
/// start, or a free one that is not among `taken`.
pub(super) fn choose(
    named: Option<u16>,
    remembered: Option<u16>,
    taken: &BTreeSet<u16>,
) -> Result<u16, ProviderError> {
    if let Some(port) = named {
        // Else a probe would greet a stranger, and the visitors would be sent to it.
        return if is_used(port) {
            Err(ProviderError::Refused(format!("port {port} is used by another process")))
        } else {
            Ok(port)
        };
    }
    if let Some(port) = remembered.filter(|port| !taken.contains(port) && !is_used(*port)) {
        return Ok(port);
    }
    find_free(taken).map_err(|error| ProviderError::Refused(format!("no free port: {error}")))
}

fn is_used(port: u16) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn find_free(taken: &BTreeSet<u16>) -> io::Result<u16> {
    for _ in 0..TRIES_MAX {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if !taken.contains(&port) {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_port_that_is_used_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let refused = choose(Some(port), None, &BTreeSet::new());
        assert_eq!(
            refused,
            Err(ProviderError::Refused(format!("port {port} is used by another process")))
        );
        drop(listener);
        assert_eq!(choose(Some(port), None, &BTreeSet::new()), Ok(port));
    }

    #[test]
    fn the_remembered_port_is_used_again_unless_it_is_gone() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let used = listener.local_addr().unwrap().port();
        let other = choose(None, Some(used), &BTreeSet::new()).unwrap();
        assert_ne!(other, used);
        drop(listener);
        assert_eq!(choose(None, Some(used), &BTreeSet::new()), Ok(used));
        assert_ne!(choose(None, Some(used), &[used].into()), Ok(used));
    }
}
