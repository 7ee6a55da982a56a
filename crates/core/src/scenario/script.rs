//! What a scenario file says, line by line.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::words::{self, Refusal};
use crate::time::Timestamp;

/// One line that means something, with its number.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) order: Order,
}

/// What a line asks for.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// A workload exists from the beginning.
    Workload { name: String, settings: Vec<Setting> },
    /// These outputs are compared too.
    Show(Vec<Shown>),
    /// Something is done at a moment.
    At(Timestamp, Act),
    /// The next output is this one.
    Expect { when: Option<RangeInclusive<Timestamp>>, output: String },
    /// No output comes until then.
    Nothing { until: Timestamp },
    /// A workload is in a phase.
    Phase { workload: String, phase: String },
    /// Its explanation contains these words.
    Why { workload: String, words: String },
}

/// `name=value`.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: String,
}

/// Outputs that are left out unless a scenario is about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Story,
    Moves,
    Probes,
    Gates,
}

/// Something that is done.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Request {
        workload: String,
        visitor: String,
        stay: Duration,
        patience: Option<Duration>,
    },
    Wake(String),
    Sleep(String),
    Force(String),
    Pin {
        workload: String,
        until: Option<Timestamp>,
    },
    Unpin(String),
    Hand {
        deed: String,
        workload: String,
    },
    Crash {
        workload: String,
        exit: i32,
    },
    /// What a workload is like from now on.
    Let {
        workload: String,
        settings: Vec<Setting>,
    },
    /// The configuration says something else of it from now on.
    Policy {
        workload: String,
        settings: Vec<Setting>,
    },
    Define(String),
    Misdefine(String),
    Forget(String),
    Lose(String),
    Reach(String),
    Stall(Duration),
    Jump(Duration),
    Restart,
    /// What a workload does is measured.
    Measure {
        workload: String,
        settings: Vec<Setting>,
    },
    /// The log of a failed workload arrives.
    Log {
        workload: String,
        line: String,
    },
}

/// Reads a whole file. Empty lines and what follows a `#` mean nothing.
pub(super) fn read(text: &str) -> Result<Vec<Line>, (usize, Refusal)> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let said = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = said.split_whitespace().collect();
        if !words.is_empty() {
            let order = order(&words).map_err(|refusal| (number, refusal))?;
            lines.push(Line { number, order });
        }
    }
    Ok(lines)
}

fn order(words: &[&str]) -> Result<Order, Refusal> {
    match words {
        ["workload", name, rest @ ..] => {
            Ok(Order::Workload { name: (*name).to_owned(), settings: settings(rest)? })
        }
        ["show", rest @ ..] => {
            rest.iter().map(|word| shown(word)).collect::<Result<_, _>>().map(Order::Show)
        }
        ["at", at, rest @ ..] => Ok(Order::At(words::moment(at)?, act(rest)?)),
        ["expect", first, rest @ ..] => Ok(match words::moments(first) {
            Ok(when) => Order::Expect { when: Some(when), output: rest.join(" ") },
            Err(_) => Order::Expect { when: None, output: words[1..].join(" ") },
        }),
        ["nothing", "until", until] => Ok(Order::Nothing { until: words::moment(until)? }),
        ["check", workload, "is", phase] => {
            Ok(Order::Phase { workload: (*workload).to_owned(), phase: (*phase).to_owned() })
        }
        ["check", workload, "because", rest @ ..] => {
            Ok(Order::Why { workload: (*workload).to_owned(), words: rest.join(" ") })
        }
        words => Err(words::refuse("a line of a scenario", &words.join(" "))),
    }
}

fn act(words: &[&str]) -> Result<Act, Refusal> {
    let own = |word: &&str| (**word).to_owned();
    match words {
        ["request", workload, "as", visitor, rest @ ..] => {
            request(own(workload), own(visitor), rest)
        }
        ["wake", workload] => Ok(Act::Wake(own(workload))),
        ["sleep", workload] => Ok(Act::Sleep(own(workload))),
        ["force", workload] => Ok(Act::Force(own(workload))),
        ["pin", workload] => Ok(Act::Pin { workload: own(workload), until: None }),
        ["pin", workload, "until", until] => {
            Ok(Act::Pin { workload: own(workload), until: Some(words::moment(until)?) })
        }
        ["unpin", workload] => Ok(Act::Unpin(own(workload))),
        ["hand", deed, workload] => Ok(Act::Hand { deed: own(deed), workload: own(workload) }),
        ["crash", workload, "exit", code] => {
            Ok(Act::Crash { workload: own(workload), exit: words::number(code)? })
        }
        ["let", workload, rest @ ..] => {
            Ok(Act::Let { workload: own(workload), settings: settings(rest)? })
        }
        ["policy", workload, rest @ ..] => {
            Ok(Act::Policy { workload: own(workload), settings: settings(rest)? })
        }
        ["define", workload] => Ok(Act::Define(own(workload))),
        ["misdefine", workload] => Ok(Act::Misdefine(own(workload))),
        ["forget", workload] => Ok(Act::Forget(own(workload))),
        ["lose", environment] => Ok(Act::Lose(own(environment))),
        ["reach", environment] => Ok(Act::Reach(own(environment))),
        ["stall", time] => Ok(Act::Stall(words::duration(time)?)),
        ["jump", time] => Ok(Act::Jump(words::duration(time)?)),
        ["restart", "keeper"] => Ok(Act::Restart),
        ["measure", workload, rest @ ..] => {
            Ok(Act::Measure { workload: own(workload), settings: settings(rest)? })
        }
        ["log", workload, rest @ ..] => {
            Ok(Act::Log { workload: own(workload), line: rest.join(" ") })
        }
        words => Err(words::refuse("something that can be done", &words.join(" "))),
    }
}

fn request(workload: String, visitor: String, rest: &[&str]) -> Result<Act, Refusal> {
    let (stay, patience) = match rest {
        [] => (Duration::ZERO, None),
        ["for", stay] => (words::duration(stay)?, None),
        ["waiting", patience] => (Duration::ZERO, Some(words::duration(patience)?)),
        ["for", stay, "waiting", patience] => {
            (words::duration(stay)?, Some(words::duration(patience)?))
        }
        words => return Err(words::refuse("how long a request lasts", &words.join(" "))),
    };
    Ok(Act::Request { workload, visitor, stay, patience })
}

fn settings(words: &[&str]) -> Result<Vec<Setting>, Refusal> {
    let setting = |word: &&str| match word.split_once('=') {
        Some((name, value)) => Ok(Setting { name: name.to_owned(), value: value.to_owned() }),
        None => Err(words::refuse("a setting such as idle=30s", word)),
    };
    words.iter().map(setting).collect()
}

fn shown(word: &str) -> Result<Shown, Refusal> {
    match word {
        "story" => Ok(Shown::Story),
        "moves" => Ok(Shown::Moves),
        "probes" => Ok(Shown::Probes),
        "gates" => Ok(Shown::Gates),
        word => Err(words::refuse("something that can be shown", word)),
    }
}
