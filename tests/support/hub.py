"""A hub of models on this machine, which answers the calls that huggingface_hub and `edge-detect model pull` make.

The calls are those recorded of huggingface_hub with HF_HUB_DISABLE_XET=1; the real hub may differ.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "s3cret" * 5
LFS_BYTES = 500  # larger files are stored elsewhere and redirected to, as on the hub

Respond = Callable[["Handler"], None]


@dataclass
class Repository:
    """A repository: its commits in order, and what each branch points to."""

    is_private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit with these files beside those of the branch; returns its hash."""
        before = self.commits.get(self.branches.get(branch, ""), {})
        found = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[found] = before | files
        self.branches[branch] = found
        return found


class Hub:
    """The state of the hub, and what was asked of it.

    Attributes:
        endpoint: its address.
        calls: (method, path without query, Authorization header) of each request.
        special: answers to requests whose path the pattern matches, instead of the usual one.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str, str | None]] = []
        self.special: dict[str, Respond] = {}
        self.endpoint = ""
        self.is_stopping = threading.Event()

    def add(self, name: str, files: dict[str, bytes]) -> str:
        """Add a repository with one commit; returns the commit."""
        self.repositories[name] = Repository()
        return self.repositories[name].commit(files)

    def asked(self, method: str) -> list[str]:
        return [path for one, path, _ in self.calls if one == method]


def with_sums(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files and their SHA256SUMS."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    return files | {"SHA256SUMS": "".join(lines).encode()}


def model_files(path: Path, name: str | None = None) -> dict[str, bytes]:
    """A model file, its description and their checksums."""
    stem = name or path.stem
    return with_sums(
        {f"{stem}.tflite": path.read_bytes(), f"{stem}.json": path.with_suffix(".json").read_bytes()},
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _serve(self) -> None:
        self.path_only = unquote(urlsplit(self.path).path)
        self.hub.calls.append((self.command, self.path_only, self.headers.get("Authorization")))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for pattern, respond in self.hub.special.items():
            if re.search(pattern, self.path_only):
                return respond(self)
        if self.command == "POST":
            return self._post()
        if self.command == "PUT":
            self.hub.objects[self.path_only.rpartition("/")[2]] = self.body
            return self.reply(200, b"")
        return self._get()

    do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815  # names of the base class

    def reply(self, status: int, content: bytes | dict[str, Any], **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json" if isinstance(content, dict) else "text/plain")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _post(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply(401, {"error": "Invalid credentials in Authorization header"})
        if self.path_only == "/api/repos/create":
            return self._create(json.loads(self.body))
        if self.path_only == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": [{"message": "a card may have a title"}]})
        if match := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", self.path_only):
            return self._batch(json.loads(self.body)["objects"])
        match = re.fullmatch(r"/api/models/(.+?/.+?)/(preupload|commit)/(.+)", self.path_only)
        repository = self.hub.repositories.get(match[1]) if match else None
        if match is None or repository is None:
            return self.reply(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if match[3] not in repository.branches and match[3] != "main":
            return self.reply(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        if match[2] == "preupload":
            return self._preupload(json.loads(self.body)["files"])
        return self._commit(repository, match[1], match[3])

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            return self.reply(409, {"error": "You already created this model repo", "url": f"/{name}"})
        is_private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.repositories[name] = Repository(is_private)
        return self.reply(200, {"url": f"{self.hub.endpoint}/{name}"})

    def _preupload(self, files: list[dict[str, Any]]) -> None:
        modes = [
            {"path": one["path"], "uploadMode": "lfs" if one["size"] > LFS_BYTES else "regular", "shouldIgnore": False}
            for one in files
        ]
        self.reply(200, {"files": modes})

    def _batch(self, objects: list[dict[str, Any]]) -> None:
        answers = [
            {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/storage/{one['oid']}", "header": {}}}}
            for one in objects
        ]
        self.reply(200, {"transfer": "basic", "objects": answers})

    def _commit(self, repository: Repository, name: str, branch: str) -> None:
        files = {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.objects[entry["value"]["oid"]]
        commit = repository.commit(files, branch)
        url = f"{self.hub.endpoint}/{name}/commit/{commit}"
        self.reply(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _get(self) -> None:
        if self.path_only.startswith("/storage/"):
            return self.reply(200, self.hub.objects[self.path_only.rpartition("/")[2]])
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", self.path_only)
        match = about or re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path_only)
        repository = self.hub.repositories.get(match[1]) if match else None
        if match is None or repository is None:
            return self.reply(401, {"error": "Invalid username or password."}, X_Error_Code="RepoNotFound")
        if repository.is_private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply(401, {"error": "Invalid username or password."}, X_Error_Code="RepoNotFound")
        revision = match[2] or "main"
        commit = repository.branches.get(revision, revision)
        if about:
            if match[2] and commit not in repository.commits:
                return self.reply(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return self.reply(200, {"id": match[1], "sha": commit, "private": repository.is_private})
        content = repository.commits.get(commit, {}).get(match[3])
        if content is None:
            return self.reply(404, b"Entry not found", X_Error_Code="EntryNotFound")
        if len(content) <= LFS_BYTES:
            return self.reply(200, content, X_Repo_Commit=commit)
        digest = hashlib.sha256(content).hexdigest()
        self.hub.objects[digest] = content
        return self.reply(302, b"", Location=f"/storage/{digest}", X_Repo_Commit=commit)


@contextmanager
def serving() -> Iterator[Hub]:
    """Run a hub while the block runs."""
    hub = Hub()
    handler = type("OfThisHub", (Handler,), {"hub": hub, "timeout": 20})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.is_stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def redirect(to: str) -> Respond:
    return lambda handler: handler.reply(302, b"", Location=to)


def refuse(status: int) -> Respond:
    return lambda handler: handler.reply(status, {"error": f"refused\nwith {TOKEN}"})


def html(handler: Handler) -> None:
    handler.reply(200, b"<html><body>Welcome to the hotel's network</body></html>")


def cut_off(handler: Handler) -> None:
    """Announce more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b"x" * 100)
    handler.close_connection = True


def endless(handler: Handler) -> None:
    """Send without announcing a length, for as long as the client reads."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(b"x" * 1_000_000)


def announced(size: int) -> Respond:
    def respond(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        handler.wfile.write(b"x")
        handler.close_connection = True

    return respond


def dripping(handler: Handler) -> None:
    """Send the head of the answer byte by byte."""
    handler.close_connection = True
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: " + b"x" * 1000:
        handler.wfile.write(bytes([byte]))
        if handler.hub.is_stopping.wait(0.1):
            break
