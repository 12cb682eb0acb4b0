"""A Hub on loopback, in memory: as much of the real one as its clients ask for when they read and write repositories.

    with serving() as hub:
        hub.user("hf_write")  # a token of "me"; without a token the Hub is read-only
        hub.faults.append(Fault("PUT /lfs/", cut=0.5))  # the next upload breaks off half-way
        sha = hub.commit("me/pool", {"data.jsonl": b"..."})  # as if it had been pushed before
        subprocess.run([...], env=client_env(hub.url, tmp_path, "hf_write"), check=True)

The clients read their settings when they are imported, so they run in a process of their own. `hub.fail` takes the
status that every request is answered with, `hub.gated` the datasets that answer 403, `hub.bytes_left` how much is sent
before the line goes dead; `hub.log` has what was asked, `hub.sent` the bytes of the answers, `hub.received` the bytes
that came in of each large file. `hub.part_size` splits uploads. A model's repository is called "models/me/name".
"""

from __future__ import annotations

import os
import re
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from hub_routes import answer
from hub_store import Answer, Repo, Request, User, blob

Files = dict[str, bytes]


@dataclass
class Fault:
    """What befalls the next `times` requests, after `skip`, whose "METHOD /path" starts like the pattern `match`.

    The body is read, then: `status` and `headers` are the answer, nothing being done; `drop` closes the line, nothing
    being done; `after` does the work and closes the line without a word. `cut` reads that share of the body and closes
    the line. `hold` is a pause in seconds, after the share that `cut` lets in, otherwise before the body is read.
    """

    match: str
    status: int | None = None
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: float | None = None
    after: bool = False
    hold: float = 0
    skip: int = 0


class Hub(ThreadingHTTPServer):
    """Repositories by name, users by token. `authorizations` has the headers of that name, `leaks` the requests that
    have a known token anywhere else. `holding` is set when a fault's pause began; setting `release` ends all pauses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """As it was when it started."""
        self.repos: dict[str, Repo] = {}
        self.users: dict[str, User] = {}
        self.faults: list[Fault] = []
        self.gated: set[str] = set()
        self.fail: int | None = None
        self.bytes_left: int | None = None
        self.part_size: int | None = None
        self.sent = 0
        self.received: Counter[str] = Counter()
        self.log: list[str] = []
        self.authorizations: list[str] = []
        self.leaks: list[str] = []
        self.holding, self.release = threading.Event(), threading.Event()

    def user(self, token: str, name: str = "me", role: str = "write", orgs: tuple[str, ...] = ()) -> None:
        """Make `token` known; every other one answers 401."""
        self.users[token] = User(role, (name, *orgs))

    def commit(self, repo: str, files: Files, revision: str = "main") -> str:
        """Put exactly `files` (path to content) at the branch `revision`; returns the commit's sha."""
        kept = self.repos.setdefault(repo, Repo(repo))
        return kept.put(revision, {name: blob(name, content) for name, content in files.items()})

    def files(self, repo: str, revision: str = "main") -> Files:
        """What is at a branch, tag, pull request or commit."""
        return {name: file.content for name, file in self.repos[repo].files(revision).items()}

    def fault(self, line: str) -> Fault:
        """What befalls this request; nothing does most."""
        with self.lock:
            for fault in self.faults:
                if fault.times and re.match(fault.match, line):
                    if not fault.skip:
                        fault.times -= 1
                        return fault
                    fault.skip -= 1
        return Fault("")

    def pause(self, seconds: float) -> None:
        if seconds:
            self.holding.set()
            self.release.wait(seconds)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        try:
            self.serve()
        except ConnectionError:  # the client is gone, as the tests have it
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def serve(self) -> None:
        hub, line = self.server, f"{self.command} {unquote(urlsplit(self.path).path)}"
        hub.log.append(line)
        if hub.bytes_left == 0:
            self.close_connection = True
            return
        fault = hub.fault(line)
        hub.pause(fault.hold if fault.cut is None else 0)
        body = self.read(fault.cut)
        hub.pause(fault.hold if fault.cut is not None else 0)
        self.watch(line, body)
        if fault.drop or fault.cut is not None:
            self.close_connection = True
        elif status := fault.status or hub.fail:
            self.reply(Answer(status, b"", fault.headers))
        else:
            said = self.work(body)
            if fault.after:
                self.close_connection = True
            else:
                self.reply(said)

    def read(self, share: float | None) -> bytes:
        """The body, or its first `share`; an upload's bytes are counted as they come."""
        oid = found[1] if (found := re.match(r"/lfs/.*?/([0-9a-f]{64})", self.path)) and self.command == "PUT" else None
        length = int(self.headers.get("Content-Length", 0))
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        blocks = []
        for block in self.chunks() if chunked else self.blocks(length if share is None else int(share * length)):
            blocks.append(block)
            if oid:
                self.server.received[oid] += len(block)
            if chunked and share is not None:
                break
        return b"".join(blocks)

    def blocks(self, length: int) -> Iterator[bytes]:
        while length:
            block = self.rfile.read(min(length, 1 << 16))
            if not block:
                raise ConnectionError
            length -= len(block)
            yield block

    def chunks(self) -> Iterator[bytes]:
        """A chunked body; its parts are read whole."""
        while line := self.rfile.readline():
            if size := int(line.split(b";")[0], 16):
                yield from self.blocks(size)
            self.rfile.readline()
            if not size:
                return
        raise ConnectionError

    def watch(self, line: str, body: bytes) -> None:
        """Note tokens: where they belong and where they do not, which may be inside a file that a commit carries."""
        self.server.authorizations += self.headers.get_all("Authorization", [])
        others = [value for name, value in self.headers.items() if name.lower() != "authorization"]
        files = re.findall(rb'"content": ?"([A-Za-z0-9+/]+=*)"', body) if "/commit/" in line else []
        seen = b"\n".join([self.path.encode(), *(value.encode() for value in others), *map(b64decode, files), body])
        if any(token.encode() in seen for token in self.server.users):
            self.server.leaks.append(line)

    def work(self, body: bytes) -> Answer:
        hub, asked = self.server, urlsplit(self.path)
        given = self.headers.get("Authorization")
        user = hub.users.get(given.removeprefix("Bearer ")) if given else None
        if given and user is None:
            return Answer(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
        request = Request(hub, self.command, asked.path, dict(parse_qsl(asked.query)), self.headers, body, user)
        if self.command in ("GET", "HEAD"):
            return answer(request)
        with hub.lock:
            return answer(request)

    def reply(self, said: Answer) -> None:
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        if self.command != "HEAD":
            alive = said.body[: self.server.bytes_left]
            self.wfile.write(alive)
            self.server.sent += len(alive)
            if self.server.bytes_left is not None:
                self.server.bytes_left -= len(alive)
                self.close_connection = len(alive) < len(said.body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[Hub]:
    """A running Hub without repositories."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.release.set()
            hub.shutdown()
            thread.join()


def client_env(url: str, home: Path, token: str | None = None) -> dict[str, str]:
    """The environment of a process that takes `url` for the Hub. `home` must be fresh: its cache outlives the Hub."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE"))}
    return (
        keep
        | ({"HF_TOKEN": token} if token else {})
        | {
            "HF_ENDPOINT": url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
    )
