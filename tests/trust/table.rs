//! The table of the invariants: each of its commands runs a test that exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn every_command_of_the_table_runs_a_test() {
    let rows = rows();
    assert!(rows.len() >= 10, "the table was not read: {rows:?}");
    for Row { invariant, package, binary, filter } in &rows {
        let tests = tests_of(package, binary);
        assert!(
            tests.iter().any(|name| name.contains(&**filter)),
            "{invariant}: nothing in {package}, {binary} is called {filter}; there is {tests:?}"
        );
    }
}

#[test]
fn every_named_invariant_stands_in_the_table() {
    let rows = rows();
    let trust = tests_of("dormouse", "trust");
    for name in trust.iter().filter(|name| is_numbered(name)) {
        let held = |row: &Row| row.binary == "trust" && name.contains(&*row.filter);
        assert!(rows.iter().any(held), "docs/trust.md does not say how to run {name}");
    }
}

/// One command of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) invariant: String,
    package: String,
    pub(super) binary: String,
    pub(super) filter: String,
}

/// Every `cargo test -p PACKAGE --test BINARY FILTER` in the rows of the table.
pub(super) fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/trust.md")).unwrap();
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| R")) {
        let invariant = line.trim_start_matches("| ").split(' ').next().unwrap().to_owned();
        let commands: Vec<&str> =
            line.split('`').filter(|span| span.starts_with("cargo test ")).collect();
        assert!(!commands.is_empty(), "{invariant} has no command");
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            let ["cargo", "test", "-p", package, "--test", binary, filter] = words[..] else {
                panic!("{invariant}: {command} is not read")
            };
            let [package, binary, filter] = [package, binary, filter].map(str::to_owned);
            rows.push(Row { invariant: invariant.clone(), package, binary, filter });
        }
    }
    rows
}

/// The names of all tests of a binary, with the modules that they stand in.
pub(super) fn tests_of(package: &str, binary: &str) -> BTreeSet<String> {
    let root = Path::new(ROOT);
    let folders = match package {
        "dormouse" => [root.join("tests"), root.join("crates/dormouse/tests")],
        other => {
            let folder = other.trim_start_matches("dormouse-");
            [root.join("crates").join(folder).join("tests"), PathBuf::new()]
        }
    };
    let mut files = Vec::new();
    for folder in folders {
        files.extend([folder.join(format!("{binary}.rs"))].into_iter().filter(|it| it.is_file()));
        let listed = std::fs::read_dir(folder.join(binary)).into_iter().flatten();
        let listed = listed.map(|entry| entry.unwrap().path());
        files.extend(listed.filter(|path| path.extension().is_some_and(|it| it == "rs")));
    }
    files.iter().flat_map(|file| tests_in(file, binary)).collect()
}

/// The name of every function of a file that is a test, after that of the module that the file is.
fn tests_in(file: &Path, binary: &str) -> Vec<String> {
    let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
    let module = if stem == binary { String::new() } else { format!("{stem}::") };
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut names = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            let function = lines[index..].iter().find_map(|line| line.split_once("fn ")).unwrap().1;
            names.push(format!("{module}{}", function.split('(').next().unwrap()));
        }
    }
    names
}

/// Whether a test is one of an invariant, such as `r34_by_hand::r34_…`.
fn is_numbered(name: &str) -> bool {
    let function = name.rsplit("::").next().unwrap();
    function.starts_with('r') && function[1..].starts_with(|first: char| first.is_ascii_digit())
}
