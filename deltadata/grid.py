"""Where a table's columns end and its text wraps: names wrap behind their hyphens and dots, figures never do.

deltadata report runs/quickstart

What fits at no width, not even so, is told as a block a row. Widths are in cells of a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len, chop_cells

INDENT, GAP = 2, 2
LEAST = 14  # a column of text narrower than this reads downwards
MOST = 32  # a longer word is no word
FIGURE = 40  # a longer row of numbers is text
SHORT = 9  # words that stand for a number that is missing: too few, it picked

_BREAK = re.compile(
    r"(?<=\s)(?=[^\s%])"  # a number keeps its per cent
    r"|(?<=\w_)(?=\w)"
    r"|(?<!\de-)(?<=[^\W\d][./,=-])(?=\w)"  # 1e-05 is one number
    r"|(?<=\d[./,=-])(?=[^\W\d])"  # and so are 2.5, 1,000, 57-80 and 12/60
)
_WORDS = re.compile(r"\b(?:to|of|x|s|h|min|days?|B|[kMGT]B)\b|(?<=\d)e(?=[-+]?\d)")
_FIGURE = re.compile(r"[-+\d.,:%()/<>~→][-+\d.,:%()/<>~→ ]*")  # once its words are gone

Row = Sequence[str]


class Column(NamedTuple):
    """How wide a column is, and whether it holds figures, which stand on the right."""

    width: int
    figures: bool


class _Need(NamedTuple):
    least: int
    most: int
    figures: bool


def columns(head: Row, rows: Sequence[Row], room: int) -> list[Column] | None:
    """The columns of a table at most `room` wide, with its indent; None where names and figures do not fit."""
    needs = [_need(name, [row[place] for row in rows], place) for place, name in enumerate(head)]
    room -= INDENT + GAP * (len(head) - 1)
    if sum(need.least for need in needs) > room:
        return None
    widths = [min(need.most, room) for need in needs]
    while sum(widths) > room:
        widest = max((width, place) for place, width in enumerate(widths) if width > needs[place].least)[1]
        widths[widest] -= 1
    used = (
        max(cell_len(line) for text in texts for line in wrapped(text, width))  # a wrapped heading is narrower
        for texts, width in zip(zip(head, *rows, strict=True), widths, strict=True)
    )
    return [Column(width, need.figures) for width, need in zip(used, needs, strict=True)]


def lines(columns: Sequence[Column], row: Row) -> list[str]:
    """One row, as many lines as its highest cell has."""
    cells = [wrapped(text, column.width) for text, column in zip(row, columns, strict=True)]
    return [
        (" " * INDENT + (" " * GAP).join(map(_set, columns, parts))).rstrip()
        for parts in zip_longest(*cells, fillvalue="")
    ]


def _set(column: Column, text: str) -> str:
    space = " " * (column.width - cell_len(text))
    return space + text if column.figures else text + space


def line(columns: Sequence[Column], mark: str) -> str:
    """What stands below the heading."""
    return " " * INDENT + mark * (sum(column.width for column in columns) + GAP * (len(columns) - 1))


def _need(name: str, cells: Sequence[str], place: int) -> _Need:
    figures = place > 0 and any(map(_is_figure, cells)) and all(_is_figure(cell) or _short(cell) for cell in cells)
    least = max([_longest(name), *(cell_len(cell) if figures else _text(cell) for cell in cells)])
    return _Need(
        least, max([least, cell_len(name), *(cell_len(line) for cell in cells for line in _lines(cell))]), figures
    )


def _text(cell: str) -> int:
    return max(min(cell_len(line), max(LEAST, _longest(line))) for line in _lines(cell))


def _longest(text: str) -> int:
    """The longest part that does not wrap, with its indent."""
    if _is_figure(text):
        return cell_len(text)
    inner = text.lstrip(" ")
    return min(MOST, len(text) - len(inner) + max(cell_len(piece.rstrip()) for piece in _BREAK.split(inner)))


def _is_figure(text: str) -> bool:
    """A number, with its sign, unit, interval or total; or the dash of none."""
    return len(text) <= FIGURE and _FIGURE.fullmatch(_WORDS.sub("", text)) is not None


def _short(text: str) -> bool:
    return len(text) <= SHORT


def _lines(text: str) -> list[str]:
    return text.splitlines() or [""]


def wrapped(text: str, width: int) -> list[str]:
    """The lines of `text`, none longer than `width` unless a figure is."""
    return [line for paragraph in _lines(text) for line in _filled(paragraph, width)]


def _filled(text: str, width: int) -> Iterator[str]:
    """What is indented stays so on every line."""
    inner = text.lstrip(" ")
    start = line = " " * (len(text) - len(inner))
    for piece in [inner] if _is_figure(text) else _cut(_BREAK.split(inner), max(1, width - len(start))):
        if line.strip() and cell_len(line + piece.rstrip()) > width:
            yield line.rstrip()
            line = start
        line += piece
    yield line.rstrip()


def _cut(pieces: Iterable[str], width: int) -> Iterator[str]:
    """What is longer than a line, such as a hash, in parts of one line each."""
    for piece in pieces:
        yield from chop_cells(piece, width) if cell_len(piece.rstrip()) > width else [piece]


def block(head: Row, row: Row, room: int) -> list[str]:
    """One row as lines: its name, then a line for each column; the value below its column where they do not fit."""
    told = [(name, cell) for name, cell in zip(head[1:], row[1:], strict=True) if cell]
    shown = [" " * INDENT + line for line in wrapped(row[0], room - INDENT)]
    names, room = max((cell_len(name) for name, _ in told), default=0), room - 3 * INDENT
    left = room - names - GAP
    beside = all(_text(cell) <= left for _, cell in told)
    for name, cell in told:
        if beside:
            both = [Column(names, False), Column(left, False)]
            inner = [one[INDENT:] for one in lines(both, [name, cell])]
        else:
            inner = [*wrapped(name, room), *(" " * GAP + one for one in wrapped(cell, room - GAP))]
        shown += [" " * 3 * INDENT + one for one in inner]
    return shown
