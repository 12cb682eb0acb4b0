"""Rows out of files and Hub datasets, one at a time: what prompt pools and existing responses are read with.

    python -c "from deltadata.rows import *; [print(row) for row in read_rows('pool.csv', Path())]"

prints what `deltadata collect` would see of it: every row with the place where it stands, the unreadable ones with why.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from deltadata import hub, tables
from deltadata.errors import UserError, did_you_mean

USER, ASSISTANT = "user", "assistant"
ROLES = ("system", USER, ASSISTANT)
LOOK_AHEAD = 1000  # rows after which a column that none of them has is not waited for any longer
RAW_CHARS = 1000


class Row(NamedTuple):
    """One row, or why it could not be read. `raw` is the text of an unreadable row, empty for the others."""

    where: str
    value: dict[str, Any] | None
    problem: str | None = None
    raw: str = ""


class BadRow(ValueError):
    """Met when a row cannot be used; the message is the reason, to stand beside the row."""


def read_rows(path: str, recipe_dir: Path, columns: Collection[str] | None = None) -> Iterator[Row]:
    """The rows of a .jsonl, .json, .csv or .parquet file or of `hf:owner/dataset[@revision][:config][:split]`, lazily.

    `columns` spares columnar sources the reading of other columns; the rows of the others have them all the same.
    A row that cannot be read is a Row with its problem. Raises UserError when the whole source cannot be read (no such
    file, empty, unknown ending, broken) and OutsideError when the Hub cannot be reached.
    """
    if path.startswith(hub.PREFIX):
        yield from (Row(where, value) for where, value in hub.rows(path, columns))
        return
    file = resolve(path, recipe_dir)
    reader = {".jsonl": _jsonl, ".json": _json, ".csv": _csv}.get(file.suffix.lower())
    if reader is None and file.suffix.lower() != ".parquet":
        raise UserError(
            f"{file.suffix or 'no ending'} is no known kind of file",
            where=str(file),
            cure="give a .jsonl, .json, .csv or .parquet file",
        )
    with _open(file) as stream:
        if not stream.peek(1):
            raise UserError("the file is empty", where=str(file), cure="give a file with rows")
        yield from reader(stream, str(file)) if reader else _parquet(stream, str(file), columns)


def resolve(path: str, recipe_dir: Path) -> Path:
    """The file that `path` names: relative to the current directory, else to the recipe's. Raises UserError."""
    try:
        named = Path(path).expanduser()
        places = list(dict.fromkeys([named, recipe_dir / named]))
        for place in places:
            if place.is_file():
                return place
        if any(place.is_dir() for place in places):
            raise UserError("is a directory, not a file", where=path, cure="name one file of it")
        if any(place.exists() for place in places):
            raise UserError("is no regular file", where=path, cure="write its rows to a file, which can be read again")
    except (OSError, RuntimeError) as problem:  # a name too long, a folder that is closed; no home of that user
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise UserError(f"no path of a file: {why}", where=f"{path:.120}", cure="give the path of a file") from None
    near = next((str(near) for place in places for near in _neighbours(place)), None)
    raise UserError(
        "no such file; looked for " + " and ".join(str(place.absolute()) for place in places),
        where=path,
        cure=f"did you mean {near!r}?" if near else "paths are relative to the current directory or to the recipe's",
    )


def digest(path: str, recipe_dir: Path) -> str:
    """What changes when the source does: SHA-256 of a file, or the spec with the commit that the Hub has now.

    Raises UserError when there is no such source, OutsideError when the Hub cannot be reached.
    """
    if path.startswith(hub.PREFIX):
        return f"{path} {hub.commit(path)}"
    file = resolve(path, recipe_dir)
    state = file.stat()
    return _digest(file, state.st_ino, state.st_mtime_ns, state.st_size)


