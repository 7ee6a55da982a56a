//! R25: containers whose labels mean harm: line breaks, markup, a megabyte, the names and hostnames
//! of others, addresses of the machine's metadata. The engine takes them all. Each affects its own
//! workload only, and where a workload is reached comes from the engine's own inspect.

use dormouse_wire::Phase;

use crate::harness::client::{exchange, fetch, get};
use crate::harness::docker::{App, Docker};
use crate::harness::house::House;
use crate::harness::report::Report;
use crate::harness::{PATIENCE, eventually};

const FORGED: &str = "\r\n2026-01-01T00:00:00Z ERROR forged\r\n\x1b[31mred\x07\0";
const MARKUP: &str = "\"><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}${env}";
const METADATA: &str = "169.254.169.254";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_hostile_labels_affect_their_own_workload_only() {
    let Some(docker) = Docker::of_machine().await else { return };
    let mut report = Report::of("R25");
    let house = House::start(&docker.environment_with_labels()).await;
    let good =
        docker.create("good", docker.spec("good", &[]).label("dormouse.host", "good.test")).await;
    let served = async || fetch(house.http, get("good.test", "/instance")).await.status == 200;
    eventually(PATIENCE, "the neighbour is served", served).await;

    for (n, (what, labels)) in hostile(&good).into_iter().enumerate() {
        let short = format!("a-{n}");
        let own = format!("own-{n}.test");
        let mut spec = docker.spec(&short, &[]).label("dormouse.enable", "true");
        spec = spec.label("dormouse.route.own.host", &own);
        for (key, value) in &labels {
            spec = spec.label(key, value);
        }
        let app = match docker.engine.create(&spec).await {
            Ok(id) => App { short, name: spec.name.clone(), id },
            // What the engine itself refuses cannot hurt.
            Err(_) => continue,
        };
        let marker = docker.spec(&format!("b-{n}"), &[]);
        let marker = marker.label("dormouse.host", &format!("marker-{n}.test"));
        docker.engine.create(&marker).await.unwrap();
        // The engine tells things in their order: who is known has been told of after the other.
        let told = async || {
            let health = get(&format!("marker-{n}.test"), "/.dormouse/health");
            fetch(house.http, health).await.status == 200
        };
        eventually(PATIENCE, &format!("{what} is known"), told).await;
        report.case(check_good(&house, &good).await.map_err(|why| format!("{what}: {why}")));
        report.case(check_own(&house, &app, &own).await.map_err(|why| format!("{what}: {why}")));
        docker.engine.remove(&app.name).await.unwrap();
        docker.engine.remove(&marker.name).await.unwrap();
    }
    report.cases(check_page(&house.admin.call("GET", "/metrics", "").await.text()));
    report.case(check_log(&house.log()));
    report.finish("looks at hostile containers and their neighbour");
}

/// What a container says of itself, and what that is called.
fn hostile(good: &App) -> Vec<(&'static str, Vec<(String, String)>)> {
    let megabyte = "x".repeat(1 << 20);
    let one = |key: &str, value: &str| vec![(format!("dormouse.{key}"), value.to_owned())];
    vec![
        ("a name with line breaks", one("name", FORGED)),
        ("a name of markup", one("name", MARKUP)),
        ("a name of a megabyte", one("name", &megabyte)),
        ("a name with a path", one("name", "../../etc/passwd")),
        ("the neighbour's name", one("name", &good.name)),
        ("the neighbour's hostname", one("host", "good.test")),
        ("every hostname", one("host", "*")),
        ("a hostname with line breaks", one("host", FORGED)),
        ("a hostname of markup", one("host", MARKUP)),
        ("a hostname of a megabyte", one("host", &megabyte)),
        ("a hostname that is the metadata's address", one("host", METADATA)),
        ("an address to go to", one("target", &format!("http://{METADATA}/latest/meta-data"))),
        ("an upstream", one("upstream", METADATA)),
        ("a port that is an address", one("port", &format!("{METADATA}:80"))),
        ("a port beyond all", one("port", "99999999999999999999")),
        ("a probe of another host", one("ready.http", &format!("http://{METADATA}/"))),
        ("a probe with line breaks", one("ready.http", &format!("/{FORGED}"))),
        ("a title of markup", one("loading.title", MARKUP)),
        ("a period without end", one("idle_timeout", &"9".repeat(400))),
        ("needs without end", one("needs", &"a,".repeat(200_000))),
        ("a need of itself", one("needs", "a-0")),
        ("a key of a megabyte", one(&megabyte, "x")),
        (
            "ten thousand keys",
            (0..10_000).map(|n| (format!("dormouse.k{n}"), "x".into())).collect(),
        ),
        ("a deep key", one(&"a.".repeat(20_000), "x")),
        ("an environment", one("environment", "other")),
        ("a command", one("command", "touch /tmp/pwned")),
    ]
}

/// The neighbour is served by itself, whatever the other says.
async fn check_good(house: &House, good: &App) -> Result<(), String> {
    let answer = exchange(house.http, get("good.test", "/instance")).await;
    let answer = answer.map_err(|error| format!("the neighbour: {error}"))?;
    if answer.status != 200 || answer.json()["mark"] != good.short {
        return Err(format!("the neighbour: {} {}", answer.status, answer.text()));
    }
    match house.admin.find(&good.name).await.map(|it| (it.phase, it.target)) {
        Some((Phase::Ready, target)) if target == good.name => Ok(()),
        other => Err(format!("the neighbour is {other:?}")),
    }
}

/// On the container's own hostnames only the container itself answers, or nobody.
async fn check_own(house: &House, app: &App, own: &str) -> Result<(), String> {
    for host in [own, METADATA] {
        let answer = exchange(house.http, get(host, "/instance")).await;
        let answer = answer.map_err(|error| format!("{host}: {error}"))?;
        let by_itself = answer.status == 200 && answer.json()["mark"] == app.short;
        let refused = answer.json()["slug"].is_string();
        if !by_itself && !refused {
            return Err(format!("{host}: {} {}", answer.status, answer.text()));
        }
    }
    Ok(())
}

/// Every line of the metrics is one.
fn check_page(page: &str) -> Vec<Result<(), String>> {
    let is_line =
        |line: &str| line.is_empty() || line.starts_with("# ") || line.starts_with("dormouse_");
    page.lines().filter(|line| !is_line(line)).map(|line| Err(format!("metrics: {line}"))).collect()
}

/// Nothing in the log is anybody else's line, and nothing of it moves a terminal.
fn check_log(lines: &[String]) -> Result<(), String> {
    let bad = |line: &&String| {
        line.contains("panicked")
            || line.starts_with("2026-01-01")
            || line.chars().any(|char| char.is_control() && char != '\t')
    };
    lines.iter().find(bad).map_or(Ok(()), |line| Err(format!("the log: {line:?}")))
}
