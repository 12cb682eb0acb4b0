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
import os
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from deltadata import hub
from deltadata.errors import OutsideError, UserError, did_you_mean
from deltadata.files import CODECS, is_pattern, matching, opened, unpacked
from deltadata.files import resolve as resolve
from deltadata.layouts import ASSISTANT as ASSISTANT
from deltadata.layouts import ROLES as ROLES
from deltadata.layouts import USER as USER
from deltadata.layouts import BadRow as BadRow
from deltadata.layouts import column_of, paths, values_at
from deltadata.layouts import conversation as conversation
from deltadata.layouts import text as text

LOOK_AHEAD = 1000  # rows after which a column that none of them has is not waited for any longer
RAW_CHARS = 1000
_TEXTS = ("content", "value")  # where a turn has its text: in messages, and in ShareGPT's
_decode = msgspec.json.Decoder().decode  # three times as fast as json, with the same values where it has any


class Row(NamedTuple):
    """One row, or why it could not be read. `raw` is the text of an unreadable row, empty for the others."""

    where: str
    value: dict[str, Any] | None
    problem: str | None = None
    raw: str = ""


def read_rows(
    path: str, recipe_dir: Path, columns: Collection[str] | None = None, needed: Collection[str] = ()
) -> Iterator[Row]:
    """The rows of files, or of `hf:owner/dataset[@revision][:config][:split]`, lazily and in order.

    `path` names one .jsonl, .json, .csv or .parquet file, or as a pattern (`data/*.jsonl.gz`) several of them, which
    are read in the order of their names; all but .parquet may be compressed (.gz, .zst). `columns` spares columnar
    sources the reading of other columns; the rows of the others have them all the same. One that is a path into a
    column (`turns.0.content`) becomes a column of the rows that have it. A .csv or .parquet file that lacks one of
    `needed` is refused by its name.
    A row that cannot be read is a Row with its problem. Raises UserError when the whole source cannot be read (no such
    file, empty, unknown ending, broken, cut short) and OutsideError when the Hub or the disk fails.
    """
    dotted = [name for name in columns or () if "." in name]
    found = _found(path, recipe_dir, columns, needed)
    if not dotted:
        yield from found
        return
    for row in found:
        yield row._replace(value=row.value | values_at(row.value, dotted)) if row.value else row


def _found(path: str, recipe_dir: Path, columns: Collection[str] | None, needed: Collection[str]) -> Iterator[Row]:
    if path.startswith(hub.PREFIX):
        yield from (Row(where, value) for where, value in hub.rows(path, columns))
        return
    found = matching(path, recipe_dir)
    kinds = [_kind(file) for file in found]  # of all before the first is read
    for file, (ending, codec) in zip(found, kinds, strict=True):
        yield from _file(file, ending, codec, columns, needed)


def digest(path: str, recipe_dir: Path) -> str:
    """What changes when the source does: SHA-256 of a file, of the names and contents of the files that a pattern
    matches, or the spec with the commit that the Hub has now.

    Raises UserError when there is no such source, OutsideError when the Hub cannot be reached.
    """
    if path.startswith(hub.PREFIX):
        return f"{path} {hub.commit(path)}"
    found = matching(path, recipe_dir)
    told = [_sha256(file, _state(file)) for file in found]
    if len(found) == 1 and not is_pattern(path):
        return told[0]
    base = os.path.commonpath([file.parent for file in found])
    names = [file.relative_to(base).as_posix() for file in found]
    return hashlib.sha256(json.dumps([names, told]).encode()).hexdigest()


def _state(file: Path) -> tuple[int, ...]:
    """What changes when a file does. Raises UserError when it may not be looked at."""
    with opened(file) as stream:
        known = os.fstat(stream.fileno())
    return known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns


