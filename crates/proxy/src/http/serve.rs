//! One request, from its head to the head of its answer.

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use tokio::time::sleep;
use tracing::{debug, trace};

use super::body::{AnswerBody, Kind};
use super::client::OpenRequest;
use super::forward::{Outcome, Target, forward};
use super::headers::{aim_http1, aim_http2, prepare};
use super::hold::{Unheld, Visitor, Waited, hold};
use super::outgoing::Outgoing;
use super::strict::{Wrong, check};
use crate::counters::count_one;
use crate::gatekeeper::{Admission, Gatekeeper, LeaseKind};
use crate::navigation::is_navigation;
use crate::proxy::Shared;
use crate::rescue::{Asker, Refusal};
use crate::reserved;
use crate::settings::{ATTEMPTS_MAX, REOPEN_DELAY};
use crate::site::{Scheme, Site};

/// Nobody is left to be answered; the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the client has left")]
pub(crate) struct Left;

/// A request that has a site.
struct Visit<'a, G: Gatekeeper> {
    shared: &'a Arc<Shared<G>>,
    site: &'a Arc<Site<G::Key>>,
    open: &'a OpenRequest,
    /// Bytes of the path that its route matched.
    prefix: usize,
}

/// What a request comes to.
enum End {
    Answer(Response<Kind>),
    Refused(Refusal),
    Left,
}

/// Answers one request.
pub(crate) async fn answer<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    open: OpenRequest,
    request: Box<Outgoing>,
) -> Result<Response<AnswerBody>, Left> {
    let parts = &request.parts;
    trace!(peer = %open.client().peer, method = %parts.method, uri = %parts.uri, "Begin a request");
    let (site, prefix) = match find_site(shared, &open, parts) {
        Ok(found) => found,
        Err(refusal) => {
            let response = refusal.response(&Asker::of(&parts.headers), None, &shared.pages);
            shared.counters.answers.count(response.status());
            return Ok(response.map(|body| AnswerBody::new(Kind::Whole(body), open)));
        }
    };
    let asker = Asker::of(&parts.headers);
    let end = match reserved::page(parts.uri.path(), &parts.uri.path()[..prefix]) {
        Some(page) => reserved::answer(
            &*shared.gatekeeper,
            &site,
            page,
            (parts, &open.client().ending.draining),
        )
        .map_or(End::Refused(Refusal::NoSuchPage), End::Answer),
        None => {
            let visit = Visit { shared, site: &site, open: &open, prefix };
            visit.answer(request).await
        }
    };
    let response = match end {
        End::Answer(response) => response,
        End::Refused(refusal) => {
            refusal.response(&asker, Some(&site.workload), &shared.pages).map(Kind::Whole)
        }
        End::Left => return Err(Left),
    };
    shared.counters.answers.count(response.status());
    site.counters.answers.count(response.status());
    Ok(response.map(|body| AnswerBody::new(body, open)))
}

/// The site of a request, and how many bytes of its path the route matched.
type Found<G> = (Arc<Site<<G as Gatekeeper>::Key>>, usize);

fn find_site<G: Gatekeeper>(
    shared: &Shared<G>,
    open: &OpenRequest,
    parts: &Parts,
) -> Result<Found<G>, Refusal> {
    if open.is_wrong() {
        return Err(Wrong::Framing.into());
    }
    let hostname = check(parts)?;
    let sites = shared.sites.load();
    let found = sites.lookup_with_prefix(hostname, parts.uri.path());
    found.map(|(prefix, site)| (Arc::clone(site), prefix.len())).ok_or(Refusal::NoRoute)
}

impl<G: Gatekeeper> Visit<'_, G> {
    async fn answer(&self, mut request: Box<Outgoing>) -> End {
        let Self { shared, site, open, prefix } = *self;
        let mut on_upgrade = request.parts.extensions.remove::<OnUpgrade>();
        let nature = prepare(&mut request.parts, open.client(), &shared.settings);
        let http2 = site.scheme == Scheme::H2c || nature.grpc;
        if http2 {
            aim_http2(&mut request.parts)
        } else {
            aim_http1(&mut request.parts)
        }
        let kind = if nature.upgrade { LeaseKind::Connection } else { LeaseKind::Request };
        let mut waited: Option<Waited> = None;
        let mut delay = REOPEN_DELAY;
        for attempt in 1.. {
            let (lease, upstream) = match shared.gatekeeper.open(&site.key, kind) {
                Admission::Pass(lease, upstream) => (lease, upstream),
                Admission::Wait(_)
                    if site.loading.page
                        && is_navigation(&request.parts.method, &request.parts.headers) =>
                {
                    count_one(&shared.counters.loading_pages);
                    let page = shared.pages.loading(site, &request.parts.uri.path()[..prefix]);
                    return End::Answer(page.map(Kind::Whole));
                }
                Admission::Wait(wait) => {
                    let visitor = Visitor {
                        client: open.client(),
                        address: nature.client,
                        expects: nature.expects,
                        body: &mut request.body,
                    };
                    match Box::pin(hold(shared, site, wait, visitor)).await {
                        Ok((passed, now)) => {
                            waited = Some(waited.map_or(now, |before| before.and(now)));
                            passed
                        }
                        Err(Unheld::Refused(refusal)) => return End::Refused(refusal),
                        Err(Unheld::Left) => return End::Left,
                    }
                }
                Admission::Denied(denial) => return End::Refused(Refusal::Denied(denial)),
            };
            let Some(target) = Target::new(upstream, site.port, Arc::new(lease), http2) else {
                return End::Refused(Refusal::NoAddress);
            };
            match forward(&shared.pool, open.client(), request, target, &mut on_upgrade).await {
                Outcome::Answer(mut response) => {
                    if let Some(waited) = waited {
                        waited.note(response.headers_mut());
                    }
                    return End::Answer(response);
                }
                Outcome::Refused(refusal) => return End::Refused(refusal),
                Outcome::Unreached(_, error) if attempt == ATTEMPTS_MAX => {
                    return End::Refused(Refusal::Unreachable(error.source));
                }
                // Nothing was sent. The workload may have died a moment ago, and its gate may shut
                // as soon as the gatekeeper knows.
                Outcome::Unreached(unsent, error) => {
                    debug!(workload = %site.workload, %error, attempt, "Ask for admission again");
                    request = unsent;
                    sleep(delay).await;
                    delay *= 3;
                }
            }
        }
        unreachable!("the last attempt returns")
    }
}
