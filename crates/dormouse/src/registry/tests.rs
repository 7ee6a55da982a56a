//! File and labels together.

use std::collections::BTreeMap;

use dormouse_core::WorkloadId;
use dormouse_providers::Target;

use super::*;
use crate::config::Settings;

fn settings(text: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dormouse.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = crate::config::load(&path);
    loaded
        .settings
        .unwrap_or_else(|| panic!("{:#?}", loaded.findings))
}

fn found(containers: &[(&str, &[(&str, &str)])]) -> Found {
    let targets = containers
        .iter()
        .map(|(name, labels)| {
            let labels = labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            (Target::new(name), labels)
        })
        .collect::<BTreeMap<_, _>>();
    Found::from([(EnvironmentName::new("local"), targets)])
}

const LOCAL: &str = "[environment.local]\ndocker = \"unix:///var/run/docker.sock\"\n";

#[test]
fn a_labelled_container_becomes_a_workload() {
    let found = found(&[(
        "blog",
        &[
            ("dormouse.host", "blog.example.com"),
            ("dormouse.port", "80"),
        ],
    )]);
    let registry = assemble(1, &settings(LOCAL), &found);
    assert_eq!(registry.findings, []);
    let blog = &registry.workloads[&WorkloadId::parse("local/blog").unwrap()];
    assert_eq!(blog.policy.ports, [80]);
    assert_eq!(blog.routes[0].pattern.to_string(), "blog.example.com");
    assert_eq!(blog.misconfigured, None);
}
