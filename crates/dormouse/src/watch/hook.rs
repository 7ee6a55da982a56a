//! The hooks of the file: a webhook or a command, each told of the transition.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_core::watch::State;
use dormouse_keeper::probe::{Probe, command, webhook};
use dormouse_keeper::watch::Change;
use dormouse_wire::{WatchChange, WatchState};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::api::rfc3339;
use crate::config::HookSpec;

/// What a webhook has to answer.
const TAKEN: std::ops::RangeInclusive<u16> = 200..=299;

/// The hook that the file describes.
pub(super) fn of(
    spec: &HookSpec,
    withheld: &BTreeSet<String>,
) -> impl Fn(Change) -> BoxFuture<'static, ()> + Send + Sync + use<> {
    let deed = Arc::new(Deed::of(spec, withheld));
    move |change| {
        let deed = Arc::clone(&deed);
        async move {
            if let Err(error) = deed.run(&change).await {
                tracing::warn!(watch = %change.name, to = change.to.name(), error, "A hook failed");
            }
        }
        .boxed()
    }
}

/// A transition as somebody outside sees it.
pub(crate) fn notice(change: &Change) -> WatchChange {
    WatchChange {
        watch: change.name.to_string(),
        from: word(change.from),
        state: word(change.to),
        at: rfc3339(change.at_unix_ms),
        error: change.error.as_deref().map(str::to_owned),
    }
}

/// A state as somebody outside sees it.
pub(crate) fn word(state: State) -> WatchState {
    match state {
        State::Pending => WatchState::Pending,
        State::Up => WatchState::Up,
        State::Down => WatchState::Down,
    }
}

enum Deed {
    Webhook(Box<Probe>),
    Command { words: Vec<String>, withheld: BTreeSet<String> },
}

impl Deed {
    fn of(spec: &HookSpec, withheld: &BTreeSet<String>) -> Self {
        match (spec, spec.page()) {
            (HookSpec::Command(words), _) => {
                Self::Command { words: words.clone(), withheld: withheld.clone() }
            }
            (HookSpec::Webhook(_), page) => {
                let page = page.expect("the file's reader takes only pages for webhooks");
                Self::Webhook(Box::new(Probe::new(page).expect_status(TAKEN)))
            }
        }
    }

    async fn run(&self, change: &Change) -> Result<(), String> {
        let notice = notice(change);
        match self {
            Self::Webhook(page) => {
                let json = serde_json::to_vec(&notice).expect("texts are JSON");
                webhook::post(page, Bytes::from(json)).await.map_err(|error| error.to_string())
            }
            Self::Command { words, withheld } => {
                // An env var cannot hold a zero, which a program may well have said.
                let error = notice.error.as_deref().unwrap_or_default().replace('\0', " ");
                let env = [
                    ("DORMOUSE_WATCH", notice.watch.as_str()),
                    ("DORMOUSE_STATE", notice.state.as_str()),
                    ("DORMOUSE_FROM", notice.from.as_str()),
                    ("DORMOUSE_AT", notice.at.as_str()),
                    ("DORMOUSE_ERROR", error.as_str()),
                ];
                command::run(words, withheld, &env).await.map_err(|error| error.to_string())
            }
        }
    }
}
