//! Who has sent a request, as the upstream is told on the direct way: said by us in place of a
//! stranger, and after what a trusted proxy says.

use httparse::Header;

use super::request::write_all;
use crate::http::client::Client;
use crate::http::present::is_from_trusted_only;

/// Writes these headers anew.
pub(super) fn write(out: &mut Vec<u8>, client: &Client, hostname: &str, headers: &[Header<'_>]) {
    let peer = client.peer_value.as_bytes();
    let said = if client.trusted { headers } else { &[] };
    for header in said.iter().filter(|header| is_from_trusted_only(header.name)) {
        if !is_list(header.name) {
            write_all(out, &[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
        }
    }
    write_list(out, "x-forwarded-for", (said, peer));
    if has(said, "forwarded") {
        let (before, after): (&[u8], &[u8]) =
            if peer.contains(&b':') { (b"for=\"[", b"]\"") } else { (b"for=", b"") };
        write_list(out, "forwarded", (said, &[before, peer, after].concat()));
    }
    if !has(said, "x-forwarded-proto") {
        out.extend_from_slice(b"x-forwarded-proto: http\r\n");
    }
    if !has(said, "x-forwarded-host") {
        write_all(out, &[b"x-forwarded-host: ", hostname.as_bytes(), b"\r\n"]);
    }
}

/// Joins what was said with one item more.
fn write_list(out: &mut Vec<u8>, name: &str, (said, item): (&[Header<'_>], &[u8])) {
    write_all(out, &[name.as_bytes(), b": "]);
    for header in said.iter().filter(|header| header.name.eq_ignore_ascii_case(name)) {
        write_all(out, &[header.value, b", "]);
    }
    write_all(out, &[item, b"\r\n"]);
}

fn is_list(name: &str) -> bool {
    name.eq_ignore_ascii_case("x-forwarded-for") || name.eq_ignore_ascii_case("forwarded")
}

fn has(said: &[Header<'_>], name: &str) -> bool {
    said.iter().any(|header| header.name.eq_ignore_ascii_case(name))
}
