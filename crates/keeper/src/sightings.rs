//! The last look at one workload, and those who listen for the next.

use dormouse_providers::Sighting;
use tokio::sync::watch;

/// The channel is made when somebody listens, for it is larger than all else that is known of a
/// workload, and nobody listens for one that sleeps.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    last: Option<Sighting>,
    listeners: Option<watch::Sender<Option<Sighting>>>,
}

impl Sightings {
    pub(crate) fn last(&self) -> Option<&Sighting> {
        self.last.as_ref()
    }

    /// Takes a look, unless it began before the last one.
    pub(crate) fn see(&mut self, sighting: Sighting) {
        if self.last.as_ref().is_none_or(|last| last.as_of <= sighting.as_of) {
            self.replace(sighting);
        }
    }

    /// Takes the look that an accepted answer came with.
    pub(crate) fn replace(&mut self, sighting: Sighting) {
        self.last = Some(sighting);
        self.listeners.take_if(|listeners| listeners.receiver_count() == 0);
        if let Some(listeners) = &self.listeners {
            listeners.send_replace(self.last.clone());
        }
    }

    /// What was seen last, and every look from now on.
    pub(crate) fn listen(&mut self) -> watch::Receiver<Option<Sighting>> {
        let last = &self.last;
        self.listeners.get_or_insert_with(|| watch::Sender::new(last.clone())).subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dormouse_core::Condition;
    use tokio::time::Instant;

    use super::*;

    fn stopped(as_of: Instant, exit_code: i32) -> Sighting {
        let condition = Condition::Stopped { exit_code: Some(exit_code) };
        Sighting { condition, as_of, addresses: Vec::new(), default_port: None }
    }

    #[test]
    fn a_listener_sees_the_last_look_and_every_later_one() {
        let (now, mut sightings) = (Instant::now(), Sightings::default());
        sightings.see(stopped(now, 1));
        let mut listener = sightings.listen();
        assert_eq!(*listener.borrow_and_update(), Some(stopped(now, 1)));
        let later = now + Duration::from_secs(1);
        sightings.see(stopped(later, 2));
        assert!(listener.has_changed().is_ok_and(|changed| changed));
        sightings.see(stopped(now, 3));
        assert_eq!(
            *listener.borrow_and_update(),
            Some(stopped(later, 2)),
            "an earlier look is old"
        );
        assert_eq!(sightings.last(), Some(&stopped(later, 2)));
    }

    #[test]
    fn nothing_is_kept_for_listeners_that_have_gone() {
        let (now, mut sightings) = (Instant::now(), Sightings::default());
        drop(sightings.listen());
        sightings.see(stopped(now, 1));
        assert!(sightings.listeners.is_none());
        assert_eq!(*sightings.listen().borrow(), Some(stopped(now, 1)));
    }
}
