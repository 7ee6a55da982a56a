//! Makes a tree of flat labels, each dot a level, and refuses what is not fit to be read.

use dormouse_core::findings::Finding;
use dormouse_providers::Target;

use super::{Labels, PREFIX, ours};
use crate::config::report::{Report, is_unprintable, quote};
use crate::config::tree::{Entry, Node, Spot, Value};

/// Labels of ours that one container may have.
const LABELS_MAX: usize = 256;

/// Bytes of a label's key.
pub(super) const KEY_MAX: usize = 256;

/// Bytes of a label's text.
pub(super) const TEXT_MAX: usize = 8 * 1024;

/// The labels of ours as a tree, each dot a level. Labels that are not fit to be read are left out
/// and reported.
pub(super) fn tree_of(target: &Target, labels: &Labels, report: &mut Report<'_>) -> Node {
    let label_of = |key: &str| Spot::Label { target: target.as_str().into(), key: key.into() };
    let mut root = Vec::new();
    for (count, (key, text)) in ours(labels).enumerate() {
        let spot = label_of(&key.chars().take(KEY_MAX).collect::<String>());
        let outcome = if count == LABELS_MAX {
            Err(format!("more than {LABELS_MAX} labels"))
        } else {
            fit(key, text).and_then(|()| graft(&mut root, key, text, &spot))
        };
        if let Err(message) = outcome {
            report.add(Finding::error("bad-label", message).at(spot.place()));
        }
        if count == LABELS_MAX {
            break;
        }
    }
    Node { value: Value::Table(root), spot: label_of("dormouse") }
}

fn fit(key: &str, text: &str) -> Result<(), String> {
    if key.len() > KEY_MAX {
        return Err(format!("the label {} is longer than {KEY_MAX} bytes", quote(key)));
    }
    if text.len() > TEXT_MAX {
        return Err(format!("the text of {} is longer than {TEXT_MAX} bytes", quote(key)));
    }
    if key.chars().any(is_unprintable) {
        return Err(format!("the label {} has a control character", quote(key)));
    }
    if text.chars().any(is_unprintable) {
        return Err(format!("the text of {} has a control character", quote(key)));
    }
    Ok(())
}

fn graft(root: &mut Vec<Entry>, key: &str, text: &str, spot: &Spot) -> Result<(), String> {
    let path = key.strip_prefix(PREFIX).unwrap_or(key);
    let parts: Vec<&str> = path.split('.').collect();
    let Some((last, folders)) = parts.split_last() else {
        return Ok(());
    };
    // No key of ours is deeper than `route.NAME.host`.
    if parts.iter().any(|part| part.is_empty()) || parts.len() > 3 {
        return Err(format!("unknown label {}", quote(key)));
    }
    let mut table = root;
    for folder in folders {
        table = subtable(table, folder, spot).ok_or_else(|| clash(key))?;
    }
    if table.iter().any(|entry| entry.key == *last) {
        return Err(clash(key));
    }
    let node = Node { value: Value::Flat(text.to_owned()), spot: spot.clone() };
    table.push(Entry { key: (*last).to_owned(), spot: spot.clone(), node });
    Ok(())
}

fn subtable<'t>(table: &'t mut Vec<Entry>, key: &str, spot: &Spot) -> Option<&'t mut Vec<Entry>> {
    let at = table.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
        let node = Node { value: Value::Table(Vec::new()), spot: spot.clone() };
        table.push(Entry { key: key.to_owned(), spot: spot.clone(), node });
        table.len() - 1
    });
    match &mut table[at].node.value {
        Value::Table(entries) => Some(entries),
        Value::Text(_)
        | Value::Whole(_)
        | Value::Flag(_)
        | Value::List(_)
        | Value::Flat(_)
        | Value::Fraction(_)
        | Value::Other(_) => None,
    }
}

fn clash(key: &str) -> String {
    format!("{} clashes with a label that is a part of it", quote(key))
}
