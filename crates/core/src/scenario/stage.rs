//! The stage: it plays a script on the simulated world and compares what comes out of it.

use std::collections::{BTreeMap, VecDeque};

use super::outputs::{self, Names};
use super::script::{Act, Line, Order, Setting, Shown};
use super::temper::{Temper, Tempers};
use super::words::{self, Refusal};
use super::{Mismatch, policies};
use crate::lifecycle::{Event, Phase, WakeCause};
use crate::load::Load;
use crate::observation::RunId;
use crate::policy::Policy;
use crate::sim::body::Body;
use crate::sim::fate::Ending;
use crate::sim::log::Keep;
use crate::sim::runtime::Deed;
use crate::sim::visitors::Manner;
use crate::sim::world::{Beat, Configured, World};
use crate::time::Timestamp;

/// How far the world is played on for an output that is expected.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// More things than this do not happen at one moment.
const BEATS_MAX: usize = 10_000;
/// Outputs that are shown before the one that was not expected.
const REMEMBERED_MAX: usize = 8;
/// The only environment when nobody names one.
const ENVIRONMENT: &str = "box";
/// Runs that were there before the first one of the scenario.
const FIRST_RUN: u64 = 1_000_000;

/// The moment before another one.
const MOMENT: std::time::Duration = std::time::Duration::from_micros(1);

struct Stage {
    world: World<Tempers>,
    names: Cast,
    shown: Vec<Shown>,
    opened: bool,
    /// What came out and was not compared yet.
    pending: VecDeque<(Timestamp, String)>,
    /// What came out last.
    remembered: VecDeque<String>,
}

/// Notices when the world goes round in circles without time passing.
#[derive(Default)]
struct Hurry {
    at: Timestamp,
    beats: usize,
}

#[derive(Default)]
struct Cast {
    workloads: Vec<String>,
    visitors: BTreeMap<u64, String>,
}

pub(super) fn play(lines: &[Line]) -> Result<(), Mismatch> {
    let mut stage = Stage {
        world: World::new(1, Tempers::default(), Keep::Outputs),
        names: Cast::default(),
        shown: Vec::new(),
        opened: false,
        pending: VecDeque::new(),
        remembered: VecDeque::new(),
    };
    stage.world.add_environment(ENVIRONMENT);
    for line in lines {
        stage.obey(&line.order).map_err(|refusal| stage.mismatch(line.number, &refusal))?;
        stage.check_invariants().map_err(|refusal| stage.mismatch(line.number, &refusal))?;
    }
    let last = lines.last().map_or(1, |line| line.number);
    stage.expect_nothing().map_err(|refusal| stage.mismatch(last, &refusal))
}

impl Stage {
    fn obey(&mut self, order: &Order) -> Result<(), Refusal> {
        match order {
            Order::Workload { name, settings } => return self.add(name, settings),
            Order::Show(shown) => {
                self.shown.extend(shown);
                return Ok(());
            }
            Order::At(..)
            | Order::Expect { .. }
            | Order::Nothing { .. }
            | Order::Phase { .. }
            | Order::Why { .. } => self.open()?,
        }
        match order {
            Order::Workload { .. } | Order::Show(_) => Ok(()),
            Order::At(at, act) => {
                self.pass_quietly(*at)?;
                self.act(act)?;
                self.pass(*at)
            }
            Order::Nothing { until } => self.pass_quietly(*until - MOMENT),
            Order::Expect { when, output } => {
                self.play_on()?;
                let Some((at, got)) = self.pending.pop_front() else {
                    return Err(format!("expected `{output}`, and nothing more happens"));
                };
                if got != *output {
                    let at = words::say_moment(at);
                    return Err(format!("expected `{output}`\n     got `{got}` at {at}"));
                }
                if let Some(when) = when.as_ref().filter(|when| !when.contains(&at)) {
                    let (first, last) =
                        (words::say_moment(*when.start()), words::say_moment(*when.end()));
                    let at = words::say_moment(at);
                    return Err(format!(
                        "expected `{output}` at {first}..{last}\n     got it at {at}"
                    ));
                }
                Ok(())
            }
            Order::Phase { workload, phase } => {
                let got = self.phase(workload)?.map_or("undefined", Phase::name);
                if got == phase {
                    return Ok(());
                }
                Err(format!("expected {workload} to be {phase}\n     it is {got}"))
            }
            Order::Why { workload, words } => self.explains(workload, words),
        }
    }

    fn add(&mut self, name: &str, settings: &[Setting]) -> Result<(), Refusal> {
        if self.opened {
            return Err("workloads come before everything else".to_owned());
        }
        let (mut policy, mut temper, mut environment) = (policies::plain(), Temper::default(), 0);
        let mut body = Body::Stopped { exit: None };
        let run = RunId(FIRST_RUN + u64::try_from(self.names.workloads.len()).unwrap_or_default());
        for Setting { name, value } in settings {
            match name.as_str() {
                "env" => environment = self.environment(value),
                "is" => body = draw_body(value, run)?,
                _ => self.set(&mut policy, &mut temper, environment, name, value)?,
            }
        }
        self.world.add_workload(environment, name, policy, body);
        self.world.fate.0.push(temper);
        self.names.workloads.push(name.to_owned());
        Ok(())
    }

