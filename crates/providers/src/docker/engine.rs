//! One engine and what is asked of it: inspects that become sightings, listings, and who is worth
//! an inspect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use dormouse_core::{Condition, RunId, limits};
use futures_util::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::address;
use super::client::{Call, CallError, Client};
use super::endpoint::DockerEndpoint;
use super::json::{ContainerJson, EntryJson, ListingJson};
use super::sighting;
use super::vantage::Vantage;
use crate::{Found, Sighting, Target};

/// One engine.
pub(super) struct Engine {
    pub(super) client: Arc<Client>,
    endpoint: DockerEndpoint,
    /// The network whose addresses come first.
    network: Option<String>,
    vantage: Mutex<Option<Arc<Vantage>>>,
    followed: watch::Sender<Arc<BTreeSet<Target>>>,
    /// Rests that were ordered and whose end nobody has seen.
    leaving: Mutex<BTreeMap<Target, Leaving>>,
    /// The last target that an event was about.
    pulse: watch::Sender<Option<Target>>,
    /// The feed is to make sure that the engine answers.
    pub(super) doubt: Notify,
}

/// A run that has been told to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) run: RunId,
    /// If it still runs by then, the engine has forgotten the order.
    pub(super) until: Instant,
}

/// One look at one container, in full.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) container: ContainerJson,
    pub(super) sighting: Sighting,
}

impl Look {
    /// Where to ask something of exactly this container.
    pub(super) fn path(&self, what: &str) -> String {
        format!("/containers/{}/{what}", encoded(&self.container.id))
    }
}

impl Engine {
    pub(super) fn new(client: Client, endpoint: DockerEndpoint, network: Option<String>) -> Self {
        Self {
            client: Arc::new(client),
            endpoint,
            network,
            vantage: Mutex::new(None),
            followed: watch::Sender::default(),
            leaving: Mutex::default(),
            pulse: watch::Sender::default(),
            doubt: Notify::new(),
        }
    }

