//! What every error slug means, who can mend it, and how: the pages of `explain SLUG` and the
//! reference.

use std::sync::LazyLock;

use dormouse_core::FailureKind;
use serde::Serialize;

use crate::api::Trouble;

/// What there is to say about one slug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The slug.
    pub slug: &'static str,
    /// Who can mend it: `you`, `config`, `runtime`, `workload` or `dormouse`.
    pub owner: &'static str,
    /// Where it is told: `wake`, `visitor`, `api` or `check`.
    pub told: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

static PAGES: LazyLock<Vec<Page>> = LazyLock::new(collect);

/// All pages, by where they are told.
pub fn all() -> &'static [Page] {
    &PAGES
}

/// The page of a slug.
pub fn find(slug: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.slug == slug)
}

impl Page {
    /// The page as a person reads it.
    pub fn text(&self) -> String {
        format!(
            "{}\n  what  {}\n  who   {}\n  told  {}\n  hint  {}\n",
            self.slug,
            self.meaning,
            whose(self.owner),
            whence(self.told),
            self.hint
        )
    }
}

/// Who can mend it, in a phrase.
pub fn whose(owner: &str) -> &'static str {
    match owner {
        "you" => "whoever asks can mend it",
        "config" => "the configuration can mend it",
        "runtime" => "the runtime (such as the engine) can mend it",
        "workload" => "the workload can mend it",
        _ => "dormouse itself, or the machine it runs on",
    }
}

/// Where it is told, in a phrase.
pub fn whence(told: &str) -> &'static str {
    match told {
        "wake" => "to visitors and callers of the API when a wake fails",
        "visitor" => "to visitors",
        "api" => "to callers of the admin API",
        _ => "by `dormouse check`, the log, and GET config/findings",
    }
}

fn collect() -> Vec<Page> {
    let wakes = KINDS.iter().map(|&(kind, owner, meaning)| Page {
        slug: kind.slug(),
        owner,
        told: "wake",
        meaning,
        hint: kind.hint(),
    });
    let troubles = Trouble::ROWS.iter().map(|row| Page {
        slug: row.slug,
        owner: owner_of(row.status.as_u16()),
        told: "api",
        meaning: row.title,
        hint: row.hint,
    });
    let visitors = VISITOR.iter().map(|&(slug, owner, meaning, hint)| Page {
        slug,
        owner,
        told: "visitor",
        meaning,
        hint,
    });
    let findings = FINDINGS.iter().map(|&(slug, meaning, hint)| Page {
        slug,
        owner: "config",
        told: "check",
        meaning,
        hint,
    });
    let mut pages: Vec<Page> = wakes.collect();
    for page in visitors.chain(troubles).chain(findings) {
        // What is told in several places is explained once.
        if pages.iter().all(|known| known.slug != page.slug) {
            pages.push(page);
        }
    }
    pages
}

fn owner_of(status: u16) -> &'static str {
    match status {
        422 => "config",
        502 => "runtime",
        400..500 => "you",
        _ => "dormouse",
    }
}

const KINDS: [(FailureKind, &str, &str); 9] = [
    (FailureKind::StartRefused, "runtime", "the runtime refused to start the workload"),
    (
        FailureKind::Crashed { exit_code: None },
        "workload",
        "the workload ended while it should have run",
    ),
    (
        FailureKind::NeverReady,
        "workload",
        "the workload ran, and its readiness probe never succeeded within wake_timeout",
    ),
    (
        FailureKind::TimedOut,
        "workload",
        "the wake did not end within wake_timeout, although nothing failed",
    ),
    (FailureKind::Absent, "runtime", "the runtime knows nothing under the workload's name"),
    (FailureKind::Unreachable, "runtime", "the runtime of the environment did not answer"),
    (FailureKind::NeedFailed, "workload", "something that the workload needs could not be woken"),
    (FailureKind::Misconfigured, "config", "the definition of the workload is wrong"),
    (FailureKind::RestRefused, "runtime", "the runtime refused to put the workload to rest"),
];

/// Slug, owner, meaning and hint of what the data plane tells beside failed wakes.
const VISITOR: [(&str, &str, &str, &str); 11] = [
    (
        "bad-request",
        "you",
        "the request can be read in more than one way, or in none",
        "send a request that can only be read in one way",
    ),
    (
        "no-route",
        "config",
        "no workload is served under this hostname and path",
        "check the address, or add the hostname to a workload's hosts",
    ),
    (
        "no-such-page",
        "you",
        "below /.dormouse/ there is no such page",
        "below /.dormouse/ there are events, status and health",
    ),
    (
        "waiting-room-full",
        "config",
        "as many requests wait for the workload, or of one client, as may",
        "try again soon, or raise the workload's held limits",
    ),
    (
        "no-such-port",
        "config",
        "the workload has no address for the port of the route",
        "check the port of the route",
    ),
    (
        "upstream-unreachable",
        "workload",
        "the workload is ready, and cannot be connected to",
        "see whether it still runs, and listens on its port",
    ),
    (
        "upstream-closed",
        "workload",
        "the workload closed the connection before its answer was complete",
        "read the last lines of its log",
    ),
    (
        "upstream-garbled",
        "workload",
        "the workload answered with what is not HTTP",
        "check that the route's port speaks HTTP, and that the scheme is right",
    ),
    (
        "answer-timeout",
        "workload",
        "the workload took the request and did not answer in time",
        "see what the workload is busy with",
    ),
    (
        "unasked-upgrade",
        "workload",
        "the workload switched to another protocol, which nobody asked for",
        "check that the route's port speaks HTTP",
    ),
    (
        "body-broken",
        "you",
        "the rest of the request's body did not arrive, or is not framed correctly",
        "send the whole body, in well-formed chunks",
    ),
];

