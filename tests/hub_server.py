"""A Hub on loopback, in memory: as much of the real one as its clients ask for when they read datasets.

    with serving() as hub:
        sha = hub.commit("me/pool", {"data.jsonl": b"..."})
        subprocess.run([sys.executable, "-c", "..."], env=client_env(hub.url, tmp_path), check=True)

The clients read their settings when they are imported, so they run in a process of their own. `hub.fail` takes the
status that every request is answered with, `hub.gated` the datasets that answer 403, `hub.bytes_left` how much is sent
before the line goes dead; `hub.log` has what was asked, `hub.sent` the bytes of the answers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class Missing(Exception):
    """Carries the Hub's own code: the clients tell their errors apart by it, not by the status."""


class Hub(ThreadingHTTPServer):
    """Datasets by name; of each the branches and tags (name to commit) and the commits (sha to files)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.refs: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.gated: set[str] = set()
        self.fail: int | None = None
        self.bytes_left: int | None = None
        self.sent = 0
        self.log: list[str] = []

    def commit(self, repo: str, files: Files, revision: str = "main") -> str:
        """Put `files` (path to content) at `revision`; returns the commit's sha."""
        sha = hashlib.sha1(json.dumps([repo, sorted((k, oid(v)) for k, v in files.items())]).encode()).hexdigest()
        self.commits[sha] = files
        self.refs.setdefault(repo, {})[revision] = sha
        return sha

    def at(self, repo: str, revision: str) -> tuple[str, Files]:
        """Commit and files of a branch, tag or commit."""
        if repo not in self.refs:
            raise Missing("RepoNotFound")
        sha = self.refs[repo].get(revision, revision)
        if sha not in self.commits:
            raise Missing("RevisionNotFound")
        return sha, self.commits[sha]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append(f"{self.command} {path}")
        if self.server.bytes_left == 0:
            self.close_connection = True
            return
        if self.server.fail:
            self.reply(self.server.fail, b"")
            return
        for pattern, answer in ROUTES:
            if match := re.fullmatch(pattern, path):
                try:
                    answer(self, **match.groupdict())
                except Missing as code:
                    self.reply(404, b"", {"X-Error-Code": str(code), "X-Error-Message": str(code)})
                return
        self.reply(404, b"")

    do_HEAD = do_GET

    def info(self, repo: str, revision: str | None) -> None:
        sha, files = self.server.at(repo, revision or "main")
        siblings = [{"rfilename": name} for name in files]
        self.json({"id": repo, "sha": sha, "private": False, "gated": repo in self.server.gated, "siblings": siblings})

    def tree(self, repo: str, revision: str, folder: str | None) -> None:
        _, files = self.server.at(repo, revision)
        inside = f"{folder}/" if folder else ""
        entries: dict[str, dict[str, object]] = {}
        for name, content in files.items():
            if name.startswith(inside):
                head, slash, _ = name.removeprefix(inside).partition("/")
                entry = {"type": "file", "path": name, "size": len(content), "oid": oid(content)}
                entries[head] = {"type": "directory", "path": inside + head, "oid": oid(b"")} if slash else entry
                if slash and "recursive=true" in self.path.lower():
                    entries[name] = entry
        if folder and not entries:
            raise Missing("EntryNotFound")
        self.json(list(entries.values()))

    def resolve(self, repo: str, revision: str, name: str) -> None:
        sha, files = self.server.at(repo, revision)
        if repo in self.server.gated:
            self.reply(403, b"", {"X-Error-Code": "GatedRepo"})
            return
        if name not in files:
            raise Missing("EntryNotFound")
        content = files[name]
        facts = {"X-Repo-Commit": sha, "ETag": f'"{oid(content)}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self.reply(200, content, facts)
            return
        first, last = asked.groups()
        start = int(first) if first else max(0, len(content) - int(last))  # a suffix may be longer than the file
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        if start >= len(content):
            self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        self.reply(206, content[start:stop], facts | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})

    def json(self, value: object) -> None:
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            alive = body[: self.server.bytes_left]
            self.wfile.write(alive)
            self.server.sent += len(alive)
            if self.server.bytes_left is not None:
                self.server.bytes_left -= len(alive)
                self.close_connection = len(alive) < len(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
ROUTES = (
    (rf"/api/datasets/{REPO}(/revision/(?P<revision>.+))?", Handler.info),
    (rf"/api/datasets/{REPO}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?", Handler.tree),
    (rf"/datasets/{REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", Handler.resolve),
)


def oid(content: bytes) -> str:
    """The content's git id."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A running Hub without datasets."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def client_env(url: str, home: Path) -> dict[str, str]:
    """The environment of a process that takes `url` for the Hub. `home` must be fresh: its cache outlives the Hub."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE"))}
    return keep | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
