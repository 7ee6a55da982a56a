//! What dormouse itself answers on the direct way: refusals, and the loading page.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::Bytes;
use http::{Response, header};
use tokio::io::AsyncWrite;

use super::answer::{Extra, write_date, write_end, write_length, write_status};
use super::request::{self, Plain, Room, write_all};
use super::{Next, Visit, Way};
use crate::counters::count_one;
use crate::gatekeeper::Gatekeeper;
use crate::http::headers::client_address;
use crate::navigation::is_navigation;
use crate::rescue::{Asker, Refusal};

impl<G: Gatekeeper> Way<'_, G> {
    /// Tells the client why it has no answer.
    pub(super) async fn refuse(&mut self, visit: Visit<G>, refusal: Refusal) -> Next {
        let response = {
            let mut room = request::room();
            let headers = self.reread(&visit, &mut room).map(|plain| plain.to_parts().1);
            let asker = Asker::of(&headers.unwrap_or_default());
            let workload = Some(&*visit.site.workload);
            refusal.response(&asker, workload, &self.shared.pages)
        };
        self.tell(visit, response).await
    }

    /// What a navigation is shown while its workload wakes; absent where it is to be held.
    pub(super) fn loading_page(&self, visit: &Visit<G>) -> Option<Response<Bytes>> {
        if !visit.site.loading.page {
            return None;
        }
        let mut room = request::room();
        let plain = self.reread(visit, &mut room)?;
        let (method, headers) = plain.to_parts();
        if !is_navigation(&method, &headers) {
            return None;
        }
        count_one(&self.shared.counters.loading_pages);
        Some(self.shared.pages.loading(&visit.site, &plain.path()[..visit.prefix]))
    }

    /// Answers with what is ours.
    pub(super) async fn tell(&mut self, visit: Visit<G>, response: Response<Bytes>) -> Next {
        self.shared.counters.answers.count(response.status());
        visit.site.counters.answers.count(response.status());
        let bytes = written(&response, visit.message.is_head, self.client.is_draining());
        let mut sent = 0;
        let told = poll_fn(|context| {
            while sent < bytes.len() {
                match ready!(Pin::new(&mut *self.stream).poll_write(context, &bytes[sent..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => sent += written,
                }
            }
            Poll::Ready(io::Result::Ok(()))
        });
        if told.await.is_err() { Next::over() } else { Next::Request }
    }

    /// The client's own address, behind trusted proxies.
    pub(super) fn address(&self, visit: &Visit<G>) -> IpAddr {
        let mut room = request::room();
        let headers = self.reread(visit, &mut room).map(|plain| plain.to_parts().1);
        client_address(&headers.unwrap_or_default(), self.client, &self.shared.settings)
    }

    /// The request as it was admitted.
    fn reread<'h, 'b>(&self, visit: &'b Visit<G>, room: &'h mut Room<'b>) -> Option<Plain<'h, 'b>> {
        Plain::read(visit.message.received(), room, &self.shared.settings)
    }
}

/// A whole answer as bytes.
fn written(response: &Response<Bytes>, of_head: bool, last: bool) -> Vec<u8> {
    let mut out = Vec::new();
    write_status(&mut out, response.status(), "");
    for (name, value) in response.headers() {
        if name != header::CONNECTION {
            write_all(&mut out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    write_length(&mut out, response.body().len() as u64);
    write_date(&mut out);
    write_end(&mut out, Extra { last, lines: b"" });
    if !of_head {
        out.extend_from_slice(response.body());
    }
    out
}
