"""The pictures show what the numbers say, are the same for the same data, and stay small whatever the data.

pytest tests/test_pictures.py
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from PIL import Image
from report_facts import made

from deltadata import pictures, sheet
from deltadata.errors import UserError

ALL = ["deltas", "ladder", "quality", "length", "funnel", "agreement"]
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    """What a reader reads in a picture."""
    return [str(element.text).replace("\xa0", " ") for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def title(svg: str) -> str:
    return str(ElementTree.fromstring(svg).get("aria-label")).replace("\xa0", " ")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("plots")
    return folder, pictures.draw(*made(), folder)


def test_six_pictures_of_real_size(drawn: tuple[Path, dict[str, str]]) -> None:
    """Every picture is a light PNG some 1,400 points wide with ink of several colours on it."""
    folder, svgs = drawn
    assert list(svgs) == ALL
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.png" for name in ALL)
    for name in ALL:
        with Image.open(folder / f"{name}.png") as image:
            assert 1200 <= image.width <= 1600 and image.height > 300
            colours = image.convert("RGB").getcolors(1 << 20)
        assert len(colours) > 50
        assert max(colours)[1] == (255, 255, 255)


def test_the_svg_stands_in_a_themed_page(drawn: tuple[Path, dict[str, str]]) -> None:
    """Well-formed, text as text, every colour a variable of the page, no style sheet, no id shared with another."""
    svgs = drawn[1]
    ids: list[str] = []
    for svg in svgs.values():
        root = ElementTree.fromstring(svg)
        assert root.tag == f"{SVG}svg" and root.get("viewBox") and root.get("role") == "img"
        assert not re.search(r"(?:fill|stroke|color): ?(?:#|rgb|black)", svg)
        assert not [colour for colour in sheet.THEME if colour in svg]
        assert set(re.findall(r"var\(--(\w+)\)", svg)) <= set(sheet.THEME.values())
        assert "<style" not in svg and "<image" not in svg and "font-family" not in svg
        assert len(texts(svg)) > 5
        own = re.findall(r' id="([^"]+)"', svg)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) == set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_the_same_data_give_the_same_bytes(drawn: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """No date, no random id, no setting of the user's: neither in the PNG nor in the SVG."""
    import matplotlib

    folder, first = drawn
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 10, "svg.hashsalt": "other", "axes.facecolor": "red"}):
        assert pictures.draw(*made(), tmp_path) == first
        assert matplotlib.rcParams["font.size"] == 30
    for name in ALL:
        assert (folder / f"{name}.png").read_bytes() == (tmp_path / f"{name}.png").read_bytes()


