"""A real HTTP server in place of an OpenAI-compatible endpoint, for the judge and the tagger."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

KEY = "SECRET-9f3a-KEY"
VARIABLE = "DAST_TEST_ENDPOINT_KEY"


class ChatServer:
    """A server whose `reply(question, attempt)` gives (status, text of the answer or raw body)."""

    def __init__(self, reply):
        self.reply = reply
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict] = []
        self.under_way = self.most_under_way = 0
        lock, endpoint = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = body["messages"][0]["content"].rpartition("\n")[2]
                with lock:
                    attempt = endpoint.asked.count(question)
                    endpoint.asked.append(question)
                    endpoint.bodies.append(body)
                    endpoint.headers.append(dict(self.headers) | {"path": self.path})
                    endpoint.under_way += 1
                    endpoint.most_under_way = max(endpoint.most_under_way, endpoint.under_way)
                try:
                    status, text = endpoint.reply(question, attempt)
                finally:
                    with lock:
                        endpoint.under_way -= 1
                if isinstance(text, str):
                    text = json.dumps(
                        {"choices": [{"message": {"role": "assistant", "content": text}}]}
                    ).encode()
                try:
                    self.send_response(status)
                    if status in (301, 302, 307):
                        self.send_header("Location", "/elsewhere")
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    pass  # the client has hung up

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def serve(monkeypatch):
    """Starts servers that answer as a function says, and sets the key's variable."""
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    endpoints = []

    def start(reply):
        endpoints.append(ChatServer(reply))
        return endpoints[-1]

    yield start
    for endpoint in endpoints:
        endpoint.server.shutdown()
        endpoint.server.server_close()
