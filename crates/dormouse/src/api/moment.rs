//! Moments and periods as people write them.

use std::ops::RangeInclusive;
use std::time::Duration;

use dormouse_core::Timestamp;
use dormouse_keeper::Clock;

use crate::config::quantities;
use crate::config::report::Flaw;
use crate::config::tree::{Node, Spot, Value};

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{moment:.3}")
}

/// A timestamp of the keeper's as RFC 3339.
pub(crate) fn at(clock: Clock, timestamp: Timestamp) -> String {
    rfc3339(clock.unix_ms(timestamp))
}

/// A period as the file writes it: `1h30m`, `90s` as `1m30s`, `500ms`, `0s`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let mut left_ms = duration.as_millis();
    if left_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        let count = left_ms / ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            left_ms -= count * ms;
        }
    }
    text
}

/// Reads an inclusive range of statuses as the file writes it: `200-399`, `204`.
///
/// # Errors
/// When the text is none: what is wrong with it and what to say instead.
pub(crate) fn parse_status(text: &str) -> Result<RangeInclusive<u16>, String> {
    quantities::status_range(&node(text)).map_err(said)
}

/// Reads a period as the file writes it.
///
/// # Errors
/// When the text is none: what is wrong with it and what to say instead.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    quantities::duration(&node(text)).map_err(said)
}

fn node(text: &str) -> Node {
    let spot = Spot::File { path: std::path::PathBuf::new().into(), span: 0..0 };
    Node { value: Value::Text(text.to_owned()), spot }
}

fn said(flaw: Flaw) -> String {
    match flaw.hint {
        Some(hint) => format!("{}; {hint}", flaw.message),
        None => flaw.message,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration_text, parse_duration, rfc3339};

    #[test]
    fn moments_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_period_is_read_back_from_its_text() {
        for ms in [1, 500, 1000, 90_000, 5_400_000, 90_061_001] {
            let period = Duration::from_millis(ms);
            assert_eq!(parse_duration(&duration_text(period)), Ok(period));
        }
        assert_eq!(duration_text(Duration::from_secs(90)), "1m30s");
        assert!(parse_duration("60").unwrap_err().contains("60s"));
        assert!(parse_duration("soon").is_err());
    }
}
