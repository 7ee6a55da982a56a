//! R34: a person starts, stops, freezes, renames, removes and creates anew by hand, in any order;
//! each time the truth is known at once, and nobody acts against the person's will.

use std::time::{Duration, Instant};

use dormouse_testkit::images::RealEngine;
use dormouse_wire::Phase;

use crate::harness::dice::Dice;
use crate::harness::docker::{App, Docker};
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};

const DEEDS: usize = 60;
/// In the middle, the truth is known within this.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// And always within this, also on a busy machine: a listing would come later.
const KNOWN_WITHIN_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_what_a_person_does_by_hand_is_known_within_a_second() {
    let Some(docker) = Docker::of_machine().await else { return };
    let mut report = Report::of("R34");
    let mut dice = report.dice();
    let app = docker.app("web", &[]).await;
    let keys = "idle_timeout = \"never\"\nrest = \"stop\"";
    let house = House::start(&(docker.environment() + &app.workload(keys))).await;
    house.admin.until("web", Phase::Asleep).await;
    docker.forget_calls();

    let mut container = Container { engine: &docker.engine, app: app.clone(), state: State::Down };
    let mut delays = Vec::new();
    for _ in 0..DEEDS * scale(UNNAMED) {
        let deed = container.draw(&mut dice);
        container.act(deed, &docker).await;
        let done = Instant::now();
        let mut phase = house.admin.phase("web").await;
        while !container.state.is_known_as(phase) && done.elapsed() < KNOWN_WITHIN_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
            phase = house.admin.phase("web").await;
        }
        let known = container.state.is_known_as(phase);
        report.case(known.then_some(()).ok_or_else(|| format!("{deed:?}: it is {phase:?}")));
        delays.push(done.elapsed());
    }
    for op in ["start", "stop", "pause", "unpause", "kill", "remove"] {
        let calls = docker.calls().iter().filter(|it| it.op == op && it.method != "GET").count();
        report.case((calls == 0).then_some(()).ok_or(format!("dormouse asked for {calls} {op}")));
    }
    delays.sort_unstable();
    let (middle, last) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    report.case((middle < KNOWN_WITHIN).then_some(()).ok_or(format!("known after {middle:?}")));
    report
        .finish(format_args!("deeds; known after {middle:.1?} in the middle, {last:.1?} at most"));
}

/// The one container that the person plays with.
struct Container<'a> {
    engine: &'a RealEngine,
    app: App,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Up,
    Frozen,
    Down,
    Renamed,
    Removed,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Start,
    Stop,
    Kill,
    Restart,
    Freeze,
    Thaw,
    Rename,
    RenameBack,
    Remove,
    CreateAnew,
}

impl State {
    /// Killed again and again, it counts as one that crashes in a loop.
    fn is_known_as(self, phase: Phase) -> bool {
        match self {
            Self::Up => phase == Phase::Ready,
            Self::Frozen => phase == Phase::Asleep,
            Self::Down => [Phase::Asleep, Phase::Failed].contains(&phase),
            Self::Renamed | Self::Removed => phase == Phase::Gone,
        }
    }
}

impl Container<'_> {
    /// One of those that are possible now.
    fn draw(&self, dice: &mut Dice) -> Deed {
        *dice.pick(match self.state {
            State::Up => &[Deed::Stop, Deed::Kill, Deed::Restart, Deed::Freeze, Deed::Remove],
            State::Frozen => &[Deed::Thaw, Deed::Remove],
            State::Down => &[Deed::Start, Deed::Start, Deed::Rename, Deed::Remove],
            State::Renamed => &[Deed::RenameBack],
            State::Removed => &[Deed::CreateAnew],
        })
    }

    async fn act(&mut self, deed: Deed, docker: &Docker) {
        let (engine, name) = (self.engine, self.app.name.clone());
        let other = format!("{name}-renamed");
        let done = match deed {
            Deed::Start => engine.start(&name).await,
            Deed::Stop => engine.stop(&name, Duration::from_secs(1)).await,
            Deed::Kill => engine.kill(&name, "KILL").await,
            Deed::Restart => engine.restart(&name).await,
            Deed::Freeze => engine.pause(&name).await,
            Deed::Thaw => engine.unpause(&name).await,
            Deed::Rename => engine.rename(&name, &other).await,
            Deed::RenameBack => engine.rename(&other, &name).await,
            Deed::Remove => engine.remove(&name).await,
            Deed::CreateAnew => {
                self.app = docker.app(&self.app.short, &[]).await;
                Ok(())
            }
        };
        done.unwrap_or_else(|error| panic!("{deed:?}: {error}"));
        self.state = match deed {
            Deed::Start | Deed::Restart | Deed::Thaw => State::Up,
            Deed::Freeze => State::Frozen,
            Deed::Stop | Deed::Kill | Deed::RenameBack | Deed::CreateAnew => State::Down,
            Deed::Rename => State::Renamed,
            Deed::Remove => State::Removed,
        };
    }
}
