//! The readers of single values, for the file and for labels alike.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::report::{Flaw, is_unprintable, nearest, quote};
use super::tree::{Node, Value};

/// Items that one list may have.
const ITEMS_MAX: usize = 1024;

/// Bytes that one text may have.
const TEXT_MAX: usize = 16 * 1024;

/// The longest duration, ten years: what is longer is meant to be "never".
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

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
        Value::Flat(text) => Err(Flaw::new(format!(
            "must be true or false, not {}",
            quote(text)
        ))),
        Value::Text(_) | Value::Whole(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
            Err(wrong_kind("true or false", node))
        }
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
        Value::Text(_) | Value::Flag(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
            return Err(wrong_kind("a whole number", node));
        }
    };
    if range.contains(&number) {
        return Ok(number);
    }
    let (low, high) = (range.start(), range.end());
    Err(Flaw::new(format!(
        "must be between {low} and {high}, and is {number}"
    )))
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
        Value::Whole(_) | Value::Flag(_) | Value::Other(_) => {
            return Err(wrong_kind("a list", node));
        }
    };
    if items.len() > ITEMS_MAX {
        return Err(Flaw::new(format!(
            "has {} items; at most {ITEMS_MAX} are read",
            items.len()
        )));
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

/// A duration above zero: `90s`, `1h30m`, `500ms`.
pub(crate) fn duration(node: &Node) -> Result<Duration, Flaw> {
    let text = duration_text(node, "say \"30s\"")?;
    if text.trim() == "never" {
        return Err(Flaw::new("must end: \"never\" is not possible here"));
    }
    match parse_duration(text)? {
        Duration::ZERO => Err(Flaw::new("must be longer than zero")),
        long => Ok(long),
    }
}

/// A duration that may be zero, such as a grace period.
pub(crate) fn duration_or_zero(node: &Node) -> Result<Duration, Flaw> {
    let text = duration_text(node, "say \"0s\" for none")?;
    if text.trim() == "never" {
        return Err(Flaw::new("must end: \"never\" is not possible here"));
    }
    parse_duration(text)
}

/// A duration above zero, or `never`, which is `None`.
pub(crate) fn duration_or_never(node: &Node) -> Result<Option<Duration>, Flaw> {
    let text = duration_text(node, "say \"30m\" or \"never\"")?;
    if text.trim() == "never" {
        return Ok(None);
    }
    match parse_duration(text)? {
        Duration::ZERO => {
            Err(Flaw::new("cannot be zero, and zero is not never").hint("say \"never\""))
        }
        long => Ok(Some(long)),
    }
}

/// A number of bytes above zero: `8MiB`, `512KiB`, `1GB`.
pub(crate) fn size(node: &Node) -> Result<u64, Flaw> {
    if let Value::Whole(number) = node.value {
        let flaw = Flaw::new("is a bare number; a size needs a unit");
        return Err(flaw.hint(format!("say \"{number}B\", or a size such as \"8MiB\"")));
    }
    let text = plain(node)?.trim();
    let digits = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_bytes: u64 = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(not_a_size(text)),
    };
    let number: u64 = number.parse().map_err(|_| not_a_size(text))?;
    match number.checked_mul(unit_bytes) {
        Some(0) => Err(Flaw::new("must be more than zero")),
        Some(bytes) if bytes <= 1 << 40 => Ok(bytes),
        Some(_) | None => Err(Flaw::new(format!("is too large: {}", quote(text)))),
    }
}

/// An inclusive range of HTTP statuses: `200-399`, `204`.
pub(crate) fn status_range(node: &Node) -> Result<RangeInclusive<u16>, Flaw> {
    if let Value::Whole(_) = node.value {
        let status = whole(node, 100..=599)?;
        let status = u16::try_from(status).expect("the range is that of a status");
        return Ok(status..=status);
    }
    let text = plain(node)?.trim();
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        text.trim()
            .parse()
            .ok()
            .filter(|status| (100..=599).contains(status))
    };
    match (status(low), status(high)) {
        (Some(low), Some(high)) if low <= high => Ok(low..=high),
        (Some(_), Some(_)) => Err(Flaw::new(format!("is an empty range: {}", quote(text)))),
        (_, None) | (None, _) => {
            let flaw = Flaw::new(format!("is not a range of statuses: {}", quote(text)));
            Err(flaw.hint("say \"200-399\" or \"204\""))
        }
    }
}

/// A path of this machine; a relative one starts from the folder of the file it stands in.
pub(crate) fn path(node: &Node) -> Result<PathBuf, Flaw> {
    let text = filled(node)?;
    Ok(node
        .spot
        .folder()
        .map_or_else(|| PathBuf::from(&text), |folder| folder.join(&text)))
}

