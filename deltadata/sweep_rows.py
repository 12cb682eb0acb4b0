"""A sweep's CSV: what its rows make of the base recipe. Wrong rows are told all at once, with line and column.

    deltadata sweep recipes/sweeps/qwen_pairs.csv

A column is a recipe's key, a cell its value in YAML as after --set; an empty cell leaves the base recipe's. Lines that
begin with # are comments; `# Recipe: FILE` names the base recipe, relative to the CSV or to the current directory.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from deltadata import recipe, strict
from deltadata.errors import UserError, did_you_mean
from deltadata.recipe import Recipe
from deltadata.sections import NAME
from deltadata.tables import fingerprint

COLUMN = "name"
LADDER = "ladder"  # the folder of the responses that rows share
FILES = ("sweep.csv", "sweep.json", "sweep.png", "record.json")
LADDER_KEYS = {"collect", "generate", "score", "seed"}
SHOWN = 8  # mistakes told at once
_BASE = re.compile(r"#\s*Recipe:\s*(.*\S)")


class Row(NamedTuple):
    """A row of the CSV and the recipe that it makes; `overrides` are its cells by column, `places` as recipe.load's."""

    name: str
    where: str
    overrides: dict[str, str]
    recipe: Recipe
    places: dict[str, str]

    @property
    def given(self) -> list[str]:
        """The overrides as --set takes them."""
        return [f"{COLUMN}='{self.name}'", *(f"{key}={value}" for key, value in self.overrides.items())]

    @property
    def ladder(self) -> str:
        """The same for rows whose responses and scores are the same."""
        return fingerprint(self.recipe.model_dump(mode="json", include=LADDER_KEYS))


class Sweep(NamedTuple):
    """A CSV that was read; `ladders` has a folder's name for every ladder of its rows.

    The base recipe's own is `ladder`. Others are called by what they are, so that neither a row's name nor its place
    in the CSV makes another one of it.
    """

    name: str
    base: Path
    sets: list[str]
    columns: list[str]
    rows: list[Row]
    ladders: dict[str, str]

    def ladder_of(self, row: Row) -> str:
        return self.ladders[row.ladder]


class Cells(NamedTuple):
    """A CSV before its base recipe is looked at: rows as (line, cells by column); `top` is where its columns stand."""

    top: str
    base: Path | None
    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]


def load(path: Path, base: Path | None = None, sets: Sequence[str] = ()) -> Sweep:
    """Read the CSV and make every row's recipe of the base recipe, `sets` (as --set) before the row's own.

    Raises UserError with line and column of all that is wrong.
    """
    cells = read(path)
    base = base or cells.base
    if base is None:
        cure = "give --recipe RECIPE, or a line `# Recipe: FILE` on top of the CSV"
        raise UserError("no base recipe is named", where=str(path), cure=cure)
    if not base.is_file():
        cure = "give --recipe RECIPE, or mend the line `# Recipe: FILE` of the CSV"
        raise UserError(f"the base recipe {str(base)!r} is not there", where=str(path), cure=cure)
    whole = recipe.load(base, [*sets])
    rows, wrong = list[Row](), list(_unknown(cells, base, sets))
    for line, given in cells.rows:
        try:
            rows.append(_row(f"{path}:{line}", given, base, sets))
        except UserError as problem:
            wrong.append(problem)
    refuse(wrong)
    ladders = {fingerprint(whole.model_dump(mode="json", include=LADDER_KEYS)): LADDER}
    for row in rows:
        ladders.setdefault(row.ladder, f"{LADDER}-{row.ladder[:8]}")
    return Sweep(path.stem, base, [*sets], cells.columns, rows, ladders)


def _unknown(cells: Cells, base: Path, sets: Sequence[str]) -> Iterator[UserError]:
    """A mistake for each empty column that is no key of the recipe; one with values is found wrong with its rows."""
    for column in cells.columns:
        if column == COLUMN or any(given[column] for _, given in cells.rows):
            continue
        where = at(cells.top, column)
        try:
            _refuse_no_key(base, [*sets, f"{column}=null"], where)
        except UserError as problem:
            yield of_row(problem, where)


def _refuse_no_key(base: Path, sets: Sequence[str], where: str) -> None:
    """Raises UserError where `sets` name a key that a recipe does not have; what they set it to may be anything."""
    tree = strict.parse(base.read_text(encoding="utf-8"), str(base), {})
    for override in sets:
        strict.override(tree, override, {}, where)
    try:
        Recipe.model_validate(tree)
    except ValidationError as problem:
        found = [error for error in problem.errors() if error["type"] == "extra_forbidden"]
        kept = [InitErrorDetails(type=error["type"], loc=error["loc"], input=error["input"]) for error in found]
        if kept:
            only = ValidationError.from_exception_data(problem.title, kept)
            raise strict.explain(only, Recipe, tree, where, {}) from None


