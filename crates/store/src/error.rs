//! Why something could not be remembered or recalled, and what the reader can do about it.

use std::path::PathBuf;

/// What the store could not do. A file that cannot be used is never deleted or overwritten.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or its folder cannot be made or opened.
    #[error("the state file {} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is damaged, or is not a database at all.
    #[error("the state file {} is damaged: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file was written by a later version.
    #[error("the state file {} has version {found}, and this dormouse knows up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version known here.
        known: i64,
    },
    /// Somebody else kept the file locked for too long.
    #[error("the state file {} is in use by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The database did not do what was asked.
    #[error("the state file {} could not be used to {verb}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What was asked, as a verb.
        verb: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

impl StoreError {
    /// What the reader can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { .. } => "check that the state folder exists and that it may be written to",
            Self::Corrupt { .. } => {
                "move the file away and start again: pins and idle times are lost, nothing else"
            }
            Self::Newer { .. } => {
                "run the version of dormouse that wrote it, or move the file away"
            }
            Self::Busy { .. } => "check whether another dormouse uses the same state folder",
            Self::Database { .. } => "check the disk that the state folder is on",
        }
    }
}
