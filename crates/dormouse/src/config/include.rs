//! Reads a file and the files it includes, and lays them together as one tree.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dormouse_core::findings::{Finding, Place};
use toml::de::DeTable;

use super::Sources;
use super::report::{Flaw, Report, quote};
use super::section::flaw_finding;
use super::tree::{Entry, Value, entries_of};
use super::values;

/// Files that one configuration may have.
const FILES_MAX: usize = 1000;

/// Bytes that one file may have.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Everything that was read.
pub(crate) struct Read {
    /// The tables of all files laid together.
    pub(crate) entries: Vec<Entry>,
    pub(crate) sources: Sources,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) folders: Vec<PathBuf>,
}

/// Reads `path` and what it includes, each file once, in the order in which they are named.
pub(crate) fn read_all(path: &Path, report: &mut Report<'_>) -> Read {
    let mut read = Read {
        entries: Vec::new(),
        sources: Sources::new(),
        files: Vec::new(),
        folders: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([path.to_path_buf()]);
    while let Some(path) = queue.pop_front() {
        let known = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if !seen.insert(known) {
            continue;
        }
        if read.files.len() == FILES_MAX {
            let message = format!("more than {FILES_MAX} files are included");
            report.add(Finding::error("too-many-files", message));
            break;
        }
        read.files.push(path.clone());
        if let Some(entries) = read_one(&path, &mut read.sources, report) {
            let (includes, entries) = split_include(entries);
            for entry in &includes {
                queue.extend(included(entry, &path, &mut read.folders, report));
            }
            lay(entries, &mut read.entries, report);
        }
    }
    read
}

fn read_one(path: &Path, sources: &mut Sources, report: &mut Report<'_>) -> Option<Vec<Entry>> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(source) => {
            let path = path.to_string_lossy();
            let message = format!("{} cannot be read: {source}", quote(&path));
            report.add(Finding::error("unreadable-file", message));
            return None;
        }
    };
    Some(parse(text, path, sources, report))
}

/// The entries of a file's text; what is wrong with it is reported.
fn parse(text: String, path: &Path, sources: &mut Sources, report: &mut Report<'_>) -> Vec<Entry> {
    let (document, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let place = Place::File { path: path.into(), span };
        report.add(Finding::error("syntax", error.message()).at(place));
    }
    let entries = entries_of(document.get_ref(), &Arc::from(path));
    sources.insert(path.to_path_buf(), text.into());
    entries
}

/// Reads `text` as the file at `path`, and nothing of what it includes.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn read_alone(text: String, path: &Path, report: &mut Report<'_>) -> Read {
    let mut sources = Sources::new();
    let (_, entries) = split_include(parse(text, path, &mut sources, report));
    Read { entries, sources, files: vec![path.to_path_buf()], folders: Vec::new() }
}

fn read_text(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn split_include(entries: Vec<Entry>) -> (Vec<Entry>, Vec<Entry>) {
    entries.into_iter().partition(|entry| entry.key == "include")
}

fn included(
    entry: &Entry,
    from: &Path,
    folders: &mut Vec<PathBuf>,
    report: &mut Report<'_>,
) -> Vec<PathBuf> {
    report.ask("include".into(), true);
    let mut paths = Vec::new();
    let mut complain = |flaw| report.add(flaw_finding("include", &entry.node.spot, flaw));
    match values::items(&entry.node) {
        Ok(items) => {
            for item in items.iter() {
                match values::filled(item).and_then(|pattern| expand(&pattern, from, folders)) {
                    Ok(found) => paths.extend(found),
                    Err(flaw) => complain(flaw.at(&item.spot)),
                }
            }
        }
        Err(flaw) => complain(flaw),
    }
    paths
}

/// The files that `pattern` names, sorted. A pattern without wildcards names one file, which has
/// to be there.
fn expand(pattern: &str, from: &Path, folders: &mut Vec<PathBuf>) -> Result<Vec<PathBuf>, Flaw> {
    let base = from.parent().unwrap_or(Path::new(""));
    let whole = base.join(pattern);
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![whole]);
    }
    // What stands before the pattern is a path, in which a bracket is only a bracket.
    let base = glob::Pattern::escape(&base.to_string_lossy());
    let escaped = Path::new(&base).join(pattern);
    let matches = glob::glob(&escaped.to_string_lossy())
        .map_err(|error| Flaw::new(format!("is not a pattern: {}", error.msg)))?;
    folders.push(fixed_part(&whole));
    let mut files: Vec<PathBuf> =
        matches.filter_map(Result::ok).filter(|path| path.is_file()).take(FILES_MAX + 1).collect();
    files.sort();
    Ok(files)
}

/// The folders of `pattern` before its first wildcard.
fn fixed_part(pattern: &Path) -> PathBuf {
    let wild = |part: &std::path::Component<'_>| {
        part.as_os_str().to_string_lossy().contains(['*', '?', '['])
    };
    pattern.components().take_while(|part| !wild(part)).collect()
}

/// Lays the tables of one more file over those that are there: tables of the same name grow, and a
/// key that is there already is a finding.
fn lay(more: Vec<Entry>, entries: &mut Vec<Entry>, report: &mut Report<'_>) {
    for entry in more {
        let Some(there) = entries.iter_mut().find(|there| there.key == entry.key) else {
            entries.push(entry);
            continue;
        };
        match (&mut there.node.value, entry.node.value) {
            (Value::Table(there), Value::Table(more)) => lay_keys(&entry.key, more, there, report),
            _ => report.add(twice(&entry.key, &entry.spot.place(), &there.spot.place())),
        }
    }
}

fn lay_keys(table: &str, more: Vec<Entry>, there: &mut Vec<Entry>, report: &mut Report<'_>) {
    let known: std::collections::BTreeMap<String, Place> =
        there.iter().map(|entry| (entry.key.clone(), entry.spot.place())).collect();
    for entry in more {
        match known.get(&entry.key) {
            Some(first) => {
                let name = format!("{table}.{}", entry.key);
                report.add(twice(&name, &entry.spot.place(), first));
            }
            None => there.push(entry),
        }
    }
}

fn twice(name: &str, second: &Place, first: &Place) -> Finding {
    let message = format!("{} is defined twice", quote(name));
    let finding = Finding::error("defined-twice", message).at(second.clone());
    match first {
        Place::File { path, .. } => {
            finding.with_hint(format!("it is defined in {} already", path.display()))
        }
        Place::Label { .. } => finding,
    }
}
