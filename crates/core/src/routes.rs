//! Routes: which workload a request is for, by hostname, wildcard and path prefix.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// What a route matches: `example.com`, `*.example.com`, `example.com/blog`, `*`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    /// The hostname, then the prefix, which begins with a slash unless it is empty.
    text: Arc<str>,
    hostname_bytes: usize,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

/// All routes of a gateway. An exact hostname beats a wildcard, a longer wildcard beats a shorter
/// one, and any of them beats `*`; within a hostname the longest path prefix wins, and a hostname
/// none of whose prefixes match leaves the request to the next best hostname.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    exact: BTreeMap<Named, Paths<T>>,
    wildcards: BTreeMap<Named, Paths<T>>,
    any: Paths<T>,
}

/// The hostname of a pattern, without `*.`, as a key: it shares the pattern's text.
#[derive(Clone, Debug)]
struct Named(Pattern);

/// A pair that [`RouteTable::build`] left out because an earlier one has the same pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate<T> {
    /// The pattern that both have.
    pub pattern: Pattern,
    /// What the later one would have led to.
    pub left_out: T,
}

/// The longest hostname that DNS can carry, in bytes.
const HOSTNAME_BYTES_MAX: usize = 253;
/// The longest label of a hostname, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Prefix and end of each route of one hostname, the longest prefix first. Most hostnames have one
/// route, and there may be many of them.
#[derive(Clone, Debug)]
enum Paths<T> {
    One((Box<str>, T)),
    Several(Vec<(Box<str>, T)>),
}

impl Pattern {
    /// Reads `HOSTNAME[/PREFIX]`. The hostname is made lower case and loses a trailing dot; a
    /// leading `*.` stands for one or more labels, a lone `*` for every hostname. The prefix loses
    /// trailing slashes.
    ///
    /// # Errors
    /// When the hostname is not one, has a port or a scheme, or the prefix has a query.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.contains("://") {
            return Err(PatternError(format!("`{text}` has a scheme; write the hostname alone")));
        }
        let (hostname, path) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (mut text, prefix) = (parse_hostname(hostname)?, parse_prefix(path)?);
        let hostname_bytes = text.len();
        text.push_str(&prefix);
        Ok(Self { text: text.into(), hostname_bytes })
    }

    /// The hostname: lower case, without a trailing dot; `*` or beginning with `*.` where it is a
    /// wildcard.
    pub fn hostname(&self) -> &str {
        &self.text[..self.hostname_bytes]
    }

    /// The path prefix, without a trailing slash; empty where every path matches.
    pub fn prefix(&self) -> &str {
        &self.text[self.hostname_bytes..]
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        let hostname = self.0.hostname();
        hostname.strip_prefix("*.").unwrap_or(hostname)
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Named {}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Named {
    fn cmp(&self, other: &Self) -> Ordering {
        Borrow::<str>::borrow(self).cmp(other.borrow())
    }
}

impl<T> RouteTable<T> {
    /// Builds the table. Of several pairs with the same pattern the first is kept; the others are
    /// handed back, so that they can be reported.
    pub fn build(pairs: impl IntoIterator<Item = (Pattern, T)>) -> (Self, Vec<Duplicate<T>>) {
        let mut table = Self::default();
        let mut duplicates = Vec::new();
        for (pattern, end) in pairs {
            if let Err(left_out) = table.paths_of(&pattern).insert(pattern.prefix(), end) {
                duplicates.push(Duplicate { pattern, left_out });
            }
        }
        // The nodes of a tree that grew in order are half empty; one that is made at once is full.
        table.exact = std::mem::take(&mut table.exact).into_iter().collect();
        (table, duplicates)
    }

    /// The end of the best route for a request. `hostname` is as the client wrote it: any case,
    /// with or without a port or a trailing dot; punycode is not decoded.
    pub fn lookup(&self, hostname: &str, path: &str) -> Option<&T> {
        self.lookup_with_prefix(hostname, path).map(|(_, end)| end)
    }

    /// Like [`RouteTable::lookup`], with the path prefix that the route matched.
    pub fn lookup_with_prefix(&self, hostname: &str, path: &str) -> Option<(&str, &T)> {
        let hostname = without_port(hostname);
        let hostname = hostname.strip_suffix('.').unwrap_or(hostname);
        let mut buffer = [0; HOSTNAME_BYTES_MAX];
        let hostname = lower_case(hostname, &mut buffer)?;
        self.exact
            .get(hostname)
            .and_then(|paths| paths.lookup(path))
            .or_else(|| self.lookup_wildcard(hostname, path))
            .or_else(|| self.any.lookup(path))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        let named = self.exact.values().chain(self.wildcards.values());
        named.map(|paths| paths.all().len()).sum::<usize>() + self.any.all().len()
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lookup_wildcard(&self, hostname: &str, path: &str) -> Option<(&str, &T)> {
        if self.wildcards.is_empty() {
            return None;
        }
        let dots = hostname.bytes().enumerate().filter(|&(at, byte)| at > 0 && byte == b'.');
        dots.filter_map(|(at, _)| self.wildcards.get(&hostname[at + 1..]))
            .find_map(|paths| paths.lookup(path))
    }

    fn paths_of(&mut self, pattern: &Pattern) -> &mut Paths<T> {
        let named = Named(pattern.clone());
        match pattern.hostname() {
            "*" => &mut self.any,
            hostname if hostname.starts_with("*.") => self.wildcards.entry(named).or_default(),
            _ => self.exact.entry(named).or_default(),
        }
    }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), wildcards: BTreeMap::new(), any: Paths::default() }
    }
}

