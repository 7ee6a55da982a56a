//! `dormouse collect` as a dashboard meets it: the real binary, its standard input and output, and
//! engines behind sockets, HTTP and TLS. Each row of the contract's tables has its test here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod bad_servers;
mod door;
mod ends;
mod engines;
mod input;
mod nothing_left;
mod output;
mod secrets;
mod worker;
