//! The list of what breaks the program: each text of it is still there, each invariant has an entry,
//! and docs/trust.md says what each was seen failing with. `scripts/mutants --trust` runs them.

use std::collections::BTreeSet;
use std::path::Path;

use super::table::{ROOT, rows, tests_of};

#[test]
fn every_text_that_a_mutant_replaces_stands_once_in_its_file() {
    let mutants = mutants();
    assert!(mutants.len() >= 30, "the list was not read: {mutants:?}");
    for Mutant { name, file, texts, .. } in &mutants {
        let source = read(file);
        assert!(!texts.is_empty(), "{name} replaces nothing");
        for (old, new) in texts {
            assert_eq!(source.matches(old.as_str()).count(), 1, "{name}, {file}: {old}");
            assert_ne!(old, new, "{name} changes nothing");
        }
    }
}

#[test]
fn every_mutant_is_to_be_caught_by_a_test_that_stands_in_the_table() {
    let rows = rows();
    for Mutant { name, guard, by, says, .. } in mutants() {
        let (binary, filter) = by.split_once(' ').unwrap();
        let tests = tests_of("dormouse", binary);
        assert!(tests.iter().any(|test| test.contains(filter)), "{name}: there is no test {by}");
        let invariant = guard.split(':').next().unwrap();
        let in_table = rows.iter().any(|row| {
            let same = filter.contains(&row.filter) || row.filter.contains(filter);
            row.invariant == invariant && row.binary == binary && same
        });
        assert!(in_table, "{name}: {by} is not how {invariant} is run");
        assert!(says.len() > 3, "{name}: {says:?} could be anything");
    }
}

#[test]
fn every_invariant_has_a_mutant() {
    let of = |mutant: &Mutant| mutant.guard.split(':').next().unwrap().to_owned();
    let guarded: BTreeSet<String> = mutants().iter().map(of).collect();
    for row in rows() {
        assert!(guarded.contains(&row.invariant), "nothing breaks {}", row.invariant);
    }
}

#[test]
fn the_page_says_what_each_mutant_was_seen_failing_with() {
    let page = read("docs/trust.md");
    let seen: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let mutants = mutants();
    for Mutant { name, says, .. } in &mutants {
        let row = seen.iter().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        assert!(row.contains(says.trim()), "{name}: {says:?} is not in {row}");
    }
    assert_eq!(seen.len(), mutants.len(), "a row is of a mutant that there is not");
}

/// One entry of the list.
#[derive(Debug, Default)]
struct Mutant {
    name: String,
    guard: String,
    by: String,
    says: String,
    file: String,
    /// What stands there, and what stands there instead.
    texts: Vec<(String, String)>,
}

fn mutants() -> Vec<Mutant> {
    let list = read("mutants/trust");
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut lines = list.lines();
    while let Some(line) = lines.next() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start().to_owned();
        if word == "mutant" {
            mutants.push(Mutant { name: rest, ..Mutant::default() });
            continue;
        }
        let Some(mutant) = mutants.last_mut() else { continue };
        match word {
            "guard" => mutant.guard = rest,
            "by" => mutant.by = rest,
            "says" => mutant.says = rest,
            "file" => mutant.file = rest,
            "<<<<" => {
                let old: Vec<&str> = lines.by_ref().take_while(|line| *line != "====").collect();
                let new: Vec<&str> = lines.by_ref().take_while(|line| *line != ">>>>").collect();
                mutant.texts.push((old.join("\n"), new.join("\n")));
            }
            _ => assert!(line.is_empty(), "mutants/trust: not understood: {line}"),
        }
    }
    mutants
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}