    fn set(
        &self,
        policy: &mut Policy,
        temper: &mut Temper,
        environment: usize,
        name: &str,
        value: &str,
    ) -> Result<(), Refusal> {
        let home = &self.world.environments[environment].name;
        policies::set(policy, home, name, value)
            .or_else(|| temper.set(name, value))
            .unwrap_or_else(|| Err(words::refuse("a setting of a workload", name)))
    }

    fn environment(&mut self, name: &str) -> usize {
        let known = self.world.environments.iter().position(|it| it.name.as_str() == name);
        known.unwrap_or_else(|| self.world.add_environment(name))
    }

    /// The keeper starts with the first line that needs it.
    fn open(&mut self) -> Result<(), Refusal> {
        if !self.opened {
            self.opened = true;
            self.world.open();
            self.pass(self.world.now)?;
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), Refusal> {
        match act {
            Act::Request { workload, visitor, stay, patience } => {
                let w = self.find(workload)?;
                let id = self.world.next_visitor();
                self.names.visitors.insert(id, visitor.clone());
                self.world.visit(w, Manner { stay: *stay, patience: *patience });
            }
            Act::Wake(workload) => {
                let w = self.find(workload)?;
                self.world.hear(w, Event::Wanted(WakeCause::Asked));
            }
            Act::Sleep(workload) => {
                let w = self.find(workload)?;
                self.world.ask_sleep(w, Event::SleepAsked);
            }
            Act::Force(workload) => {
                let w = self.find(workload)?;
                self.world.ask_sleep(w, Event::SleepForced);
            }
            Act::Pin { workload, until } => {
                let w = self.find(workload)?;
                self.world.pin(w, *until);
            }
            Act::Unpin(workload) => {
                let w = self.find(workload)?;
                self.world.unpin(w);
            }
            Act::Measure { workload, settings } => {
                let (w, load) = (self.find(workload)?, load(self.world.now, settings)?);
                self.world.measure(w, load);
            }
            Act::Log { workload, line } => {
                let w = self.find(workload)?;
                self.world.hear(w, Event::LogRead(vec![line.clone()]));
            }
            Act::Hand { deed, workload } => {
                let w = self.find(workload)?;
                self.world.deed(w, find_deed(deed)?);
            }
            Act::Crash { workload, exit } => {
                let w = self.find(workload)?;
                self.world.deed(w, Deed::Crash(Ending { exit: *exit, rises_in: None }));
            }
            Act::Let { .. }
            | Act::Policy { .. }
            | Act::Define(_)
            | Act::Misdefine(_)
            | Act::Forget(_) => return self.change(act),
            Act::Lose(name) => {
                let environment = self.environment(name);
                self.world.lose(environment);
            }
            Act::Reach(name) => {
                let environment = self.environment(name);
                self.world.reach(environment);
            }
            Act::Stall(time) => self.world.stall(*time),
            Act::Jump(time) => self.world.jump(*time),
            Act::Restart => self.world.crash_keeper(2),
        }
        Ok(())
    }

    fn change(&mut self, act: &Act) -> Result<(), Refusal> {
        let (workload, settings, configured): (&str, &[Setting], _) = match act {
            Act::Let { workload, settings } | Act::Policy { workload, settings } => {
                (workload, settings, Configured::Defined)
            }
            Act::Define(workload) => (workload, &[], Configured::Defined),
            Act::Misdefine(workload) => (workload, &[], Configured::Wrong),
            Act::Forget(workload) => (workload, &[], Configured::Absent),
            Act::Request { .. }
            | Act::Wake(_)
            | Act::Sleep(_)
            | Act::Force(_)
            | Act::Pin { .. }
            | Act::Unpin(_)
            | Act::Log { .. }
            | Act::Measure { .. }
            | Act::Hand { .. }
            | Act::Crash { .. }
            | Act::Lose(_)
            | Act::Reach(_)
            | Act::Stall(_)
            | Act::Jump(_)
            | Act::Restart => return Ok(()),
        };
        let w = self.find(workload)?;
        let mut policy = self.world.workloads[w].policy.as_ref().clone();
        let mut temper = self.world.fate.0[w].clone();
        let environment = self.world.workloads[w].environment;
        for Setting { name, value } in settings {
            self.set(&mut policy, &mut temper, environment, name, value)?;
        }
        self.world.fate.0[w] = temper;
        if !matches!(act, Act::Let { .. }) {
            self.world.reconfigure(w, configured, policy);
        }
        Ok(())
    }

    /// Plays until then; nothing that has not been expected may come.
    fn pass_quietly(&mut self, until: Timestamp) -> Result<(), Refusal> {
        if until < self.world.now {
            let now = words::say_moment(self.world.now);
            return Err(format!("it is {now} already"));
        }
        self.expect_nothing()?;
        self.pass(until)?;
        self.expect_nothing()
    }

    fn expect_nothing(&mut self) -> Result<(), Refusal> {
        match self.pending.front() {
            None => Ok(()),
            Some((at, got)) => {
                let at = words::say_moment(*at);
                Err(format!("expected nothing before this line\n     got `{got}` at {at}"))
            }
        }
    }

    fn pass(&mut self, until: Timestamp) -> Result<(), Refusal> {
        let mut hurry = Hurry::default();
        while self.world.beat(until) != Beat::Quiet {
            self.collect();
            hurry.beat(self.world.now)?;
        }
        self.collect();
        Ok(())
    }

    /// Plays until something comes out.
    fn play_on(&mut self) -> Result<(), Refusal> {
        let until = self.world.now + PATIENCE;
        let mut hurry = Hurry::default();
        while self.pending.is_empty() && self.world.beat(until) != Beat::Quiet {
            self.collect();
            hurry.beat(self.world.now)?;
        }
        Ok(())
    }

    fn collect(&mut self) {
        for (at, output) in self.world.log.take_outputs() {
            if let Some(text) = outputs::say(&output, &self.names, &self.shown) {
                let said = format!("{} {text}", words::say_moment(at));
                self.remembered.push_back(said);
                if self.remembered.len() > REMEMBERED_MAX {
                    self.remembered.pop_front();
                }
                self.pending.push_back((at, text));
            }
        }
    }

    fn explains(&self, workload: &str, words: &str) -> Result<(), Refusal> {
        let world = &self.world;
        let w = self.find(workload)?;
        let activity = world.workloads[w].gate.activity();
        let explained = world.workloads[w]
            .key
            .and_then(|key| world.fleet.explain(key, Some(activity), world.now));
        let why = explained.map_or_else(|| "undefined".to_owned(), |it| it.why);
        if why.contains(words) {
            return Ok(());
        }
        Err(format!(
            "expected the explanation of {workload} to say `{words}`\n     it says `{why}`"
        ))
    }

    fn phase(&self, workload: &str) -> Result<Option<&Phase>, Refusal> {
        let w = self.find(workload)?;
        let key = self.world.workloads[w].key;
        Ok(key.and_then(|key| self.world.fleet.phase(key)))
    }

    fn find(&self, workload: &str) -> Result<usize, Refusal> {
        let found = self.names.workloads.iter().position(|name| name == workload);
        found.ok_or_else(|| words::refuse("a workload of this scenario", workload))
    }

    fn check_invariants(&self) -> Result<(), Refusal> {
        match self.world.witness.violations().first() {
            None => Ok(()),
            Some(violation) => Err(format!("an invariant does not hold: {violation}")),
        }
    }

    fn mismatch(&self, line: usize, refusal: &str) -> Mismatch {
        let mut message = refusal.to_owned();
        for (index, said) in self.remembered.iter().enumerate() {
            let mark = if index == 0 { "\n  last came: " } else { "\n             " };
            message.push_str(mark);
            message.push_str(said);
        }
        Mismatch { line, message }
    }
}

impl Hurry {
    fn beat(&mut self, now: Timestamp) -> Result<(), Refusal> {
        self.beats = if now == self.at { self.beats + 1 } else { 0 };
        self.at = now;
        if self.beats < BEATS_MAX {
            return Ok(());
        }
        Err(format!("it goes round in circles at {}", words::say_moment(now)))
    }
}

impl Names for Cast {
    fn workload(&self, workload: usize) -> &str {
        &self.workloads[workload]
    }

