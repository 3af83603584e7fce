"""One total deadline for an HTTP request: connecting, TLS, request, status line, headers and body.

    with Deadline(30.0) as deadline:
        opener = urllib.request.build_opener(*deadline.handlers())
        opener.open(request, timeout=30.0)

A socket's own timeout restarts with each byte, so a server that sends one now and then is waited for forever.
At the deadline the connection is shut down instead, which ends whatever waits for it in any thread.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import threading
import time
import types
import urllib.request
from collections.abc import Callable
from typing import Any

__all__ = ["Deadline"]


class Deadline:
    """Shuts down the connections made by its handlers when `seconds` have passed since it was entered."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.passed = False
        """Whether the deadline has passed before the end of the `with`."""

    def __enter__(self) -> Deadline:
        self._until = time.monotonic() + self._seconds
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: types.TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for duplicate in self._sockets:
                duplicate.close()
            self._sockets.clear()

    def handlers(self) -> tuple[urllib.request.BaseHandler, ...]:
        """Return the handlers of `http:` and `https:` whose connections end at the deadline."""
        return _Handler(self._connection), _SecureHandler(self._connection)

    def _connection(self, kind: Any, host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        connection._create_connection = self._connect  # the only place where the host is still unresolved
        return connection

    def _connect(self, address: tuple[str, int], _timeout: Any, source: Any) -> socket.socket:
        """Connect as `socket.create_connection` does, all addresses of the host within the deadline."""
        error: OSError = TimeoutError("no address")
        for family, kind, protocol, _, found in socket.getaddrinfo(*address, 0, socket.SOCK_STREAM):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(max(self._until - time.monotonic(), 1e-3))
                if source:
                    connection.bind(source)
                connection.connect(found)
                self._watch(connection)
            except OSError as caught:
                error = caught
                connection.close()
            else:
                return connection
        raise error

    def _watch(self, connection: socket.socket) -> None:
        with self._lock:
            if self.passed:
                raise TimeoutError
            # The duplicate stays ours while TLS takes the socket over and the reply closes it.
            self._sockets.append(connection.dup())

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            for duplicate in self._sockets:
                with contextlib.suppress(OSError):
                    duplicate.shutdown(socket.SHUT_RDWR)


class _Handler(urllib.request.HTTPHandler):
    def __init__(self, connect: Callable[..., Any]):
        super().__init__()
        self._connect = connect

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(self._connect, http.client.HTTPConnection), req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, connect: Callable[..., Any]):
        urllib.request.AbstractHTTPHandler.__init__(self)  # the other one loads certificates for nothing
        self._connect = connect

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(self._connect, http.client.HTTPSConnection), req)