/// A signal's name: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub(crate) fn signal(node: &Node) -> Result<String, Flaw> {
    if let Value::Whole(_) = node.value {
        return Ok(whole(node, 1..=64)?.to_string());
    }
    let text = plain(node)?.trim().to_ascii_uppercase();
    if text
        .parse()
        .is_ok_and(|number: u8| (1..=64).contains(&number))
    {
        return Ok(text);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if SIGNALS.contains(&name) || is_realtime(name) {
        return Ok(format!("SIG{name}"));
    }
    let flaw = Flaw::new(format!("is not a signal: {}", quote(&text)));
    Err(
        match nearest(&name.to_ascii_lowercase(), SIGNALS_LOWER.iter().copied()) {
            Some(name) => flaw.hint(format!(
                "did you mean \"SIG{}\"?",
                name.to_ascii_uppercase()
            )),
            None => flaw.hint("say \"SIGTERM\", \"SIGINT\", \"SIGQUIT\" or the like"),
        },
    )
}

/// Why a name cannot be one of an environment or a workload.
pub(crate) fn check_name(name: &str) -> Result<(), Flaw> {
    let mut chars = name.chars();
    let legal_start = chars
        .next()
        .is_some_and(|char| char.is_ascii_alphanumeric());
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

const SIGNALS_LOWER: [&str; 8] = [
    "hup", "int", "quit", "kill", "usr1", "usr2", "term", "winch",
];

fn is_realtime(name: &str) -> bool {
    let offset = |text: &str, sign| {
        text.is_empty()
            || text.strip_prefix(sign).is_some_and(|digits: &str| {
                digits.parse().is_ok_and(|offset: u8| offset <= 30) && !digits.starts_with('+')
            })
    };
    name.strip_prefix("RTMIN")
        .is_some_and(|rest| offset(rest, '+'))
        || name
            .strip_prefix("RTMAX")
            .is_some_and(|rest| offset(rest, '-'))
}

fn plain(node: &Node) -> Result<&str, Flaw> {
    let (Value::Text(text) | Value::Flat(text)) = &node.value else {
        return Err(wrong_kind("text", node));
    };
    if text.len() > TEXT_MAX {
        return Err(Flaw::new(format!("is longer than {TEXT_MAX} bytes")));
    }
    if text.chars().any(is_unprintable) {
        return Err(Flaw::new(format!(
            "has a control character: {}",
            quote(text)
        )));
    }
    Ok(text)
}

fn split(text: &str, node: &Node) -> Vec<Node> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .take(ITEMS_MAX + 1)
        .map(|item| Node {
            value: Value::Flat(item.to_owned()),
            spot: node.spot.clone(),
        })
        .collect()
}

fn either<T>(words: &[Word<T>]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

fn duration_text<'n>(node: &'n Node, hint: &str) -> Result<&'n str, Flaw> {
    if let Value::Whole(number) = node.value {
        let flaw = Flaw::new("is a bare number; a duration needs a unit");
        return Err(flaw.hint(match number {
            0 => hint.to_owned(),
            _ => format!("say \"{number}s\" if seconds are meant"),
        }));
    }
    let text = plain(node)?;
    if !text.is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        let flaw = Flaw::new(format!("has no unit: {}", quote(text)));
        return Err(match text.trim().trim_start_matches('0') {
            "" => flaw.hint(hint),
            number => flaw.hint(format!("say \"{number}s\" if seconds are meant")),
        });
    }
    Ok(text)
}

fn parse_duration(text: &str) -> Result<Duration, Flaw> {
    let not_one = || {
        let flaw = Flaw::new(format!("is not a duration: {}", quote(text)));
        flaw.hint("say \"90s\", \"1h30m\" or \"500ms\"; the units are d, h, m, s and ms")
    };
    let mut left = text.trim();
    let mut total_ms: u64 = 0;
    let mut last_unit_ms = u64::MAX;
    if left.is_empty() {
        return Err(not_one());
    }
    while !left.is_empty() {
        let digits = left
            .find(|char: char| !char.is_ascii_digit())
            .ok_or_else(not_one)?;
        let (number, rest) = left.split_at(digits);
        let unit_end = rest
            .find(|char: char| !char.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        let unit_ms = unit_ms(unit)
            .filter(|unit| *unit < last_unit_ms)
            .ok_or_else(not_one)?;
        let number: u64 = number.parse().map_err(|_| not_one())?;
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|part| part.checked_add(total_ms))
            .ok_or_else(too_long)?;
        last_unit_ms = unit_ms;
        left = rest.trim_start();
    }
    let total = Duration::from_millis(total_ms);
    if total > DURATION_MAX {
        Err(too_long())
    } else {
        Ok(total)
    }
}

fn unit_ms(unit: &str) -> Option<u64> {
    match unit {
        "d" => Some(24 * 60 * 60 * 1000),
        "h" => Some(60 * 60 * 1000),
        "m" | "min" => Some(60 * 1000),
        "s" => Some(1000),
        "ms" => Some(1),
        _ => None,
    }
}

fn too_long() -> Flaw {
    Flaw::new("is longer than ten years")
}

fn not_a_size(text: &str) -> Flaw {
    Flaw::new(format!("is not a size: {}", quote(text)))
        .hint("say \"8MiB\", \"512KiB\" or \"1GB\"; the units are B, KiB, MiB, GiB, kB, MB and GB")
}
