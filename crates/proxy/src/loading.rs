//! The pages that a person sees in place of the workload: while it wakes, and when it cannot.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use minijinja::{Environment, context};

use crate::rescue::{Problem, whole_seconds};
use crate::site::Site;

static STATE: HeaderName = HeaderName::from_static("x-dormouse-state");

/// The pages of the built-in theme.
pub(crate) struct Pages(Environment<'static>);

impl Pages {
    pub(crate) fn new() -> Self {
        let mut pages = Environment::new();
        pages
            .add_template("loading.html", include_str!("../templates/loading.html"))
            .and_then(|()| {
                pages.add_template("problem.html", include_str!("../templates/problem.html"))
            })
            .expect("the templates that are built in are well formed");
        Self(pages)
    }

    /// The page that is shown while a workload wakes. `prefix` is the path of its route.
    pub(crate) fn loading<K>(&self, site: &Site<K>, prefix: &str) -> Response<Bytes> {
        let nonce = nonce();
        let refresh = whole_seconds(site.loading.refresh);
        let title = site.loading.title.as_deref().unwrap_or(&site.workload);
        let status = StatusCode::from_u16(site.loading.status);
        let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let context = context! { nonce, refresh, title, prefix, workload => site.workload };
        let mut response = self.page("loading.html", context, &nonce);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(refresh));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(&STATE, HeaderValue::from_static("waking"));
        response
    }

    /// The page that says why there is no answer.
    pub(crate) fn problem(&self, status: StatusCode, problem: &Problem<'_>) -> Response<Bytes> {
        let nonce = nonce();
        let context = context! { nonce, problem };
        let mut response = self.page("problem.html", context, &nonce);
        *response.status_mut() = status;
        response
    }

    fn page(&self, name: &str, context: minijinja::Value, nonce: &str) -> Response<Bytes> {
        let page = self
            .0
            .get_template(name)
            .and_then(|template| template.render(context))
            .expect("the templates that are built in use only what they are given");
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        );
        let mut response = Response::new(Bytes::from(page));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// 128 bits that a page's author could not have guessed: the standard library's hash keys come
/// from the operating system.
fn nonce() -> String {
    let state = RandomState::new();
    format!("{:016x}{:016x}", state.hash_one(0), state.hash_one(1))
}

#[cfg(test)]
mod tests {
    use super::Pages;
    use crate::site::{Held, Loading, Scheme, Site};
    use http::Response;
    use std::sync::Arc;
    use std::time::Duration;

    fn loading(title: &str) -> Response<bytes::Bytes> {
        let site = Site {
            key: (),
            workload: "local/<blog>".into(),
            port: None,
            scheme: Scheme::Http,
            loading: Arc::new(Loading {
                title: Some(title.into()),
                refresh: Duration::from_millis(2500),
                ..Loading::default()
            }),
            held: Held::default(),
            counters: Default::default(),
        };
        Pages::new().loading(&site, "/a'\"b")
    }

    #[test]
    fn the_loading_page_is_small_inert_and_works_without_scripts() {
        let response = loading("Blog");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-dormouse-state"], "waking");
        let page = std::str::from_utf8(response.body()).unwrap();
        assert!(page.len() <= 8 << 10, "{} bytes", page.len());
        assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
        assert!(page.contains("<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>"));
        for part in [
            "<html lang=",
            "<title>",
            "role=\"status\"",
            "aria-live",
            "prefers-color-scheme",
            "prefers-reduced-motion",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(nonce.len(), 32);
        assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        assert!(!page.contains(" style=") && !page.contains(" onclick="));
    }

    #[test]
    fn everything_in_the_page_is_escaped_and_each_page_has_its_own_nonce() {
        let response = loading("</title><script>alert(1)</script>");
        let page = std::str::from_utf8(response.body()).unwrap();
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(page.contains("local&#x2f;&lt;blog&gt;"), "{page}");
        assert!(!page.contains("/a'\"b"), "{page}");
        let other = loading("Blog");
        let policy = "content-security-policy";
        assert_ne!(response.headers()[policy], other.headers()[policy]);
    }
}
