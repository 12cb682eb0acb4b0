"""The run folder: atomic writes, the record last, refusal on drift, one writer at a time.

A table with a record is finished; one without is not. The record holds each table's `spec` (the recipe's fields that
shape it) and `inputs` (fingerprints of what it was made from). Same spec and inputs: skip. Other inputs alone: rebuild,
since nothing the user wrote changed. Another spec: refuse, naming the fields, unless told to overwrite.
    deltadata show runs/quickstart          # prints the record
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from deltadata import __version__
from deltadata.errors import OutsideError, UserError
from deltadata.tables import PROMPTS_FILE, RESPONSES, fingerprint

RECORD, LOCK, HOLDER = "record.json", ".lock", ".lock-holder"


_THEIRS = ("models", "chat_template_kwargs", "args", "lora")  # mappings whose keys, and nulls, are a person's
_ABSENT = object()


def changes(old: Any, new: Any) -> list[str]:
    """`address: old -> new` for every field that differs. One that is null is one that is not there: what was recorded
    before a field existed says nothing else."""
    return _changes(_stated(old), _stated(new), "")


def _changes(old: Any, new: Any, address: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            inner = f"{address}.{key}" if address else key
            found += _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), inner)
        return found
    absent = "not there" if None in (old, new) else "null"
    told = [absent if value is _ABSENT else json.dumps(value) for value in (old, new)]
    return [] if old == new else [f"{address}: {' -> '.join(told)}"]


def _stated(value: Any) -> Any:
    """Without the fields that are null, at any depth."""
    if isinstance(value, dict):
        return {key: one if key in _THEIRS else _stated(one) for key, one in value.items() if one is not None}
    return [_stated(one) for one in value] if isinstance(value, list) else value


_NO_PLACE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    *(errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR),
)


@contextmanager
def disk(where: Path, kept: str = "finished tables and parts are kept") -> Iterator[None]:
    """Turns a failing disk (full, read-only, gone) into OutsideError; anything else passes through."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise OutsideError(
                f"cannot write: {os.strerror(problem.errno)}; {kept}",
                where=str(where),
                cure="make room and run the same command again",
            ) from None
        if problem.errno in _NO_PLACE:
            raise UserError(
                f"cannot write: {os.strerror(problem.errno)}", where=str(where), cure="give a folder you may write to"
            ) from None
        raise


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed onto it when the block ends well and removed when it does not."""
    temporary = path.with_name(f".tmp-{path.name}")
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when the block ends well."""
    new, old = folder.with_name(f".tmp-{folder.name}"), folder.with_name(f".tmp-old-{folder.name}")
    with disk(folder):
        for left_over in (new, old):
            shutil.rmtree(left_over, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            yield new
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


class Entry(NamedTuple):
    """One table's record."""

    rows: int
    seconds: float
    spec: dict[str, Any]
    inputs: dict[str, Any]
    facts: dict[str, Any]
    versions: dict[str, str]
    finished: str
    files: dict[str, int]  # bytes of what it wrote, by path in the run folder: damage from outside shows

    @property
    def fingerprint(self) -> str:
        return fingerprint([self.spec, self.inputs])


class Drift(NamedTuple):
    """A table whose spec is another than the recipe's, and what overwriting it would cost."""

    table: str
    old: dict[str, Any]
    new: dict[str, Any]
    costs: str


def made(
    rows: int,
    seconds: float,
    spec: dict[str, Any],
    inputs: dict[str, Any],
    facts: dict[str, Any],
    files: dict[str, int],
) -> Entry:
    """The entry of a table made now."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Entry(rows, round(seconds, 3), spec, inputs, facts, versions(), stamp, files)


class Run:
    """An open run folder. `record` maps table names to entries; writing goes through `finish`."""

    def __init__(self, path: Path, recipe_name: str, record: str = RECORD) -> None:
        self.path, self.recipe_name, self._file = path, recipe_name, path / record
        self.record: dict[str, Entry] = read_record(path, record)[1] if self._file.exists() else {}

    def state(self, table: str, spec: dict[str, Any], inputs: dict[str, Any], made: Path) -> str:
        """`missing` (a file gone or damaged, too), `done`, `stale` (inputs differ) or `drift` (the spec does)."""
        entry = self.record.get(table)
        if (
            entry is None
            or not made.exists()
            or not all(whole(self.path / name, size) for name, size in entry.files.items())
        ):
            return "missing"
        if changes(entry.spec, spec):
            return "drift"
        return "stale" if changes(entry.inputs, inputs) else "done"

    def entry(self, table: str, cure: str) -> Entry:
        """A finished table's record. Raises UserError with the `cure` when it is not finished."""
        if table not in self.record:
            raise UserError(f"the table {table!r} is not finished", where=str(self.path), cure=cure)
        return self.record[table]

    def refuse_drift(self, drifts: list[Drift]) -> None:
        """Raises UserError naming the fields that differ between what made the tables and what the recipe says now."""
        told = [f"{drift.table}: " + ("\n    ".join(["", *changes(drift.old, drift.new)])) for drift in drifts]
        costs = "; ".join(dict.fromkeys(drift.costs for drift in drifts))
        raise UserError(
            "the recipe no longer says what made\n  " + "\n  ".join(told),
            where=str(self.path),
            cure=f"set the fields back, give another --run folder, or add --overwrite ({costs})",
        )

    def finish(
        self,
        table: str,
        rows: int,
        seconds: float,
        spec: dict[str, Any],
        inputs: dict[str, Any],
        facts: dict[str, Any] | None = None,
        files: Iterable[Path] = (),
    ) -> None:
        """Write the table's record: from here on it is finished."""
        sizes = {str(path.relative_to(self.path)): path.stat().st_size for path in files}
        self.record[table] = made(rows, seconds, spec, inputs, facts or {}, sizes)
        self.save()

    def forget(self, table: str) -> None:
        """Drop the record first, so that a kill while the table is rebuilt leaves it unfinished, not wrong."""
        if self.record.pop(table, None):
            self.save()

    def told(self) -> dict[str, Any]:
        """The record as it is written."""
        tables = {name: entry._asdict() | {"fingerprint": entry.fingerprint} for name, entry in self.record.items()}
        return {"recipe": self.recipe_name, "tables": tables}

    def save(self) -> None:
        """Write the record as it stands."""
        write_json(self._file, self.told())


def whole(path: Path, size: int) -> bool:
    """Whether a file has the size that the record has of it."""
    return path.is_file() and path.stat().st_size == size


def versions() -> dict[str, str]:
    found = {name: version(name) for name in ("polars", "pyarrow")}
    return {"deltadata": __version__, "python": sys.version.partition(" ")[0], **found}


def read_record(path: Path, record: str = RECORD) -> tuple[str, dict[str, Entry]]:
    """The recipe's name and the entries of the run folder at `path`. Raises UserError when it is no run folder."""
    try:
        told = json.loads((path / record).read_text(encoding="utf-8"))
        entries = {name: Entry(**{field: e[field] for field in Entry._fields}) for name, e in told["tables"].items()}
        for name, entry in entries.items():
            if not all(isinstance(part, dict) for part in (entry.spec, entry.inputs, entry.facts, entry.versions)):
                raise ValueError(f"the entry of {name!r} is not whole")
        return str(told["recipe"]), entries
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"no run here (there is no {record})", where=str(path), cure="deltadata run RECIPE makes one"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, IsADirectoryError) as problem:
        raise UserError(
            f"not a record of a run: {problem}",
            where=str(path / record),
            cure=f"remove {record} and run the same command again: responses that lie there are kept",
        ) from None


