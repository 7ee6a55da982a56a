//! Whether a request is a person's navigation, which may be shown a page, or must be held.

use http::header::{ACCEPT, HeaderMap};
use http::{HeaderName, Method};

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Whether a request may be answered with a page in place of its own answer. Only a GET may: the
/// body of anything else would be lost.
pub(crate) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if method != Method::GET {
        return false;
    }
    match headers.get(&SEC_FETCH_MODE) {
        Some(mode) => mode.as_bytes() == b"navigate",
        None => prefers_html(headers),
    }
}

/// Whether fetch metadata says that the answer will be shown as a page.
pub(crate) fn is_html_wanted(headers: &HeaderMap) -> bool {
    headers.get(&SEC_FETCH_MODE).is_some_and(|mode| mode.as_bytes() == b"navigate")
}

/// Whether `Accept` names `text/html` with a quality above anything else that it names.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let mut html = 0;
    let mut other = 0;
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else {
            return false;
        };
        for range in value.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = quality(parts);
            if kind.eq_ignore_ascii_case("text/html") {
                html = html.max(quality);
            } else if !is_companion(kind) {
                other = other.max(quality);
            }
        }
    }
    html > other
}

/// The formats that browsers name beside `text/html`, with the same quality, when they navigate.
/// Every few years there is another kind of image among them.
fn is_companion(kind: &str) -> bool {
    let is_image = kind.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("image/"));
    is_image
        || ["application/xhtml+xml", "application/signed-exchange"]
            .iter()
            .any(|companion| kind.eq_ignore_ascii_case(companion))
}

/// The quality in thousandths; one that cannot be read counts as none.
fn quality<'a>(parameters: impl Iterator<Item = &'a str>) -> u16 {
    for parameter in parameters {
        if let Some(("q" | "Q", value)) = parameter.split_once('=') {
            return match value.trim().parse::<f32>() {
                Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u16,
                _ => 0,
            };
        }
    }
    1000
}

#[cfg(test)]
mod tests {
    use super::is_navigation;
    use http::{HeaderMap, HeaderName, Method};

    fn check(method: &Method, headers: &[(&'static str, &'static str)], expected: bool) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        assert_eq!(is_navigation(method, &headers), expected, "{method} {headers:?}");
    }

    #[test]
    fn fetch_metadata_decides_where_it_is_sent() {
        let get = Method::GET;
        check(&get, &[("sec-fetch-mode", "navigate")], true);
        check(&get, &[("sec-fetch-mode", "cors"), ("accept", "text/html")], false);
        check(&get, &[("sec-fetch-mode", "websocket")], false);
        check(&get, &[("sec-fetch-mode", "no-cors"), ("accept", "image/*")], false);
    }

    #[test]
    fn a_body_is_never_lost_to_a_page() {
        check(&Method::POST, &[("sec-fetch-mode", "navigate"), ("accept", "text/html")], false);
        check(&Method::HEAD, &[("accept", "text/html")], false);
    }

    #[test]
    fn without_fetch_metadata_accept_must_name_html_above_all_else() {
        let cases = [
            ("text/html", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", true),
            ("text/html,application/xml;q=0.9,image/jxl,image/avif,image/apng,*/*;q=0.8", true),
            ("image/avif,image/webp,image/*,*/*;q=0.8", false),
            ("TEXT/HTML;level=1;q=0.9, text/plain;q=0.5", true),
            ("*/*", false),
            ("text/*", false),
            ("text/html,*/*", false),
            ("text/html, application/json", false),
            ("application/json, text/html;q=0.9", false),
            ("text/html;q=0", false),
            ("text/html;q=x, */*;q=0.1", false),
            ("", false),
        ];
        for (accept, expected) in cases {
            check(&Method::GET, &[("accept", accept)], expected);
        }
        check(&Method::GET, &[], false);
    }
}
