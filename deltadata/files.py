"""What a path of a recipe names: one file, or those that match a pattern, here or beside the recipe; opened, unpacked.

python -c "from deltadata.files import *; print(matching('recipes/**/*.jsonl', Path()))"
"""

from __future__ import annotations

import glob
import io
import re
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa

from deltadata.errors import UserError

CODECS = {".gz": "gzip", ".zst": "zstd"}
_BUFFER = 1 << 20
_PATTERN = re.compile(r"[*?[]")
_RELATIVE = "paths are relative to the current directory or to the recipe's"


def is_pattern(path: str) -> bool:
    """Whether `path` may name several files."""
    return bool(_PATTERN.search(path))


def matching(path: str, recipe_dir: Path) -> list[Path]:
    """The file that `path` names or, sorted, those that it matches as a pattern. Raises UserError when there is none.

    Both are looked for in the current directory, then in the recipe's; the first that has any gives them all.
    """
    places, there = _places(path, recipe_dir)
    if there or not is_pattern(path):
        return [resolve(path, recipe_dir)]
    pattern = str(Path(path).expanduser())
    for root in (Path(), recipe_dir):
        names = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207 Path.glob takes no absolute pattern
        if found := sorted(root / name for name in names if (root / name).is_file()):
            return found
    raise UserError(f"no file matches; looked for {_told(places)}", where=path, cure=_like(places))


def resolve(path: str, recipe_dir: Path) -> Path:
    """The file that `path` names: relative to the current directory, else to the recipe's. Raises UserError."""
    places, _ = _places(path, recipe_dir)
    for place in places:
        if place.is_file():
            return place
    if any(place.is_dir() for place in places):
        raise UserError("is a directory, not a file", where=path, cure="name a file of it, or several as `FOLDER/*`")
    if any(place.exists() for place in places):
        raise UserError("is no regular file", where=path, cure="write its rows to a file, which can be read again")
    raise UserError(f"no such file; looked for {_told(places)}", where=path, cure=_like(places))


def opened(file: Path) -> io.BufferedReader:
    """The file's bytes as they are. Raises UserError when they may not be read."""
    try:
        return io.BufferedReader(io.FileIO(file), _BUFFER)
    except OSError as problem:
        raise UserError(f"cannot be read: {problem.strerror}", where=str(file), cure="mend its permissions") from None


def unpacked(stream: io.BufferedReader, codec: str) -> io.BufferedReader:
    """The bytes that were compressed. Reading raises OSError where they are damaged or end too soon."""
    return io.BufferedReader(pa.CompressedInputStream(stream, codec), _BUFFER)


def _places(path: str, recipe_dir: Path) -> tuple[list[Path], bool]:
    """Where `path` may lie, and whether a file lies there. Raises UserError when it can be no path."""
    try:
        named = Path(path).expanduser()
        places = list(dict.fromkeys([named, recipe_dir / named]))
        return places, any(place.is_file() for place in places)
    except (OSError, RuntimeError) as problem:  # a name too long, a folder that is closed; no home of that user
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise UserError(f"no path of a file: {why}", where=f"{path:.120}", cure="give the path of a file") from None


def _told(places: list[Path]) -> str:
    return " and ".join(str(place.absolute()) for place in places)


def _like(places: list[Path]) -> str:
    """The cure: the file beside one of the places whose name is nearest; for a pattern, else some that are there."""
    some = ""
    for place in places:
        folder = place.parent
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
        if near := get_close_matches(place.name, names, n=1):
            return f"did you mean {str(folder / near[0])!r}?"
        if names and is_pattern(place.name):
            some = some or f"{folder} has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
    return some or _RELATIVE
