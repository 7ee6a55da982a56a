//! R2: requests at offsets around an idle stop whose process ignores TERM, so that the engine kills
//! it only after its grace. The engine answers 304 to a start meanwhile, and then kills: nobody who
//! comes then is lost.

use std::time::Duration;

use dormouse_wire::Phase;
use tokio::task::JoinSet;

use crate::harness::client::{exchange, get};
use crate::harness::docker::{App, Docker};
use crate::harness::house::House;
use crate::harness::report::{Report, scale};

const IDLE: Duration = Duration::from_millis(300);
const BEFORE_MS: u64 = 20;
/// The scale of 200 requests.
const FULL: usize = 3;
/// Grace, containers that stop at the same time, and races of each.
const COURSES: [(u64, u64, u64); 3] = [(0, 4, 8), (2, 8, 3), (10, 16, 1)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_a_request_during_a_stubborn_stop_is_not_lost() {
    let Some(docker) = Docker::of_machine().await else { return };
    let mut report = Report::of("R02");
    let mut configuration = docker.environment();
    let mut lanes = Vec::new();
    for (grace, count, races) in COURSES {
        for lane in 0..count {
            let app = docker.app(&format!("grace-{grace}-{lane}"), &["IGNORE_TERM=1"]).await;
            let idle = IDLE.as_millis();
            configuration += &app.workload(&format!(
                "rest = \"stop\"\nidle_timeout = \"{idle}ms\"\nstop_timeout = \"{grace}s\""
            ));
            lanes.push((app, grace, (lane, count), races * scale(FULL) as u64));
        }
    }
    let house = House::start(&configuration).await;
    for (app, ..) in &lanes {
        house.admin.until(&app.short, Phase::Asleep).await;
    }
    let mut racing = JoinSet::new();
    for (app, grace, (lane, count), races) in lanes {
        let (at, apart) = (house.http, grace * 1000 + 300 + BEFORE_MS);
        racing.spawn(async move {
            let mut outcomes = vec![ask(at, &app).await];
            for race in 0..races {
                // Swept evenly over all lanes and races, from just before the rest to after its end.
                let place = race * count + lane;
                let offset = apart * place / (races * count);
                let wait = IDLE + Duration::from_millis(offset);
                tokio::time::sleep(wait - Duration::from_millis(BEFORE_MS)).await;
                outcomes.push(ask(at, &app).await);
            }
            outcomes
        });
    }
    for outcomes in racing.join_all().await {
        report.cases(outcomes);
    }
    let killed = docker.calls().iter().filter(|call| call.op == "stop").count();
    report.case((killed > 0).then_some(()).ok_or("nothing was ever stopped"));
    report.finish(format_args!("requests around {killed} stops of processes that ignore TERM"));
}

async fn ask(at: std::net::SocketAddr, app: &App) -> Result<(), String> {
    match exchange(at, get(&app.host(), "/instance")).await {
        Ok(answer) if answer.status == 200 && answer.json()["mark"] == *app.short => Ok(()),
        Ok(answer) => Err(format!("{}: {} {}", app.short, answer.status, answer.text())),
        Err(error) => Err(format!("{}: {error}", app.short)),
    }
}
