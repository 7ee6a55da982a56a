//! Reads one table key by key, and reports every key that nobody asked for.

use dormouse_core::findings::Finding;

use super::report::{Flaw, Report, nearest, quote};
use super::tree::{Entry, Node, Spot, Value};

/// Entries that one table may have.
const ENTRIES_MAX: usize = 100_000;

/// A table that is being read.
pub(crate) struct Section<'t> {
    /// How messages name it: `workload.blog`, empty at the top.
    name: String,
    /// How the reference names it: `workload.*`.
    pattern: String,
    spot: Spot,
    entries: &'t [Entry],
    taken: Vec<bool>,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// Opens the table that `entry` holds.
    pub(crate) fn open(entry: &'t Entry, title: &Title, report: &mut Report<'_>) -> Option<Self> {
        let section = Self::of(&entry.node, &entry.spot, title);
        section.map_err(|flaw| report.add(flaw_finding(&title.name, &entry.node.spot, flaw))).ok()
    }

    /// Opens a table that stands in a list or at the top.
    pub(crate) fn of(node: &'t Node, spot: &Spot, title: &Title) -> Result<Self, Flaw> {
        let Value::Table(entries) = &node.value else {
            return Err(Flaw::new(format!("must be a table, and is {}", node.value.kind())));
        };
        if entries.len() > ENTRIES_MAX {
            return Err(Flaw::new("has too many entries"));
        }
        Ok(Self {
            name: title.name.clone(),
            pattern: title.pattern.clone(),
            spot: spot.clone(),
            entries,
            taken: vec![false; entries.len()],
            known: Vec::new(),
            later: Vec::new(),
        })
    }

    /// The title of the table or list under `key`.
    pub(crate) fn title(&self, key: &str) -> Title {
        Title { name: join(&self.name, key), pattern: join(&self.pattern, key) }
    }

    /// The entry `key`, which counts as understood from now on.
    pub(crate) fn take(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<&'t Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key);
        report.ask(join(&self.pattern, key), at.is_some());
        self.known.push(key);
        let at = at?;
        self.taken[at] = true;
        Some(&self.entries[at])
    }

    /// Notes `include`, which is taken out of each file before the files are laid together.
    pub(crate) fn take_include(&mut self, report: &mut Report<'_>) {
        self.take(report, "include");
    }

    /// The entry `key`, without asking for it.
    pub(crate) fn peek(&self, key: &str) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether the key is there, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }

    /// Whether every key of the table was asked for.
    pub(crate) fn is_understood(&self) -> bool {
        self.taken.iter().all(|taken| *taken)
    }

    /// Every entry, for a table whose keys are names.
    pub(crate) fn take_all(&mut self) -> &'t [Entry] {
        self.taken.fill(true);
        self.entries
    }

    /// The value of `key`; what is wrong with it goes to the report.
    pub(crate) fn read<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        reader: impl FnOnce(&Node) -> Result<T, Flaw>,
    ) -> Option<T> {
        let entry = self.take(report, key)?;
        match reader(&entry.node) {
            Ok(value) => Some(value),
            Err(flaw) => {
                self.flaw(report, entry, flaw);
                None
            }
        }
    }

    /// The values of the list `key`; each wrong one goes to the report and is left out.
    pub(crate) fn read_list<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        reader: impl Fn(&Node) -> Result<T, Flaw>,
    ) -> Option<Vec<T>> {
        let entry = self.take(report, key)?;
        let items = match super::values::items(&entry.node) {
            Ok(items) => items,
            Err(flaw) => {
                self.flaw(report, entry, flaw);
                return None;
            }
        };
        let mut read = Vec::with_capacity(items.len());
        for item in items.iter() {
            match reader(item) {
                Ok(value) => read.push(value),
                Err(flaw) => {
                    let flaw = if flaw.spot.is_none() { flaw.at(&item.spot) } else { flaw };
                    self.flaw(report, entry, flaw);
                }
            }
        }
        Some(read)
    }

    /// Answers keys of the contract that this version does not serve, instead of ignoring them.
    pub(crate) fn not_yet(&mut self, report: &mut Report<'_>, keys: &[&'static str]) {
        for &key in keys {
            self.later.push(key);
            let Some(at) = self.entries.iter().position(|entry| entry.key == key) else {
                continue;
            };
            self.taken[at] = true;
            let entry = &self.entries[at];
            let message = format!("{} is not supported by this version yet", self.name_of(entry));
            let hint = "remove it until a version that supports it is installed";
            let finding = Finding::error("not-yet", message).with_hint(hint);
            report.add(finding.at(entry.spot.place()));
        }
    }

    /// Reports `flaw` as one of the value of `entry`.
    pub(crate) fn flaw(&self, report: &mut Report<'_>, entry: &Entry, flaw: Flaw) {
        report.add(flaw_finding(
            &self.name_of_key(&entry.key, &entry.spot),
            &entry.node.spot,
            flaw,
        ));
    }

    /// Reports what is wrong with the table as a whole.
    pub(crate) fn complain(&self, report: &mut Report<'_>, flaw: Flaw) {
        report.add(flaw_finding(&self.name, &self.spot, flaw));
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn close(self, report: &mut Report<'_>) {
        let left = self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken);
        for (entry, _) in left {
            report.add(self.unknown(entry));
        }
    }

    fn unknown(&self, entry: &Entry) -> Finding {
        let nearest = nearest(&entry.key, self.known.iter().chain(&self.later).copied());
        let (message, slug) = match &entry.spot {
            Spot::File { .. } if self.name.is_empty() => {
                (format!("unknown key {}", quote(&entry.key)), "unknown-key")
            }
            Spot::File { .. } => {
                let table = quote(&self.name);
                (format!("unknown key {} in {table}", quote(&entry.key)), "unknown-key")
            }
            Spot::Label { key, .. } => (format!("unknown label {}", quote(key)), "unknown-label"),
        };
        let finding = Finding::error(slug, message).at(entry.spot.place());
        match (nearest, &entry.spot) {
            (Some(key), Spot::File { .. }) => finding.with_hint(format!("did you mean `{key}`?")),
            (Some(key), Spot::Label { .. }) => {
                finding.with_hint(format!("did you mean `{}`?", join(&self.name, key)))
            }
            (None, _) => finding.with_hint(format!("the keys here are {}", self.known.join(", "))),
        }
    }

    fn name_of(&self, entry: &Entry) -> String {
        self.name_of_key(&entry.key, &entry.spot)
    }

    /// Files name the key alone, for the caret shows the table; labels need the whole name.
    fn name_of_key(&self, key: &str, spot: &Spot) -> String {
        match spot {
            Spot::File { .. } => quote(key),
            Spot::Label { key, .. } => quote(key),
        }
    }
}

/// What a table is called.
#[derive(Clone, Debug)]
pub(crate) struct Title {
    /// In messages: `workload.blog`.
    pub(crate) name: String,
    /// In the reference: `workload.*`.
    pub(crate) pattern: String,
}

impl Title {
    /// A table called `name`.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), pattern: name.into() }
    }

    /// The table of the thing that a person called `name`.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self { name: join(&self.name, name), pattern: join(&self.pattern, "*") }
    }
}

/// A finding about the value of what is called `name`.
pub(crate) fn flaw_finding(name: &str, spot: &Spot, flaw: Flaw) -> Finding {
    let name = if name.starts_with('`') { name.to_owned() } else { quote(name) };
    let place = flaw.spot.as_ref().unwrap_or(spot).place();
    let finding = Finding::error(flaw.slug, format!("{name} {}", flaw.message)).at(place);
    match flaw.hint {
        Some(hint) => finding.with_hint(hint),
        None => finding,
    }
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}