def _row(where: str, given: dict[str, str], base: Path, sets: Sequence[str]) -> Row:
    name, cells = given[COLUMN], {key: value for key, value in given.items() if key != COLUMN and value}
    named = f"{COLUMN}='{name}'"
    written = {named: at(where, COLUMN)} | {f"{key}={value}": at(where, key) for key, value in cells.items()}
    places: dict[str, str] = {}
    try:
        made = recipe.load(base, [*sets, *written], places, written)
    except UserError as problem:
        raise of_row(problem, where) from None
    return Row(name, where, cells, made, places)


def at(where: str, column: str) -> str:
    return f"{where}, column {column}"


def of_row(problem: UserError, where: str) -> UserError:
    """The mistake at its row, where it is told of another place: a cell can make a line of the base recipe wrong."""
    if problem.where and problem.where.startswith(where):
        return problem
    what = f"{problem.where}: {problem.what}" if problem.where else problem.what
    return UserError(what, where=where, cure=problem.cure)


def refuse(wrong: Sequence[UserError]) -> None:
    """Raises UserError with all of them, each at its place; the cure is the first one's."""
    if not wrong:
        return
    told = [wrong[0].what, *(f"{problem.where}: {problem.what}" for problem in wrong[1:SHOWN])]
    if len(wrong) > SHOWN:
        told.append(f"and {len(wrong) - SHOWN} more rows are wrong")
    raise UserError("\n  also ".join(told), where=wrong[0].where, cure=wrong[0].cure)


def read(path: Path) -> Cells:
    """The CSV alone. Raises UserError when it cannot be read, or its names or columns are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"cannot read the sweep: {problem}", where=str(path), cure="give the path of a .csv") from None
    found = list(_records(lines, path))
    if len(found) < 2:
        cure = "a line of columns (`name` and keys of the recipe), then a row for each run"
        raise UserError("has no rows", where=str(path), cure=cure)
    (top, columns), *records = found
    _refuse_columns(columns, f"{path}:{top}")
    rows, wrong, seen = [], list[UserError](), dict[str, int]()
    for line, cells in records:
        if len(cells) != len(columns):
            what = f"{len(cells)} cells below {len(columns)} columns"
            cure = 'put a value that holds a comma into quotes: "[[strong, weak]]"'
            wrong.append(UserError(what, where=f"{path}:{line}", cure=cure))
            continue
        row = dict(zip(columns, cells, strict=True))
        if taken := _name_problem(row[COLUMN], seen):
            wrong.append(UserError(taken, where=at(f"{path}:{line}", COLUMN), cure="give the row a name of its own"))
        seen.setdefault(row[COLUMN], line)
        rows.append((line, row))
    refuse(wrong)
    return Cells(f"{path}:{top}", _base(lines, path), columns, rows)


def _records(lines: list[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of every record that is no comment and not empty."""
    bare = ("\n" if line.startswith("#") else line for line in lines)  # a comment's quotes are none
    reader = csv.reader(bare, skipinitialspace=True, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cells):
                yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as problem:
        raise UserError(f"not CSV: {problem}", where=f"{path}:{line}", cure="mend that line's quotes") from None


def _refuse_columns(columns: list[str], where: str) -> None:
    if COLUMN not in columns:
        raise UserError(f"no column is called {COLUMN!r}", where=where, cure=did_you_mean(COLUMN, columns))
    for column in columns:
        if columns.count(column) > 1 or not column:
            what = f"the column {column!r} is there twice" if column else "a column has no name"
            raise UserError(what, where=where, cure="keep one" if column else "name a key of the recipe")


def _name_problem(name: str, seen: dict[str, int]) -> str | None:
    if not re.fullmatch(NAME, name):
        return f"{name!r} is not a name"
    if name in seen:
        return f"{name!r} is there twice (first in line {seen[name]})"
    if name == LADDER or name.startswith(f"{LADDER}-") or name in FILES:
        return f"{name!r} is what the sweep itself calls a folder or a file"
    return None


def _base(lines: list[str], path: Path) -> Path | None:
    """What `# Recipe: FILE` names, beside the CSV if it is there."""
    for line in lines:
        if match := _BASE.match(line):
            beside = path.parent / match[1]
            return beside if beside.is_file() else Path(match[1])
    return None


def listed(row: Row) -> dict[str, Any]:
    """The row's name and overrides, for tables."""
    return {COLUMN: row.name, "overrides": row.overrides}
