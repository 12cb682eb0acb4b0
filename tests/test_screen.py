"""Tables for a terminal: no figure is cut, no name is lost, nothing is wider than the terminal.

pytest tests/test_screen.py
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_facts import made
from rich.cells import cell_len
from rich.console import Console

from deltadata import grid
from deltadata.cli_validate import show
from deltadata.screen import Screen

SCORERS = ("rm", "lp", "lab", "helpfulness-by_qwen2.5-72b", "avg")


def screen(width: int, **options: Any) -> tuple[Screen, io.StringIO]:
    """One that writes to a file, as in a pipe."""
    out = io.StringIO()
    return Screen(Console(file=out, width=width, soft_wrap=True, highlight=False, **options)), out


def shown(head: Sequence[str], rows: Sequence[Sequence[str]], width: int, **options: Any) -> list[str]:
    """The lines of a table, from its heading to its last."""
    told, out = screen(width, **options)
    told.table("title", head, rows)
    return out.getvalue().splitlines()[1:-1]


def test_a_table_stands_as_this() -> None:
    """Names on the left, figures on the right, two spaces between; nothing behind the last figure of a line."""
    rows = [["big > small", "80", "-0.219", "47.5 (37.5 - 58.8)"], ["a", "5", "-", "too few"]]
    assert shown(["pairing", "pairs", "mean", "agree (95 %)"], rows, 80) == [
        "  pairing      pairs    mean        agree (95 %)",
        "  ──────────────────────────────────────────────",
        "  big > small     80  -0.219  47.5 (37.5 - 58.8)",
        "  a                5       -             too few",
    ]


def test_names_and_headings_wrap_where_their_words_end() -> None:
    """Behind hyphens, underscores, dots and spaces, and not inside a number; a wrapped heading takes no more room."""
    rows = [["qwen2.5-1.5b-instruct > llama-3.1-tulu", "40", "-0.0249"], ["x", "1", "0"]]
    assert shown(["pairing", "pairs", "mean before"], rows, 32) == [
        "  pairing         pairs     mean",
        "                          before",
        "  ──────────────────────────────",
        "  qwen2.5-1.5b-      40  -0.0249",
        "  instruct >",
        "  llama-3.1-tulu",
        "  x                   1        0",
    ]


def test_a_row_that_fits_nowhere_is_a_block() -> None:
    """Its name, then a line for each column; the value below its column where the terminal is narrower still."""
    head = ["pairing", "pairs", "score by judge", "mean", "why"]
    rows = [["A > B", "60", "+7.813e-05", "1", ""], ["C > D", "1", "-", "2", "no"]]
    assert shown(head, rows, 32) == [
        "  A > B",
        "      pairs           60",
        "      score by judge  +7.813e-05",
        "      mean            1",
        "",
        "  C > D",
        "      pairs           1",
        "      score by judge  -",
        "      mean            2",
        "      why             no",
    ]
    narrow = ["  A > B", "      pairs", "        60", "      score by", "      judge", "        +7.813e-05"]
    assert shown(head, rows, 18)[:6] == narrow


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        *((text, True) for text in ("-", "7.81e-05", "+0.40 (+0.15 to +0.68)", "12/60", "80 %", "3 → 4", "1.5 GB")),
        *((text, False) for text in ("A > B", "smollm2-135m", "", "to", "x 3", "2026-11-24T03:05:27Z", "1 " * 30)),
    ],
)  # fmt: skip
def test_what_is_a_figure(text: str, figure: bool) -> None:
    """Numbers with sign, unit, interval, total; a name with digits is a name."""
    assert (grid.wrapped(text, 1) == [text]) == (figure or len(text) < 2)


def test_a_number_inside_a_sentence_stays_whole() -> None:
    """Lines break around it, and it keeps its per cent."""
    assert grid.wrapped("lost -3.8 of 1e-05, 57-80 %", 8) == ["lost", "-3.8 of", "1e-05,", "57-80 %"]
    assert grid.wrapped("of 1e-05", 6) == ["of", "1e-05"]
    assert grid.wrapped("y 57 %", 4) == ["y", "57 %"]


def test_what_is_longer_than_a_line_is_cut_by_cells() -> None:
    """A hash, and a word of wide letters; no letter is lost."""
    assert grid.wrapped("0f" * 5, 4) == ["0f0f", "0f0f", "0f"]
    assert grid.wrapped("数据数", 4) == ["数据", "数"]
    assert grid.wrapped("one\ntwo", 9) == ["one", "two"]


WORDS = st.text("abc-._> 1", min_size=1, max_size=30).map(lambda text: f"n{text.strip()}")
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: f"{value:+.4g}"),
    st.integers(0, 10**9).map(lambda value: f"{value:,}"),
    st.floats(0, 100).map(lambda value: f"{value:.3g} ({value / 2:.3g} - {value:.1f})"),
)


@given(st.data(), st.integers(40, 120), st.integers(0, 9), st.integers(1, 4))
def test_no_table_cuts_a_figure_or_loses_a_name(data: st.DataObject, width: int, columns: int, height: int) -> None:
    """Whatever the columns: every line fits, every figure is there whole and in order, every name letter by letter."""
    names = [data.draw(WORDS) for _ in range(height)]
    figures = [[data.draw(NUMBERS) for _ in range(columns)] for _ in names]
    head = ["name", *(data.draw(WORDS) for _ in range(columns))]
    lines = shown(head, [[name, *row] for name, row in zip(names, figures, strict=True)], width)
    assert all(cell_len(line) <= width and line == line.rstrip() for line in lines)
    text = "\n".join(lines)
    place = 0
    for figure in (figure for row in figures for figure in row):
        found = re.compile(rf"(?<=\s){re.escape(figure)}(?=\s|$)").search(text, place)
        assert found
        place = found.end()
    letters = re.sub(r"\s", "", text)
    assert columns > 0 or all(re.sub(r"\s", "", name) in letters for name in names)


def test_colour_and_its_absence_say_the_same() -> None:
    """A terminal, a pipe and NO_COLOR: the same letters; a terminal without Unicode has a line of hyphens."""
    args = (["name", "of"], [["a", "1"]], 40)
    plain = shown(*args)
    coloured = shown(*args, force_terminal=True, color_system="truecolor")
    assert coloured != plain
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in coloured] == plain
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Screen(Console(file=out, width=40)).table("t", *args[:2])
    out.seek(0)
    assert out.read().splitlines()[2] == "  --------"


def test_columns_keep_their_brackets_and_records_their_columns() -> None:
    """Nothing is read as markup; a record without a column has none of its value, and a title wraps."""
    told, out = screen(20)
    told.rows("a title of [red] many words", [{"a [b]": "[i]"}, {"a [b]": "x", "c": 3}])
    lines = ["a title of [red]", "many words", "  a [b]  c", "  ────────", "  [i]", "  x      3", ""]
    assert out.getvalue().splitlines() == lines


def closing(*names: str, lead: Sequence[str]) -> dict[str, Any]:
    """What `run` ends with: one pairing, a delta for each of `lead`."""
    pairing = {"chosen": names[0], "rejected": names[1], "pairs": 80, "kept": 60}
    pairing["delta"] = dict.fromkeys(lead, 7.8125e-05)  # type: ignore[assignment]
    facts: dict[str, Any] = {"name": "f", "kept": 60, "pairs": 80, "lead": list(lead), "pairings": [pairing]}
    return facts | {"funnel": {}, "without_pair": 0}


@pytest.mark.parametrize("width", [70, 80, 120])
def test_long_names_are_broken_between_words(width: int) -> None:
    """A table of two long rungs: every line of the first column ends where a word of a name does."""
    told, out = screen(width)
    names = ("qwen2.5-32b-instruct-awq_int4.very-long-variant", "llama-3.1-tulu-3-8b-sft-hot")
    told.closing(closing(*names, lead=("tokens", "characters")))
    first = out.getvalue().split("─\n")[1].split("\n\n")[0].splitlines()
    cells = [re.split(r"\s{2,}", line.strip())[0] for line in first]
    assert "".join(cells).replace(" ", "") == " > ".join(names).replace(" ", "")
    assert len(cells) > 1 or width > 110
    assert all(cell[-1] in "-._>" for cell in cells[:-1])


def test_a_run_with_five_scorers_names_its_pairing() -> None:
    """In 80 columns: every scorer, and each delta with its exponent."""
    told, out = screen(80)
    told.closing(closing("A", "B", lead=(*SCORERS, "characters", "response_ratio")))
    text = out.getvalue()
    assert "\n  A > B\n" in text
    assert [line.split()[-2:] for line in text.splitlines() if "e-05" in line] == [
        [name, "+7.813e-05"] for name in (*SCORERS, "characters", "response_ratio")
    ]


@pytest.mark.parametrize("width", [50, 80])
def test_a_report_with_five_scorers_is_whole(width: int) -> None:
    """No line of a table is wider than the terminal; each rung has a line, with both ends, for each scorer."""
    told, out = screen(width)
    facts, _, _ = made()
    rungs = facts["ladder"]
    for rung in rungs:
        for number, name in enumerate(SCORERS):
            for key, value in (("mean_score", 0.5), ("strength", -1 - number), ("strength_ci95", [-12.25, 10.5])):
                rung[key][name] = value
    told.report(facts | {"findings": [], "scored_by": {}})
    told._ladder(facts | {"scorers": list(SCORERS)})
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    last = "\n".join(lines).rpartition("scores of the ladder")[2]
    assert last.count("(-12.25 to +10.50)") == len(rungs) * len(SCORERS)
    assert [last.count(rung["model"]) for rung in rungs] == [len(SCORERS)] * len(rungs)


def agreed(name: str, **changes: Any) -> dict[str, Any]:
    """A pairing as `validate` tells it, with two pools."""
    stats = {"pairs": 12000, "unknown": 11, "prompts": 10000, "agreement": 0.7, "agreement_ci95": [0.614, 0.79]}
    stats |= {"share_tied": 0.125, "mean_delta": -1.25e-05}
    by_pool = {"tulu-3-wildchat-unfiltered": stats, "flan": stats}
    return stats | {"chosen": name, "rejected": f"{name}-hot", "by_pool": by_pool, "sentence": "", **changes}


def test_what_validate_tells_fits() -> None:
    """In 80 columns: pairings, pools and their figures; what is left, with a judge's requests, as blocks."""
    told, out = screen(80)
    row = {"responses": 1_000_000, "there": 200_000, "imported": False, "seconds": 123456.0}
    rungs = [row | {"model": "llama-3.1-tulu-3-8b", "tokens": 812_345_678, "bytes": 10**12}]
    judge = {"scorer": "judge", "requests": 16_000_000, "prompt_tokens": 10**10, "response_tokens": 10}
    scorers = [row | judge | {"dollars": 12345.5}]
    cost = {"prompts": 1_000_000, "note": "measured here", "rungs": rungs, "scorers": scorers}
    facts = {"scorer": "judge", "prompts": 10000, "look": 1, "looks": 1, "width": 0.1, "level": 0.95, "cost": cost}
    facts |= {"level_by_pool": 0.975, "pairings": [agreed("llama-3.1-tulu-3-8b-sft", minimum_prompts=1234567)]}
    show(told, facts)
    lines = out.getvalue().splitlines()
    tables = "\n".join(line for line in lines if not line.startswith("the table's"))
    assert max(map(len, tables.splitlines())) <= 80
    assert tables.count("11989/10000") == tables.count("70.0 (61.4-79.0)") == tables.count("-1.25e-05") == 3
    for part in ("1,234,567", "1000000.00", "16,000,000", "10,000,000,010", "12345.50", "  scores of judge\n"):
        assert part in tables, part
    assert re.search(r"\n    tulu-3- .*\n    wildchat-\n    unfiltered\n", tables)
