//! Writes to standard output: tables for people, JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;

use super::complaint::{Complaint, printable};

/// Writes text as it is.
pub(super) fn text(text: &str) -> Result<(), Complaint> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes one line, with what would move the cursor written out.
pub(super) fn line(said: &str) -> Result<(), Complaint> {
    text(&format!("{}\n", printable(said)))
}

/// Writes a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Complaint> {
    let json = serde_json::to_string_pretty(value).expect("what the API shows is JSON");
    text(&format!("{json}\n"))
}

/// Says something that is not data, if there is somebody to listen.
pub(super) fn aside(said: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(said));
}

/// A table: every column as wide as its widest cell, the last one as it is.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.iter().cloned())
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Pairs of a word and what it says, one a line; those that say nothing are left out.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let told = || pairs.iter().filter(|(_, said)| !said.is_empty());
    let width = told().map(|(word, _)| word.len()).max().unwrap_or_default();
    told().map(|(word, said)| format!("  {word:width$}  {}\n", printable(said))).collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_spaces() {
        let rows = [vec!["a".into(), "x".into()], vec!["longer".into(), String::new()]];
        assert_eq!(table(&["NAME", "WHY"], &rows), "NAME    WHY\na       x\nlonger\n");
    }

    #[test]
    fn a_hostile_name_cannot_move_the_cursor() {
        let rows = [vec!["a\u{1b}[2J\nb".into()]];
        let text = table(&["NAME"], &rows);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
