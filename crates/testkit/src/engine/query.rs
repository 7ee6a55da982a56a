//! The parameters of a call, undone from their encoding and read as what they mean.

use std::collections::BTreeMap;
use std::time::Duration;

use super::deeds::{self, Grace};
use super::events::Filters;
use super::shared::Refusal;

/// The parameters behind the question mark.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&key.replace('+', " ")), decoded(&value.replace('+', " ")))
        };
        Self(pairs.map(pair).collect())
    }

    pub(super) fn named(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(super) fn is_true(&self, key: &str) -> bool {
        self.named(key).is_some_and(|value| !matches!(value, "" | "0" | "no" | "false" | "none"))
    }

    pub(super) fn filters(&self) -> Result<Filters, Refusal> {
        match self.named("filters").filter(|text| !text.is_empty()) {
            Some(text) => Filters::parse(text).map_err(|message| Refusal::new(500, message)),
            None => Ok(Filters::default()),
        }
    }

    pub(super) fn grace(&self) -> Result<Grace, Refusal> {
        let Some(text) = self.named("t").filter(|text| !text.is_empty()) else {
            return Ok(Grace::OfContainer);
        };
        let seconds: i64 = text.parse().map_err(|_| {
            Refusal::new(500, format!("strconv.Atoi: parsing \"{text}\": invalid syntax"))
        })?;
        Ok(u64::try_from(seconds)
            .map_or(Grace::Forever, |seconds| Grace::For(Duration::from_secs(seconds))))
    }

    pub(super) fn signal(&self) -> Result<Option<i32>, Refusal> {
        let text = self.named("signal").filter(|text| !text.is_empty());
        text.map(deeds::signal_number).transpose()
    }
}

/// Undoes the percent-encoding.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
