//! The readers of durations, sizes and ranges, for the file and for labels alike.

use std::ops::RangeInclusive;
use std::time::Duration;

use dormouse_core::limits;

use super::report::{Flaw, quote};
use super::tree::{Node, Value};
use super::values::{plain, whole};

/// The longest duration, ten years: what is longer is meant to be "never".
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

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

/// How often to measure: a duration between a second and an hour, or `never`, which is `None`.
pub(crate) fn sample_interval(node: &Node) -> Result<Option<Duration>, Flaw> {
    let (least, most) = (limits::METER_INTERVAL_MIN, limits::METER_INTERVAL_MAX);
    match duration_or_never(node)? {
        Some(every) if every < least => Err(Flaw::new("must be at least \"1s\"")),
        Some(every) if every > most => {
            Err(Flaw::new("must be at most \"1h\"").hint("say \"never\" to measure nothing"))
        }
        every => Ok(every),
    }
}

/// A number of bytes above zero: `8MiB`, `512KiB`, `1GB`.
pub(crate) fn size(node: &Node) -> Result<u64, Flaw> {
    if let Value::Whole(number) = node.value {
        let flaw = Flaw::new("is a bare number; a size needs a unit");
        return Err(flaw.hint(format!("say \"{number}B\", or a size such as \"8MiB\"")));
    }
    let text = plain(node)?.trim();
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
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
    let status =
        |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    match (status(low), status(high)) {
        (Some(low), Some(high)) if low <= high => Ok(low..=high),
        (Some(_), Some(_)) => Err(Flaw::new(format!("is an empty range: {}", quote(text)))),
        (_, None) | (None, _) => {
            let flaw = Flaw::new(format!("is not a range of statuses: {}", quote(text)));
            Err(flaw.hint("say \"200-399\" or \"204\""))
        }
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
        let digits = left.find(|char: char| !char.is_ascii_digit()).ok_or_else(not_one)?;
        let (number, rest) = left.split_at(digits);
        let unit_end = rest.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        let unit_ms = unit_ms(unit).filter(|unit| *unit < last_unit_ms).ok_or_else(not_one)?;
        let number: u64 = number.parse().map_err(|_| not_one())?;
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|part| part.checked_add(total_ms))
            .ok_or_else(too_long)?;
        last_unit_ms = unit_ms;
        left = rest.trim_start();
    }
    let total = Duration::from_millis(total_ms);
    if total > DURATION_MAX { Err(too_long()) } else { Ok(total) }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tree::Spot;
    use super::*;

    /// Texts read as the file's and as a label's, which must come to the same.
    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(
        read: impl Fn(&Node) -> Result<T, Flaw>,
        cases: &[(&str, Option<T>)],
    ) {
        for (text, expected) in cases {
            for value in [Value::Text((*text).into()), Value::Flat((*text).into())] {
                let spot = Spot::File { path: Path::new("t.toml").into(), span: 0..0 };
                let outcome = read(&Node { value, spot });
                assert_eq!(outcome.as_ref().ok(), expected.as_ref(), "{text}: {outcome:?}");
            }
        }
    }

    #[test]
    fn durations_are_numbers_with_units_from_long_to_short() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let cases = [
            ("90s", ms(90_000)),
            ("1h30m", ms(5_400_000)),
            (" 1h 30m ", ms(5_400_000)),
            ("1d2h3m4s5ms", ms(93_784_005)),
            ("500ms", ms(500)),
            ("2min", ms(120_000)),
            ("3650d", ms(315_360_000_000)),
            ("3651d", None),
            ("0s", None),
            ("0", None),
            ("30", None),
            ("", None),
            ("s", None),
            ("1.5h", None),
            ("-1s", None),
            ("1s1h", None),
            ("1s1s", None),
            ("1S", None),
            ("1 year", None),
            ("never", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        check(duration, &cases);
        check(duration_or_zero, &[("0s", ms(0)), ("0ms", ms(0)), ("0", None), ("never", None)]);
        let half_hour = Some(Duration::from_secs(1800));
        check(duration_or_never, &[("never", Some(None)), ("30m", Some(half_hour)), ("0s", None)]);
    }

    #[test]
    fn sizes_are_numbers_with_units() {
        let cases = [
            ("8MiB", Some(8 << 20)),
            ("512 KiB", Some(512 << 10)),
            ("1GB", Some(1_000_000_000)),
            ("1kB", Some(1000)),
            ("17B", Some(17)),
            ("0B", None),
            ("8", None),
            ("8mb", None),
            ("MiB", None),
            ("-8MiB", None),
            ("2000GiB", None),
            ("99999999999999999999B", None),
        ];
        check(size, &cases);
    }

    #[test]
    fn statuses_are_one_or_a_range() {
        let cases = [
            ("200-399", Some(200..=399)),
            ("204", Some(204..=204)),
            ("200 - 299", Some(200..=299)),
            ("399-200", None),
            ("99", None),
            ("200-600", None),
            ("2xx", None),
            ("-", None),
        ];
        check(status_range, &cases);
    }
}
