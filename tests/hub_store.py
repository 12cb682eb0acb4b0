"""What the loopback Hub keeps, and the rules it holds a commit to; who asks, for what, and the shape of an answer.

    repo = Repo("me/pool")
    sha = repo.put("main", {"data.jsonl": blob("data.jsonl", b"...")})

Objects of large files are known by their sha256 from their upload on, whether or not a commit names them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import Message
from typing import TYPE_CHECKING, Any, NamedTuple

from hub_card import card_errors

if TYPE_CHECKING:
    from hub_server import Hub

LARGE = re.compile(r".*\.(parquet|arrow|npy|npz|bin|safetensors|gguf|gz|zst|zip|png|jpe?g|webp|pdf)")
LARGE_SIZE = 10_000_000  # bytes; smaller files go by their name and their first 512 bytes
JSON = {"Content-Type": "application/json"}


class Refused(Exception):
    """An answer with a status of 400 or more. By `code`, the Hub's own, the clients tell their errors apart."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Blob(NamedTuple):
    """A file. `oid` is git's id, of the pointer to it where it is large; `sha256` is of its content, then alone."""

    content: bytes
    oid: str
    sha256: str | None


class Commit(NamedTuple):
    files: Mapping[str, Blob]
    title: str
    description: str
    parent: str | None
    date: str


def oid(content: bytes) -> str:
    """The content's git id."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(name: str, size: int, sample: bytes) -> bool:
    """Whether a file with these first bytes goes by LFS: the binary ones at any size."""
    return size > LARGE_SIZE or b"\0" in sample or bool(LARGE.fullmatch(name.lower()))


def blob(name: str, content: bytes, large: bool | None = None) -> Blob:
    """The file as the Hub would keep it, or as `large` has it."""
    if not (is_large(name, len(content), content[:512]) if large is None else large):
        return Blob(content, oid(content), None)
    sha256 = hashlib.sha256(content).hexdigest()
    return Blob(content, oid(pointer(sha256, len(content))), sha256)


def pointer(sha256: str, size: int) -> bytes:
    """What git has instead of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass
class Repo:
    """A repository. Branches, tags and pull requests ("refs/pr/1") are names of commits; `objects` are the large files
    that came in, `expected` the sizes of those that were announced, `parts` what is there of one sent in parts."""

    name: str
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def sha(self, revision: str) -> str:
        """The commit of a branch, a tag, a pull request or a commit's first seven digits or more."""
        for refs in (self.branches, self.tags, self.pulls):
            if revision in refs:
                return refs[revision]
        if len(revision) >= 7 and (found := [sha for sha in self.commits if sha.startswith(revision)]):
            return found[0]
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, revision: str) -> Mapping[str, Blob]:
        return self.commits[self.sha(revision)].files

    def put(self, ref: str, files: Mapping[str, Blob], title: str = "", description: str = "", parent: str = "") -> str:
        """A commit of exactly these files at `ref`, a branch or "refs/pr/N"; returns its sha."""
        refs = self.pulls if ref.startswith("refs/pr/") else self.branches
        before = parent or refs.get(ref)
        date = datetime(2026, 1, 1) + timedelta(seconds=len(self.commits))
        ids = sorted((name, file.oid) for name, file in files.items())
        sha = hashlib.sha1(json.dumps([self.name, ids, title, before, len(self.commits)]).encode()).hexdigest()
        self.commits[sha] = Commit(files, title, description, before, f"{date:%Y-%m-%dT%H:%M:%S.000Z}")
        refs[ref] = sha
        return sha

    def commit(self, revision: str, lines: list[dict[str, Any]], as_pull: bool) -> tuple[str, str]:
        """What the lines of a commit's body make of `revision`: the new commit's sha and the ref that it is at."""
        head, *operations = lines
        title, description = head["value"]["summary"], head["value"].get("description", "")
        parent = head["value"].get("parentCommit", "")
        ref = f"refs/pr/{len(self.pulls) + 1}" if as_pull else revision
        if not as_pull and ref not in self.branches and ref not in self.pulls:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        base = self.sha(parent) if as_pull and parent else self.sha(revision)
        if not base.startswith(parent):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = self.applied(base, operations)
        return self.put(ref, files, title, description, base), ref

    def applied(self, base: str, operations: list[dict[str, Any]]) -> dict[str, Blob]:
        """The files of the commit `base` after the operations, in their order."""
        files = dict(self.commits[base].files)
        for key, value in ((line["key"], line["value"]) for line in operations):
            path = value["path"]
            if path.startswith("/") or {"", ".", "..", ".git"} & set(path.rstrip("/").split("/")):
                raise Refused(400, "Invalid path")
            if key == "file":
                files[path] = blob(path, base64.b64decode(value["content"]), large=False)
                if path == "README.md" and (wrong := card_errors(files[path].content.decode())):
                    raise Refused(400, wrong[0])
            elif key == "lfsFile":
                if len(self.objects.get(value["oid"], b"")) != value["size"]:
                    raise Refused(400, "A pointer to a large file that was not uploaded")
                files[path] = blob(path, self.objects[value["oid"]], large=True)
            else:
                gone = [path] if key == "deletedFile" else [name for name in files if name.startswith(inside(path))]
                if not gone or not files.keys() >= set(gone):
                    raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
                files = {name: file for name, file in files.items() if name not in gone}
        return files


