//! What a watch is made of: a name, a policy, a probe and hooks.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use dormouse_core::watch::{Policy, State};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// A probe: one attempt, with why it failed as a sentence.
pub(super) type ProbeFn = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Arc<str>>> + Send + Sync>;

/// A hook: what follows a transition.
pub(super) type HookFn = Arc<dyn Fn(Change) -> BoxFuture<'static, ()> + Send + Sync>;

/// Everything that a watch needs.
#[derive(Clone)]
pub struct Spec {
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
    pub(super) probe: ProbeFn,
    pub(super) on_ready: Option<HookFn>,
    pub(super) on_down: Option<HookFn>,
    pub(super) voice: Voice,
}

/// Whether transitions are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    Loud,
    /// Whoever made the watch tells of what it finds.
    Silent,
}

/// A transition, as a hook is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub name: Arc<str>,
    /// The state it left.
    pub from: State,
    /// The state it entered: up for `on_ready`, down for `on_down`.
    pub to: State,
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// Why, where it fell.
    pub error: Option<Arc<str>>,
}

impl Spec {
    /// A watch with the default policy and no hooks. `probe` makes one attempt each time it is
    /// called; the watch bounds how long it may take, drops it when that is over, and takes a panic
    /// for a failure.
    pub fn new<P, F, E>(name: impl Into<Arc<str>>, probe: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let probe: ProbeFn = Arc::new(move || {
            let attempt = probe();
            async move { attempt.await.map_err(|error| bounded(&error.to_string())) }.boxed()
        });
        let name = name.into();
        let (policy, voice) = (Policy::default(), Voice::Loud);
        Self { name, policy, probe, on_ready: None, on_down: None, voice }
    }

    /// Probes by this policy.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Logs no transition: whoever made the watch tells of what it finds.
    #[must_use]
    pub fn silent(self) -> Self {
        Self { voice: Voice::Silent, ..self }
    }

    /// Runs `hook` each time the service comes up, the first time included.
    #[must_use]
    pub fn on_ready<H, F>(self, hook: H) -> Self
    where
        H: Fn(Change) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self { on_ready: Some(Arc::new(move |change| hook(change).boxed())), ..self }
    }

    /// Runs `hook` each time the service goes down: after a fall, and when its startup tries are
    /// used up. Stopping the watch is neither.
    #[must_use]
    pub fn on_down<H, F>(self, hook: H) -> Self
    where
        H: Fn(Change) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self { on_down: Some(Arc::new(move |change| hook(change).boxed())), ..self }
    }
}

/// As much of a failure's text as a watch keeps.
pub(super) fn bounded(text: &str) -> Arc<str> {
    let mut end = dormouse_core::limits::WATCH_ERROR_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}
