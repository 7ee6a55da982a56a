//! The rules of the house that Cargo and clippy cannot hold by themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who may know whom: the crates of the house that each may depend on, beside its tests.
const MAY_KNOW: [(&str, &[&str]); 8] = [
    ("core", &[]),
    ("wire", &["core"]),
    ("providers", &["core", "wire"]),
    ("keeper", &["core", "wire", "providers"]),
    ("proxy", &["core"]),
    ("store", &["core"]),
    ("dormouse", &["core", "wire", "providers", "keeper", "proxy", "store"]),
    ("testkit", &["core", "wire", "providers", "keeper", "proxy", "store", "dormouse"]),
];

/// What would make the core impure, or its answers depend on the order of a hash map.
const IMPURE: [&str; 11] = [
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "std::thread",
    "std::env",
    "async",
    ".await",
];

/// Runtimes by name: a matter of the providers and of the configuration.
const RUNTIMES: [&str; 3] = ["docker", "podman", "containerd"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder of crates").to_owned()
}

fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let tables = ["dependencies", "build-dependencies"];
    let tables = tables.iter().filter_map(|name| manifest.get(*name)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

fn sources(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            found.insert(path, text);
        }
    }
    found
}

/// The lines of code, without comments and without what follows the first test module.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let before_tests = text.split("#[cfg(test)]").next().unwrap_or(text);
    let lines = before_tests.lines().enumerate();
    lines.map(|(n, line)| (n + 1, line.split("//").next().unwrap_or(line)))
}

fn offences(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for (path, text) in sources(folder) {
        for (number, line) in code(&text) {
            if let Some(word) = words.iter().find(|word| has_word(line, word)) {
                offences.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    offences
}

/// Whether a word stands in a line, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let starts = !word.starts_with(part_of_word) || !before.is_some_and(part_of_word);
        starts && !after.is_some_and(part_of_word)
    })
}

#[test]
fn every_crate_knows_only_whom_it_may_know() {
    let rule: BTreeMap<&str, &[&str]> = MAY_KNOW.into_iter().collect();
    let mut seen = 0;
    for entry in std::fs::read_dir(crates()).expect("a readable folder") {
        let folder = entry.expect("a readable entry").path();
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a plain name");
        let allowed = rule.get(name).unwrap_or_else(|| panic!("{name} has no rule"));
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        for dependency in dependencies(&manifest) {
            let inside = dependency.strip_prefix("dormouse-").unwrap_or(&dependency);
            let is_ours = inside != dependency || dependency == "dormouse";
            assert!(!is_ours || allowed.contains(&inside), "{name} must not know {inside}");
        }
        seen += 1;
    }
    assert_eq!(seen, MAY_KNOW.len(), "every rule belongs to a crate");
}

#[test]
fn the_core_is_pure() {
    let core = crates().join("core");
    let manifest = std::fs::read_to_string(core.join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    assert_eq!(dependencies(&manifest), ["thiserror"], "the core stands on nothing else");
    let offences = offences(&core.join("src"), &IMPURE);
    assert!(offences.is_empty(), "impure:\n{}", offences.join("\n"));
}

#[test]
fn nothing_but_the_providers_names_a_runtime() {
    for name in ["core", "keeper", "proxy", "store"] {
        let offences = offences(&crates().join(name).join("src"), &RUNTIMES);
        assert!(offences.is_empty(), "{name} names a runtime:\n{}", offences.join("\n"));
    }
}

#[test]
fn no_file_outgrows_its_idea() {
    const LINES_MAX: usize = 600;
    for entry in std::fs::read_dir(crates()).expect("a readable folder") {
        let folder = entry.expect("a readable entry").path().join("src");
        for (path, text) in sources(&folder) {
            let lines = text.split("#[cfg(test)]").next().unwrap_or(&text).lines().count();
            let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
            assert!(is_tests || lines <= LINES_MAX, "{} has {lines} lines", path.display());
            assert!(text.starts_with("//!"), "{} does not say what it is for", path.display());
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = crates().parent().expect("the root").to_owned();
    let page = std::fs::read_to_string(root.join("docs/security.md")).expect("a readable page");
    let mut seen = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("held by |")) {
        let held_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let mut text = None;
        let before = seen;
        for name in held_by.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                text = Some(std::fs::read_to_string(root.join(name)).expect(name));
                continue;
            }
            let text = text.as_ref().expect("a file stands before its tests");
            let function = text.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("no {name}"));
            let above = text[..function].lines().rev().take(4).collect::<String>();
            let is_test = above.contains("#[test]") || above.contains("#[tokio::test");
            assert!(is_test, "{name} is no test");
            seen += 1;
        }
        assert!(seen > before, "nothing holds: {row}");
    }
    assert!(seen > 30, "the page has its tables");
}