/// Slug, meaning and hint of what linting finds.
const FINDINGS: [(&str, &str, &str); 24] = [
    ("syntax", "the file is not TOML", "correct it at the place that is shown"),
    ("unknown-key", "nothing is called like this key", "see the reference for the keys there are"),
    ("missing-key", "a key that must be there is missing", "add it"),
    ("bad-value", "the value is not one that this key takes", "see the reference for its values"),
    ("bad-name", "the name is not a legal one", "use letters, digits, dots, hyphens, underscores"),
    ("bad-label", "a label is not one that is understood", "correct the label and recreate"),
    ("idle-label", "a label says nothing without another one", "add the label that it belongs to"),
    ("not-yet", "this version does not serve this yet", "leave it out"),
    ("missing-env-var", "an env var that is named is not set", "set it for dormouse's process"),
    ("unreadable-file", "a file that is named cannot be read", "check its path and permissions"),
    (
        "empty-file",
        "there is nothing in the file any more",
        "write it again, or start dormouse anew",
    ),
    ("too-many-files", "more files are included than may be", "include fewer files"),
    ("too-many-findings", "there are more findings than are listed", "correct the first ones"),
    ("open-admin", "the admin side is open to others without a token", "set admin_tokens"),
    ("unknown-environment", "an environment that is named is not defined", "define it"),
    ("unknown-need", "a need names no workload", "name a workload, or define it"),
    ("ignored-need", "a need is not followed", "name workloads that dormouse serves"),
    ("cycle", "workloads need each other in a circle", "take one of the needs away"),
    ("defined-twice", "two files define the same thing", "define it once"),
    ("duplicate-target", "two workloads have one target", "give one of them all routes"),
    ("duplicate-workload", "two definitions have one name", "give one of them another name"),
    ("duplicate-route", "two workloads claim one route", "a route leads to one workload"),
    (
        "duplicate-listener",
        "a TCP or UDP address is taken by another workload or by the gateway",
        "listen on another port or address",
    ),
    (
        "cannot-listen",
        "a TCP or UDP address cannot be bound: another program has it, or it is not this machine's",
        "free it, or listen on an address of this machine that is free",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::{all, find};

    #[test]
    fn every_slug_has_one_page() {
        let slugs: BTreeSet<&str> = all().iter().map(|page| page.slug).collect();
        assert_eq!(slugs.len(), all().len());
        assert!(find("crashed").unwrap().text().contains("read the last lines of its log"));
        assert_eq!(find("no-such-slug"), None);
    }

    /// The tables of the other rooms are not open to this one, so their sources are read.
    #[test]
    fn every_slug_in_the_sources_has_a_page_and_every_page_a_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let rescue = std::fs::read_to_string(root.join("../proxy/src/rescue.rs")).unwrap();
        let rows = between(&rescue, "fn row(&self)", "fn problem");
        let mut told: BTreeSet<String> = slugs_in(rows, &["\""]);
        let mut files = Vec::new();
        for folder in ["src/config", "src/registry", "src/labels"] {
            sources(&root.join(folder), &mut files);
        }
        files.extend(
            ["src/labels.rs", "src/reload.rs", "src/listeners.rs"].map(|file| root.join(file)),
        );
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let starts = ["Finding::error(\"", "Finding::warning(\"", "slug(\"", "slug: \""];
            let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let text = text.replace("( \"", "(\"");
            told.extend(slugs_in(&text, &starts));
        }
        let paged: BTreeSet<String> = all().iter().map(|page| page.slug.to_owned()).collect();
        let missing: Vec<&String> = told.difference(&paged).collect();
        assert!(missing.is_empty(), "without a page: {missing:?}");
        for page in all().iter().filter(|page| matches!(page.told, "visitor" | "check")) {
            assert!(told.contains(page.slug), "nobody tells {}", page.slug);
        }
        for page in all().iter().filter(|page| page.told == "visitor") {
            assert!(rows.contains(page.hint), "{} has another hint there", page.slug);
        }
    }

    fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                files.push(path);
            }
        }
    }

    fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
        let text = &text[text.find(start).expect("the table is there")..];
        &text[..text.find(end).expect("the table ends")]
    }

    /// The words in quotes after one of `starts` that have the form of a slug.
    fn slugs_in(text: &str, starts: &[&str]) -> BTreeSet<String> {
        let mut slugs = BTreeSet::new();
        for start in starts {
            for (at, _) in text.match_indices(start) {
                let word = text[at + start.len()..].split('"').next().unwrap_or_default();
                let legal = |char: char| char.is_ascii_lowercase() || char == '-';
                if word.len() > 3 && word.chars().all(legal) {
                    slugs.insert(word.to_owned());
                }
            }
        }
        slugs
    }
}
