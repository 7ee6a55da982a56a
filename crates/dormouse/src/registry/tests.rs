//! File and labels together: who wins, who needs whom, and whom a clash hurts.

use std::collections::BTreeMap;

use dormouse_core::WorkloadId;
use dormouse_core::policy::Until;
use dormouse_providers::Target;

use super::*;
use crate::config::Settings;

pub(crate) const LOCAL: &str = "[environment.local]\ndocker = \"unix:///var/run/docker.sock\"\n";

pub(crate) type Container<'a> = (&'a str, &'a [(&'a str, &'a str)]);

pub(crate) fn settings(text: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dormouse.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = crate::config::load(&path);
    loaded.settings.unwrap_or_else(|| panic!("{:#?}", loaded.findings))
}

pub(crate) fn found_in(environment: &str, containers: &[Container<'_>]) -> Found {
    let owned = |labels: &[(&str, &str)]| {
        labels.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    };
    let targets: BTreeMap<_, _> =
        containers.iter().map(|(name, labels)| (Target::new(name), owned(labels))).collect();
    Found::from([(EnvironmentName::new(environment), targets)])
}

pub(crate) fn registry(file: &str, containers: &[Container<'_>]) -> Registry {
    assemble(1, &settings(&format!("{LOCAL}{file}")), &found_in("local", containers))
}

pub(crate) fn workload<'r>(registry: &'r Registry, id: &str) -> &'r WorkloadSpec {
    registry.workloads.get(&WorkloadId::parse(id).unwrap()).unwrap_or_else(|| panic!("no {id}"))
}

pub(crate) fn slugs(registry: &Registry) -> Vec<(&'static str, &str)> {
    let whose = |finding: &'_ Finding| finding.slug;
    registry
        .findings
        .iter()
        .map(|finding| (whose(finding), finding.workload.as_deref().unwrap_or("")))
        .collect()
}

pub(crate) fn routes(spec: &WorkloadSpec) -> Vec<(String, Option<u16>, Scheme)> {
    spec.routes.iter().map(|route| (route.pattern.to_string(), route.port, route.scheme)).collect()
}

pub(crate) fn listeners(spec: &WorkloadSpec) -> Vec<String> {
    let said =
        |own: &ListenerSpec| format!("{} {} → {}", own.protocol.as_str(), own.listen, own.port);
    spec.listeners.iter().map(said).collect()
}

pub(crate) fn needs(spec: &WorkloadSpec) -> Vec<(&str, Until)> {
    spec.policy.needs.iter().map(|need| (need.on.as_str(), need.until)).collect()
}

#[test]
fn a_container_that_comes_later_takes_no_hostname_away() {
    let shop: Container<'_> = ("shop", &[("dormouse.host", "shop.test")]);
    let thief: Container<'_> = ("a-thief", &[("dormouse.host", "shop.test")]);
    let before = registry("", &[shop]);
    let settings = settings(LOCAL);
    let after = assemble_after(&before, &settings, &found_in("local", &[shop, thief]));
    assert_eq!(routes(workload(&after, "local/shop")).len(), 1);
    assert_eq!(routes(workload(&after, "local/a-thief")), []);
    assert_eq!(slugs(&after), [("duplicate-route", "local/a-thief")]);
    // Once it is given up, or its container is gone for good, anybody may have it.
    let moved: Container<'_> = ("shop", &[("dormouse.host", "new.test")]);
    for containers in [&[moved, thief][..], &[thief]] {
        let free = assemble_after(&after, &settings, &found_in("local", containers));
        assert_eq!(routes(workload(&free, "local/a-thief")).len(), 1);
    }
}

#[test]
fn an_address_leads_to_the_first_that_asked_and_stays_with_it() {
    let tcp = |port: &'static str| [("dormouse.tcp.x.listen", port), ("dormouse.tcp.x.port", "1")];
    let (shop, thief) = (tcp(":7000"), tcp("127.0.0.1:7001"));
    let shop: Container<'_> = ("shop", &shop);
    let thief: Container<'_> = ("a-thief", &thief);
    let file = "[workload.f]\ntarget = \"local/f\"\ntcp = [{ listen = \":7001\", port = 1 }]\n";
    let before = registry(file, &[shop, thief]);
    assert_eq!(slugs(&before), [("duplicate-listener", "local/a-thief")]);
    assert_eq!(listeners(workload(&before, "local/f")), ["tcp :7001 → 1"]);
    let moved = tcp(":7000");
    let thief: Container<'_> = ("a-thief", &moved);
    let settings = settings(&format!("{LOCAL}{file}"));
    let after = assemble_after(&before, &settings, &found_in("local", &[shop, thief]));
    assert_eq!(slugs(&after), [("duplicate-listener", "local/a-thief")]);
    assert_eq!(listeners(workload(&after, "local/shop")), ["tcp :7000 → 1"]);
    let free = assemble_after(&after, &settings, &found_in("local", &[thief]));
    assert_eq!(listeners(workload(&free, "local/a-thief")), ["tcp :7000 → 1"]);
}

