//! The signals by which a group is asked to end.

use rustix::process::Signal;

use crate::provider::ProviderError;

/// The names of the signals that may ask for an end. SIGSTOP and SIGCONT are no ends.
const NAMES: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ABRT", Signal::ABORT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("WINCH", Signal::WINCH),
    ("PIPE", Signal::PIPE),
];

/// Reads `SIGINT`, `int` or `2`; nothing named is SIGTERM.
pub(super) fn parse(name: Option<&str>) -> Result<Signal, ProviderError> {
    let Some(name) = name else {
        return Ok(Signal::TERM);
    };
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = short.parse::<i32>().ok();
    let known = NAMES.iter().find(|(known, signal)| {
        *known == short || number.is_some_and(|number| signal.as_raw() == number)
    });
    known
        .map(|(_, signal)| *signal)
        .ok_or_else(|| ProviderError::Misconfigured(format!("no stop signal is called {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_be_written_in_three_ways() {
        for name in ["SIGINT", "INT", "sigint", "2"] {
            assert_eq!(parse(Some(name)), Ok(Signal::INT), "{name}");
        }
        assert_eq!(parse(None), Ok(Signal::TERM));
    }

    #[test]
    fn what_is_no_end_is_refused() {
        for name in ["SIGSTOP", "SIGCONT", "SIGNORE", "", "0", "99"] {
            assert!(matches!(parse(Some(name)), Err(ProviderError::Misconfigured(_))), "{name}");
        }
    }
}
