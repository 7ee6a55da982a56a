//! One request on the direct way, from its admission to the end of its answer.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::answer::{Extra, Head, Odd, room};
use super::body::{Body, BrokenChunk, LAST_CHUNK, ROOM_BEFORE, ROOM_BEHIND};
use super::scratch::{self, Scratch};
use super::{Next, Visit, Way};
use crate::counters::count_one;
use crate::gatekeeper::{Gatekeeper, Upstream};
use crate::http::forward::in_time;
use crate::http::hold::{Passed, Waited};
use crate::pool::{Bare, Key, Pool};
use crate::rescue::Refusal;

/// A request that is under way.
struct Exchange<'a, G: Gatekeeper> {
    visit: &'a Visit<G>,
    key: Key,
    upstream: Arc<Upstream>,
    /// Absent once its upstream may get another request, or has closed it.
    connection: Option<Bare>,
    /// Bytes of the outgoing head that were sent.
    sent: usize,
    /// The part of an answer's head that has arrived.
    begun: Vec<u8>,
    body: Body,
    reusable: bool,
    /// What the client has not taken yet, and how much of it it has.
    rest: Vec<u8>,
    rest_sent: usize,
    waited: Option<Waited>,
}

/// Why an exchange ends early.
#[derive(Debug)]
enum Failed {
    /// The client has left.
    Left,
    /// The upstream has closed the connection.
    Closed(io::Error),
    /// The answer cannot be passed on.
    Odd(Odd),
    /// The body of the answer cannot.
    Broken(BrokenChunk),
}

impl From<Odd> for Failed {
    fn from(odd: Odd) -> Self {
        Self::Odd(odd)
    }
}

impl From<BrokenChunk> for Failed {
    fn from(broken: BrokenChunk) -> Self {
        Self::Broken(broken)
    }
}

