"""A Hugging Face hub on this machine: models from folders, and what is pushed to it.

with FakeHub({"owner/name": folder}) as hub:
    hub.environment  # for a process whose hub client talks to it
    hub.fetched, hub.pushed, hub.tokens
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """The few addresses of the hub's interface that fetching a snapshot and uploading a folder need."""

    def __init__(self, models: dict[str, Path], home: Path):
        self.models = models
        self.fetched: list[str] = []
        self.pushed: dict[str, bytes] = {}
        self.created: dict[str, Any] = {}
        self.tokens: set[str] = set()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _json(self, value: Any, code: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _address(self, path: str) -> str:
        """Return the address of a commit to `/api/models/OWNER/NAME/commit/main`."""
        name = "/".join(path.split("/")[3:5])
        return f"{self.hub.environment['HF_ENDPOINT']}/{name}/commit/{COMMIT}"

    def _missing(self, code: str = "RepoNotFound") -> None:
        self._json({"error": "not found"}, 404, X_Error_Code=code)

    def do_GET(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            folder = self.hub.models.get("/".join(parts[2:4]))
            if folder is None or (parts[4:5] == ["revision"] and parts[5] not in ("main", "v1", COMMIT)):
                return self._missing("RepoNotFound" if folder is None else "RevisionNotFound")
            names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
            if parts[4:5] == ["tree"]:
                entries = [(name, (folder / name).read_bytes()) for name in names]
                return self._json([_entry(name, data) for name, data in entries])
            return self._json(
                {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
            )
        return self._file(parts)

    do_HEAD = do_GET

    def _file(self, parts: list[str]) -> None:
        folder = self.hub.models.get("/".join(parts[:2]))
        file = folder / "/".join(parts[4:]) if folder else None
        if file is None or not file.is_file():
            return self._missing("EntryNotFound")
        data = file.read_bytes()
        if self.command == "GET":
            self.hub.fetched.append("/".join(parts[4:]))
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
        return None

    def do_POST(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlparse(self.path).path
        if path == "/api/repos/create":
            self.hub.created = json.loads(body)
            name = "/".join(filter(None, (self.hub.created.get("organization"), self.hub.created["name"])))
            return self._json({"url": f"{self.hub.environment['HF_ENDPOINT']}/{name}"})
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            ways = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self._json({"files": ways})
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = line["value"]["content"]
                    self.hub.pushed[line["value"]["path"]] = base64.b64decode(content)
            return self._json({"success": True, "commitOid": COMMIT, "commitUrl": self._address(path)})
        if path.startswith("/api/validate-yaml"):
            return self._json({"errors": [], "warnings": []})
        return self._missing()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
