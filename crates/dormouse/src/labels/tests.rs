//! Labels: what they can say, and that foreign text hurts nobody but its own workload.

use dormouse_core::policy::{Readiness, Rest, Until};
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_providers::Target;
use dormouse_proxy::Scheme;
use proptest::prelude::*;

use crate::config::Settings;
use crate::registry::assemble;
use crate::registry::tests::{
    LOCAL, found_in, listeners, needs, registry, routes, settings, slugs, workload,
};

#[test]
fn labels_say_everything_that_the_file_can() {
    let registry = registry(
        "[defaults]\nidle_timeout = \"1h\"\nadopt = \"rest\"\n",
        &[
            ("db", &[("dormouse.enable", "true")]),
            (
                "web-1",
                &[
                    ("dormouse.enable", "TRUE"),
                    ("dormouse.name", "web"),
                    ("dormouse.hosts", "a.example.com, b.example.com/x"),
                    ("dormouse.port", "8080"),
                    ("dormouse.scheme", "h2c"),
                    ("dormouse.route.api.host", "api.example.com"),
                    ("dormouse.route.api.port", "9090"),
                    ("dormouse.route.api.scheme", "http"),
                    ("dormouse.tcp.ssh.listen", ":2222"),
                    ("dormouse.tcp.ssh.port", "22"),
                    ("dormouse.udp.game.listen", "127.0.0.1:19132"),
                    ("dormouse.udp.game.port", "8080"),
                    ("dormouse.idle_timeout", "never"),
                    ("dormouse.wake_timeout", "2m"),
                    ("dormouse.rest", "pause"),
                    ("dormouse.stop_signal", "int"),
                    ("dormouse.stop_timeout", "0s"),
                    ("dormouse.needs", "db:started"),
                    ("dormouse.ready.http", "/health"),
                    ("dormouse.ready.status", "204"),
                    ("dormouse.loading.page", "false"),
                    ("dormouse.loading.title", "Web, the"),
                    ("dormouse.loading.status", "202"),
                    ("dormouse.held.requests", "5"),
                    ("dormouse.held.bytes", "1MiB"),
                    ("org.example.unrelated", "\u{7}"),
                ],
            ),
        ],
    );
    assert_eq!(registry.findings, []);
    let web = workload(&registry, "local/web");
    assert_eq!(web.misconfigured, None);
    assert_eq!(web.target, Target::new("web-1"));
    assert_eq!(
        routes(web),
        [
            ("a.example.com".into(), Some(8080), Scheme::H2c),
            ("b.example.com/x".into(), Some(8080), Scheme::H2c),
            ("api.example.com".into(), Some(9090), Scheme::Http),
        ]
    );
    let policy = &web.policy;
    assert_eq!((&policy.ports[..], &policy.udp_ports[..]), (&[8080, 9090, 22][..], &[8080][..]));
    assert_eq!(listeners(web), ["tcp :2222 → 22", "udp 127.0.0.1:19132 → 8080"]);
    assert_eq!((policy.idle_timeout, policy.wake_timeout.as_secs()), (None, 120));
    assert_eq!((policy.rest, policy.stop_signal.as_deref()), (Rest::Pause, Some("SIGINT")));
    assert_eq!(policy.stop_timeout.as_secs(), 0);
    assert_eq!(policy.adopt, dormouse_core::policy::Adopt::Rest);
    assert_eq!(policy.readiness, Readiness::Http { path: "/health".into(), status: 204..=204 });
    assert_eq!(needs(web), [("local/db", Until::Started)]);
    assert_eq!((web.loading.page, web.loading.status), (false, 202));
    assert_eq!(web.loading.title.as_deref(), Some("Web, the"));
    assert_eq!((web.held.requests, web.held.bytes, web.held.per_client), (5, 1 << 20, 10_000));
    let db = workload(&registry, "local/db");
    assert_eq!(db.policy.idle_timeout.unwrap().as_secs(), 3600);
}

#[test]
fn each_probe_has_a_label() {
    let probe = |key: &'static str, text: &'static str| {
        let registry = registry("", &[("a", &[("dormouse.enable", "true"), (key, text)])]);
        assert_eq!(registry.findings, []);
        workload(&registry, "local/a").policy.readiness.clone()
    };
    assert_eq!(probe("dormouse.ready.tcp", "true"), Readiness::Tcp);
    assert_eq!(probe("dormouse.ready.engine", "true"), Readiness::Engine);
    assert_eq!(probe("dormouse.ready.grpc", ""), Readiness::Grpc { service: String::new() });
    assert_eq!(
        probe("dormouse.ready.http", "/x"),
        Readiness::Http { path: "/x".into(), status: 200..=399 }
    );
}

