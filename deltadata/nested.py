"""A list within a row as rows of their own: several models' answers to one prompt, as UltraFeedback has them.

- {name: alpaca-7b, responses: uf.jsonl, each: completions, prompt: instruction, select: {model: alpaca-7b}}
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from deltadata.errors import UserError
from deltadata.layouts import Missing, value_at, values_at
from deltadata.rows import LOOK_AHEAD, RAW_CHARS, Row, no_such_column, read_rows


def read_each(
    path: str, recipe_dir: Path, columns: Collection[str] | None, each: str | None, whose: str = ""
) -> Iterator[Row]:
    """The rows of a source as `read_rows` has them; with `each` one for each item of the list in that column.

    Such a row has the keys of the item and those of the row around it; an item's key hides the other's. `columns` may
    name either, or be paths into either (`annotations.helpfulness.Rating`). Its place is that of the row, and of the
    item: `uf.jsonl:3, completions[0]`. An item that is no object, and a row without a list, is a Row with its problem;
    null is an empty list. A list may be JSON text, as in CSV. Raises UserError, beside what `read_rows` raises, for
    other text there, and for `whose` where none of the first LOOK_AHEAD rows has the column.
    """
    if each is None:
        yield from read_rows(path, recipe_dir, columns)
        return
    dotted = [name for name in columns or () if "." in name]
    # A path may lead into an item: what it begins with is no column of the file, so all of them are read.
    outer = None if columns is None or dotted or "." in each else [each, *columns]
    missing, found = 0, False
    for row in read_rows(path, recipe_dir, outer):
        if row.value is None:
            yield row
            continue
        try:
            items = _items(value_at(row.value, each), row.where, each)
            found = True
        except Missing as why:
            missing += 1
            if missing == LOOK_AHEAD and not found:
                break
            yield _bad(row, str(why))
        else:
            yield from _joined(row, items, each, dotted)
    if missing and not found:
        raise no_such_column(each, path, recipe_dir, whose)


def _items(given: Any, where: str, each: str) -> Any:
    """The list. Raises UserError for text that is none: what wrote the file wrote all of it so."""
    if not isinstance(given, str):
        return given
    try:
        items = json.loads(given)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        cure = 'write the column as JSON, `[{"model": …}, …]`, or give .jsonl or .parquet'
        raise UserError(f"{each} is text that is no JSON list: {given!r:.40}", where=where, cure=cure)
    return items


def _joined(row: Row, items: Any, each: str, dotted: list[str]) -> Iterator[Row]:
    if items is None:
        return
    if not isinstance(items, list):
        yield _bad(row, f"{each} is no list but of type {type(items).__name__}")
        return
    around = {name: value for name, value in (row.value or {}).items() if name != each}
    for i, item in enumerate(items):
        where = f"{row.where}, {each}[{i}]"
        if isinstance(item, dict):
            value = around | item
            yield Row(where, value | values_at(value, dotted))
        else:
            yield Row(where, None, f"not an object but of type {type(item).__name__}", _shown(item))


def _bad(row: Row, why: str) -> Row:
    return Row(row.where, None, why, _shown(row.value))


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:RAW_CHARS]