    /// Whether the engine answers at all.
    pub(super) async fn ping(&self, deadline: Instant) -> Result<(), CallError> {
        let ping = Call::get("ping", "/_ping".to_owned());
        let alive_by = deadline.min(Instant::now() + limits::ENGINE_PING_MAX);
        match self.client.command(&ping, alive_by).await {
            // A refusal is a sign of life too: some engines stand behind a proxy that lets only so
            // much through.
            Ok(_) | Err(CallError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn endpoint(&self) -> &DockerEndpoint {
        &self.endpoint
    }

    /// Looks at the container of that name; `None` when there is none.
    pub(super) async fn look(
        &self,
        target: &Target,
        deadline: Instant,
    ) -> Result<Option<Look>, CallError> {
        if !is_name(target.as_str()) {
            return Ok(None);
        }
        let as_of = Instant::now();
        let container = match self.inspect(target.as_str(), deadline).await {
            Ok(container) => container,
            Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The engine takes a name for the beginning of an id when nothing bears it.
        if container.name.trim_start_matches('/') != target.as_str() {
            return Ok(None);
        }
        let sighting = self.sighting(&container, as_of, deadline).await?;
        Ok((sighting.condition != Condition::Absent).then_some(Look { container, sighting }))
    }

    /// The same as the feed shows it; absence is a sighting too.
    pub(super) async fn find(
        &self,
        target: &Target,
        deadline: Instant,
    ) -> Result<Found, CallError> {
        let as_of = Instant::now();
        let target = target.clone();
        Ok(match self.look(&target, deadline).await? {
            Some(look) => {
                let labels = sighting::labels(&look.container.config.labels);
                Found { target, labels, sighting: look.sighting }
            }
            None => Found { target, labels: BTreeMap::new(), sighting: Sighting::absent(as_of) },
        })
    }

    /// What the engine says of whatever it takes this for: a name, an id, the beginning of one.
    pub(super) async fn inspect(
        &self,
        reference: &str,
        deadline: Instant,
    ) -> Result<ContainerJson, CallError> {
        let call = Call::get("inspect", format!("/containers/{}/json", encoded(reference)));
        self.client.fetch(&call, deadline).await
    }

    /// Everything the engine has, as a listing shows it.
    pub(super) async fn entries(&self, deadline: Instant) -> Result<Vec<EntryJson>, CallError> {
        let mut call = Call::get("list", "/containers/json?all=1".to_owned());
        call.bytes_max = limits::ENGINE_LISTING_BYTES_MAX;
        let listing: ListingJson = self.client.fetch(&call, deadline).await?;
        Ok(listing.0.into_iter().map(|entry| entry.0).collect())
    }

    /// Everything the engine has; what is worth it is inspected.
    pub(super) async fn listing(&self, deadline: Instant) -> Result<Vec<Found>, CallError> {
        let as_of = Instant::now();
        let entries = self.entries(deadline).await?;
        let looks = entries.into_iter().filter_map(|entry| {
            let target = Target::new(sighting::entry_name(&entry)?);
            Some(self.found_in_listing(target, entry, as_of, deadline))
        });
        let mut looks =
            futures_util::stream::iter(looks).buffer_unordered(limits::ENGINE_LOOKS_MAX);
        let mut found = Vec::new();
        while let Some(look) = looks.next().await {
            let look = look?;
            if look.sighting.condition != Condition::Absent {
                found.push(look);
            }
        }
        Ok(found)
    }

    /// Where dormouse stands towards the engine, as far as it was found out.
    pub(super) async fn vantage(&self, deadline: Instant) -> Arc<Vantage> {
        if let Some(known) = self.vantage_slot().clone() {
            return known;
        }
        self.find_vantage(deadline).await
    }

    /// Finds out anew where dormouse stands: a container can be given another network.
    pub(super) async fn find_vantage(&self, deadline: Instant) -> Arc<Vantage> {
        let found = Arc::new(Vantage::find(self, deadline).await);
        *self.vantage_slot() = Some(Arc::clone(&found));
        found
    }

    pub(super) fn follow(&self, targets: BTreeSet<Target>) {
        self.followed.send_replace(Arc::new(targets));
    }

    /// Who is followed, and when that changes.
    pub(super) fn followed(&self) -> watch::Receiver<Arc<BTreeSet<Target>>> {
        self.followed.subscribe()
    }

    /// Whether somebody wants to know more of it than a listing says.
    pub(super) fn is_of_interest<'a>(
        &self,
        target: &Target,
        labels: impl Iterator<Item = &'a String>,
    ) -> bool {
        sighting::has_own_label(labels) || self.followed.borrow().contains(target)
    }

    /// Says that an event was about this target.
    pub(super) fn beat(&self, target: &Target) {
        self.pulse.send_replace(Some(target.clone()));
    }

    pub(super) fn pulse(&self) -> watch::Receiver<Option<Target>> {
        self.pulse.subscribe()
    }

    /// Whether that run has been told to end and may still be ending.
    pub(super) fn is_leaving(&self, target: &Target, run: RunId) -> bool {
        let mut leaving = self.leaving();
        let now = Instant::now();
        leaving.retain(|_, entry| entry.until > now);
        leaving.get(target).is_some_and(|entry| entry.run == run)
    }

    pub(super) fn leaving(&self) -> MutexGuard<'_, BTreeMap<Target, Leaving>> {
        self.leaving.lock().expect("nobody panics while it is held")
    }

    async fn found_in_listing(
        &self,
        target: Target,
        entry: EntryJson,
        as_of: Instant,
        deadline: Instant,
    ) -> Result<Found, CallError> {
        if self.is_of_interest(&target, entry.labels.keys()) {
            match self.find(&target, deadline).await {
                Ok(found) => return Ok(found),
                // One container that the engine cannot show must not hide all the others.
                Err(error @ (CallError::Refused { .. } | CallError::TooLong { .. })) => {
                    tracing::warn!(%target, %error, "Listed a container without a look at it");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found_entry(target, &entry, as_of))
    }

    async fn sighting(
        &self,
        container: &ContainerJson,
        as_of: Instant,
        deadline: Instant,
    ) -> Result<Sighting, CallError> {
        let condition = sighting::condition(container);
        let default_port = address::default_port(container);
        if !matches!(condition, Condition::Running { .. }) {
            return Ok(Sighting { condition, as_of, addresses: Vec::new(), default_port });
        }
        let lender = self.lender(container, deadline).await?;
        let vantage = self.vantage(deadline).await;
        let owner = lender.as_ref().unwrap_or(container);
        let addresses = address::addresses(owner, &vantage, self.network.as_deref());
        Ok(Sighting { condition, as_of, addresses, default_port })
    }

    /// The container whose network this one shares, if it does.
    async fn lender(
        &self,
        container: &ContainerJson,
        deadline: Instant,
    ) -> Result<Option<ContainerJson>, CallError> {
        let Some(lender) = container.host_config.network_mode.strip_prefix("container:") else {
            return Ok(None);
        };
        match self.inspect(lender, deadline).await {
            Ok(lender) => Ok(Some(lender)),
            // It was removed: what shared its network has none.
            Err(CallError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn vantage_slot(&self) -> MutexGuard<'_, Option<Arc<Vantage>>> {
        self.vantage.lock().expect("nobody panics while it is held")
    }
}

/// A container as a listing alone shows it.
pub(super) fn found_entry(target: Target, entry: &EntryJson, as_of: Instant) -> Found {
    let condition = sighting::entry_condition(entry);
    let tcp = entry.ports.iter().filter(|port| port.0.protocol == "tcp");
    let ports = tcp.filter_map(|port| u16::try_from(port.0.private_port).ok());
    let default_port = ports.filter(|port| *port != 0).min();
    let sighting = Sighting { condition, as_of, addresses: Vec::new(), default_port };
    Found { target, labels: sighting::labels(&entry.labels), sighting }
}

/// Where to ask something of what bears this name and of nothing else. `None` where the name may be
/// the beginning of an id, for which the engine takes it when nothing bears it.
pub(super) fn path_by_name(target: &Target, what: &str) -> Option<String> {
    let name = target.as_str();
    let is_like_an_id = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_name(name) && !is_like_an_id).then(|| format!("/containers/{name}/{what}"))
}

/// Whether an engine would let anything be called that; such a name can stand in a path.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Any text as it may stand in a path, where it is not all of a step, or in a query.
pub(super) fn encoded(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{encoded, is_name, path_by_name};
    use crate::Target;

    #[test]
    fn only_what_an_engine_takes_for_a_name_is_asked_for() {
        for name in ["my-app_1.x", "0", "a..b"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "..", "-x", "a/../b", "a?b", "ü", "a\r\n", "a b"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_may_be_the_beginning_of_an_id_is_not_asked_for_unseen() {
        let path = |name| path_by_name(&Target::new(name), "unpause");
        assert_eq!(path("web").as_deref(), Some("/containers/web/unpause"));
        for name in ["db", "cafe", "0a1", "", "a/../b"] {
            assert_eq!(path(name), None, "{name}");
        }
    }

    #[test]
    fn a_text_cannot_leave_its_place_in_a_query() {
        assert_eq!(encoded("SIGTERM"), "SIGTERM");
        assert_eq!(encoded("a&t=0/../ü\n"), "a%26t%3D0%2F..%2F%C3%BC%0A");
    }
}