impl<T> Paths<T> {
    fn insert(&mut self, prefix: &str, end: T) -> Result<(), T> {
        if self.all().iter().any(|(other, _)| &**other == prefix) {
            return Err(end);
        }
        let at = self.all().partition_point(|(other, _)| other.len() >= prefix.len());
        let route = (prefix.into(), end);
        *self = match std::mem::take(self) {
            Self::Several(routes) if routes.is_empty() => Self::One(route),
            Self::Several(mut routes) => {
                routes.insert(at, route);
                Self::Several(routes)
            }
            Self::One(first) if at == 0 => Self::Several(vec![route, first]),
            Self::One(first) => Self::Several(vec![first, route]),
        };
        Ok(())
    }

    fn all(&self) -> &[(Box<str>, T)] {
        match self {
            Self::One(route) => std::slice::from_ref(route),
            Self::Several(routes) => routes,
        }
    }

    fn lookup(&self, path: &str) -> Option<(&str, &T)> {
        let found = self.all().iter().find(|(prefix, _)| covers(prefix, path));
        found.map(|(prefix, end)| (&**prefix, end))
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

/// Whether `path` is `prefix` or below it: `/blog` covers `/blog/a`, not `/blogger`.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// The hostname of an authority; the brackets of an IPv6 address stay.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}

/// `None` where the hostname is longer than the buffer: DNS has none of that length, and not even
/// `*` is meant for it, in whichever case it is written.
fn lower_case<'a>(hostname: &'a str, buffer: &'a mut [u8]) -> Option<&'a str> {
    if hostname.len() > buffer.len() {
        return None;
    }
    if !hostname.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(hostname);
    }
    let buffer = buffer.get_mut(..hostname.len())?;
    buffer.copy_from_slice(hostname.as_bytes());
    buffer.make_ascii_lowercase();
    std::str::from_utf8(buffer).ok()
}

fn parse_hostname(text: &str) -> Result<String, PatternError> {
    let wrong = |what: &str| Err(PatternError(format!("`{text}` {what}")));
    let hostname = match text.strip_suffix('.') {
        Some(rooted) if rooted != "*" => rooted,
        _ => text,
    };
    let hostname = hostname.to_ascii_lowercase();
    if hostname == "*" {
        return Ok(hostname);
    }
    if let Some(address) = hostname.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => wrong("is not an IPv6 address"),
        };
    }
    let labels = hostname.strip_prefix("*.").unwrap_or(&hostname);
    if labels.is_empty() {
        return Err(PatternError("a hostname is missing; `*` matches every hostname".into()));
    }
    if labels.contains(':') {
        return wrong("has a port; the listener has the port, a route has none");
    }
    if labels.contains('*') {
        return wrong("has a `*` that is not the whole first label");
    }
    if !labels.is_ascii() {
        return wrong("is not ASCII; write it in punycode, beginning with `xn--`");
    }
    if hostname.len() > HOSTNAME_BYTES_MAX || !labels.split('.').all(is_label) {
        return wrong("is not a hostname");
    }
    Ok(hostname)
}

/// Letters, digits, hyphens inside, and the underscore that container names have.
fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn parse_prefix(path: &str) -> Result<String, PatternError> {
    if path.contains(['?', '#']) {
        return Err(PatternError(format!(
            "`{path}` has a query or a fragment; routes match paths"
        )));
    }
    if path.contains("//") || path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'*') {
        return Err(PatternError(format!(
            "`{path}` is not a path prefix as it stands in a request"
        )));
    }
    Ok(path.trim_end_matches('/').into())
}

#[cfg(test)]
mod tests {
    use super::{Pattern, RouteTable};
    use proptest::prelude::{any, proptest};

    fn table(patterns: &[&str]) -> RouteTable<String> {
        let pairs = patterns.iter().map(|text| (Pattern::parse(text).unwrap(), (*text).to_owned()));
        let (table, duplicates) = RouteTable::build(pairs);
        assert!(duplicates.is_empty());
        table
    }

    fn check(patterns: &[&str], cases: &[(&str, &str, Option<&str>)]) {
        let table = table(patterns);
        for (hostname, path, expected) in cases {
            let found = table.lookup(hostname, path).map(String::as_str);
            assert_eq!(found, *expected, "{hostname}{path}");
        }
    }

