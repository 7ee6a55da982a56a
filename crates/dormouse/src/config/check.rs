//! `dormouse check`: shows findings at their places, for people and for programs.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dormouse_core::findings::{Finding, Place, Severity};
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
    SourceSpan,
};
use serde::Serialize;

use super::mask::masked;
use super::{Loaded, Settings, Sources, load, locate};
use crate::registry::{Found, assemble};

/// The exit code of a configuration without errors.
pub const EXIT_GOOD: u8 = 0;

/// The exit code of a configuration with errors.
pub const EXIT_INVALID: u8 = 3;

/// Columns of a terminal that is not known.
const WIDTH: usize = 100;

/// How findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people, in one colour.
    Plain,
    /// For people, with colours beside the words.
    Colour,
    /// For programs.
    Json,
}

/// Findings as programs see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingList {
    /// The findings, in the order of their places.
    pub findings: Vec<FindingView>,
}

/// One finding as programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingView {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The stable name of this kind of finding.
    pub slug: &'static str,
    /// One sentence.
    pub message: String,
    /// The file it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column of its first character, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The column after its last character on that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_column: Option<usize>,
    /// The container whose label it stands on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The label it stands on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the reader can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The workload it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
}

impl Form {
    /// The form for an output: colours only on a terminal whose reader did not refuse them with
    /// the env var `NO_COLOR`.
    pub fn for_people(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_terminal && !refused { Self::Colour } else { Self::Plain }
    }
}

/// Checks the file at `path`, or the one that `serve` would find, writes what there is to say to
/// `out`, and answers with the exit code.
///
/// # Errors
/// When `out` cannot be written to; a closed pipe is not an error.
pub fn run(path: Option<&Path>, form: Form, out: &mut impl Write) -> io::Result<u8> {
    let path = path.map(Path::to_path_buf).or_else(locate);
    let loaded = path.as_deref().map_or_else(nothing, load);
    let findings = all_findings(&loaded);
    let text = match form {
        Form::Json => json(&findings, &loaded.sources),
        Form::Plain | Form::Colour => {
            let mut text = render(&findings, &loaded.sources, form);
            text.push_str(&summary(&findings, path.as_deref()));
            text
        }
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let good = !findings.iter().any(Finding::is_error);
    Ok(if good { EXIT_GOOD } else { EXIT_INVALID })
}

/// What was loaded, and how its workloads fit together as far as the file alone can tell.
pub fn all_findings(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = loaded.findings.clone();
    if let Some(settings) = &loaded.settings {
        findings.extend(assemble(0, settings, &Found::new()).findings);
    }
    findings
}

/// Shows findings to people: the message, the place with a caret, and the hint.
pub fn render(findings: &[Finding], sources: &Sources, form: Form) -> String {
    let mut text = String::new();
    for finding in findings {
        render_one(finding, sources, form, &mut text);
        text.push('\n');
    }
    text
}

/// Shows findings to programs.
pub fn list(findings: &[Finding], sources: &Sources) -> FindingList {
    FindingList { findings: findings.iter().map(|finding| view(finding, sources)).collect() }
}

fn json(findings: &[Finding], sources: &Sources) -> String {
    let mut text = serde_json::to_string_pretty(&list(findings, sources))
        .expect("a list of texts and numbers is JSON");
    text.push('\n');
    text
}

fn nothing() -> Loaded {
    Loaded {
        settings: Some(Settings::without_file()),
        findings: Vec::new(),
        sources: Sources::new(),
        files: Vec::new(),
        folders: Vec::new(),
    }
}

fn summary(findings: &[Finding], path: Option<&Path>) -> String {
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = findings.len() - errors;
    let what = path.map_or(Cow::Borrowed("no file"), Path::to_string_lossy);
    match (errors, warnings) {
        (0, 0) => format!("{what}: good\n"),
        (0, warnings) => format!("{what}: good, with {}\n", count(warnings, "warning")),
        (errors, 0) => format!("{what}: {}\n", count(errors, "error")),
        (errors, warnings) => {
            format!("{what}: {}, {}\n", count(errors, "error"), count(warnings, "warning"))
        }
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn render_one(finding: &Finding, sources: &Sources, form: Form, text: &mut String) {
    let shown = Shown::new(finding, sources);
    let handler = GraphicalReportHandler::new_themed(theme(form))
        .with_width(WIDTH)
        .with_wrap_lines(false)
        .with_links(false)
        .with_context_lines(1)
        .without_cause_chain()
        .without_syntax_highlighting();
    let mut rendered = String::new();
    handler.render_report(&mut rendered, &shown).expect("writing to a string cannot fail");
    text.push_str(rendered.trim_start_matches([' ', '\n']));
    if let Some(Place::Label { target, key }) = &finding.place {
        let (target, key) = (super::report::quote(target), super::report::quote(key));
        text.push_str(&format!("  on the label {key} of {target}\n"));
    }
    if let Some(hint) = &finding.hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
}

fn theme(form: Form) -> GraphicalTheme {
    let mut theme = match form {
        Form::Colour => GraphicalTheme::unicode(),
        Form::Plain | Form::Json => GraphicalTheme::unicode_nocolor(),
    };
    theme.characters.error = "error:".into();
    theme.characters.warning = "warning:".into();
    theme
}

fn view(finding: &Finding, sources: &Sources) -> FindingView {
    let mut view = FindingView {
        severity: finding.severity.as_str(),
        slug: finding.slug,
        message: finding.message.clone(),
        file: None,
        line: None,
        column: None,
        end_column: None,
        target: None,
        label: None,
        hint: finding.hint.clone(),
        workload: finding.workload.clone(),
    };
    match &finding.place {
        Some(Place::File { path, span }) => {
            view.file = Some(path.to_path_buf());
            if let Some(text) = sources.get(&**path) {
                let position = Position::of(text, span);
                view.line = Some(position.line);
                view.column = Some(position.column);
                view.end_column = Some(position.end_column);
            }
        }
        Some(Place::Label { target, key }) => {
            view.target = Some(target.to_string());
            view.label = Some(key.to_string());
        }
        None => {}
    }
    view
}

/// Where a span stands for a reader: lines and columns from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    line: usize,
    column: usize,
    end_column: usize,
}

impl Position {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let span = within(text, span);
        let before = &text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = text[line_start..span.start].chars().count() + 1;
        let first_line = text[span].split(['\n', '\r']).next().unwrap_or_default();
        let length = first_line.chars().count().max(1);
        Self { line: before.matches('\n').count() + 1, column, end_column: column + length }
    }
}

/// The span moved to where there are characters, for an edited file or a foreign finding may point
/// anywhere.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// A finding in the form that the renderer takes.
struct Shown<'f> {
    finding: &'f Finding,
    source: Option<(NamedSource<Arc<str>>, SourceSpan)>,
}

impl<'f> Shown<'f> {
    fn new(finding: &'f Finding, sources: &Sources) -> Self {
        let source = match &finding.place {
            Some(Place::File { path, span }) => sources.get(&**path).map(|text| {
                let span = within(text, span);
                (NamedSource::new(path.to_string_lossy(), masked(text).into()), span.into())
            }),
            Some(Place::Label { .. }) | None => None,
        };
        Self { finding, source }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.finding.fmt(f)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.source.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, *span))))
    }
}
