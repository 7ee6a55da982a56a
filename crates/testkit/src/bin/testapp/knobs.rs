//! What the caller wants this start of the application to do.

use std::collections::HashMap;
use std::time::Duration;

/// The knobs of one start.
pub(crate) struct Knobs {
    pub(crate) port: u16,
    pub(crate) udp_port: Option<u16>,
    pub(crate) mark: String,
    pub(crate) start_delay: Duration,
    pub(crate) never_listen: bool,
    pub(crate) never_answer: bool,
    pub(crate) crash_code: Option<i32>,
    pub(crate) crash_after: Duration,
    pub(crate) unhealthy: Duration,
    pub(crate) grpc_health: GrpcHealth,
    pub(crate) ignore_term: bool,
    pub(crate) term_delay: Duration,
    pub(crate) count_file: Option<String>,
    pub(crate) ledger: Option<String>,
}

/// What the gRPC health service says.
#[derive(Clone, Copy)]
pub(crate) enum GrpcHealth {
    Serving,
    NotServing,
    Unimplemented,
}

impl Knobs {
    /// Reads the env vars, and the arguments over them.
    pub(crate) fn read() -> Self {
        let mut given: HashMap<String, String> = std::env::vars().collect();
        for argument in std::env::args().skip(1) {
            let argument = argument.trim_start_matches("--");
            let (name, value) = argument.split_once('=').unwrap_or((argument, "1"));
            given.insert(name.to_uppercase().replace('-', "_"), value.to_owned());
        }
        Self::from_map(&given)
    }

    fn from_map(given: &HashMap<String, String>) -> Self {
        let text = |name: &str| given.get(name).map(String::as_str).unwrap_or_default();
        let flag = |name: &str| !matches!(text(name), "" | "0");
        let wait = |name: &str| Duration::from_millis(number(name, text(name)).unwrap_or(0));
        Self {
            port: number("PORT", text("PORT")).unwrap_or(8080),
            udp_port: number("UDP_PORT", text("UDP_PORT")),
            mark: text("MARK").to_owned(),
            start_delay: wait("START_DELAY_MS"),
            never_listen: flag("NEVER_LISTEN"),
            never_answer: flag("NEVER_ANSWER"),
            crash_code: number("CRASH_CODE", text("CRASH_CODE")),
            crash_after: wait("CRASH_AFTER_MS"),
            unhealthy: wait("UNHEALTHY_MS"),
            grpc_health: match text("GRPC_HEALTH") {
                "not-serving" => GrpcHealth::NotServing,
                "unimplemented" => GrpcHealth::Unimplemented,
                "" | "serving" => GrpcHealth::Serving,
                other => panic!("GRPC_HEALTH is not {other:?}"),
            },
            ignore_term: flag("IGNORE_TERM"),
            term_delay: wait("TERM_DELAY_MS"),
            count_file: given.get("COUNT_FILE").cloned(),
            ledger: given.get("LEDGER").cloned(),
        }
    }
}

/// An empty knob is as good as none; a wrong one is the test's mistake and ends the start.
fn number<N: std::str::FromStr>(name: &str, text: &str) -> Option<N> {
    (!text.is_empty()).then(|| match text.parse() {
        Ok(number) => number,
        Err(_) => panic!("{name} is not a number: {text:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_have_quiet_defaults() {
        let knobs = Knobs::from_map(&HashMap::new());
        assert_eq!(knobs.port, 8080);
        assert_eq!(knobs.crash_code, None);
        assert!(!knobs.never_listen && !knobs.ignore_term && knobs.start_delay.is_zero());
    }

    #[test]
    fn knobs_are_read_by_name() {
        let given = [("PORT", "81"), ("CRASH_CODE", "3"), ("IGNORE_TERM", "1")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let knobs = Knobs::from_map(&given);
        assert_eq!((knobs.port, knobs.crash_code, knobs.ignore_term), (81, Some(3), true));
    }
}
