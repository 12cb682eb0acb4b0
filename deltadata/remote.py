"""A repository on the Hub while it is written: who may, what is there, one commit, and the tries it takes.

What is on the Hub is compared with the tree before every try, so that a commit whose answer was lost is not made twice.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from random import uniform
from typing import Any, NamedTuple, TypeVar

from deltadata import __version__
from deltadata.errors import UserError
from deltadata.generate import Progress
from deltadata.hub import LINE, LOGIN, asking, failed, failures, said, status
from deltadata.job import DATASET
from deltadata.store import RECORD
from deltadata.verify import remote_record

PER_COMMIT = 100  # files: more go in several commits, the card in the last
TRIES, LONGEST_WAIT = 6, 300.0  # of one request; seconds
PASSING = {408, 429, 500, 502, 503, 504}  # what may be well a moment later
STALE = 412  # somebody else committed meanwhile
OURS = ("data/", "plots/")  # folders in which nothing but this run's files stays
PLAIN = {".gitattributes", "README.md"}  # what a repository has from the start

ACCESS = f"give a token that may write there: {LOGIN}"

T = TypeVar("T")


class Target(NamedTuple):
    """How a push goes."""

    private: bool = True
    branch: str | None = None
    tag: str | None = None
    create_pr: bool = False
    replace: bool = False


class Tree(NamedTuple):
    """The folder as it will be on the Hub, and what the record says of it."""

    folder: Path
    files: dict[str, int]  # path to bytes, the card last
    repo: str
    name: str  # of the recipe
    kind: str = "dataset"  # or model
    record: str = RECORD  # the file by which ours is known
    splits: Sequence[dict[str, Any]] = ()


class Remote:
    """The repository that a tree goes to."""

    def __init__(self, tree: Tree, target: Target, progress: Progress) -> None:
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        self.api = HfApi(library_name="deltadata", library_version=__version__)
        self.tree, self.target, self.progress = tree, target, progress
        # They keep their hashes and remember what has reached the Hub, over all tries.
        self._adds = {name: CommitOperationAdd(name, str(tree.folder / name)) for name in tree.files}

    def check_token(self) -> None:
        """Raises UserError without a token, with one that is not accepted, and with one that may only read."""
        with self._asking("nothing was sent"):
            who = self._tried(self.api.whoami)
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise UserError("the token may only read", where=self.tree.repo, cure=ACCESS)

    def create(self) -> bool:
        """Make the repository if it is missing; returns whether it was."""
        repo, target = self.tree.repo, self.target
        with self._asking("nothing was sent"):
            if self._tried(lambda: self.api.repo_exists(repo, repo_type=self.tree.kind)):
                return False
            self._tried(
                lambda: self.api.create_repo(repo, repo_type=self.tree.kind, private=target.private, exist_ok=True)
            )
        return True

    def head(self) -> str:
        """The commit to build on, of the branch if one is named.

        Raises UserError when the repository is public and the push is not, or holds what this run did not make.
        """
        repo, branch = self.tree.repo, self.target.branch
        with self._asking("nothing was sent"):
            if branch:
                self._tried(
                    lambda: self.api.create_branch(repo, branch=branch, repo_type=self.tree.kind, exist_ok=True)
                )
            info = self._tried(lambda: self.api.repo_info(repo, revision=branch, repo_type=self.tree.kind))
        if self.target.private and not info.private:
            cure = "add --public, or name another repository"
            raise UserError("the repository is public", where=repo, cure=cure)
        head = str(info.sha)
        if not self.target.replace:
            self._refuse_other(head)
        return head

    def check_tag(self, head: str) -> None:
        """Raises UserError when the tag is taken by another commit than the one that already holds this tree."""
        if not self.target.tag:
            return
        with self._asking("nothing was sent"):
            refs = self._tried(lambda: self.api.list_repo_refs(self.tree.repo, repo_type=self.tree.kind))
        there = {tag.name: tag.target_commit for tag in refs.tags}.get(self.target.tag)
        if there and (there != head or any(self._changes(head))):
            what = f"the tag {self.target.tag!r} is there already, at {there[:12]}"
            raise UserError(what, where=self.tree.repo, cure="give another --tag")

    def commit(self, head: str) -> tuple[str, list[str]]:
        """Make the Hub's tree this one; returns the commit and the files that were sent.

        Raises UserError when the token may not write, OutsideError when the Hub keeps failing.
        """
        kept = "nothing was changed there; what was sent is not sent again"
        sent: list[str] = []
        # RuntimeError: the client gave up on a file.
        broken: tuple[type[Exception], ...] = (RuntimeError, *failures())
        with self._asking(kept):
            for attempt in range(TRIES):
                changed, gone = self._changes(head)
                if not changed and not gone:
                    break
                sent = sent or changed
                size = sum(self.tree.files[name] for name in changed)
                self.progress.note(f"uploading {len(changed)} of {len(self.tree.files)} files ({size / 1e6:.1f} MB)")
                try:
                    return self._send(head, changed, gone), sent
                except broken as problem:
                    if attempt == TRIES - 1 or not self._may_try_again(problem):
                        raise failed(self.tree.repo, problem, kept, ACCESS) from None
                    self._wait(problem, attempt)
                head = self.head()
        return head, sent

    def _may_try_again(self, problem: Exception) -> bool:
        lost = status(problem) is None  # a pull request may be there by now, and a second one would not do
        return status(problem) == STALE or (_passing(problem) and not (lost and self.target.create_pr))

    def tag(self, commit: str) -> None:
        """Name the commit, if a tag was asked for."""
        name, repo = self.target.tag, self.tree.repo
        if name is None:
            return
        with self._asking(f"the commit {commit[:12]} stands"):
            self._tried(
                lambda: self.api.create_tag(repo, tag=name, revision=commit, repo_type=self.tree.kind, exist_ok=True)
            )

    def publish(self, commit: str) -> None:
        """Let everyone read the repository."""
        with self._asking(f"the commit {commit[:12]} stands, private"):
            self._tried(lambda: self.api.update_repo_settings(self.tree.repo, private=False, repo_type=self.tree.kind))

    def _send(self, head: str, changed: list[str], gone: list[str]) -> str:
        from huggingface_hub import CommitOperationDelete

        names, parent, branch = iter(changed), head, self.target.branch
        create_pr = self.target.create_pr
        last = max(1, -(-len(changed) // PER_COMMIT))
        for number in range(1, last + 1):
            operations: list[Any] = [self._adds[name] for name in islice(names, PER_COMMIT)]
            if number == last:
                operations += [CommitOperationDelete(name) for name in gone]
            done = self.api.create_commit(
                self.tree.repo,
                operations,
                commit_message=f"{self.tree.name}, by deltadata {__version__}",
                repo_type=self.tree.kind,
                revision=branch,
                create_pr=create_pr,
                parent_commit=parent,
            )
            parent = done.oid
            if create_pr:
                self.progress.note(f"pull request: {done.pr_url}")
                create_pr, branch = False, done.pr_revision
        return str(parent)

    def _changes(self, head: str) -> tuple[list[str], list[str]]:
        """The files that are not on the Hub as they are here, the card last; and those to remove from it."""
        there = self._listing(head)
        changed = [name for name, add in self._adds.items() if not self._same(add, there.get(name))]
        others = there.keys() - self.tree.files.keys() - {".gitattributes"}
        return changed, sorted(name for name in others if self.target.replace or name.startswith(OURS))

    def _listing(self, head: str) -> dict[str, Any]:
        repo = self.tree.repo
        with self._asking("nothing was sent"):
            found = self._tried(
                lambda: list(self.api.list_repo_tree(repo, recursive=True, revision=head, repo_type=self.tree.kind))
            )
        return {entry.path: entry for entry in found if hasattr(entry, "blob_id")}

    def _same(self, add: Any, there: Any) -> bool:
        if there is None or there.size != self.tree.files[add.path_in_repo]:
            return False
        if there.lfs:
            return bool(there.lfs.sha256 == add.upload_info.sha256.hex())
        content = (self.tree.folder / add.path_in_repo).read_bytes()
        return bool(there.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())

    def _refuse_other(self, head: str) -> None:
        names = self._listing(head).keys() - PLAIN
        if not names:
            return
        cure = "name another repository, or add --replace: its files are then removed"
        if self.tree.record not in names:
            what = f"holds files that deltadata did not write ({', '.join(sorted(names)[:3])})"
            raise UserError(what, where=self.tree.repo, cure=cure)
        if self.tree.splits:
            self._refuse_other_rows(head, cure)

    def _refuse_other_rows(self, head: str, cure: str) -> None:
        _, told = remote_record(self.tree.repo, head)
        if told["recipe"] != self.tree.name:
            what = f"holds the run {told['recipe']!r}, not {self.tree.name!r}"
            raise UserError(what, where=self.tree.repo, cure=cure)
        before = {split["config"]: split["features"] for split in told["tables"][DATASET]["facts"]["splits"]}
        for config, columns in {split["config"]: split["features"] for split in self.tree.splits}.items():
            if differs := _difference(before.get(config, []), columns):
                what = f"has other columns in the config {config!r}: {differs}"
                raise UserError(what, where=self.tree.repo, cure=cure)

    def _asking(self, kept: str) -> AbstractContextManager[None]:
        return asking(self.tree.repo, kept, ACCESS)

    def _tried(self, ask: Callable[[], T]) -> T:
        """The answer, after as many tries as it takes while the failure may pass."""
        for attempt in range(TRIES - 1):
            try:
                return ask()
            except failures() as problem:
                if not _passing(problem):
                    raise
                self._wait(problem, attempt)
        return ask()

    def _wait(self, problem: Exception, attempt: int) -> None:
        seconds = min(LONGEST_WAIT, _asked_wait(problem) or 2**attempt * uniform(0.5, 1.0))
        self.progress.note(f"the Hub: {said(problem)}; again in {seconds:.0f} s")
        time.sleep(seconds)


def _passing(problem: BaseException) -> bool:
    """Whether it may be well a moment later: the Hub is busy, or the line broke. A local file's error is neither."""
    answered = status(problem)
    if answered is not None:
        return answered in PASSING
    if isinstance(problem, RuntimeError):  # the client gave up on one file, after tries of its own
        return problem.__cause__ is not None and _passing(problem.__cause__)
    return isinstance(problem, LINE) or not isinstance(problem, OSError)


def _asked_wait(problem: BaseException) -> float | None:
    """The seconds that the Hub asks to wait: Retry-After, or the `t` of RateLimit."""
    headers = getattr(getattr(problem, "response", None), "headers", {})
    match = re.search(r"\bt=(\d+)", headers.get("RateLimit", "")) or re.fullmatch(
        r"(\d+)", headers.get("Retry-After", "")
    )
    return float(match[1]) if match else None


def _difference(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    """Columns that came, went or changed their type; empty where all are equal or the config is new."""
    old, new = ({column["name"]: column for column in columns} for columns in (before, now))
    if not old:
        return ""
    told = [f"+{name}" for name in new.keys() - old.keys()] + [f"-{name}" for name in old.keys() - new.keys()]
    return ", ".join(sorted(told) + [f"~{name}" for name in new if name in old and old[name] != new[name]])