def inside(folder: str) -> str:
    return folder.rstrip("/") + "/" if folder else ""


def entry(name: str, file: Blob) -> dict[str, Any]:
    """The file as listings have it."""
    facts: dict[str, Any] = {"type": "file", "path": name, "size": len(file.content), "oid": file.oid}
    if file.sha256:
        size = len(pointer(file.sha256, len(file.content)))
        facts["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": size}
    return facts


def tree(files: Mapping[str, Blob], folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Folders and files below `folder`; raises where nothing is."""
    below = inside(folder)
    entries: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        if name.startswith(below):
            *parents, _ = name.removeprefix(below).split("/")
            folders = [below + "/".join(parents[: depth + 1]) for depth in range(len(parents))]
            for path in folders if recursive else folders[:1]:
                entries[path] = {"type": "directory", "path": path, "oid": oid(path.encode())}
            if recursive or not parents:
                entries[name] = entry(name, file)
    if folder and not entries:
        raise Refused(404, f"{folder} does not exist", "EntryNotFound")
    return list(entries.values())


class User(NamedTuple):
    """Whom a token is of: its role ("write", "read" or "fineGrained") and where they may write, themselves first."""

    role: str
    namespaces: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.namespaces[0]


class Request(NamedTuple):
    """`path` is still quoted: a branch may have a slash in its name. `user` is None without a token."""

    hub: Hub
    method: str
    path: str
    query: Mapping[str, str]
    headers: Message  # not a dict: clients write names as they like
    body: bytes
    user: User | None

    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.body or b"{}"))

    def yes(self, key: str) -> bool:
        return self.query.get(key, "").lower() in ("1", "true")

    def repo(self, kind: str | None, repo: str, write: bool = False, foreign: bool = False) -> Repo:
        """The repository, if the user may read or write it; `foreign`: a pull request may come from anyone."""
        found = self.hub.repos.get(key(kind, repo))
        mine = self.user is not None and repo.split("/")[0] in self.user.namespaces
        if found is None or (found.private and not mine):
            raise Refused(404 if self.user else 401, "Repository not found", "RepoNotFound")
        if write:
            self.writer(repo.split("/")[0], foreign)
        return found

    def writer(self, namespace: str, foreign: bool = False) -> User:
        """The user, if the token may write and, unless `foreign`, this is a namespace of theirs."""
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        if self.user.role == "read" or not (foreign or namespace in self.user.namespaces):
            raise Refused(403, f"You don't have the rights to write to {namespace}")
        return self.user


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


def key(kind: str | None, repo: str) -> str:
    """The name of a repository in `hub.repos`."""
    return repo if kind == "datasets" else f"models/{repo}"


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), JSON)