#[test]
fn what_counts_as_idle_has_labels() {
    let labels: &[(&str, &str)] = &[
        ("dormouse.enable", "true"),
        ("dormouse.idle.cpu_below", "2.5"),
        ("dormouse.idle.net_below", "never"),
    ];
    let file = "[defaults]\nidle = { cpu_below = 50, net_below = \"2KiB\" }\n";
    let registry = registry(file, &[("a", labels), ("b", &[("dormouse.enable", "true")])]);
    assert_eq!(registry.findings, []);
    let below = |id: &str| workload(&registry, id).policy.idle_below;
    let (a, b) = (below("local/a"), below("local/b"));
    assert_eq!((a.cpu_millipercent, a.net_bytes), (Some(2_500), None));
    assert_eq!((b.cpu_millipercent, b.net_bytes), (Some(50_000), Some(2_048)));
    check(
        ("dormouse.idle.cpu_below", "0"),
        "bad-value",
        "`dormouse.idle.cpu_below` must be between 0.1 and 100000",
    );
}

#[test]
fn an_address_of_its_own_makes_a_container_a_workload() {
    let labels: &[(&str, &str)] =
        &[("dormouse.tcp.db.listen", ":5432"), ("dormouse.tcp.db.port", "5432")];
    let registry = registry("", &[("db", labels)]);
    assert_eq!(registry.findings, []);
    assert_eq!(listeners(workload(&registry, "local/db")), ["tcp :5432 → 5432"]);
}

/// What one wrong label is answered with, and that the container beside it does not notice.
#[track_caller]
fn check(label: (&str, &str), slug: &str, message: &str) {
    let bad: &[(&str, &str)] = &[("dormouse.host", "bad.example.com"), label];
    let good: &[(&str, &str)] = &[("dormouse.host", "good.example.com")];
    let registry = registry("", &[("bad", bad), ("good", good)]);
    let bad = workload(&registry, "local/bad");
    let good = workload(&registry, "local/good");
    assert_eq!(registry.findings.len(), 1, "{:#?}", registry.findings);
    assert_eq!(registry.findings[0].slug, slug);
    assert_eq!(registry.findings[0].workload.as_deref(), Some("local/bad"));
    assert!(registry.findings[0].place.is_some());
    assert_eq!(bad.misconfigured.as_deref(), Some(message));
    assert_eq!(routes(bad).len(), 1, "the visitor is to be told");
    assert_eq!((good.misconfigured.as_deref(), routes(good).len()), (None, 1));
}

#[test]
fn a_bad_label_hurts_its_own_workload_only() {
    let cases: [((&str, &str), &str, &str); 19] = [
        (
            ("dormouse.enable", "yes"),
            "bad-value",
            "`dormouse.enable` must be true or false, not `yes`",
        ),
        (("dormouse.idle_timout", "1m"), "unknown-label", "unknown label `dormouse.idle_timout`"),
        (("dormouse.idle_timeout", "0"), "bad-value", "`dormouse.idle_timeout` has no unit: `0`"),
        (
            ("dormouse.rest", "snapshot"),
            "not-yet",
            "`dormouse.rest` says `snapshot`, which is not supported by this version yet",
        ),
        (("dormouse.tcp", ":22"), "bad-value", "`dormouse.tcp` must be a table, and is text"),
        (("dormouse.udp.game.listen", ":1"), "missing-key", "`dormouse.udp.game` has no `port`"),
        (
            ("dormouse.scheme", "https"),
            "not-yet",
            "`dormouse.scheme` says `https`, which is not supported by this version yet",
        ),
        (
            ("dormouse.port", "http"),
            "bad-value",
            "`dormouse.port` must be a whole number, not `http`",
        ),
        (("dormouse.ready.htp", "/"), "unknown-label", "unknown label `dormouse.ready.htp`"),
        (("dormouse.ready", "tcp"), "bad-value", "`dormouse.ready` must be a table, and is text"),
        (("dormouse.a.b.c.d", "x"), "bad-label", "unknown label `dormouse.a.b.c.d`"),
        (("dormouse.", "x"), "bad-label", "unknown label `dormouse.`"),
        (
            ("dormouse.host.x", "x"),
            "bad-label",
            "`dormouse.host.x` clashes with a label that is a part of it",
        ),
        (("dormouse.route.api.port", "80"), "missing-key", "`dormouse.route.api` has no `host`"),
        (("dormouse.needs", "nobody"), "unknown-need", "needs `nobody`, which is not a workload"),
        (
            ("dormouse.name", "../../etc"),
            "bad-name",
            "`dormouse.name` says `../../etc`, which is not a legal name",
        ),
        (
            ("dormouse.loading.title", "a\r\nSet-Cookie: b"),
            "bad-label",
            "the text of `dormouse.loading.title` has a control character",
        ),
        (
            ("dormouse.x\u{1b}[2J", "b"),
            "bad-label",
            "the label `dormouse.x\\u{1b}[2J` has a control character",
        ),
        (
            ("dormouse.hosts", "http://169.254.169.254/"),
            "bad-value",
            "`dormouse.hosts` has `http://169.254.169.254/`, which is not a hostname: `http://169.254.169.254/` has a scheme; write the hostname alone",
        ),
    ];
    for (label, slug, message) in cases {
        check(label, slug, message);
    }
}

