//! The spanned tree that the file and the labels are both read from.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use dormouse_core::findings::Place;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a key or a value stands. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// In a file.
    File { path: Arc<Path>, span: Range<usize> },
    /// On a label of a container.
    Label { target: Arc<str>, key: Arc<str> },
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) spot: Spot,
}

/// A key with its value, and where the key stands.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) spot: Spot,
    pub(crate) node: Node,
}

/// A value of the file, or the text of a label.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Whole(i64),
    Fraction(f64),
    Flag(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// The text of a label: whatever the key it belongs to makes of it.
    Flat(String),
    /// A kind of value that no key takes, by the name of its kind.
    Other(&'static str),
}

impl Spot {
    /// The place as findings say it.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::File { path, span } => Place::File { path: Arc::clone(path), span: span.clone() },
            Self::Label { target, key } => {
                Place::Label { target: Arc::clone(target), key: Arc::clone(key) }
            }
        }
    }

    /// The folder that relative paths at this spot start from.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => path.parent(),
            Self::Label { .. } => None,
        }
    }
}

impl Value {
    /// What a value of this kind is called in a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Flat(_) => "text",
            Self::Whole(_) => "a bare number",
            Self::Fraction(_) => "a number with a fraction",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Turns a parsed document into entries, in the order in which they stand in the file.
pub(crate) fn entries_of(table: &DeTable<'_>, path: &Arc<Path>) -> Vec<Entry> {
    let mut entries: Vec<(usize, Entry)> =
        table.iter().map(|(key, value)| entry_of(key, value, path)).collect();
    entries.sort_by_key(|(start, _)| *start);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn entry_of(
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    path: &Arc<Path>,
) -> (usize, Entry) {
    let spot = Spot::File { path: path.clone(), span: key.span() };
    let entry = Entry { key: key.get_ref().to_string(), spot, node: node_of(value, path) };
    (key.span().start, entry)
}

fn node_of(value: &Spanned<DeValue<'_>>, path: &Arc<Path>) -> Node {
    let spot = Spot::File { path: path.clone(), span: value.span() };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number that is too large"), Value::Whole),
        // Beyond what a double holds it is infinite, which no key takes.
        DeValue::Float(number) => Value::Fraction(number.as_str().parse().unwrap_or(f64::INFINITY)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| node_of(item, path)).collect())
        }
        DeValue::Table(table) => Value::Table(entries_of(table, path)),
    };
    Node { value, spot }
}
