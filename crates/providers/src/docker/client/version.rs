//! Which version of the Engine API both sides speak.

use std::fmt;

use http::HeaderValue;

use super::error::CallError;
use crate::docker::json::VersionJson;

/// The oldest version whose answers are understood here.
const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 24 };
/// The newest version known here.
const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 52 };

/// A version of the Engine API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::docker) struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// The first one in which a stop can name its signal.
    pub(in crate::docker) const STOP_SIGNAL: Self = Self { major: 1, minor: 42 };

    /// The newest that both sides speak, by what the engine says of itself.
    pub(in crate::docker) fn negotiate(oldest: &str, newest: &str) -> Result<Self, CallError> {
        let known = || {
            let newest = Self::parse(newest)?;
            // Engines before 1.13 do not name their oldest.
            let oldest = if oldest.is_empty() { OLDEST } else { Self::parse(oldest)? };
            let common = newest.min(NEWEST);
            (common >= oldest.max(OLDEST)).then_some(common)
        };
        known().ok_or_else(|| CallError::Version { oldest: oldest.into(), newest: newest.into() })
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        // Some engines append a patch level.
        let minor = minor.split('.').next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// Which engine it is, as far as that makes a difference to what its answers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::docker) enum Product {
    Docker { release: [u32; 3] },
    Podman,
}

impl Product {
    /// The first release that answers a question for counters at once; those before wait for their
    /// next tick.
    const AT_ONCE: [u32; 3] = [24, 0, 7];

    pub(super) fn of(json: &VersionJson) -> Self {
        let is_podman = |name: &str| name.to_ascii_lowercase().contains("podman");
        if json.components.iter().any(|component| is_podman(&component.0.name)) {
            return Self::Podman;
        }
        Self::Docker { release: release(&json.version) }
    }

    /// Whether many questions for counters are answered no sooner than one after the other.
    pub(in crate::docker) fn answers_at_once(self) -> bool {
        match self {
            Self::Docker { release } => release >= Self::AT_ONCE,
            Self::Podman => true,
        }
    }

    /// Whether what it calls the system's processor time is that of the host.
    pub(in crate::docker) fn counts_the_host(self) -> bool {
        match self {
            Self::Docker { .. } => true,
            Self::Podman => false,
        }
    }
}

/// `20.10.24+dfsg1`; what is no number reads as zero.
fn release(text: &str) -> [u32; 3] {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Seconds since 1970 of a Date header: `Fri, 20 Nov 2026 18:59:30 GMT`.
pub(in crate::docker) fn http_date(value: &HeaderValue) -> Option<u64> {
    let mut words = value.to_str().ok()?.split_ascii_whitespace().skip(1);
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Sixty is a leap second.
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u64 = DAYS[..month].iter().sum::<u64>() + u64::from(month > 1 && leap(year));
    let days = years + months + day - 1;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        let cases = [
            ("1.12", "1.41", Some("1.41")),
            ("1.44", "1.99", Some("1.52")),
            ("", "1.24", Some("1.24")),
            ("1.24", "1.41.0", Some("1.41")),
            ("1.60", "1.70", None),
            ("1.12", "1.23", None),
            ("", "", None),
            ("x", "1.41", None),
        ];
        for (oldest, newest, expected) in cases {
            let version = ApiVersion::negotiate(oldest, newest).ok().map(|v| v.to_string());
            assert_eq!(version.as_deref(), expected, "{oldest}..{newest}");
        }
    }

    #[test]
    fn only_engines_from_24_0_7_on_and_podman_answer_for_counters_at_once() {
        let product = |text: &str| Product::of(&serde_json::from_str(text).unwrap());
        let cases =
            [("20.10.24+dfsg1", false), ("24.0.6", false), ("24.0.7", true), ("26.1", true)];
        for (version, at_once) in cases {
            let docker = product(&format!(
                r#"{{"Version":"{version}","Components":[{{"Name":"Engine"}}]}}"#
            ));
            assert_eq!(docker.answers_at_once(), at_once, "{version}");
            assert!(docker.counts_the_host());
        }
        let podman =
            product(r#"{"Version":"4.3.1","Components":[{"Name":"Podman Engine"}, null]}"#);
        assert_eq!(podman, Product::Podman);
        assert!(podman.answers_at_once() && !podman.counts_the_host());
    }

    #[test]
    fn a_date_header_is_read_to_the_second() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 20 Nov 2026 18:59:30 GMT", Some(1_795_201_170)),
            ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            ("Fri, 01 Mar 2024 12:00:00 GMT", Some(1_709_294_400)),
            ("yesterday", None),
            ("Fri, 00 Nov 2026 18:59:30 GMT", None),
            ("Fri, 18446744073709551615 Nov 2026 18:59:30 GMT", None),
            ("Fri, 20 Nov 2026 18446744073709551615:59:30 GMT", None),
        ];
        for (text, expected) in cases {
            assert_eq!(http_date(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }
}
