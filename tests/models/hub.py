"""A hub on this machine: an HTTP server that answers as huggingface.co does, from folders on disk.

Small files come straight; weights come from another address after a redirect, as large files do there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

LARGE = (".safetensors", ".bin")


@dataclass
class Hub:
    """What it holds, and what it was asked for."""

    commits: dict[str, dict[str, Path]] = field(default_factory=dict)
    """Model id → commit → the folder of its files."""
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    """Model id → branch or tag → commit."""
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    @property
    def large(self) -> str:
        return self.address.replace("127.0.0.1", "localhost")

    def add(self, name: str, folder: Path, branch: str = "main") -> str:
        """Put the files of a folder on a branch; the new commit."""
        digest = hashlib.sha1(branch.encode())
        for path in sorted(folder.rglob("*")):
            digest.update(path.read_bytes() if path.is_file() else b"")
        commit = digest.hexdigest()
        self.commits.setdefault(name, {})[commit] = folder
        self.branches.setdefault(name, {})[branch] = commit
        return commit

    def commit(self, name: str, revision: str) -> str | None:
        return revision if revision in self.commits[name] else self.branches[name].get(revision)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def give(self, status: int, data: bytes = b"", body: bool = True, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.give(status, json.dumps({"error": code}).encode(), self.command == "GET", X_Error_Code=code, X_Error_Message=code)

    def answer(self, body: bool) -> None:
        path = urlsplit(self.path).path.strip("/")
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        if not api and parts[0] == "large":                                               # where large files are, which knows no model
            data = next(p for p in map(Path, [Path(*["/", *parts[1:]])]) if p.is_file()).read_bytes()
            return self.give(200, data, body, ETag=f'"{hashlib.sha256(data).hexdigest()}"')
        name = "/".join(parts[:2])
        if name not in self.hub.commits:
            return self.refuse(401 if api else 404, "RepoNotFound")
        if name in self.hub.gated:
            return self.refuse(403, "GatedRepo")
        rest = parts[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        commit = self.hub.commit(name, revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        folder = self.hub.commits[name][commit]
        if not rest or rest[0] == "revision":
            facts = {"id": name, "modelId": name, "sha": commit, "siblings": [{"rfilename": file["path"]} for file in self.tree(folder)]}
            return self.give(200, json.dumps(facts).encode(), body, Content_Type="application/json")
        if rest[0] == "tree":
            return self.give(200, json.dumps(self.tree(folder)).encode(), body, Content_Type="application/json")
        file = folder.joinpath(*rest[2:])
        if rest[0] != "resolve" or not file.is_file():
            return self.refuse(404, "EntryNotFound")
        data = file.read_bytes()
        if file.suffix in LARGE:
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            place = f"{self.hub.large}/large{file.resolve()}"      # another host, as theirs is
            return self.give(302, b"", body, Location=place, X_Repo_Commit=commit, X_Linked_Etag=etag, X_Linked_Size=str(len(data)))
        return self.give(200, data, body, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=commit)

    def tree(self, folder: Path) -> list[dict]:
        found = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            data = path.read_bytes()
            entry = {"type": "file", "path": path.relative_to(folder).as_posix(), "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            if path.suffix in LARGE:
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            found.append(entry)
        return found


@contextlib.contextmanager
def served() -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
