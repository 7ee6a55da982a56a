//! Why a call to an engine brought nothing.

use std::error::Error;
use std::fmt::Write;
use std::io;

use http::StatusCode;

use crate::{ProviderError, Target};

/// A call that brought nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::docker) enum CallError {
    #[error("connect to {endpoint}")]
    Connect {
        endpoint: String,
        #[source]
        cause: io::Error,
    },
    /// Nothing of the request has left this process.
    #[error("the connection was closed before {call} could be sent")]
    Unsent {
        call: &'static str,
        #[source]
        cause: hyper::Error,
    },
    #[error("the connection broke during {call}")]
    Broken {
        call: &'static str,
        #[source]
        cause: hyper::Error,
    },
    #[error("{call} was not answered in time")]
    Timeout { call: &'static str },
    #[error("the answer to {call} is longer than {bytes_max} bytes")]
    TooLong { call: &'static str, bytes_max: usize },
    #[error("the answer to {call} makes no sense")]
    Nonsense {
        call: &'static str,
        #[source]
        cause: serde_json::Error,
    },
    #[error("{message}")]
    Refused { status: StatusCode, message: String },
    #[error("the engine speaks versions {oldest} to {newest}, none of which is known here")]
    Version { oldest: String, newest: String },
}

impl CallError {
    /// The connection is gone, or could not be had, or is of no use.
    pub(in crate::docker) fn is_broken(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Unsent { .. } | Self::Broken { .. } => true,
            Self::Timeout { .. }
            | Self::Refused { .. }
            | Self::TooLong { .. }
            | Self::Nonsense { .. }
            | Self::Version { .. } => false,
        }
    }

    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Self::Unsent { .. })
    }

    /// The engine does not speak the version that it had agreed to.
    pub(super) fn is_version_refusal(&self) -> bool {
        matches!(self, Self::Refused { status, message }
            if *status == StatusCode::BAD_REQUEST && message.contains("client version"))
    }

    /// The connection is known to have ended; the engine itself may be well.
    pub(in crate::docker) fn is_cut(&self) -> bool {
        matches!(self, Self::Unsent { .. } | Self::Broken { .. })
    }

    /// The status of a refusal.
    pub(in crate::docker) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Connect { .. }
            | Self::Unsent { .. }
            | Self::Broken { .. }
            | Self::Timeout { .. }
            | Self::TooLong { .. }
            | Self::Nonsense { .. }
            | Self::Version { .. } => None,
        }
    }

    /// The same in the words of the contract. `during` names what the caller wanted as a whole.
    pub(in crate::docker) fn into_provider(
        self,
        target: Option<&Target>,
        during: &'static str,
    ) -> ProviderError {
        match (self, target) {
            (Self::Refused { status: StatusCode::NOT_FOUND, .. }, Some(target)) => {
                ProviderError::Absent(target.clone())
            }
            (Self::Refused { message, .. }, _) => ProviderError::Refused(message),
            (Self::Timeout { .. }, _) => ProviderError::Timeout(during),
            (error @ Self::Version { .. }, _) => ProviderError::Misconfigured(error.to_string()),
            (error, _) => ProviderError::Unreachable(chain(&error)),
        }
    }
}

/// The error and its causes in one line.
pub(in crate::docker) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        write!(text, ": {next}").expect("writing to a string cannot fail");
        cause = next.source();
    }
    text
}
