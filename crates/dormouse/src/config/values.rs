//! The readers of single values, for the file and for labels alike.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::report::{Flaw, is_unprintable, nearest, quote};
use super::tree::{Node, Value};

/// Items that one list may have.
const ITEMS_MAX: usize = 1024;

/// Bytes that one text may have.
const TEXT_MAX: usize = 16 * 1024;

/// A word and what it means.
pub(crate) type Word<T> = (&'static str, T);

/// A text of bounded length without control characters.
pub(crate) fn text(node: &Node) -> Result<String, Flaw> {
    plain(node).map(str::to_owned)
}

/// A text that is not empty.
pub(crate) fn filled(node: &Node) -> Result<String, Flaw> {
    match plain(node)? {
        "" => Err(Flaw::new("must not be empty")),
        text => Ok(text.to_owned()),
    }
}

/// `true` or `false`.
pub(crate) fn flag(node: &Node) -> Result<bool, Flaw> {
    match &node.value {
        Value::Flag(flag) => Ok(*flag),
        Value::Flat(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::Flat(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Value::Flat(text) => Err(Flaw::new(format!("must be true or false, not {}", quote(text)))),
        Value::Text(_)
        | Value::Whole(_)
        | Value::Fraction(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Other(_) => Err(wrong_kind("true or false", node)),
    }
}

/// A whole number within `range`.
pub(crate) fn whole(node: &Node, range: RangeInclusive<i64>) -> Result<i64, Flaw> {
    let number = match &node.value {
        Value::Whole(number) => *number,
        Value::Flat(text) => text
            .trim()
            .parse()
            .map_err(|_| Flaw::new(format!("must be a whole number, not {}", quote(text))))?,
        Value::Text(_)
        | Value::Fraction(_)
        | Value::Flag(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Other(_) => {
            return Err(wrong_kind("a whole number", node));
        }
    };
    if range.contains(&number) {
        return Ok(number);
    }
    let (low, high) = (range.start(), range.end());
    Err(Flaw::new(format!("must be between {low} and {high}, and is {number}")))
}

/// A number, whole or not.
pub(crate) fn number(node: &Node) -> Result<f64, Flaw> {
    match &node.value {
        // Every whole number of a configuration is far below what a double counts exactly.
        Value::Whole(number) => Ok(*number as f64),
        Value::Fraction(number) => Ok(*number),
        Value::Flat(text) => text
            .trim()
            .parse()
            .map_err(|_| Flaw::new(format!("must be a number, not {}", quote(text)))),
        Value::Text(_) | Value::Flag(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
            Err(wrong_kind("a number", node))
        }
    }
}

/// A port to reach, from 1.
pub(crate) fn port(node: &Node) -> Result<u16, Flaw> {
    let number = whole(node, 1..=65_535).map_err(|flaw| flaw.hint("a port is 1 to 65535"))?;
    Ok(u16::try_from(number).expect("the range is that of a port"))
}

/// A count from 1.
pub(crate) fn count(node: &Node) -> Result<usize, Flaw> {
    let number = whole(node, 1..=10_000_000)?;
    Ok(usize::try_from(number).expect("the range fits"))
}

/// The items of a list; a single text is a list of one, and the text of a label is split at its
/// commas.
pub(crate) fn items(node: &Node) -> Result<Cow<'_, [Node]>, Flaw> {
    let items = match &node.value {
        Value::List(items) => Cow::Borrowed(items.as_slice()),
        Value::Text(_) | Value::Table(_) => Cow::Borrowed(std::slice::from_ref(node)),
        Value::Flat(text) => Cow::Owned(split(text, node)),
        Value::Whole(_) | Value::Fraction(_) | Value::Flag(_) | Value::Other(_) => {
            return Err(wrong_kind("a list", node));
        }
    };
    if items.len() > ITEMS_MAX {
        return Err(Flaw::new(format!("has {} items; at most {ITEMS_MAX} are read", items.len())));
    }
    Ok(items)
}

/// One of `words`.
pub(crate) fn word<T: Copy>(node: &Node, words: &[Word<T>]) -> Result<T, Flaw> {
    let given = plain(node)?;
    let found = words.iter().find(|(word, _)| *word == given);
    if let Some((_, meaning)) = found {
        return Ok(*meaning);
    }
    let flaw = Flaw::new(format!("does not know {}", quote(given)));
    Err(match nearest(given, words.iter().map(|(word, _)| *word)) {
        Some(word) => flaw.hint(format!("did you mean \"{word}\"?")),
        None => flaw.hint(format!("say {}", either(words))),
    })
}

/// One of `words`, or one of `later`, which are of the contract and not served by this version.
pub(crate) fn word_or_later<T: Copy>(
    node: &Node,
    words: &[Word<T>],
    later: &[&str],
) -> Result<T, Flaw> {
    match plain(node) {
        Ok(given) if later.contains(&given) => Err(Flaw::not_yet(given)),
        Ok(_) | Err(_) => word(node, words),
    }
}

/// A path of this machine; a relative one starts from the folder of the file it stands in.
pub(crate) fn path(node: &Node) -> Result<PathBuf, Flaw> {
    let text = filled(node)?;
    Ok(node.spot.folder().map_or_else(|| PathBuf::from(&text), |folder| folder.join(&text)))
}

/// A signal's name: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub(crate) fn signal(node: &Node) -> Result<String, Flaw> {
    if let Value::Whole(_) = node.value {
        return Ok(whole(node, 1..=64)?.to_string());
    }
    let text = plain(node)?.trim().to_ascii_uppercase();
    if text.parse().is_ok_and(|number: u8| (1..=64).contains(&number)) {
        return Ok(text);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if SIGNALS.contains(&name) || is_realtime(name) {
        return Ok(format!("SIG{name}"));
    }
    let flaw = Flaw::new(format!("is not a signal: {}", quote(&text)));
    Err(match nearest(&name.to_ascii_lowercase(), SIGNALS_LOWER.iter().copied()) {
        Some(name) => flaw.hint(format!("did you mean \"SIG{}\"?", name.to_ascii_uppercase())),
        None => flaw.hint("say \"SIGTERM\", \"SIGINT\", \"SIGQUIT\" or the like"),
    })
}

/// Why a name cannot be one of an environment or a workload.
pub(crate) fn check_name(name: &str) -> Result<(), Flaw> {
    let mut chars = name.chars();
    let legal_start = chars.next().is_some_and(|char| char.is_ascii_alphanumeric());
    let legal = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if legal_start && chars.all(legal) && name.len() <= 128 {
        return Ok(());
    }
    let hint = "names have letters, digits, `-`, `_` and `.`, begin with a letter or a digit, and \
                are at most 128 long";
    Err(Flaw::new("is not a legal name").slug("bad-name").hint(hint))
}

/// A value of the wrong kind.
pub(crate) fn wrong_kind(wanted: &str, node: &Node) -> Flaw {
    Flaw::new(format!("must be {wanted}, and is {}", node.value.kind()))
}

const SIGNALS: [&str; 30] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
];

const SIGNALS_LOWER: [&str; 8] = ["hup", "int", "quit", "kill", "usr1", "usr2", "term", "winch"];

fn is_realtime(name: &str) -> bool {
    let offset = |text: &str, sign| {
        text.is_empty()
            || text.strip_prefix(sign).is_some_and(|digits: &str| {
                digits.parse().is_ok_and(|offset: u8| offset <= 30) && !digits.starts_with('+')
            })
    };
    name.strip_prefix("RTMIN").is_some_and(|rest| offset(rest, '+'))
        || name.strip_prefix("RTMAX").is_some_and(|rest| offset(rest, '-'))
}

/// The text of a text.
pub(crate) fn plain(node: &Node) -> Result<&str, Flaw> {
    let (Value::Text(text) | Value::Flat(text)) = &node.value else {
        return Err(wrong_kind("text", node));
    };
    if text.len() > TEXT_MAX {
        return Err(Flaw::new(format!("is longer than {TEXT_MAX} bytes")));
    }
    if text.chars().any(is_unprintable) {
        return Err(Flaw::new(format!("has a control character: {}", quote(text))));
    }
    Ok(text)
}

fn split(text: &str, node: &Node) -> Vec<Node> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .take(ITEMS_MAX + 1)
        .map(|item| Node { value: Value::Flat(item.to_owned()), spot: node.spot.clone() })
        .collect()
}

fn either<T>(words: &[Word<T>]) -> String {
    let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Spot;
    use super::*;

    fn flat(text: &str) -> Node {
        let spot = Spot::Label { target: "t".into(), key: "k".into() };
        Node { value: Value::Flat(text.into()), spot }
    }

    #[test]
    fn signals_are_known_by_name_and_number() {
        let cases = [
            ("SIGTERM", Some("SIGTERM")),
            ("term", Some("SIGTERM")),
            ("9", Some("9")),
            ("SIGRTMIN+3", Some("SIGRTMIN+3")),
            ("RTMAX-1", Some("SIGRTMAX-1")),
            ("SIGRTMIN+99", None),
            ("SIGRTMIN++3", None),
            ("0", None),
            ("65", None),
            ("SIGSIGTERM", None),
            ("; rm -rf /", None),
        ];
        for (text, expected) in cases {
            assert_eq!(signal(&flat(text)).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_text_of_a_label_is_a_list_of_what_stands_between_commas() {
        let split = |text: &str| -> Vec<String> {
            items(&flat(text)).unwrap().iter().map(text_of).collect()
        };
        assert_eq!(split(" a, b ,,c,"), ["a", "b", "c"]);
        assert_eq!(split(""), [""; 0]);
        assert!(items(&flat(&"x,".repeat(5000))).is_err());
    }

    fn text_of(node: &Node) -> String {
        text(node).unwrap()
    }

    #[test]
    fn names_are_those_that_runtimes_and_urls_take() {
        for name in ["a", "blog-1", "A_b.c", "0"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-a", ".a", "a/b", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
