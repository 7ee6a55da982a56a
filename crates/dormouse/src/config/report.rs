//! Collects findings while something is read, and suggests what a misspelt word may have meant.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dormouse_core::findings::Finding;

use super::tree::Spot;

/// Findings kept of one reading; what comes after is only counted.
const FINDINGS_MAX: usize = 1000;

/// Characters of foreign text that a message repeats.
const QUOTE_MAX: usize = 120;

/// How to look up an env var.
pub(crate) type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Collects findings, and remembers which keys were asked for.
pub(crate) struct Report<'a> {
    /// Looks up env vars.
    pub(crate) env: EnvLookup<'a>,
    findings: Vec<Finding>,
    unlisted: usize,
    workload: Option<String>,
    asked: BTreeMap<String, bool>,
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) slug: &'static str,
    /// Follows the key in the finding's message: "is not a duration".
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Where it is, when it is only a part of the value.
    pub(crate) spot: Option<Spot>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(env: EnvLookup<'a>) -> Self {
        Self { env, findings: Vec::new(), unlisted: 0, workload: None, asked: BTreeMap::new() }
    }

    /// From now on findings are about `workload`.
    pub(crate) fn turn_to(&mut self, workload: Option<String>) {
        self.workload = workload;
    }

    pub(crate) fn add(&mut self, mut finding: Finding) {
        if self.findings.len() >= FINDINGS_MAX {
            self.unlisted += 1;
            return;
        }
        if finding.workload.is_none() {
            finding.workload.clone_from(&self.workload);
        }
        self.findings.push(finding);
    }

    /// Notes that `path` is a key that is understood, and whether it was there.
    pub(crate) fn ask(&mut self, path: String, there: bool) {
        *self.asked.entry(path).or_default() |= there;
    }

    /// Every key that was asked for, with `*` where a name stands, and whether it was there.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> &BTreeMap<String, bool> {
        &self.asked
    }

    pub(crate) fn error_count(&self) -> usize {
        self.findings.iter().filter(|finding| finding.is_error()).count() + self.unlisted
    }

    pub(crate) fn into_findings(mut self) -> Vec<Finding> {
        if self.unlisted > 0 {
            let message = format!("{} more findings are not listed", self.unlisted);
            self.findings.push(Finding::error("too-many-findings", message));
        }
        self.findings
    }
}

impl Flaw {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { slug: "bad-value", message: message.into(), hint: None, spot: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn slug(self, slug: &'static str) -> Self {
        Self { slug, ..self }
    }

    pub(crate) fn at(self, spot: &Spot) -> Self {
        Self { spot: Some(spot.clone()), ..self }
    }

    /// The same flaw at `spot`, unless its place is known better.
    pub(crate) fn or_at(self, spot: &Spot) -> Self {
        if self.spot.is_some() { self } else { self.at(spot) }
    }

    /// A value of the contract that this version does not serve.
    pub(crate) fn not_yet(value: &str) -> Self {
        let message = format!("says {}, which is not supported by this version yet", quote(value));
        Self::new(message).slug("not-yet")
    }
}

/// The word of `known` that `word` is probably a misspelling of.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word: String = word.chars().take(64).collect::<String>().to_ascii_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Foreign text in backquotes: bounded, on one line, with control characters written out.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (count, char) in text.chars().enumerate() {
        if count == QUOTE_MAX {
            quoted.push('…');
            break;
        }
        if is_unprintable(char) {
            write!(quoted, "{}", char.escape_unicode()).expect("writing to a string cannot fail");
        } else {
            quoted.push(char);
        }
    }
    quoted.push('`');
    quoted
}

/// Whether `char` could change what a terminal or a page shows around it.
pub(crate) fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