impl<G: Gatekeeper> Way<'_, G> {
    /// Passes a request on, and its answer back.
    pub(super) async fn exchange(
        &mut self,
        visit: Visit<G>,
        (lease, upstream): Passed<G>,
        waited: Option<Waited>,
    ) -> Next {
        let Some(address) = upstream.address(visit.site.port) else {
            return Next::full(visit.message);
        };
        let key = Key { epoch: upstream.epoch, address };
        let (pool, client) = (&self.shared.pool, self.client);
        let idle = poll_fn(|context| Poll::Ready(pool.take_bare(key, context))).await;
        let connection = match idle {
            Some(connection) => connection,
            None => match Box::pin(pool.first_bare(key, &upstream)).await {
                Ok(connection) => connection,
                Err(_) => return Next::full(visit.message),
            },
        };
        let used = connection.is_used();
        let mut exchange = Exchange {
            visit: &visit,
            key,
            upstream,
            connection: Some(connection),
            sent: 0,
            begun: Vec::new(),
            body: Body::Complete,
            reusable: false,
            rest: Vec::new(),
            rest_sent: 0,
            waited,
        };
        let answered = {
            let answer = pin!(poll_fn(|context| self.poll_answer(&mut exchange, context)));
            in_time(pool, client, answer).await
        };
        let failed = match answered {
            Ok(Ok(())) => {
                let streamed = poll_fn(|context| self.poll_stream(&mut exchange, context)).await;
                drop(lease);
                return match streamed {
                    Ok(()) => Next::Request,
                    Err(_) => Next::over(),
                };
            }
            Ok(Err(failed)) => failed,
            Err(_) => {
                drop(exchange);
                return self.refuse(visit, Refusal::AnswerTimeout).await;
            }
        };
        drop(exchange);
        self.rescue(visit, failed, used.then_some(key)).await
    }

    /// There is no answer. Where the connection had been used before, its upstream was most
    /// probably about to close it, and so it is with its others; the request is sent again.
    async fn rescue(&mut self, visit: Visit<G>, failed: Failed, stale: Option<Key>) -> Next {
        let refusal = match (failed, stale) {
            (Failed::Left, _) => return Next::over(),
            (Failed::Closed(_), Some(key)) => {
                self.shared.pool.retire_idle(key);
                count_one(&self.shared.counters.upstream_retries);
                return Next::full(visit.message);
            }
            (Failed::Closed(error), None) => Refusal::Closed(error.into()),
            (Failed::Odd(Odd::Switch), _) => Refusal::UnaskedUpgrade,
            (Failed::Odd(odd), _) => Refusal::Garbled(odd.into()),
            (Failed::Broken(broken), _) => Refusal::Garbled(broken.into()),
        };
        Box::pin(self.refuse(visit, refusal)).await
    }

    /// Sends the request, waits for the head of its answer, and passes on what came with it.
    fn poll_answer(
        &mut self,
        exchange: &mut Exchange<'_, G>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        ready!(exchange.poll_send(context))?;
        loop {
            let answered = scratch::with(|scratch| {
                let amount = match exchange.poll_read(scratch, context) {
                    Poll::Ready(amount) => amount?,
                    Poll::Pending if self.has_left(context) => return Err(Failed::Left),
                    Poll::Pending => return Ok(Poll::Pending),
                };
                if amount == 0 {
                    return Err(Failed::Closed(io::ErrorKind::UnexpectedEof.into()));
                }
                let answered = self.take_answer(exchange, (scratch, amount), context)?;
                Ok(Poll::Ready(answered))
            });
            if ready!(answered?) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes what has arrived of an answer. `false` where its head is not complete.
    fn take_answer(
        &mut self,
        exchange: &mut Exchange<'_, G>,
        (scratch, amount): (&mut Scratch, usize),
        context: &mut Context<'_>,
    ) -> Result<bool, Failed> {
        let mut begun = std::mem::take(&mut exchange.begun);
        let (read, out) = scratch.read(amount);
        let mut bytes = read;
        if !begun.is_empty() {
            begun.extend_from_slice(read);
            bytes = &begun;
        }
        loop {
            let mut room = room();
            let Some(head) = Head::read(bytes, &mut room, exchange.visit.message.is_head)? else {
                exchange.begun = bytes.to_vec();
                return Ok(false);
            };
            let behind = &bytes[head.bytes..];
            if head.is_interim() {
                bytes = behind;
                continue;
            }
            self.pass_head(exchange, &head, out);
            let excess = exchange.pass_beginning(behind, out)?;
            self.shared.counters.answers.count(head.status());
            exchange.visit.site.counters.answers.count(head.status());
            exchange.settle(&self.shared.pool, excess);
            let written = self.write_some(out, &mut exchange.rest, context);
            written.map_err(|_| Failed::Left)?;
            return Ok(true);
        }
    }

    fn pass_head(&self, exchange: &mut Exchange<'_, G>, head: &Head<'_, '_>, out: &mut Vec<u8>) {
        let lines = exchange.waited.map(Waited::lines).unwrap_or_default();
        head.write(out, Extra { last: self.client.is_draining(), lines: lines.as_bytes() });
        exchange.body = head.body.map_or(Body::Complete, Body::new);
        exchange.reusable = head.reusable;
    }

    /// Passes on the rest of an answer.
    fn poll_stream(
        &mut self,
        exchange: &mut Exchange<'_, G>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        loop {
            ready!(self.poll_rest(exchange, context)).map_err(|_| Failed::Left)?;
            if exchange.body.is_complete() {
                return Poll::Ready(Ok(()));
            }
            let passed = scratch::with(|scratch| {
                let amount = match exchange.poll_read(scratch, context) {
                    Poll::Ready(amount) => amount?,
                    Poll::Pending if self.has_left(context) => return Err(Failed::Left),
                    Poll::Pending => return Ok(Poll::Pending),
                };
                self.pass_block(exchange, (scratch, amount), context).map(Poll::Ready)
            });
            ready!(passed?);
        }
    }

    fn pass_block(
        &mut self,
        exchange: &mut Exchange<'_, G>,
        (scratch, amount): (&mut Scratch, usize),
        context: &mut Context<'_>,
    ) -> Result<(), Failed> {
        if amount == 0 {
            if !exchange.body.close() {
                return Err(Failed::Closed(io::ErrorKind::UnexpectedEof.into()));
            }
            exchange.connection = None;
            exchange.rest.extend_from_slice(LAST_CHUNK);
            return Ok(());
        }
        let (block, place) = scratch.block(amount);
        let framed = exchange.body.take(block, place)?;
        exchange.settle(&self.shared.pool, framed.excess);
        let written =
            self.write_some(&block[framed.start..framed.end], &mut exchange.rest, context);
        written.map_err(|_| Failed::Left)
    }

    /// Writes what the client has not taken yet, and gives its buffer back.
    fn poll_rest(
        &mut self,
        exchange: &mut Exchange<'_, G>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while exchange.rest_sent < exchange.rest.len() {
            let rest = &exchange.rest[exchange.rest_sent..];
            match ready!(Pin::new(&mut *self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => exchange.rest_sent += written,
            }
        }
        if exchange.rest_sent > 0 {
            exchange.rest = Vec::new();
            exchange.rest_sent = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<G: Gatekeeper> Exchange<'_, G> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let outgoing = self.visit.message.outgoing();
        while self.sent < outgoing.len() {
            let stream = &mut open(&mut self.connection).stream;
            let written = Pin::new(stream).poll_write(context, &outgoing[self.sent..]);
            match ready!(written).map_err(Failed::Closed)? {
                0 => return Poll::Ready(Err(Failed::Closed(io::ErrorKind::WriteZero.into()))),
                written => self.sent += written,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        scratch: &mut Scratch,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, Failed>> {
        let stream = &mut open(&mut self.connection).stream;
        scratch.poll_read(stream, context).map_err(Failed::Closed)
    }

    /// Passes on what of the body came with the head. Says whether bytes followed it.
    fn pass_beginning(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, BrokenChunk> {
        if !self.body.is_chunked() {
            let length = self.body.take_plain(bytes.len());
            out.extend_from_slice(&bytes[..length]);
            return Ok(length < bytes.len());
        }
        let head = out.len();
        out.resize(head + ROOM_BEFORE, 0);
        out.extend_from_slice(bytes);
        let place = (head + ROOM_BEFORE, out.len());
        out.resize(out.len() + ROOM_BEHIND, 0);
        let framed = self.body.take(out, place)?;
        out.truncate(framed.end);
        out.drain(head..framed.start);
        Ok(framed.excess)
    }

    /// Gives the connection back once the answer is complete.
    fn settle(&mut self, pool: &Pool, excess: bool) {
        if !self.body.is_complete() {
            return;
        }
        let connection = self.connection.take();
        if let (Some(connection), true, false) = (connection, self.reusable, excess) {
            pool.put_bare(self.key, &self.upstream, connection);
        }
    }
}

/// The connection of an exchange that is not complete.
fn open(connection: &mut Option<Bare>) -> &mut Bare {
    connection.as_mut().expect("it is taken when nothing more is read or written")
}
