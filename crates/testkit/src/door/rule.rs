//! Which calls and events misbehave at the door, and how.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Which calls, or which lines of an event stream, misbehave, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    subject: Subject,
    word: Option<String>,
    containers: Vec<String>,
    skip: u32,
    times: Option<u32>,
    share: Option<Share>,
    fault: Fault,
}

/// How a call misbehaves, and what the same is for a line of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is passed on this much later. Lines behind it wait, too.
    Delay(Duration),
    /// It is done, and answered this much later. A line: as [`Self::Delay`].
    AnswerLate(Duration),
    /// It is accepted, not passed on, and never answered. A line: neither it nor any that follows
    /// on this stream ever comes.
    Hang,
    /// It is done, and never answered. A line: it comes, and none that follows.
    HangAfterDeed,
    /// It is not passed on; the connection ends without an answer. A line: it is lost.
    Drop,
    /// It is done; the connection ends without an answer. A line: it comes, and the stream ends.
    DropAfterDeed,
    /// It is sent to the engine twice, one after the other; the second answer is passed on. A line:
    /// it comes twice.
    Twice,
    /// Its answer waits until another call has been answered, or for a moment. A line: it comes
    /// after the one that follows, or a moment later.
    Overtaken,
    /// It is done; the connection ends in the middle of the body, whose full length was announced.
    /// A line: only its first half comes.
    Truncate,
    /// It is not passed on, and answered with this. A line: this comes instead of it.
    Answer {
        /// The status of the answer.
        status: u16,
        /// Its body.
        body: String,
    },
    /// It is done, and answered with this all the same. A line: this comes behind it.
    AnswerAfterDeed {
        /// The status of the answer.
        status: u16,
        /// Its body.
        body: String,
    },
}

/// Turns one rule on and off.
#[derive(Clone, Debug)]
pub struct Switch(Arc<AtomicBool>);

/// What a rule is asked about.
pub(super) struct Passing<'a> {
    pub(super) subject: Subject,
    /// The operation of a call, the action of an event.
    pub(super) word: &'a str,
    /// Every name by which its container is known here.
    pub(super) containers: [&'a str; 2],
    /// What chance is drawn from: the same draws the same again.
    pub(super) mark: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Call,
    Event,
}

/// A share of 1, and the seed that decides whom it hits.
#[derive(Clone, Copy, Debug)]
struct Share {
    of_one: f64,
    seed: u64,
}

/// Every rule of one door.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Vec<(Rule, Switch)>>);

impl Rule {
    /// Every call misbehaves so; narrow it down with the methods below.
    pub fn calls(fault: Fault) -> Self {
        Self::of(Subject::Call, fault)
    }

    /// Every line of an event stream misbehaves so; narrow it down with the methods below.
    pub fn events(fault: Fault) -> Self {
        Self::of(Subject::Event, fault)
    }

    fn of(subject: Subject, fault: Fault) -> Self {
        let containers = Vec::new();
        Self { subject, word: None, containers, skip: 0, times: None, share: None, fault }
    }

    /// Only calls of this operation, such as `start` or `json`; only events of this action.
    #[must_use]
    pub fn named(mut self, word: &str) -> Self {
        self.word = Some(word.to_owned());
        self
    }

    /// Only those about this container, by name or id as callers say it. Called again, one more.
    #[must_use]
    pub fn container(mut self, reference: &str) -> Self {
        self.containers.push(reference.to_owned());
        self
    }

    /// Not the first `count` of them.
    #[must_use]
    pub fn after(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only this share of 1; which ones follows from `seed`. An event that is replayed draws the
    /// same again.
    #[must_use]
    pub fn share(mut self, of_one: f64, seed: u64) -> Self {
        self.share = Some(Share { of_one, seed });
        self
    }

    fn matches(&self, passing: &Passing<'_>) -> bool {
        let known = |wanted: &String| passing.containers.contains(&wanted.as_str());
        self.subject == passing.subject
            && self.word.as_deref().is_none_or(|wanted| wanted == passing.word)
            && (self.containers.is_empty() || self.containers.iter().any(known))
            && self.share.is_none_or(|share| share.hits(passing.mark))
    }
}

impl Switch {
    /// The rule applies from now on.
    pub fn on(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The rule applies no more.
    pub fn off(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Share {
    fn hits(self, mark: u64) -> bool {
        let mixed = (mark ^ self.seed.rotate_left(17)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let drawn = (mixed >> 40) as f64 / f64::from(1_u32 << 24);
        drawn < self.of_one
    }
}

impl Rules {
    pub(super) fn add(&self, rule: Rule) -> Switch {
        let switch = Switch(Arc::new(AtomicBool::new(true)));
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push((rule, switch.clone()));
        switch
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault of the oldest rule that applies, which uses up one of its times.
    pub(super) fn hit(&self, passing: &Passing<'_>) -> Option<Fault> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let applying = |(rule, switch): &&mut (Rule, Switch)| {
            switch.is_on() && rule.times != Some(0) && rule.matches(passing)
        };
        for (rule, _) in rules.iter_mut().filter(applying) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            return Some(rule.fault.clone());
        }
        None
    }
}