@cache
def _digest(file: Path, _inode: int, _changed: int, _size: int) -> str:
    """Taken once for each state of the file: the stages ask for it several times in one run."""
    with _open(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def no_such_column(column: str, path: str, recipe_dir: Path, whose: str) -> UserError:
    """The error that says which columns the first rows do have."""
    known = dict.fromkeys(name for row in islice(read_rows(path, recipe_dir), 100) for name in row.value or ())
    return UserError(f"{whose}: no row has a column {column!r}", where=path, cure=did_you_mean(column, known))


def conversation(value: Any, column: str) -> list[dict[str, str]]:
    """Messages of only role and content, the text as it is; a string is one user message.

    Raises BadRow with the reason when that cannot be had: another type, a wrong role, no text, not UTF-8.
    """
    if value is None:
        raise BadRow(f"{column} is null")
    if isinstance(value, str):
        return [{tables.ROLE: USER, tables.CONTENT: text(value, column)}]
    if not isinstance(value, list):
        raise BadRow(f"{column} is neither text nor a list of messages but of type {type(value).__name__}")
    if not value:
        raise BadRow(f"{column} has no messages")
    messages = []
    for i, message in enumerate(value):
        where = f"{column}[{i}]"
        if not isinstance(message, dict):
            raise BadRow(f"{where} is no message of role and content but of type {type(message).__name__}")
        role = message.get(tables.ROLE)
        if role not in ROLES:
            raise BadRow(f"{where} has the role {role!r:.40}; known are {', '.join(ROLES)}")
        messages.append(
            {tables.ROLE: role, tables.CONTENT: text(message.get(tables.CONTENT), f"{where}.{tables.CONTENT}")}
        )
    return messages


def text(value: Any, column: str, may_be_empty: bool = False) -> str:
    """`value` if it is text that can be stored. Raises BadRow with the reason."""
    if value is None:
        raise BadRow(f"{column} is null")
    if not isinstance(value, str):
        raise BadRow(f"{column} is not text but of type {type(value).__name__}")
    if not may_be_empty and not value.strip():
        raise BadRow(f"{column} has no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{column} holds what UTF-8 cannot (half of a surrogate pair, or broken bytes)") from None
    return value


def bad_row(row: Row, why: str) -> dict[str, str]:
    """A bad row as it is written aside: where it stands, why it is bad, and the beginning of it."""
    shown = (row.raw or json.dumps(row.value, ensure_ascii=False, default=str))[:RAW_CHARS]
    return {"where": row.where, "why": why, "row": shown.encode(errors="backslashreplace").decode()}


def first_three(bad: list[dict[str, str]]) -> str:
    """The first bad rows in one line, for a message."""
    return "; ".join(f"{row['where']}: {row['why']}" for row in bad[:3])


def _open(file: Path) -> io.BufferedReader:
    try:
        return file.open("rb")
    except OSError as problem:
        raise UserError(f"cannot be read: {problem.strerror}", where=str(file), cure="mend its permissions") from None


def _neighbours(place: Path) -> list[Path]:
    folder = place.parent
    names = [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
    return [folder / name for name in get_close_matches(place.name, names, n=1)]


def _jsonl(stream: io.BufferedReader, where: str) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        here = f"{where}:{number}"
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not line.strip():
            continue
        try:
            yield _object(here, json.loads(line.decode().rstrip()))
        except json.JSONDecodeError as problem:
            yield Row(here, None, f"not JSON: {problem.msg} at column {problem.colno}", _shown(line))
        except (ValueError, RecursionError) as problem:  # not UTF-8, a number of 5,000 digits, 10,000 brackets
            yield Row(here, None, f"not JSON: {problem}", _shown(line))


def _json(stream: io.BufferedReader, where: str) -> Iterator[Row]:
    try:
        tree = json.loads(stream.read().decode("utf-8-sig"))
    except json.JSONDecodeError as problem:
        cure = "mend it, or name it .jsonl if every line is an object of its own"
        raise UserError(f"not JSON: {problem.msg}", where=f"{where}:{problem.lineno}", cure=cure) from None
    except (ValueError, RecursionError) as problem:
        raise UserError(f"not JSON: {problem}", where=where, cure="mend the file") from None
    if isinstance(tree, dict):
        lists = [key for key, value in tree.items() if isinstance(value, list)]
        if len(lists) != 1:
            what = f"an object with {len(lists)} lists ({', '.join(lists)})" if lists else "an object without a list"
            raise UserError(what, where=where, cure="give a list of objects, or an object that holds exactly one")
        tree = tree[lists[0]]
    if not isinstance(tree, list):
        raise UserError(f"a lone {type(tree).__name__}, no rows", where=where, cure="give a list of objects")
    for number, value in enumerate(tree, 1):
        yield _object(f"{where}: row {number}", value)


def _object(where: str, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(where, value)
    return Row(where, None, f"not an object but of type {type(value).__name__}", json.dumps(value)[:RAW_CHARS])


def _csv(stream: io.BufferedReader, where: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KiB a cell; conversations are longer
    # Broken bytes become lone surrogates here, so that they spoil their own row only (see text()).
    with io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as decoded:
        lines = csv.reader(decoded, strict=True)
        try:
            header = next(lines, [])
            if not header:
                raise UserError("the first line is no header", where=f"{where}:1", cure="name the columns there")
            if len(set(header)) < len(header):
                raise UserError("the header names a column twice", where=f"{where}:1", cure="rename one of them")
            for number, cells in enumerate(filter(None, lines), 1):
                here = f"{where}: row {number}"
                if len(cells) == len(header):
                    yield Row(here, dict(zip(header, cells, strict=True)))
                else:
                    shown = json.dumps(cells)[:RAW_CHARS]
                    yield Row(here, None, f"{len(cells)} cells where the header has {len(header)}", shown)
        except csv.Error as problem:
            raise UserError(f"not CSV: {problem}", where=f"{where}:{lines.line_num}", cure="mend its quotes") from None


def _parquet(stream: io.BufferedReader, where: str, columns: Collection[str] | None) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(stream, pre_buffer=False)
        # None of them there: read all, so that there are rows to say so.
        wanted = [name for name in file.schema_arrow.names if columns is not None and name in columns] or None
        for batch in file.iter_batches(256, columns=wanted, use_threads=False):
            for value in _values(batch):
                number += 1
                here = f"{where}: row {number}"
                yield Row(here, None, value) if isinstance(value, str) else Row(here, value)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as problem:
        cure = "fetch or write the file again; it may be cut off"
        raise UserError(f"not readable as Parquet: {str(problem).splitlines()[0]}", where=where, cure=cure) from None


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """The batch's rows; why it cannot be had for one that cannot, so that only it is lost."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for i in range(batch.num_rows):
            try:
                yield from batch.slice(i, 1).to_pylist()
            except UnicodeDecodeError:
                yield "text that is not UTF-8"
            except (ValueError, OverflowError) as problem:  # a date of the year 20000
                yield f"a value that cannot be read: {problem}"


def _shown(line: bytes) -> str:
    return line[: 4 * RAW_CHARS].decode(errors="replace").strip()[:RAW_CHARS]