def test_without_a_scorer_there_is_no_ladder_and_no_quality(tmp_path: Path) -> None:
    """They are left out, older files of them removed; the others show the lead measure."""
    (tmp_path / "ladder.png").write_bytes(b"older")
    svgs = pictures.draw(*made(scorers=()), tmp_path)
    assert list(svgs) == ["deltas", "length", "funnel", "agreement"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(svgs)
    assert "tokens of rejected" in texts(svgs["length"])
    assert "agreement on tokens" in texts(svgs["agreement"])


def test_titles_say_what_is_seen(tmp_path: Path) -> None:
    """With the figures of the report, written as people write them."""
    report, pairs, ladder = made(models=2)
    svgs = pictures.draw(report, pairs, ladder, tmp_path)
    (pairing,) = report["pairings"]
    own = {m: round(100 * pairing["measures"][m]["share_positive"]) for m in ("checks", "tokens")}
    agree = round(100 * pairing["measures"]["checks"]["agreement"])
    assert title(svgs["deltas"]) == f"The delta of checks is positive in {own['checks']} % of the pairs"
    assert title(svgs["agreement"]) == f"rung-0-it over rung-1-it: {agree} % agree on checks"
    among = "among pairs of like length 58 % agree on checks"
    assert title(svgs["length"]) == f"Chosen is the longer one in {own['tokens']} % of the pairs; {among}"
    assert title(svgs["funnel"]).startswith("347 of 400 pairs are kept (87 %); mean delta of checks +0.13, then ")
    assert title(svgs["ladder"]) == "checks: 1 of 1 steps of the ladder against the recipe’s order"
    assert title(svgs["quality"]).startswith("Mean delta of checks: −0.")


def test_a_ladder_that_holds_is_said_to_hold(drawn: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Only a step whose lower rung is the stronger one counts against the order."""
    svgs = pictures.draw(*made(scorers=("gpt4",)), tmp_path)
    assert title(svgs["ladder"]) == "gpt4: the ladder holds, every rung is above the next"
    assert "stroke-dasharray" not in svgs["ladder"]
    assert "stroke-dasharray" in drawn[1]["ladder"]


def strengths(*told: tuple[float, float]) -> tuple[dict[str, Any], pl.DataFrame, pl.DataFrame]:
    """A report whose rungs have these strengths and half widths of their intervals."""
    report, pairs, ladder = made(models=len(told), scorers=("gpt4",))
    for rung, (value, half) in zip(report["ladder"], told, strict=True):
        rung |= {"strength": {"gpt4": value}, "strength_ci95": {"gpt4": [value - half, value + half]}}
    return report, pairs, ladder


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(0.5, 0.1), (0.0, 0.1), (-0.5, 0.1)], "the ladder holds, every rung is above the next"),
        ([(0.5, 0.3), (0.0, 0.3), (-0.7, 0.1)], "1 of 2 steps of the ladder are undecided"),
        ([(0.1, 0.3), (0.0, 0.3), (-0.1, 0.3)], "2 of 2 steps of the ladder are undecided"),
        ([(-0.1, 0.3), (0.1, 0.3)], "1 of 1 steps of the ladder are undecided"),
        ([(-0.5, 0.1), (0.5, 0.1)], "1 of 1 steps of the ladder against the recipe’s order"),
        ([(-0.5, 0.1), (0.5, 0.1), (0.4, 0.1)], "1 of 2 steps of the ladder against the recipe’s order, 1 undecided"),
        ([(0.0, 0.1), (0.0, 0.1), (0.0, 0.1)], "no difference between the rungs"),
    ],
)
def test_the_ladders_heading_says_no_more_than_the_intervals(told: Any, expected: str, tmp_path: Path) -> None:
    """Steps whose intervals overlap are undecided, and equal strengths are no ladder that holds."""
    assert title(pictures.draw(*strengths(*told), tmp_path)["ladder"]) == f"gpt4: {expected}"


def test_a_step_is_between_neighbours_that_have_a_strength(tmp_path: Path) -> None:
    """A rung that nothing links is no reason to say that the ladder holds."""
    report, pairs, ladder = strengths((-0.5, 0.1), (0.0, 0.1), (0.5, 0.1))
    report["ladder"][1] |= {"strength": {"gpt4": None}, "strength_ci95": {"gpt4": None}}
    svg = pictures.draw(report, pairs, ladder, tmp_path)["ladder"]
    assert title(svg) == "gpt4: 1 of 1 steps of the ladder against the recipe’s order"
    assert "stroke-dasharray" in svg


def test_a_handful_of_pairs_makes_no_heading(tmp_path: Path) -> None:
    """Below thirty pairs no agreement, no strength and no quarter is a headline, whatever its interval."""
    report, pairs, ladder = made(models=2, prompts=5, scorers=("gpt4",))
    report["pairings"][0]["measures"]["gpt4"] |= {"agreement": 1.0, "agreement_ci95": [1.0, 1.0]}
    report["pairings"][0]["length_bias"]["matched"] |= {"pairs": 5, "agreement": 1.0, "agreement_ci95": [1.0, 1.0]}
    report["pairings"][0]["measures"]["tokens"]["share_positive"] = 0.6
    svgs = pictures.draw(report, pairs, ladder, tmp_path)
    few = "are too few"
    assert title(svgs["agreement"]) == f"rung-0-it over rung-1-it: 5 pairs {few} for an agreement on gpt4"
    assert (
        title(svgs["length"])
        == f"Chosen is the longer one in 3 of 5 pairs; 5 pairs of like length {few} for an agreement"
    )
    assert title(svgs["ladder"]) == f"gpt4: fewer than 30 scores a rung {few} to say which is stronger"
    assert title(svgs["quality"]) == f"Delta of gpt4: 5 pairs {few} to say how it goes with the chosen score"
    assert "var(--positive)" not in svgs["agreement"]
    assert "(fewer than" not in svgs["agreement"] and "fewer than 30 pairs" in " ".join(texts(svgs["agreement"]))


def test_a_tie_is_neither_for_nor_against(tmp_path: Path) -> None:
    """Deltas that are all nought are grey in the middle of their axis; so are ties among many other values."""
    report, pairs, ladder = made(models=2)
    svgs = pictures.draw(report, pairs.with_columns(delta_checks=pl.lit(0.0)), ladder, tmp_path)
    for name in ("quality", "length"):
        assert "var(--positive)" not in svgs[name] and "var(--negative)" not in svgs[name], name
        assert "var(--grey)" in svgs[name]
        assert {"−1", "0", "1"} <= {*texts(svgs[name])}, name
    title_of_one = "Mean delta of checks: 0, and half of the chosen scores or more are equal"
    level = ladder.with_columns(checks=pl.lit(1.0))
    same = pictures.draw(report, pairs.with_columns(delta_checks=pl.lit(0.0)), level, tmp_path)
    assert title(same["quality"]) == title_of_one
    some = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(0.0)).otherwise(-pl.int_range(pl.len()) / 7)
    svgs = pictures.draw(report, pairs.with_columns(delta_checks=some), ladder, tmp_path)
    for name in ("quality", "length"):
        assert "var(--positive)" not in svgs[name] and "var(--negative)" in svgs[name] and "var(--grey)" in svgs[name]


def test_the_funnel_names_what_each_rule_dropped(tmp_path: Path) -> None:
    """Pairs left and, in brackets, dropped; a rule that dropped nothing has no brackets."""
    said = texts(pictures.draw(*made(models=2), tmp_path)["funnel"])
    assert [text for text in said if re.match(r"\d", text) and "." not in text][:5] == [
        "400",
        "400",
        "392 (−8)",
        "347 (−45)",
        "347",
    ]


def test_a_histogram_counts_below_at_and_above_zero(tmp_path: Path) -> None:
    """The three shares stand beside it; a sign that no pair has is not mentioned."""
    report, pairs, ladder = made(models=2, prompts=10, scorers=())
    values = [-1.0, -2.0, -3.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, None]
    pairs = pairs.with_columns(delta_tokens=pl.Series(values, dtype=pl.Float64))
    said = texts(pictures.draw(report, pairs, ladder, tmp_path)["deltas"])
    assert [text for text in said if text.endswith(" 0")] == ["33 % < 0", "22 % = 0", "44 % > 0"]
    pairs = pairs.with_columns(delta_tokens=pl.lit(3.0))
    said = texts(pictures.draw(report, pairs, ladder, tmp_path)["deltas"])
    assert [text for text in said if text.endswith(" 0")] == ["100 % > 0"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1, 0, 0, 1], [-1.5, -0.5, 0.5, 1.5]),
        ([0.25, 0.5], [-0.125, 0.125, 0.375, 0.625]),
        ([3, 3, 3], [-1.5, 1.5, 4.5]),
        ([0, 0], [-1.5, -0.5, 0.5, 1.5]),
        ([], [-1, 0, 1]),
        (np.linspace(-10, 9.9, 2000), [-10, -5, 0, 5, 10]),
    ],
)
def test_bins_do_not_mix_signs(values: Any, expected: list[float]) -> None:
    """Few values get a bin each, centred; many get bins of a round width that meet at zero."""
    assert sheet.edges(np.array(values, dtype=float), 5) == pytest.approx(expected)


def test_bins_need_not_reach_zero() -> None:
    """A score is no difference: its axis begins where the scores do."""
    assert sheet.edges(np.array([7.0, 8.0, 9.0]), 5, zero=False) == pytest.approx([6.5, 7.5, 8.5, 9.5])
    assert sheet.edges(np.array([7.0, 7.0]), 5, zero=False) == pytest.approx([5.5, 6.5, 7.5, 8.5])


def test_many_pairings_and_pools_are_capped_and_the_rest_said(tmp_path: Path) -> None:
    """Thirty-six pairings over forty pools: pictures of bounded size that name what they leave to the tables."""
    svgs = pictures.draw(*made(models=9, pools=40, prompts=80), tmp_path)
    for name, said in (
        ("deltas", "first 8 of 36 pairings"),
        ("quality", "first 6 of 36"),
        ("agreement", "No pools: 1,440"),
    ):
        assert said in " ".join(texts(svgs[name]))
    for name, svg in svgs.items():
        assert len(svg) < 100_000
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.height < 4000


def test_many_pairs_make_no_larger_a_picture(tmp_path: Path) -> None:
    """Numbers are counted before they are drawn."""
    svgs = pictures.draw(*made(models=2, prompts=100_000, scorers=("gpt4",)), tmp_path)
    assert max(map(len, svgs.values())) < 40_000


def test_maps_show_the_side_that_they_name(tmp_path: Path) -> None:
    """Along x chosen's score or, where length leads, the length of rejected; the colour is the delta's sign."""
    first = pl.col("model") == "rung-0-it"
    report, pairs, ladder = made(models=2)
    ladder = ladder.with_columns(checks=pl.when(first).then(pl.lit(7.0)).otherwise(pl.lit(3.0)))
    quality = pictures.draw(report, pairs.with_columns(delta_checks=pl.lit(4.0)), ladder, tmp_path)["quality"]
    assert any(re.fullmatch(r"7(\.\d+)?", text) for text in texts(quality)) and "3" not in texts(quality)
    assert "var(--positive)" in quality and "var(--negative)" not in quality
    report, pairs, ladder = made(models=2, scorers=())
    ladder = ladder.with_columns(tokens=pl.when(first).then(pl.lit(1000.0)).otherwise(pl.lit(2000.0)))
    length = pictures.draw(report, pairs.with_columns(delta_tokens=pl.lit(-1000.0)), ladder, tmp_path)["length"]
    assert "2,000" in texts(length) and "1,000" not in texts(length)
    assert "var(--negative)" in length and "var(--positive)" not in length


def test_names_from_a_recipe_are_text(tmp_path: Path) -> None:
    """Nothing in a name is markup, arithmetic, or mistaken for a colour, a number to round or an id."""
    report, pairs, ladder = made(models=2, scorers=("gpt4",))
    report["ladder"][0]["model"] = 'a<b>&"$x$#1c2128-v1.23456'
    svg = pictures.draw(report, pairs, ladder, tmp_path)["ladder"]
    assert 'a<b>&"$x$#1c2128-v1.23456' in texts(svg)


def test_nothing_known_is_drawn_as_nothing(tmp_path: Path) -> None:
    """Null deltas, null strengths, a pairing without figures and a run without pairs raise nothing."""
    report, pairs, ladder = made(models=2)
    unknown = {key: None for key in report["pairings"][0]["measures"]["checks"]} | {"n": 0}
    report["pairings"][0]["measures"]["checks"] = unknown
    for rung in report["ladder"]:
        rung["strength"] = rung["strength_ci95"] = {"checks": None, "gpt4": None}
    blank = pairs.with_columns(delta_checks=pl.lit(None, pl.Float64))
    assert list(pictures.draw(report, blank, ladder, tmp_path)) == ["deltas", "funnel"]
    none = copy.deepcopy(report) | {"pairs": 0, "kept": 0, "pairings": [], "funnel": [], "ladder": []}
    assert pictures.draw(none, pairs.clear(), ladder.clear(), tmp_path) == {}


def test_without_matplotlib_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"\[report\]"):
        pictures.draw(*made(models=2, prompts=10), tmp_path)
