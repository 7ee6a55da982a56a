//! Requests that two parsers could read differently, and ordinary ones.

/// What is sent, and how many requests the workload may see of it.
pub(crate) const CORPUS: &[(&str, usize)] = &[
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n",
        0,
    ),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        0,
    ),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        0,
    ),
    ("POST / HTTP/1.1\r\nHost: app.test\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0),
    ("POST / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: +1\r\n\r\na", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: -1\r\n\r\na", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0x1\r\n\r\na", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1, 1\r\n\r\na", 0),
    ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1 1\r\n\r\na", 0),
    ("GET / HTTP/1.1\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test\r\nHost: other.test\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test, other.test\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: user@app.test\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test/path\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test:x\r\n\r\n", 0),
    ("GET http://app.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", 0),
    ("GET http://other.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n", 0),
    ("GET http://user@app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n", 0),
    ("CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\n\r\n", 0),
    ("GET / HTTP/1.1\nHost: app.test\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test\n\r\n", 0),
    ("GET  / HTTP/1.1\r\nHost: app.test\r\n\r\n", 0),
    ("GET /\x01 HTTP/1.1\r\nHost: app.test\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test\r\nX: a\0b\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test\r\nX: a\rb\r\n\r\n", 0),
    ("GET / HTTP/2.0\r\nHost: app.test\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: app.test\r\n: x\r\n\r\n", 0),
    // A chunked body that is wrong ends in a 400; the workload may have seen that it began.
    (
        "POST /cut HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST /cut HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST /cut HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST /cut HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        0,
    ),
    (
        "POST /cut HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n",
        0,
    ),
    // Ordinary ones, alone and one after the other.
    ("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n", 1),
    ("GET http://app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n", 1),
    ("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n", 1),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        2,
    ),
    (
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        2,
    ),
    ("GET / HTTP/1.1\r\nHost: app.test\r\n\r\nGET / HTTP/1.1\nHost: app.test\r\n\r\n", 1),
    (
        "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: host, content-length\r\nContent-Length: 0\r\n\r\n",
        1,
    ),
];