#[test]
fn labels_say_nothing_that_only_the_file_may() {
    let keys = [
        "command",
        "env",
        "target",
        "upstream",
        "address",
        "docker",
        "token",
        "include",
        "admin",
        "state",
        "tls.key",
        "gateway.admin",
        "environment.x.docker",
        "ready.http.env",
    ];
    for key in keys {
        let key = format!("dormouse.{key}");
        let labels =
            [("dormouse.host", "a.example.com"), (key.as_str(), "http://169.254.169.254/")];
        let registry = registry("", &[("web", &labels)]);
        let web = workload(&registry, "local/web");
        assert_eq!((web.target.as_str(), &web.launch), ("web", &None), "{key}");
        assert!(web.misconfigured.is_some(), "{key} is understood");
        assert_eq!(registry.environments.len(), 1, "{key}");
    }
}

#[test]
fn labels_are_bounded() {
    let megabyte = "x".repeat(1 << 20);
    check(
        ("dormouse.loading.title", &megabyte),
        "bad-label",
        "the text of `dormouse.loading.title` is longer than 8192 bytes",
    );
    let keys: Vec<String> = (0..5000).map(|number| format!("dormouse.key{number}")).collect();
    let mut many: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "x")).collect();
    many.push(("dormouse.enable", "true"));
    let registry = registry("", &[("bad", &many), ("good", &[("dormouse.enable", "true")])]);
    assert!(workload(&registry, "local/bad").misconfigured.is_some());
    assert!(workload(&registry, "local/good").misconfigured.is_none());
    assert!(registry.findings.len() < 300);
}

#[test]
fn only_enabled_containers_are_workloads() {
    let registry = registry(
        "",
        &[
            ("off", &[("dormouse.enable", "false"), ("dormouse.host", "off.example.com")]),
            ("plain", &[("com.example", "x")]),
            ("misspelt", &[("dormouse.hosst", "x.example.com")]),
            ("by-route", &[("dormouse.route.a.host", "a.example.com")]),
        ],
    );
    let ids: Vec<&str> = registry.workloads.keys().map(WorkloadId::as_str).collect();
    assert_eq!(ids, ["local/by-route"]);
    assert_eq!(slugs(&registry), [("idle-label", "")]);
    assert_eq!(registry.findings[0].hint.as_deref(), Some("did you mean `dormouse.host`?"));
}

#[test]
fn labels_of_an_environment_that_does_not_read_them_define_nothing() {
    let text = "[environment.local]\ndocker = \"unix:///x\"\nlabels = false\n";
    let found = found_in("local", &[("a", &[("dormouse.enable", "true")])]);
    assert!(assemble(1, &settings(text), &found).workloads.is_empty());
    let found = found_in("elsewhere", &[("a", &[("dormouse.enable", "true")])]);
    assert!(assemble(1, &settings(LOCAL), &found).workloads.is_empty());
}

