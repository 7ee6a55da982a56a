//! What an exit code of the binary means.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// It did not, for a reason without a code of its own.
    Failed,
    /// The command line is not one.
    Usage,
    /// The configuration has errors.
    ConfigInvalid,
    /// Nothing has that name.
    NotFound,
    /// It was not done in time.
    TimedOut,
    /// No dormouse answers there.
    Unreachable,
    /// The token does not allow it, or is missing.
    Denied,
    /// The workload is in use, or the daemon is.
    Refused,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl Exit {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::ConfigInvalid,
        Self::NotFound,
        Self::TimedOut,
        Self::Unreachable,
        Self::Denied,
        Self::Refused,
        Self::Interrupted,
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::ConfigInvalid => 3,
            Self::NotFound => 4,
            Self::TimedOut => 5,
            Self::Unreachable => 6,
            Self::Denied => 7,
            Self::Refused => 8,
            Self::Interrupted => 130,
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::ConfigInvalid => "config invalid",
            Self::NotFound => "not found",
            Self::TimedOut => "timed out",
            Self::Unreachable => "daemon unreachable",
            Self::Denied => "denied",
            Self::Refused => "refused (busy)",
            Self::Interrupted => "interrupted",
        }
    }
}
