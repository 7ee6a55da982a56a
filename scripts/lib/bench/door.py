"""A door before an engine: passes every byte on, and writes down when each call was asked and
answered, a JSON line each, on the wall clock in nanoseconds. Run as a process of its own."""

import json
import os
import selectors
import socket
import sys
import time

PART = 1 << 18


class Pair:
    """The two ends of one connection, and the call that is under way on it."""

    def __init__(self, client, engine):
        self.client, self.engine = client, engine
        self.call = None


def main():
    listen, engine, log = sys.argv[1:4]
    listener = open_door(listen)
    ends = selectors.DefaultSelector()
    ends.register(listener, selectors.EVENT_READ, None)
    with open(log, "a", buffering=1) as log:
        while True:
            for key, _ in ends.select():
                if key.data is None:
                    take(listener, engine, ends)
                # What its other end has closed in the same turn is over.
                elif key.fileobj.fileno() >= 0:
                    carry(key.fileobj, key.data, ends, log)


def open_door(where):
    """A unix socket's path, or a TCP address."""
    if "/" in where:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(where)
    else:
        host, _, port = where.rpartition(":")
        listener = socket.create_server((host, int(port)))
    listener.listen(128)
    return listener


def take(listener, path, ends):
    client, _ = listener.accept()
    engine = socket.socket(socket.AF_UNIX)
    engine.connect(path)
    pair = Pair(client, engine)
    ends.register(client, selectors.EVENT_READ, pair)
    ends.register(engine, selectors.EVENT_READ, pair)


def carry(end, pair, ends, log):
    try:
        part = end.recv(PART)
    except ConnectionError:
        part = b""
    if end is pair.client and part:
        method, _, rest = part.partition(b" ")
        pair.call = {"call": f"{method.decode()} {rest.split(b' ')[0].decode()}"}
        pair.call["asked"] = time.time_ns()
    other = pair.engine if end is pair.client else pair.client
    try:
        other.sendall(part)
    except ConnectionError:
        part = b""
    if end is pair.engine and pair.call and part:
        pair.call["answered"] = time.time_ns()
        log.write(json.dumps(pair.call) + "\n")
        pair.call = None
    if not part:
        for one in (pair.client, pair.engine):
            ends.unregister(one)
            one.close()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(0)