#[test]
fn the_file_wins_over_labels_on_the_same_target() {
    let registry = registry(
        "[workload.blog]\ntarget = \"local/blog-1\"\nhosts = [\"file.example.com\"]\n",
        &[("blog-1", &[("dormouse.host", "label.example.com")])],
    );
    let ids: Vec<&str> = registry.workloads.keys().map(WorkloadId::as_str).collect();
    assert_eq!(ids, ["local/blog"]);
    let blog = workload(&registry, "local/blog");
    assert_eq!((routes(blog)[0].0.as_str(), blog.origin), ("file.example.com", Origin::File));
    assert_eq!(slugs(&registry), [("duplicate-workload", "local/blog")]);
    assert!(!registry.findings[0].is_error());
}

#[test]
fn a_name_belongs_to_the_first_that_bears_it() {
    let registry = registry(
        "[workload.a]\ntarget = \"local/one\"\n",
        &[
            ("three", &[("dormouse.enable", "true"), ("dormouse.name", "b")]),
            ("two", &[("dormouse.enable", "true"), ("dormouse.name", "a")]),
            ("zwei", &[("dormouse.enable", "true"), ("dormouse.name", "b")]),
        ],
    );
    assert_eq!(workload(&registry, "local/a").target, Target::new("one"));
    assert_eq!(workload(&registry, "local/b").target, Target::new("three"));
    assert_eq!(registry.workloads.len(), 2);
    let clashes = [("duplicate-workload", "local/a"), ("duplicate-workload", "local/b")];
    assert_eq!(slugs(&registry), clashes);
}

#[test]
fn no_label_takes_the_name_of_another_container() {
    let registry = registry(
        "",
        &[
            ("a-thief", &[("dormouse.enable", "true"), ("dormouse.name", "shop")]),
            ("shop", &[("dormouse.enable", "true")]),
        ],
    );
    assert_eq!(workload(&registry, "local/shop").target, Target::new("shop"));
    assert_eq!(registry.workloads.len(), 1);
    assert_eq!(slugs(&registry), [("duplicate-workload", "local/shop")]);
    let place = registry.findings[0].place.clone();
    assert!(matches!(place, Some(Place::Label { target, .. }) if &*target == "a-thief"));
}

#[test]
fn a_target_has_one_workload() {
    let registry = registry(
        "[workload.z]\ntarget = \"local/x\"\n[workload.a]\ntarget = \"local/x\"\n",
        &[("x", &[])],
    );
    assert_eq!(slugs(&registry), [("duplicate-target", "local/a")]);
    assert_eq!(workload(&registry, "local/z").misconfigured, None);
    assert_eq!(
        workload(&registry, "local/a").misconfigured.as_deref(),
        Some("`local/x` is the target of `local/z` already")
    );
}

#[test]
fn a_route_leads_to_the_first_that_asks_for_it() {
    let registry = registry(
        "[workload.z]\ntarget = \"local/z\"\nhosts = [\"one.example.com\"]\n\
         [workload.y]\ntarget = \"local/y\"\nhosts = [\"ONE.example.com\", \"two.example.com\"]\n",
        &[
            ("a", &[("dormouse.host", "one.example.com,three.example.com")]),
            ("b", &[("dormouse.host", "four.example.com"), ("dormouse.rest", "x")]),
            ("c", &[("dormouse.host", "four.example.com,three.example.com")]),
        ],
    );
    let hosts = |id: &str| -> Vec<String> {
        routes(workload(&registry, id)).into_iter().map(|(pattern, ..)| pattern).collect()
    };
    assert_eq!(hosts("local/z"), ["one.example.com"]);
    assert_eq!(hosts("local/y"), ["two.example.com"]);
    assert_eq!(hosts("local/a"), ["three.example.com"]);
    // Whoever is misconfigured takes nothing from one that works.
    assert_eq!((hosts("local/b"), hosts("local/c")), (vec![], vec!["four.example.com".into()]));
    let clashes = [
        ("bad-value", "local/b"),
        ("duplicate-route", "local/y"),
        ("duplicate-route", "local/a"),
        ("duplicate-route", "local/c"),
        ("duplicate-route", "local/b"),
    ];
    assert_eq!(slugs(&registry), clashes);
    assert_eq!(workload(&registry, "local/a").misconfigured, None);
}

