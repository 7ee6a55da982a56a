//! Secrets: a text, an env var or a file, never shown.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::report::{EnvLookup, Flaw, quote};
use super::tree::{Entry, Node, Value};
use super::values;

/// Bytes that a secret's file may have.
const SECRET_MAX: u64 = 256 * 1024;
/// What the command line takes for the token of the admin side.
const OWN_TOKEN: &str = "DORMOUSE_TOKEN";

/// A text that nobody may see by accident: it has no `Display`, and its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that has to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reads a text, `{ env = "X" }` or `{ file = "path" }`.
pub(crate) fn secret(node: &Node, env: EnvLookup<'_>) -> Result<Secret, Flaw> {
    match &node.value {
        Value::Text(text) | Value::Flat(text) => filled(text.clone()),
        Value::Table(_) => sourced(node, env),
        Value::Whole(_)
        | Value::Fraction(_)
        | Value::Flag(_)
        | Value::List(_)
        | Value::Other(_) => Err(shape()),
    }
}

/// Reads what is usually a file: a path, the PEM text itself, `{ env = "X" }` or
/// `{ file = "path" }`.
pub(crate) fn pem(node: &Node, env: EnvLookup<'_>) -> Result<Secret, Flaw> {
    let read = match &node.value {
        Value::Text(text) if !text.contains("-----BEGIN") => from_file(node)?,
        Value::Text(_) | Value::Flat(_) | Value::Table(_) => secret(node, env)?,
        Value::Whole(_)
        | Value::Fraction(_)
        | Value::Flag(_)
        | Value::List(_)
        | Value::Other(_) => return Err(shape()),
    };
    if read.reveal().contains("-----BEGIN") {
        return Ok(read);
    }
    Err(Flaw::new("has no PEM block").hint("a PEM block begins with -----BEGIN"))
}

/// The env vars that hold secrets, by what the file says and by our own custom: workloads and
/// commands that we start do not get them.
pub(crate) fn env_vars(entries: &[Entry]) -> BTreeSet<String> {
    let mut names = BTreeSet::from([OWN_TOKEN.to_owned()]);
    entries.iter().for_each(|entry| gather(&entry.node.value, &mut names));
    names
}

fn gather(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Table(entries) => {
            if let [Entry { key, node: Node { value: Value::Text(name), .. }, .. }] = &entries[..]
                && key == "env"
                && is_env_var(name)
            {
                names.insert(name.clone());
            }
            entries.iter().for_each(|entry| gather(&entry.node.value, names));
        }
        Value::List(nodes) => nodes.iter().for_each(|node| gather(&node.value, names)),
        Value::Text(_)
        | Value::Whole(_)
        | Value::Fraction(_)
        | Value::Flag(_)
        | Value::Flat(_)
        | Value::Other(_) => {}
    }
}

/// What cannot be the name of an env var must not be taken away as one: the system would panic.
fn is_env_var(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

fn sourced(node: &Node, env: EnvLookup<'_>) -> Result<Secret, Flaw> {
    let Value::Table(entries) = &node.value else {
        return Err(shape());
    };
    match entries.as_slice() {
        [entry] if entry.key == "env" => from_env(&entry.node, env),
        [entry] if entry.key == "file" => from_file(&entry.node),
        _ => Err(shape()),
    }
}

fn from_env(node: &Node, env: EnvLookup<'_>) -> Result<Secret, Flaw> {
    let name = values::filled(node)?;
    let text = env(&name).ok_or_else(|| {
        Flaw::new(format!("names the env var {}, which is not set", quote(&name)))
            .slug("missing-env-var")
            .hint("set it for the process that runs dormouse")
            .at(&node.spot)
    })?;
    filled(text)
}

fn from_file(node: &Node) -> Result<Secret, Flaw> {
    let path = values::path(node)?;
    let text = read_bounded(&path).map_err(|source| {
        Flaw::new(format!(
            "names {}, which cannot be read: {source}",
            quote(&path.to_string_lossy())
        ))
        .slug("unreadable-file")
        .at(&node.spot)
    })?;
    filled(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_bounded(path: &PathBuf) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(SECRET_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_MAX {
        return Err(std::io::Error::other(format!("it is larger than {SECRET_MAX} bytes")));
    }
    Ok(text)
}

fn filled(text: String) -> Result<Secret, Flaw> {
    if text.is_empty() { Err(Flaw::new("must not be empty")) } else { Ok(Secret(text)) }
}

fn shape() -> Flaw {
    Flaw::new("must be a text, { env = \"NAME\" } or { file = \"path\" }")
}
