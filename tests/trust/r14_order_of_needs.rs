//! R14: random graphs of needs. Nothing starts before what it needs is up, and nothing ends while
//! one that needs it is still running, by the engine's own record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_testkit::engine::FakeEngine;
use dormouse_wire::Phase;
use tokio::task::JoinSet;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::dice::Dice;
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};
use crate::harness::{PATIENCE, eventually};

const GRAPHS: usize = 30;
const NODES_MAX: u64 = 8;
const VISITS: u64 = 5;
const SLOW_MS_MAX: u64 = 80;
/// Visitors come and go while others sleep already.
const OVER: Duration = Duration::from_secs(4);

/// The workloads by name. Each needs only what comes before it, so that there is no circle.
type Graph = BTreeMap<String, Node>;

/// One workload.
struct Node {
    needs: Vec<Need>,
    /// It listens so long after its start.
    slow: Duration,
}

/// What another workload has to have reached.
struct Need {
    on: String,
    /// As a configuration has it; `ready` where it says nothing.
    until: &'static str,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_the_order_of_needs_is_kept_in_random_graphs() {
    let mut report = Report::of("R14");
    let mut dice = report.dice();
    let engine = FakeEngine::docker().await;
    let mut graph = Graph::new();
    for index in 0..GRAPHS * scale(UNNAMED) {
        draw(&mut graph, index, &mut dice);
    }
    let mut configuration = fakes::environment(engine.socket());
    for (name, node) in &graph {
        let spec = fakes::container(name).behaving(|it| it.listen_delay = node.slow);
        engine.by_hand().create(spec).unwrap();
        let word = |need: &Need| format!("\"{}{}\"", need.on, need.until);
        let needs: Vec<_> = node.needs.iter().map(word).collect();
        let keys = format!("idle_timeout = \"300ms\"\nneeds = [{}]", needs.join(", "));
        configuration += &fakes::workload(name, &keys);
    }
    let house = House::start(&configuration).await;
    for name in graph.keys() {
        house.admin.until(name, Phase::Asleep).await;
    }

    let names: Arc<Vec<String>> = Arc::new(graph.keys().cloned().collect());
    let mut visitors = JoinSet::new();
    for _ in 0..GRAPHS as u64 * VISITS * scale(UNNAMED) as u64 {
        let (at, names) = (house.http, Arc::clone(&names));
        let (name, after) = (dice.pick(&names).clone(), dice.period(OVER));
        visitors.spawn(async move {
            tokio::time::sleep(after).await;
            fakes::answered_by(exchange(at, get(&format!("{name}.test"), "/")).await, &name)
        });
    }
    report.cases(visitors.join_all().await);
    let all_asleep = async || house.admin.summary().await.asleep == names.len();
    eventually(PATIENCE * 2, "everything sleeps again", all_asleep).await;

    let (outcomes, moves) = judge(&engine, &graph);
    report.cases(outcomes);
    report.finish(format_args!(
        "visits, and {moves} starts and ends of {} workloads in the engine's order",
        graph.len(),
    ));
}

fn draw(graph: &mut Graph, index: usize, dice: &mut Dice) {
    let nodes = 2 + dice.below(NODES_MAX - 1);
    for node in 0..nodes {
        let mut needs = Vec::new();
        for earlier in 0..node {
            if dice.below(3) == 0 {
                let until = *dice.pick(&["", ":ready", ":started"]);
                needs.push(Need { on: format!("g{index}-{earlier}"), until });
            }
        }
        let slow = Duration::from_millis(dice.below(SLOW_MS_MAX));
        graph.insert(format!("g{index}-{node}"), Node { needs, slow });
    }
}

/// Follows what the engine did, in its own order.
fn judge(engine: &FakeEngine, graph: &Graph) -> (Vec<Result<(), String>>, usize) {
    // Since when it has run.
    let mut running = BTreeMap::new();
    let (mut outcomes, mut moves) = (Vec::new(), 0);
    for event in engine.events() {
        let Some(Node { needs, .. }) = graph.get(event.name()) else { continue };
        let name = event.name().to_owned();
        match event.action.as_str() {
            "start" => {
                moves += 1;
                for Need { on, until } in needs {
                    let began = running.get(on).copied();
                    let up = match *until {
                        ":started" => began.is_some(),
                        // Nobody can know that it is ready before it listens.
                        _ => began.is_some_and(|began| {
                            Duration::from_nanos(event.time_nano - began) >= graph[on].slow
                        }),
                    };
                    let told = || format!("{name} started before {on} was there{until}");
                    outcomes.push(up.then_some(()).ok_or_else(told));
                }
                running.insert(name, event.time_nano);
            }
            "die" => {
                moves += 1;
                let needs_it = |other: &&String| graph[*other].needs.iter().any(|it| it.on == name);
                let left = running.keys().find(needs_it);
                outcomes.push(match left {
                    Some(left) => Err(format!("{name} ended while {left} was running")),
                    None => Ok(()),
                });
                running.remove(&name);
            }
            _ => {}
        }
    }
    (outcomes, moves)
}
