"""HTTP as the soak's clients speak it: badly, where they mean to, and with an eye on every byte."""

from __future__ import annotations

import select
import socket
import time

import h11


class Connection:
    """A connection that is kept alive. `unasked` counts answers without a request."""

    def __init__(self, port: int, token: str) -> None:
        self.unasked = 0
        self._port = port
        self._token = token
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def send(self, body: bytes, seconds: float = 0.0, share: float = 1.0) -> None:
        """Send a request at once, or in so many seconds; all of its body, or a share of it.

        A slow one ends early where the service answers before it has everything.
        """
        http, to = self._open()
        head = h11.Request(
            method="POST",
            target="/score",
            headers=[
                ("Host", "127.0.0.1"),
                ("Authorization", f"Bearer {self._token}"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
            ],
        )
        start = http.send(head) or b""
        sent = (http.send(h11.Data(body)) or b"")[: round(share * len(body))]
        http.send(h11.EndOfMessage())
        to.sendall(start)  # the service's clock runs from here
        self._whole = True
        pieces = 1 + int(4 * seconds)
        size = -(-len(sent) // pieces)
        for first in range(0, len(sent), size):
            if seconds and arrived(to) is not None:
                self._whole = False
                return
            to.sendall(sent[first : first + size])
            time.sleep(seconds / pieces)

    def answer(self, until: float) -> tuple[int, float, bytes]:
        """Status, Retry-After in seconds, and body.

        Raises:
            TimeoutError: there is none at `until`.
            OSError, h11.RemoteProtocolError: the connection has ended.
        """
        assert self._socket is not None
        status, wait, body = 0, 0.0, b""
        while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                self._socket.settimeout(max(1e-3, until - time.monotonic()))
                self._http.receive_data(self._socket.recv(2**16))
            elif isinstance(event, h11.Response):
                status = event.status_code
                wait = float(dict(event.headers).get(b"retry-after", 0))
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                raise ConnectionError("closed without an answer")
        self.unasked += bool(self._http.trailing_data[0])
        done = self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        if not (done and self._whole):
            self.close()
        return status, wait, body

    def _open(self) -> tuple[h11.Connection, socket.socket]:
        """A fresh cycle of the connection, or a new one where the service has ended it."""
        if self._socket is not None and (waiting := arrived(self._socket)) is not None:
            self.unasked += bool(waiting)
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self._http = h11.Connection(h11.CLIENT)
        else:
            self._http.start_next_cycle()
        self._socket.settimeout(10)
        return self._http, self._socket


def arrived(connection: socket.socket) -> bytes | None:
    """A byte that waits to be read, and is left there; empty at the end, None if there is none."""
    if not select.select([connection], [], [], 0)[0]:
        return None
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except ConnectionError:
        return b""
