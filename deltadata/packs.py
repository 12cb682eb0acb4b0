"""Packs on disk: small files of hashed n-grams that stand for an evaluation set, and where such sets are to be had.

    deltadata pack build alpaca_eval        # from the Hub, by name; or NAME FILES|hf:... with the column

A pack file is one line of JSON (name, sizes, hash, sources, counts, SHA-256 of all the rest), then numbers, little
end first: uint32 words of each item; then for each length in rising order uint64 hashes and uint32 places. No text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from deltadata import hub, layouts, rows, tables
from deltadata.errors import UserError, did_you_mean
from deltadata.ngrams import HASH, SIZES, Grams, Pack, build
from deltadata.store import atomic
from deltadata.templates import folder

ENDING = ".pack"
FORMAT, VERSION = "deltadata pack", 1
_HEADER_BYTES = 1 << 22
_AGAIN = "build it again (deltadata pack build), or fetch it again"


class Source(NamedTuple):
    """Where items are: a path as `read_rows` takes it, and columns or paths into them. One item a row, its columns
    joined by newlines; a lone list (the turns of a conversation) gives an item a text, of messages those of the user.
    """

    path: str
    columns: tuple[str, ...]


def build_pack(name: str, sources: Sequence[Source], recipe_dir: Path = Path(), sizes: Sequence[int] = SIZES) -> Pack:
    """The pack of the rows of all sources; items are numbered from 0 in that order.

    Raises UserError for a row that cannot be read, a missing column, or when there are no words at all; OutsideError
    when the Hub does not answer.
    """
    told: list[dict[str, Any]] = []

    def texts() -> Iterator[str]:
        for source in sources:
            count = 0
            for text in _texts(source, name, recipe_dir):
                count += 1
                yield text
            # Of a file its name only: where it lay here is nobody's business.
            shown = source.path if source.path.startswith(hub.PREFIX) else Path(source.path).name
            digest = rows.digest(source.path, recipe_dir)
            told.append({"source": shown, "digest": digest, "columns": list(source.columns), "items": count})

    pack = build(name, texts(), sizes)
    if not pack.words.any():
        columns = ", ".join(dict.fromkeys(column for source in sources for column in source.columns))
        raise UserError(f"no words in {columns}", where=name, cure="name the columns that hold the texts")
    return pack._replace(sources=told)


def _texts(source: Source, name: str, recipe_dir: Path) -> Iterator[str]:
    seen: set[str] = set()
    for row in rows.read_rows(source.path, recipe_dir, source.columns):
        if row.value is None:
            cure = "mend the row: an evaluation set is taken whole"
            raise UserError(str(row.problem), where=row.where, cure=cure)
        values = []
        for column in source.columns:
            try:
                values.append(layouts.value_at(row.value, column))
                seen.add(column)
            except layouts.Missing:
                values.append(None)
        if len(values) == 1 and isinstance(values[0], list):
            yield from (_text(part, row.where) for part in values[0] if _is_asked(part))
        else:
            yield "\n".join(_text(value, row.where) for value in values)
    for column in source.columns:
        if column not in seen:
            raise rows.no_such_column(column, source.path, recipe_dir, f"the pack {name!r}")


def _is_asked(part: Any) -> bool:
    return not isinstance(part, dict) or part.get(tables.ROLE) in (None, layouts.USER)


def _text(value: Any, where: str) -> str:
    if isinstance(value, dict):
        value = value.get(tables.CONTENT)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f"neither text nor a list of texts but {type(value).__name__}", where=where, cure="another column"
        )
    return value


def write(path: Path, pack: Pack) -> None:
    """The pack's file, whole or not at all; the same pack gives the same bytes everywhere."""
    payload = [pack.words.astype("<u4").tobytes()]
    for _, grams in sorted(pack.grams.items()):
        payload += [grams.hashes.astype("<u8").tobytes(), grams.at.astype("<u4").tobytes()]
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": pack.name,
        "hash": HASH,
        "sizes": list(pack.sizes),
        "items": len(pack.words),
        "ngrams": {str(length): len(grams.at) for length, grams in sorted(pack.grams.items())},
        "sources": pack.sources,
    }
    header["sha256"] = _digest(header, b"".join(payload))
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.writelines(payload)


def _digest(header: dict[str, Any], payload: bytes) -> str:
    told = json.dumps({key: value for key, value in header.items() if key != "sha256"}, sort_keys=True)
    return hashlib.sha256(told.encode() + b"\n" + payload).hexdigest()


def read(path: Path) -> Pack:
    """The pack in a file. Raises UserError when there is none, it is no pack, damaged, or of another version."""
    try:
        with path.open("rb") as file:
            first, payload = file.readline(_HEADER_BYTES), file.read()
    except OSError as problem:
        raise UserError(f"cannot be read: {problem.strerror}", where=str(path), cure=_AGAIN) from None
    try:
        header = json.loads(first)
        known = header["format"] == FORMAT
        version, hashing = (header["version"], header["hash"]) if known else (None, None)
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise UserError("no pack", where=str(path), cure=f"give a file that `deltadata pack build` made ({ENDING})")
    if (version, hashing) != (VERSION, HASH):
        what = f"a pack of version {version} and hash {hashing}; known here are {VERSION} and {HASH}"
        raise UserError(what, where=str(path), cure="update deltadata, or build the pack again")
    if header.get("sha256") != _digest(header, payload):
        raise UserError("damaged: its content is not what its SHA-256 says", where=str(path), cure=_AGAIN)
    return _unpacked(header, payload)


def _unpacked(header: dict[str, Any], payload: bytes) -> Pack:
    place = 0

    def take(kind: str, count: int) -> NDArray[Any]:
        nonlocal place
        found = np.frombuffer(payload, kind, count, place)
        place += found.nbytes
        return found.astype(found.dtype.newbyteorder("="))  # a copy: slices of the file are not aligned

    words = take("<u4", header["items"])
    grams = {int(length): Grams(take("<u8", n), take("<u4", n)) for length, n in header["ngrams"].items()}
    return Pack(header["name"], tuple(header["sizes"]), words, grams, header["sources"])


def open_packs(names: Sequence[str], recipe_dir: Path = Path()) -> list[Pack]:
    """The packs that a recipe names: paths of pack files, or NAME for NAME.pack, beside the recipe or here."""
    return [read(find(name, recipe_dir)) for name in names]


def find(name: str, recipe_dir: Path) -> Path:
    """The file of a pack that a recipe names. Raises UserError, with the command that makes it, when there is none."""
    path = Path(name if name.endswith(ENDING) else name + ENDING).expanduser()
    for place in (path, recipe_dir / path):
        if place.is_file():
            return place
    known = shipped()
    makes = f"deltadata pack build {name}" if name in known else f"deltadata pack build {name} FILES|hf:..."
    cure = f"`{makes}` makes it" if name in known else f"`{makes}` makes it; {did_you_mean(name, known)}"
    raise UserError(f"no such pack (no file {path})", where=name, cure=cure)


def shipped() -> dict[str, list[Source]]:
    """The evaluation sets whose packs can be built by name (recipes/packs/benchmarks.yaml), and their sources."""
    told = yaml.safe_load((folder("recipes/packs") / "benchmarks.yaml").read_text(encoding="utf-8"))
    return {name: [Source(path, tuple(set_["columns"])) for path in set_["sources"]] for name, set_ in told.items()}
