//! Which of the headers that we treat specially a message has, found in one pass: most have few of
//! them, and each look for one that is not there costs a hash.

use http::header::{HeaderMap, HeaderName};

/// A set of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Present(u16);

impl Present {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const TE: Self = Self(1 << 1);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 2);
    pub(crate) const UPGRADE: Self = Self(1 << 3);
    /// `Keep-Alive` or `Proxy-Connection`.
    pub(crate) const OLD_HOP_BY_HOP: Self = Self(1 << 4);
    pub(crate) const EXPECT: Self = Self(1 << 5);
    pub(crate) const CONTENT_TYPE: Self = Self(1 << 6);
    pub(crate) const HOST: Self = Self(1 << 7);
    /// One of those that only trusted proxies may send.
    pub(crate) const FROM_TRUSTED_ONLY: Self = Self(1 << 8);

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |set, name| set | Self::bit(name).0))
    }

    pub(crate) fn has(self, header: Self) -> bool {
        self.0 & header.0 != 0
    }

    fn bit(name: &HeaderName) -> Self {
        match name.as_str() {
            "connection" => Self::CONNECTION,
            "te" => Self::TE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "upgrade" => Self::UPGRADE,
            "keep-alive" | "proxy-connection" => Self::OLD_HOP_BY_HOP,
            "expect" => Self::EXPECT,
            "content-type" => Self::CONTENT_TYPE,
            "host" => Self::HOST,
            other if is_from_trusted_only(other) => Self::FROM_TRUSTED_ONLY,
            _ => Self(0),
        }
    }
}

/// Whether applications believe that such a header comes from a proxy in front of them. CGI and its
/// heirs read an underscore as a hyphen, so both count.
pub(crate) fn is_from_trusted_only(name: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let begins = |with: &str| {
        name.len() >= with.len() && name.bytes().map(plain).zip(with.bytes()).all(|(a, b)| a == b)
    };
    match name.as_bytes() {
        [b'x' | b'X', ..] => begins("x-forwarded-") || (name.len() == 9 && begins("x-real-ip")),
        _ => name.eq_ignore_ascii_case("forwarded"),
    }
}