    fn visitor(&self, visitor: u64) -> &str {
        self.visitors.get(&visitor).map_or("somebody", String::as_str)
    }
}

/// `cpu=` in percent of a processor, `net=` in bytes a second, `ago=` for a reading that comes late.
fn load(now: Timestamp, settings: &[Setting]) -> Result<Load, Refusal> {
    let mut load = Load { as_of: now, cpu_millipercent: 0, net_bytes: None };
    for Setting { name, value } in settings {
        match name.as_str() {
            "cpu" => load.cpu_millipercent = words::count(value)? * 1_000,
            "net" => load.net_bytes = Some(u64::from(words::count(value)?)),
            "ago" => load.as_of = now - words::duration(value)?,
            name => return Err(words::refuse("cpu, net or ago", name)),
        }
    }
    Ok(load)
}

fn draw_body(word: &str, run: RunId) -> Result<Body, Refusal> {
    match word {
        "stopped" => Ok(Body::Stopped { exit: None }),
        "running" => Ok(Body::Running { run, ready: true }),
        "unready" => Ok(Body::Running { run, ready: false }),
        "paused" => Ok(Body::Paused { run, ready: true }),
        "absent" => Ok(Body::Absent),
        word => Err(words::refuse("how a workload can be", word)),
    }
}

fn find_deed(word: &str) -> Result<Deed, Refusal> {
    match word {
        "start" => Ok(Deed::Start),
        "stop" => Ok(Deed::Stop),
        "pause" => Ok(Deed::Pause),
        "unpause" => Ok(Deed::Unpause),
        "remove" => Ok(Deed::Remove),
        "create" => Ok(Deed::Create),
        "restart" => Ok(Deed::Restart),
        word => Err(words::refuse("something that a hand can do", word)),
    }
}