#[test]
fn needs_are_found_here_first_and_then_wherever_they_are_the_only_one() {
    let text = "[environment.far]\ndocker = \"http://far:2375\"\nlabels = false\n\
                [environment.off]\ndocker = \"http://off:2375\"\nlabels = false\n\
                [workload.db]\ntarget = \"local/db\"\n[workload.cache]\ntarget = \"far/cache\"\n\
                [workload.app]\ntarget = \"local/app\"\n\
                needs = [\"db\", \"cache:started\", \"off/job:completed\", \"db:started\"]\n\
                [workload.job]\ntarget = \"off/job\"\n";
    let registry = registry(text, &[]);
    assert_eq!(registry.findings, []);
    let wanted =
        [("local/db", Until::Ready), ("far/cache", Until::Started), ("off/job", Until::Completed)];
    assert_eq!(needs(workload(&registry, "local/app")), wanted);
    let text = format!("{LOCAL}{text}");
    let other = found_in("local", &[("cache", &[("dormouse.enable", "true")])]);
    let registry = assemble(2, &settings(&text), &other);
    assert_eq!(needs(workload(&registry, "local/app"))[1].0, "local/cache");
}

#[test]
fn a_need_that_several_environments_have_must_say_which() {
    let registry = registry(
        "[environment.a]\nprocess = true\n[environment.b]\ndocker = \"http://b:1\"\nlabels = false\n\
         [workload.app]\ncommand = [\"app\"]\nenvironment = \"a\"\nneeds = [\"db\"]\n\
         [workload.db]\ntarget = \"b/db\"\n",
        &[("db", &[("dormouse.enable", "true")])],
    );
    let app = workload(&registry, "a/app");
    let message = "needs `db`, which several environments have";
    assert_eq!(app.misconfigured.as_deref(), Some(message));
    assert_eq!(registry.findings[0].hint.as_deref(), Some("say \"ENVIRONMENT/db\""));
}

#[test]
fn a_need_may_still_be_shown_by_a_runtime_that_was_not_listed_yet() {
    let text = format!("{LOCAL}[workload.a]\ntarget = \"local/a\"\nneeds = [\"db\"]\n");
    let before = assemble(1, &settings(&text), &Found::new());
    assert_eq!(slugs(&before), [("unknown-need", "local/a")]);
    assert!(!before.findings[0].is_error());
    assert!(workload(&before, "local/a").misconfigured.is_some());
    let after = assemble(2, &settings(&text), &found_in("local", &[]));
    assert!(after.findings[0].is_error());
    let shown = found_in("local", &[("db", &[("dormouse.enable", "true")])]);
    let shown = assemble(3, &settings(&text), &shown);
    assert_eq!((shown.findings.as_slice(), shown.version), (&[][..], 3));
    assert_eq!(workload(&shown, "local/a").misconfigured, None);
}

#[test]
fn whoever_needs_each_other_in_a_circle_is_misconfigured_and_nobody_else() {
    let process = |name: &str, needs: &str| {
        format!("[workload.{name}]\ncommand = [\"{name}\"]\nneeds = [{needs}]\n")
    };
    let text: String = [
        process("a", "\"b\""),
        process("b", "\"c\", \"leaf\""),
        process("c", "\"a\", \"x\""),
        process("leaf", ""),
        process("between", "\"x\""),
        process("before", "\"a\", \"between\""),
        process("x", "\"y\""),
        process("y", "\"x\""),
        process("self", "\"self\""),
    ]
    .concat();
    let registry = assemble(1, &settings(&text), &Found::new());
    let mut messages: Vec<&str> =
        registry.findings.iter().map(|finding| finding.message.as_str()).collect();
    messages.sort_unstable();
    assert_eq!(
        messages,
        [
            "`process/self` needs itself",
            "needs form a cycle: process/a → process/b → process/c → process/a",
            "needs form a cycle: process/x → process/y → process/x",
        ]
    );
    let misconfigured: Vec<&str> = registry
        .workloads
        .values()
        .filter(|spec| spec.misconfigured.is_some())
        .map(|spec| spec.id.name())
        .collect();
    assert_eq!(misconfigured, ["a", "b", "c", "self", "x", "y"]);
    assert_eq!(needs(workload(&registry, "process/before")).len(), 2);
    assert_eq!(needs(workload(&registry, "process/a")), []);
}

#[test]
fn a_long_chain_of_needs_is_no_circle() {
    let mut text = String::from("[workload.n0]\ncommand = [\"x\"]\n");
    for number in 1..5000 {
        let before = number - 1;
        text.push_str(&format!(
            "[workload.n{number}]\ncommand = [\"x\"]\nneeds = [\"n{before}\"]\n"
        ));
    }
    let registry = assemble(1, &settings(&text), &Found::new());
    assert_eq!((registry.findings.len(), registry.workloads.len()), (0, 5000));
}

#[test]
fn workloads_are_found_by_id_and_by_name() {
    let registry =
        registry("[workload.a]\ntarget = \"local/x\"\n", &[("y", &[("dormouse.enable", "true")])]);
    assert_eq!(registry.find("a").unwrap().id.as_str(), "local/a");
    assert_eq!(registry.find("local/y").unwrap().id.as_str(), "local/y");
    assert!(registry.find("z").is_none());
}
