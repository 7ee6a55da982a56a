//! Hides the secrets of a configuration's text before a piece of it is shown: a report may end up in
//! a log, and the line above or below a mistake may be a token's.

use std::ops::Range;

/// Keys whose values are secret.
const SECRET_KEYS: [&str; 3] = ["token", "secret", "password"];
const KEY_BEGINS: &str = "PRIVATE KEY-----";
const KEY_ENDS: &str = "-----END";
const SCHEME_ENDS: &str = "://";

/// The text with every secret replaced by stars. Each byte keeps its place, so that a span of the
/// one is a span of the other.
pub(super) fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let hidden = keys(text).into_iter().chain(passwords(text)).chain(values(text));
    for range in hidden {
        for byte in &mut bytes[range] {
            if !matches!(byte, b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// What stands between the first and the last line of each private key.
fn keys(text: &str) -> Vec<Range<usize>> {
    // The last line has the words of the first.
    let is_first =
        |at: &usize| !text[text[..*at].rfind(['\n', '"']).unwrap_or(0)..*at].contains(KEY_ENDS);
    let begins = text.match_indices(KEY_BEGINS).map(|(at, _)| at).filter(is_first);
    let begins = begins.map(|at| at + KEY_BEGINS.len());
    begins.map(|at| at..text[at..].find(KEY_ENDS).map_or(text.len(), |end| at + end)).collect()
}

/// The user's part of each URL.
fn passwords(text: &str) -> Vec<Range<usize>> {
    let begins = text.match_indices(SCHEME_ENDS).map(|(at, _)| at + SCHEME_ENDS.len());
    let user = |at: usize| {
        let rest = &text[at..];
        let end = rest.find(['"', '\'', '/', ' ', '\n']).unwrap_or(rest.len());
        rest[..end].rfind('@').map(|end| at..at + end)
    };
    begins.filter_map(user).collect()
}

/// The quoted texts after a key that is secret, to the end of its line or of its list.
fn values(text: &str) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let (mut at, mut in_list) = (0, false);
    for line in text.split_inclusive('\n') {
        let named = SECRET_KEYS.iter().filter_map(|key| line.find(key)).min();
        if let Some(from) = named.or(in_list.then_some(0)) {
            hidden.extend(quoted(&line[from..]).map(|it| at + from + it.start..at + from + it.end));
            let opened = line[from..].matches('[').count();
            let closed = line[from..].matches(']').count();
            in_list = if in_list { closed <= opened } else { opened > closed };
        }
        at += line.len();
    }
    hidden
}

/// What stands between each pair of quotation marks of one line, and behind one without its other.
fn quoted(line: &str) -> impl Iterator<Item = Range<usize>> {
    let mut open: Option<(usize, char)> = None;
    let mut ranges = Vec::new();
    for (at, char) in line.char_indices() {
        match open {
            None if matches!(char, '"' | '\'') => open = Some((at + 1, char)),
            Some((from, mark)) if char == mark => {
                if !is_a_place(&line[..from - 1]) {
                    ranges.push(from..at);
                }
                open = None;
            }
            None | Some(_) => {}
        }
    }
    ranges.extend(open.map(|(from, _)| from..line.trim_end().len().max(from)));
    ranges.into_iter()
}

/// Whether what follows says only where a secret is.
fn is_a_place(before: &str) -> bool {
    let key = before.trim_end().strip_suffix('=').map(str::trim_end);
    key.is_some_and(|key| key.ends_with("env") || key.ends_with("file"))
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn secrets_are_stars_and_everything_keeps_its_place() {
        let cases = [
            ("token = \"abc\"\n", "token = \"***\"\n"),
            ("token = \"abc\n", "token = \"***\n"),
            ("x = \"abc\"", "x = \"abc\""),
            ("token = { env = \"X\" }", "token = { env = \"X\" }"),
            ("token = { vault = \"X\" }", "token = { vault = \"*\" }"),
            (
                "admin_tokens = [\n  \"abc\",\n  'de',\n]\nx = \"y\"",
                "admin_tokens = [\n  \"***\",\n  '**',\n]\nx = \"y\"",
            ),
            (
                "t = [{ token = \"é\", scope = \"admin\" }]",
                "t = [{ token = \"**\", scope = \"*****\" }]",
            ),
            ("docker = \"https://me:pw@host:1/x@y\"", "docker = \"https://*****@host:1/x@y\""),
            ("hosts = [\"a@b\"]", "hosts = [\"a@b\"]"),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected);
            assert_eq!(text.len(), masked(text).len());
        }
    }

    #[test]
    fn a_private_key_is_stars_between_its_first_and_its_last_line() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nAB\nCD\n-----END EC PRIVATE KEY-----\nx = 1";
        let hidden = "-----BEGIN EC PRIVATE KEY-----\n**\n**\n-----END EC PRIVATE KEY-----\nx = 1";
        assert_eq!(masked(key), hidden);
        let cut = "-----BEGIN PRIVATE KEY-----\nAB";
        assert_eq!(masked(cut), "-----BEGIN PRIVATE KEY-----\n**");
    }
}