    #[test]
    fn an_exact_hostname_beats_a_wildcard_and_a_long_wildcard_a_short_one() {
        check(
            &["*", "*.example.com", "*.eu.example.com", "a.example.com"],
            &[
                ("a.example.com", "/", Some("a.example.com")),
                ("b.example.com", "/", Some("*.example.com")),
                ("b.c.example.com", "/", Some("*.example.com")),
                ("b.eu.example.com", "/", Some("*.eu.example.com")),
                ("eu.example.com", "/", Some("*.example.com")),
                ("example.com", "/", Some("*")),
                ("badexample.com", "/", Some("*")),
            ],
        );
    }

    #[test]
    fn the_longest_prefix_wins_at_segment_boundaries() {
        check(
            &["example.com", "example.com/blog", "example.com/blog/admin"],
            &[
                ("example.com", "/", Some("example.com")),
                ("example.com", "/blog", Some("example.com/blog")),
                ("example.com", "/blog/", Some("example.com/blog")),
                ("example.com", "/blogger", Some("example.com")),
                ("example.com", "/blog/admins", Some("example.com/blog")),
                ("example.com", "/blog/admin/x", Some("example.com/blog/admin")),
                ("example.com", "*", Some("example.com")),
            ],
        );
    }

    #[test]
    fn a_hostname_without_a_matching_prefix_leaves_it_to_the_next_best() {
        check(
            &["a.example.com/x", "*.example.com/y", "*"],
            &[
                ("a.example.com", "/x", Some("a.example.com/x")),
                ("a.example.com", "/y", Some("*.example.com/y")),
                ("a.example.com", "/z", Some("*")),
            ],
        );
    }

    #[test]
    fn case_port_and_trailing_dot_of_a_request_do_not_matter() {
        check(
            &["Example.COM.", "[::1]", "xn--bcher-kva.example"],
            &[
                ("EXAMPLE.com:8080", "/", Some("Example.COM.")),
                ("example.com.", "/", Some("Example.COM.")),
                ("example.com.:80", "/", Some("Example.COM.")),
                ("[::1]:8080", "/", Some("[::1]")),
                ("[::1]", "/", Some("[::1]")),
                ("XN--BCHER-KVA.example", "/", Some("xn--bcher-kva.example")),
                ("bücher.example", "/", None),
                ("", "/", None),
                (&"A".repeat(300), "/", None),
            ],
        );
    }

    #[test]
    fn a_hostname_that_is_too_long_has_no_route_in_either_case() {
        let long = |letter: &str, bytes: usize| format!("{}.b", letter.repeat(bytes - 2));
        for letter in ["a", "A"] {
            let (fits, exceeds) = (long(letter, 253), long(letter, 254));
            check(&["*"], &[(&fits, "/", Some("*")), (&exceeds, "/", None)]);
            check(&["*.b"], &[(&fits, "/", Some("*.b")), (&exceeds, "/", None)]);
        }
    }

    #[test]
    fn a_second_route_with_the_same_pattern_is_handed_back() {
        let pairs = ["a.example/b", "A.example/b/", "a.example"]
            .iter()
            .enumerate()
            .map(|(at, text)| (Pattern::parse(text).unwrap(), at));
        let (table, duplicates) = RouteTable::build(pairs);
        assert_eq!(table.len(), 2);
        assert_eq!(table.lookup("a.example", "/b"), Some(&0));
        assert_eq!(duplicates.len(), 1);
        assert_eq!(duplicates[0].left_out, 1);
        assert_eq!(duplicates[0].pattern.to_string(), "a.example/b");
    }

    #[test]
    fn what_is_not_a_pattern_says_why() {
        let cases = [
            ("", "missing"),
            ("*.", "missing"),
            ("/blog", "missing"),
            ("https://example.com", "scheme"),
            ("example.com:8080", "port"),
            ("a.*.com", "first label"),
            ("**", "first label"),
            ("exa mple.com", "not a hostname"),
            ("-a.com", "not a hostname"),
            ("a..com", "not a hostname"),
            ("bücher.example", "punycode"),
            ("[::g]", "IPv6"),
            ("example.com/a?b", "query"),
            ("example.com/a//b", "path prefix"),
            ("example.com/ä", "path prefix"),
        ];
        for (text, reason) in cases {
            let error = Pattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn patterns_are_shown_as_they_are_read() {
        for (text, shown) in [("*", "*"), ("A.b.", "a.b"), ("a/", "a"), ("a/b/", "a/b")] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(Pattern::parse(shown).unwrap(), pattern);
        }
    }

    proptest! {
        #[test]
        fn no_request_panics(hostname in any::<String>(), path in any::<String>()) {
            table(&["*.example.com", "a/b"]).lookup(&hostname, &path);
        }

        #[test]
        fn no_text_panics_and_what_is_read_is_stable(text in any::<String>()) {
            if let Ok(pattern) = Pattern::parse(&text) {
                assert_eq!(Pattern::parse(&pattern.to_string()).unwrap(), pattern);
            }
        }
    }
}
