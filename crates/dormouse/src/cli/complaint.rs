//! How a command says that it could not: `error:`, `caused by:`, `hint:`, and the exit code.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use dormouse_wire::{Exit, Problem};

use crate::client::ClientError;
use crate::config::report::is_unprintable;

/// Why a command ended without doing what was asked.
#[derive(Debug)]
pub(super) struct Complaint {
    /// How the process ends.
    pub(super) exit: Exit,
    /// What could not be done; nothing is said when absent.
    message: Option<String>,
    causes: Vec<String>,
    hint: Option<String>,
    /// Further lines for the reader, such as the end of a log.
    notes: Vec<String>,
}

impl Complaint {
    /// A complaint in one sentence.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = Some(message.into());
        Self { exit, message, causes: Vec::new(), hint: None, notes: Vec::new() }
    }

    /// Ends without a word.
    pub(super) fn silent(exit: Exit) -> Self {
        Self { exit, message: None, causes: Vec::new(), hint: None, notes: Vec::new() }
    }

    /// An error with what it was caused by.
    pub(super) fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { causes, ..Self::new(exit, error.to_string()) }
    }

    /// The same with what the reader can do about it.
    #[must_use]
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The lines that are said.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let Some(message) = &self.message else { return text };
        let mut line = |word: &str, said: &str| {
            writeln!(text, "{word}{}", printable(said)).expect("writing to a string cannot fail");
        };
        line("error: ", message);
        for cause in &self.causes {
            line("caused by: ", cause);
        }
        for note in &self.notes {
            line("  ", note);
        }
        if let Some(hint) = &self.hint {
            line("hint: ", hint);
        }
        text
    }

    /// Says it, if there is somebody to listen.
    pub(super) fn say(&self) {
        let _ = io::stderr().lock().write_all(self.text().as_bytes());
    }
}

impl From<ClientError> for Complaint {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => of_problem(&problem),
            ClientError::Unreachable(..) => Self::of(Exit::Unreachable, &error)
                .with_hint("is dormouse running? say where with --url or DORMOUSE_URL"),
            ClientError::Broken(..) => Self::of(Exit::Unreachable, &error),
            ClientError::Odd(..) => Self::of(Exit::Unreachable, &error)
                .with_hint("check --url: something else may listen there"),
            ClientError::Late(_) => Self::of(Exit::TimedOut, &error),
            ClientError::Token => Self::of(Exit::Usage, &error),
        }
    }
}

impl From<io::Error> for Complaint {
    /// Of writing to standard output: a reader who has had enough is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(Exit::Ok),
            _ => Self::of(Exit::Failed, &error),
        }
    }
}

fn of_problem(problem: &Problem) -> Complaint {
    let candidates = problem.candidates.iter();
    let findings = problem.findings.iter().map(|finding| {
        let place = match (&finding.file, finding.line, finding.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
            _ => String::new(),
        };
        format!("{place}{}: {}", finding.severity.as_str(), finding.message)
    });
    let leases = problem.leases.map(|leases| {
        format!(
            "leases: {} request, {} connection, {} flow, {} dependent, {} pin",
            leases.request, leases.connection, leases.flow, leases.dependent, leases.pin
        )
    });
    Complaint {
        exit: exit_of(problem),
        message: Some(problem.detail.clone()),
        causes: Vec::new(),
        hint: problem.hint.clone(),
        notes: candidates
            .cloned()
            .chain(leases)
            .chain(findings)
            .chain(problem.log.clone())
            .collect(),
    }
}

/// The exit code of a problem that the API told.
fn exit_of(problem: &Problem) -> Exit {
    match (problem.status, problem.slug.as_str()) {
        (404, _) => Exit::NotFound,
        (_, "ambiguous-name" | "bad-request" | "too-large") => Exit::Usage,
        (_, "config-invalid") => Exit::ConfigInvalid,
        (401 | 403, _) => Exit::Denied,
        (409, _) | (503, "too-many-streams") => Exit::Refused,
        (504, _) => Exit::TimedOut,
        (503, "shutting-down") => Exit::Unreachable,
        (_, _) => Exit::Failed,
    }
}

/// Foreign text on one line, with what would move the cursor written out.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if is_unprintable(char) {
            write!(shown, "{}", char.escape_unicode()).expect("writing to a string cannot fail");
        } else {
            shown.push(char);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use dormouse_wire::{Exit, Problem};

    use super::{Complaint, exit_of};

    #[test]
    fn a_complaint_says_error_cause_and_hint_on_lines_of_their_own() {
        let error = std::io::Error::other(std::io::Error::other("the \u{1b}[31mroot"));
        let complaint = Complaint::of(Exit::Failed, &error).with_hint("try again");
        let text = complaint.text();
        assert!(text.starts_with("error: "), "{text}");
        assert!(text.ends_with("hint: try again\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn every_problem_has_the_exit_code_of_what_to_do_next() {
        let exit = |status, slug| exit_of(&Problem::new(status, slug, ""));
        assert_eq!(exit(404, "no-such-workload"), Exit::NotFound);
        assert_eq!(exit(409, "ambiguous-name"), Exit::Usage);
        assert_eq!(exit(409, "in-use"), Exit::Refused);
        assert_eq!(exit(401, "token-missing"), Exit::Denied);
        assert_eq!(exit(403, "scope-too-small"), Exit::Denied);
        assert_eq!(exit(422, "config-invalid"), Exit::ConfigInvalid);
        assert_eq!(exit(504, "still-waking"), Exit::TimedOut);
        assert_eq!(exit(502, "crashed"), Exit::Failed);
    }
}