@lru_cache(maxsize=1000)
def _sha256(file: Path, state: tuple[int, ...]) -> str:
    """Of a file in that state: a run asks for the digest of each of its sources several times."""
    with opened(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def no_such_column(
    column: str, path: str, recipe_dir: Path, whose: str, ids: str | None = None, found: Iterable[Row] | None = None
) -> UserError:
    """The error that says which columns the first rows do have; for a path, which path is near it. `ids` is the column
    of prompt ids that could be named instead; `found` are the rows where they are not those of the file."""
    rows = [row.value or {} for row in islice(read_rows(path, recipe_dir) if found is None else found, 100)]
    inside = dict.fromkeys(name for row in rows for name in paths(row)) if "." in column else {}
    beside = [f"{column.rpartition('.')[0]}.{leaf}" for leaf in _TEXTS]
    near = [name for name in beside if name in inside] or get_close_matches(column, inside, n=1)
    known = near or dict.fromkeys(name for row in rows for name in row)
    by_id = ids is not None and any(ids in row for row in rows)
    cure = f"the file has ids: say `prompt: {ids}`" if by_id else did_you_mean(column, known)
    return UserError(f"{whose}: no row has a column {column!r}", where=path, cure=cure)


def bad_row(row: Row, why: str) -> dict[str, str]:
    """A bad row as it is written aside: where it stands, why it is bad, and the beginning of it."""
    shown = (row.raw or json.dumps(row.value, ensure_ascii=False, default=str))[:RAW_CHARS]
    return {"where": row.where, "why": why, "row": shown.encode(errors="backslashreplace").decode()}


def first_three(bad: list[dict[str, str]]) -> str:
    """The first bad rows in one line, for a message."""
    return "; ".join(f"{row['where']}: {row['why']}" for row in bad[:3])


def _kind(file: Path) -> tuple[str, str | None]:
    """A file's ending and the codec it is compressed with. Raises UserError."""
    codec = CODECS.get(file.suffix.lower())
    ending = (Path(file.stem).suffix if codec else file.suffix).lower()
    if ending in _READERS and not (codec and ending == ".parquet"):
        return ending, codec
    shown = f"{ending}{file.suffix}" if codec else file.suffix
    cure = "give a .jsonl, .json, .csv or .parquet file; the first three may be compressed (.gz, .zst)"
    raise UserError(f"{shown or 'no ending'} is no known kind of file", where=str(file), cure=cure)


def _file(
    file: Path, ending: str, codec: str | None, columns: Collection[str] | None, needed: Collection[str]
) -> Iterator[Row]:
    number = 0
    with opened(file) as raw:
        try:
            stream = unpacked(raw, codec) if codec else raw
            if not stream.peek(1):
                raise UserError("the file is empty", where=str(file), cure="give a file with rows")
            for number, row in enumerate(_READERS[ending](stream, str(file), columns, needed), 1):  # noqa: B007
                yield row
        except OSError as problem:
            if codec is None:
                cure = "check the disk, then run the same command again"
                raise OutsideError(f"cannot be read: {problem}", where=str(file), cure=cure) from None
            cure = "fetch or write the file again; it may be cut short"
            raise UserError(
                f"not readable as {codec} after {number} rows: {problem}", where=str(file), cure=cure
            ) from None


def _jsonl(
    stream: io.BufferedReader, where: str, columns: Collection[str] | None, needed: Collection[str]
) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        here = f"{where}:{number}"
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        try:
            value = _decode(line)
        except (ValueError, RecursionError):
            if line.strip():
                yield _as_json_has_it(here, line)
            continue
        yield Row(here, value) if isinstance(value, dict) else _object(here, value)


def _as_json_has_it(here: str, line: bytes) -> Row:
    """A line that is not quite JSON: NaN and half surrogate pairs are let pass, as by Python; the rest get a reason."""
    try:
        return _object(here, json.loads(line.decode().rstrip()))
    except json.JSONDecodeError as problem:
        return Row(here, None, f"not JSON: {problem.msg} at column {problem.colno}", _shown(line))
    except (ValueError, RecursionError) as problem:  # not UTF-8, a number of 5,000 digits, 10,000 brackets
        return Row(here, None, f"not JSON: {problem}", _shown(line))


def _json(
    stream: io.BufferedReader, where: str, columns: Collection[str] | None, needed: Collection[str]
) -> Iterator[Row]:
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


def _csv(
    stream: io.BufferedReader, where: str, columns: Collection[str] | None, needed: Collection[str]
) -> Iterator[Row]:
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
            _refuse_without(needed, header, where)
            for number, cells in enumerate(filter(None, lines), 1):
                here = f"{where}: row {number}"
                if len(cells) == len(header):
                    yield Row(here, dict(zip(header, cells, strict=True)))
                else:
                    shown = json.dumps(cells)[:RAW_CHARS]
                    yield Row(here, None, f"{len(cells)} cells where the header has {len(header)}", shown)
        except csv.Error as problem:
            raise UserError(f"not CSV: {problem}", where=f"{where}:{lines.line_num}", cure="mend its quotes") from None


def _parquet(
    stream: io.BufferedReader, where: str, columns: Collection[str] | None, needed: Collection[str]
) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
        names = file.schema_arrow.names
        _refuse_without(needed, names, where)
        # None of them there: read all, so that there are rows to say so.
        wanted = list(dict.fromkeys(filter(None, (column_of(path, names) for path in columns or ())))) or None
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


def _refuse_without(needed: Collection[str], names: list[str], where: str) -> None:
    for path in needed:
        if column_of(path, names) is None:
            raise UserError(f"no column {path!r}", where=where, cure=did_you_mean(path, names))


_READERS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
