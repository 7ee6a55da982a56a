//! The small words of a scenario: durations, moments, numbers, choices.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::time::Timestamp;

/// Why a word was not understood.
pub(super) type Refusal = String;

pub(super) fn refuse(wanted: &str, got: &str) -> Refusal {
    format!("`{got}` is not {wanted}")
}

/// `1500ms`, `30s`, `5m`, `1.5s`.
pub(super) fn duration(word: &str) -> Result<Duration, Refusal> {
    let wrong = || refuse("a duration such as 500ms, 30s or 5m", word);
    let digits = word.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = word.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(wrong()),
    };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    // Whole microseconds, as every moment of the core.
    Ok(Duration::from_micros(u64::try_from(duration.as_micros()).map_err(|_| wrong())?))
}

pub(super) fn duration_or_never(word: &str) -> Result<Option<Duration>, Refusal> {
    match word {
        "never" => Ok(None),
        word => duration(word).map(Some),
    }
}

pub(super) fn moment(word: &str) -> Result<Timestamp, Refusal> {
    duration(word).map(|since| Timestamp::ZERO + since)
}

/// A moment, or two with `..` between them.
pub(super) fn moments(word: &str) -> Result<RangeInclusive<Timestamp>, Refusal> {
    match word.split_once("..") {
        Some((first, last)) => Ok(moment(first)?..=moment(last)?),
        None => moment(word).map(|at| at..=at),
    }
}

pub(super) fn number(word: &str) -> Result<i32, Refusal> {
    word.parse().map_err(|_| refuse("a number", word))
}

pub(super) fn count(word: &str) -> Result<u32, Refusal> {
    word.parse().map_err(|_| refuse("a count", word))
}

/// A moment as a scenario writes it.
pub(super) fn say_moment(at: Timestamp) -> String {
    let micros = at.0 % 1_000_000;
    let seconds = at.0 / 1_000_000;
    if micros == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{micros:06}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}