#[test]
fn composes_own_depends_on_is_read_as_needs() {
    let service = |name: &'static str| {
        [
            ("dormouse.enable", "true"),
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", name),
        ]
    };
    let depends = "db:service_healthy:false,cache:service_started:true,migrate:service_completed_successfully:false,mail:service_started:false,old,odd:never";
    let web = [
        &service("web")[..],
        &[("com.docker.compose.depends_on", depends), ("dormouse.needs", "cache:ready")],
    ]
    .concat();
    let other = [
        ("dormouse.enable", "true"),
        ("com.docker.compose.project", "other"),
        ("com.docker.compose.service", "mail"),
    ];
    let registry = registry(
        "[workload.migrations]\ntarget = \"local/shop-migrate-1\"\n",
        &[
            ("shop-web-1", &web),
            ("shop-db-1", &service("db")),
            ("shop-db-2", &service("db")),
            ("shop-cache-1", &service("cache")),
            ("shop-old-1", &service("old")),
            ("shop-migrate-1", &service("migrate")[1..]),
            ("other-mail-1", &other),
        ],
    );
    let web = workload(&registry, "local/shop-web-1");
    assert_eq!(web.misconfigured, None);
    assert_eq!(
        needs(web),
        [
            ("local/shop-cache-1", Until::Ready),
            ("local/shop-db-1", Until::Ready),
            ("local/shop-db-2", Until::Ready),
            ("local/migrations", Until::Completed),
            ("local/shop-old-1", Until::Ready),
        ]
    );
    let ignored = ("ignored-need", "local/shop-web-1");
    assert_eq!(slugs(&registry), [ignored, ignored]);
    assert!(registry.findings.iter().all(|finding| !finding.is_error()));
    assert!(registry.findings[0].message.contains("`odd:never`"));
    assert!(registry.findings[1].message.contains("`mail`"));
}

fn label() -> impl Strategy<Value = (String, String)> {
    let key = prop_oneof![
        "dormouse\\.[a-z_.]{0,24}",
        "dormouse\\.(host|hosts|name|port|needs|rest|enable|scheme|idle_timeout)",
        "dormouse\\.(ready|loading|held|route)\\.[a-z]{1,6}(\\.(host|port))?",
        "com\\.docker\\.compose\\.(project|service|depends_on)",
        "\\PC{0,30}",
    ];
    let text = prop_oneof![
        "\\PC{0,40}",
        "[\\x00-\\x7f]{0,40}",
        "[a-z]{1,8}(:[a-z_]{1,8}){0,2}(,[a-z]{1,8}){0,3}",
        "[0-9]{1,30}[a-zA-Z]{0,3}",
        Just("true".to_owned()),
    ];
    (key, text)
}

proptest! {
    #[test]
    fn no_label_makes_the_reader_panic_or_hurts_a_neighbour(
        name in "\\PC{0,12}",
        labels in prop::collection::btree_map(label().prop_map(|(key, _)| key), label().prop_map(|(_, text)| text), 0..12),
    ) {
        let mut found = found_in("local", &[("~good", &[])]);
        let targets = found.get_mut(&EnvironmentName::new("local")).unwrap();
        targets.insert(Target::new("good"), [("dormouse.host".to_owned(), "good.example.com".to_owned())].into());
        targets.entry(Target::new(&name)).or_insert(labels);
        let mut settings = Settings::standard(&|_| None, true);
        settings.environments.values_mut().for_each(|spec| spec.labels = true);
        let registry = assemble(1, &settings, &found);
        let good = workload(&registry, "local/good");
        prop_assert_eq!(&good.misconfigured, &None);
        for finding in &registry.findings {
            let harmless = !finding.message.contains(['\x1b', '\n', '\r']);
            prop_assert!(harmless, "{}", finding.message);
            prop_assert!(finding.message.len() < 2000);
        }
    }
}

#[test]
fn every_example_of_the_reference_page_is_understood() {
    let page = include_str!("../../../../docs/reference/labels.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `dormouse."));
    let mut read = 0;
    for row in rows {
        let (key, rest) = row.split_once("` | `").expect("a label and an example");
        let (example, _) = rest.split_once('`').expect("an example in backquotes");
        let key = format!("dormouse.{key}");
        let mut labels = vec![(key.as_str(), example)];
        if !key.ends_with("host") && !key.ends_with("hosts") {
            labels.push(("dormouse.host", "example.com"));
        }
        let port = key.strip_suffix(".listen").map(|listener| format!("{listener}.port"));
        if let Some(port) = &port {
            labels.extend([(port.as_str(), "22"), ("dormouse.port", "8080")]);
        }
        let registry = registry("", &[("web", &labels)]);
        assert_eq!(registry.findings, [], "{key}={example}");
        read += 1;
    }
    assert!(read > 20, "the page has its table");
}
