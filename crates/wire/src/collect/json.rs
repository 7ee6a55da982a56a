//! One JSON value on one line, passed on as it was written.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;

/// A JSON value whose text has been looked at but not understood: order, doubles and numbers stay
/// what they were. There is no end of a line in it.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Takes a text that is exactly one JSON value, with any white space between its parts.
    pub fn read(text: Bytes) -> Option<Self> {
        std::str::from_utf8(&text).ok()?;
        serde_json::from_slice::<IgnoredAny>(&text).ok()?;
        match compact(&text) {
            Cow::Borrowed(same) => Some(Self(text.slice_ref(same))),
            Cow::Owned(shorter) => Some(Self(shorter.into())),
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for RawJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The same value without white space around and between its parts.
fn compact(text: &[u8]) -> Cow<'_, [u8]> {
    let text = text.trim_ascii();
    let Some(first) = Outside::of(text).next() else { return Cow::Borrowed(text) };
    let mut shorter = Vec::with_capacity(text.len());
    let mut from = 0;
    for at in std::iter::once(first).chain(Outside { at: first + 1, ..Outside::of(text) }) {
        shorter.extend_from_slice(&text[from..at]);
        from = at + 1;
    }
    shorter.extend_from_slice(&text[from..]);
    Cow::Owned(shorter)
}

/// Where white space stands outside of strings.
struct Outside<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Outside<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Behind the string whose first quote stands at `at`.
    fn behind_string(&self, at: usize) -> usize {
        let mut at = at + 1;
        while let Some(byte) = self.text.get(at) {
            at += match byte {
                b'"' => return at + 1,
                b'\\' => 2,
                _ => 1,
            };
        }
        at
    }
}

impl Iterator for Outside<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => self.at = self.behind_string(self.at),
                b' ' | b'\t' | b'\n' | b'\r' => {
                    self.at += 1;
                    return Some(self.at - 1);
                }
                _ => self.at += 1,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let json = RawJson::read(Bytes::copy_from_slice(text.as_bytes()))?;
        Some(String::from_utf8(json.as_bytes().to_vec()).expect("it was text"))
    }

    #[test]
    fn a_value_is_passed_on_as_it_was_written_but_on_one_line() {
        let cases = [
            (r#"{"b":1.50,"a":[1e3,"x y"],"b":2}"#, r#"{"b":1.50,"a":[1e3,"x y"],"b":2}"#),
            (" {\"a\" : 1 ,\r\n\t\"b\\\" c\": \"d \\\\\" }\n", r#"{"a":1,"b\" c":"d \\"}"#),
            ("null\n", "null"),
            (r#""a b""#, r#""a b""#),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_value_is_refused() {
        for text in ["", "{", "{} {}", "{\"a\":1}x", "<html>", "\"a\nb\""] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert!(RawJson::read(Bytes::from_static(b"\"\xff\"")).is_none(), "not text");
    }
}