@contextmanager
def open_run(path: Path, recipe_name: str, record: str = RECORD) -> Iterator[Run]:
    """The run folder, made if needed and locked: the kernel frees the lock of a dead process.

    Raises UserError when another live process writes it, or when it belongs to another recipe or is no run folder.
    """
    if path.exists() and not path.is_dir():
        raise UserError("is a file", where=str(path), cure="give a folder with --run")
    if path.is_dir() and not _is_ours(path, record):
        raise UserError(f"is a folder of other things (it has no {record})", where=str(path), cure="give a new --run")
    with disk(path, "nothing was written"):
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = (path / HOLDER).read_text() if (path / HOLDER).exists() else "another process"
            raise UserError(f"{holder} is writing this run", where=str(path), cure="wait for it, or stop it") from None
    try:
        with disk(path, "nothing was written"):
            (path / HOLDER).write_text(f"process {os.getpid()} on {os.uname().nodename}")
        run = Run(path, recipe_name, record)
        if (path / record).exists():
            owner = read_record(path, record)[0]
            if owner != recipe_name:
                raise UserError(
                    f"belongs to the recipe {owner!r}, not to {recipe_name!r}",
                    where=str(path),
                    cure="give another --run",
                )
        else:
            run.save()
        for left_over in [*path.glob(".tmp-*"), *path.glob("*/.tmp-*"), *path.glob("*/*/.tmp-*")]:
            real_folder = left_over.is_dir() and not left_over.is_symlink()
            shutil.rmtree(left_over) if real_folder else left_over.unlink()
        yield run
    finally:
        (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def _is_ours(path: Path, record: str) -> bool:
    """Whether a folder is a run, or the rest of one whose record was lost, or has nothing in it."""
    names = {entry.name for entry in path.iterdir()} - {LOCK, HOLDER, f".tmp-{record}"}
    return not names or bool(names & {record, RESPONSES.name, PROMPTS_FILE})
