"""A sweep makes one run a row, pays for shared responses once, goes on after a kill, and tells all rows in one table.

pytest tests/test_sweep.py
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from openai_server import serve
from project import ENVIRONMENT, Project
from tiny_model import build

from deltadata import sweep, sweep_figures, sweep_picture, sweep_rows
from deltadata.errors import UserError

ROOT = Path(__file__).parent.parent
SCORES = {"a": (4, 3, 2, 1), "b": (2, 2, 2, 2), "c": (0, 1, 3, 1)}  # of four prompts
ROWS = """\
# Question: none, this is a test "with a lonely quote.
name,pair.pairings,filter.rules
ab,"[[a, b]]",
bc,"[[b, c]]",
# a comment between rows
ac,"[[a, c]]","[{min_delta: {measure: gpt, at_least: 0.0}}]"
"""


def project(folder: Path, rows: str = ROWS, prompts: int = 4, **scripted: Any) -> Project:
    """Three scripted rungs scored by hand, and a sweep over their pairings."""
    made = Project(folder, prompts=prompts, **scripted)
    made.recipe["generate"]["rungs"] = [{"name": name, "model": name} for name in "abc"]
    made.recipe |= {"score": [{"name": "gpt", "scores": "scores.csv"}], "holdout": 0.0}
    lines = [
        f"Tell me about number {number}.,{name},{scores[number % 4]}"
        for name, scores in SCORES.items()
        for number in range(prompts)
    ]
    (folder / "scores.csv").write_text("\n".join(["prompt,model,score", *lines]) + "\n")
    (folder / "pairs.csv").write_text(rows)
    return made


def swept(made: Project, *more: str, code: int = 0, file: str = "pairs.csv") -> str:
    return made.run("sweep", file, "--recipe", "recipe.yaml", *more, code=code)


def told(made: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.folder / "runs" / "pairs" / "sweep.json").read_text())
    return found


def rows(made: Project) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in told(made)["rows"]}


def test_rows_over_one_ladder_generate_once_and_the_figures_are_those_by_hand(tmp_path: Path) -> None:
    """Four prompts, three rungs: twelve requests for three rows. Deltas 2 1 0 -1; 2 1 -1 1; 4 2 -1 0 less one."""
    made = project(tmp_path)
    said = swept(made, "--json")

    assert made.requests() == {"a": 4, "b": 4, "c": 4}
    assert json.loads(made.stdout)["pairs"]["rows"] == told(made)["rows"]
    found = rows(made)
    numbers = ("pairs", "kept", "delta", "kept_delta", "agreement", "quality", "kept_quality")
    by_hand = {
        "ab": (4, 4, 0.5, 0.5, 0.625, 2.5, 2.5),
        "bc": (4, 4, 0.75, 0.75, 0.75, 2.0, 2.0),
        "ac": (4, 3, 1.25, 2, 0.625, 2.5, 8 / 3),
    }
    assert {name: tuple(row[key] for key in numbers) for name, row in found.items()} == by_hand
    assert found["ac"]["overrides"]["filter.rules"] == "[{min_delta: {measure: gpt, at_least: 0.0}}]"
    assert found["ab"]["overrides"] == {"pair.pairings": "[[a, b]]"}
    assert [row["state"] for row in found.values()] == ["done: dataset"] * 3 and found["ab"]["measure"] == "gpt"
    folder = tmp_path / "runs" / "pairs"
    with (folder / "sweep.csv").open() as file:
        line = list(csv.DictReader(file))[2]
    assert (line["name"], line["kept"], line["kept_delta"], line["gain"]) == ("ac", "3", "2.0", "")
    assert line["pair.pairings"] == "[[a, c]]" and line["agreement_low"] != ""
    heat = told(made)["heat"]
    assert (heat["of"], heat["rungs"]) == ("kept_delta", ["a", "b", "c"])
    cells = {(cell["chosen"], cell["rejected"]): cell["value"] for cell in heat["cells"]}
    assert cells == {("a", "b"): 0.5, ("b", "c"): 0.75, ("a", "c"): 2.0}
    assert (folder / "sweep.png").stat().st_size > 10_000
    assert "delta of gpt" in said and "62.5" in said


def test_a_row_is_a_run_as_any_other_and_shares_its_bytes(tmp_path: Path) -> None:
    """`deltadata run` on its own recipe finds all done; its responses are the ladder's files; its pairs its own."""
    made = project(tmp_path)
    swept(made)
    folder = tmp_path / "runs" / "pairs"

    assert "nothing to do" in made.run("run", "runs/pairs/bc/recipe.yaml", "--run", "runs/pairs/bc")
    part = Path("responses") / "a" / "part-00000.parquet"
    assert (folder / "ladder" / part).stat().st_ino == (folder / "bc" / part).stat().st_ino
    pairs = pl.read_parquet(folder / "bc" / "pairs.parquet")
    assert pairs["chosen_model"].unique().to_list() == ["b"]
    assert sum(made.requests().values()) == 12


def test_what_is_done_is_skipped_and_a_grown_pool_asks_for_what_is_new(tmp_path: Path) -> None:
    made = project(tmp_path, "\n".join(ROWS.splitlines()[:4]))
    swept(made)
    record = tmp_path / "runs" / "pairs" / "ab" / "record.json"
    before = record.stat().st_mtime_ns

    assert swept(made).count("nothing to do, it is done up to dataset") == 2
    assert record.stat().st_mtime_ns == before
    made.write_pool(range(5))
    swept(made)
    assert made.requests() == {"a": 5, "b": 5, "c": 5}
    assert rows(made)["ab"]["pairs"] == 5


def test_a_killed_sweep_goes_on_and_its_table_is_that_of_an_unbroken_one(tmp_path: Path) -> None:
    """kill -9 while the ladder is answered, and again once a row is done: no answer that was written is asked again."""
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole, killed = (project(folder, prompts=24, delay=0.01) for folder in folders)
    for each in (whole, killed):
        each.recipe["generate"]["part_rows"] = 4
    swept(whole)
    home = folders[1] / "runs" / "pairs"
    for ready in (lambda: sum(killed.requests().values()) > 30, (home / "ab" / "dataset" / "README.md").exists):
        process = killed.start("sweep", "pairs.csv", "--recipe", "recipe.yaml")
        while process.poll() is None and not ready():
            time.sleep(0.005)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    between = sum(killed.requests().values())
    swept(killed)

    assert between == sum(killed.requests().values()) <= 3 * 24 + 4  # one part was lost at the most
    assert told(killed) == told(whole)
    assert (home / "sweep.csv").read_text() == (folders[0] / "runs" / "pairs" / "sweep.csv").read_text()


def test_only_makes_the_rows_named_and_a_dry_run_nothing(tmp_path: Path) -> None:
    made = project(tmp_path)
    said = swept(made, "--dry-run", "--json")
    assert not (tmp_path / "runs").exists() and not made.requests()
    assert json.loads(made.stdout)["pairs"]["ladders"][0]["to be answered"] == dict.fromkeys("abc")
    assert "a dry run: nothing is changed" in said

    swept(made, "--only", "bc")
    assert [row["state"] for row in rows(made).values()] == ["to do", "done: dataset", "to do"]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    swept(made, "--only", "bc", "--only", "ac", "--until", "dataset", "--dry-run", "--json")
    assert [row["would"] for row in json.loads(made.stdout)["pairs"]["rows"]] == [[], [], ["dataset"]]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == files
    assert "known are: ab, bc, ac" in swept(made, "--only", "bd", code=2)


def test_a_failing_row_is_told_and_stops_no_other(tmp_path: Path) -> None:
    """A rule that drops every pair of one row: exit 2, since only the user can mend it, and the mended row is made."""
    bad = ROWS.replace('bc,"[[b, c]]",', 'bc,"[[b, c]]","[{min_length: 100000}]"')
    made = project(tmp_path, bad)
    said = swept(made, code=2)
    found = rows(made)
    assert [found[name]["state"] for name in ("ab", "bc", "ac")] == ["done: dataset", "failed", "done: dataset"]
    assert "every pair was dropped" in found["bc"]["why"] and "kept" not in found["bc"]
    assert "1 of 3 rows failed: bc" in said and "mend what was said of them; finished rows are skipped" in said

    (tmp_path / "pairs.csv").write_text(ROWS)
    swept(made, code=2)  # its filter was recorded: another one is refused, as everywhere
    assert "no longer says" in rows(made)["bc"]["why"]
    swept(made, "--overwrite")
    assert [row["state"] for row in rows(made).values()] == ["done: dataset"] * 3
    assert sum(made.requests().values()) == 12


def test_a_ladder_that_fails_fails_its_rows_alone(tmp_path: Path) -> None:
    """A rung whose port does not answer belongs to one row; what the ladders share is not asked again. Exit 3, though
    another row fails of what only the user can mend."""
    text = ROWS.replace("name,pair", "name,generate.rungs.2.engine,pair").replace("ab,", "ab,,").replace("ac,", "ac,,")
    made = project(tmp_path, text.replace("bc,", "bc,server,") + 'no,,"[[a, c]]",[{min_length: 100000}]\n')
    made.recipe["runtime"]["base_url"] = "http://127.0.0.1:9/v1"
    swept(made, code=3)

    found = rows(made)
    assert [found[name]["state"] for name in ("ab", "bc", "ac")] == ["done: dataset", "failed", "done: dataset"]
    assert found["no"]["exit_code"] == 2 and found["bc"]["exit_code"] == 3
    assert found["bc"]["ladder"].startswith("ladder-") and "127.0.0.1:9" in found["bc"]["why"]
    assert made.requests() == {"a": 4, "b": 4, "c": 4}


def test_ladders_that_differ_in_a_rung_share_the_others(tmp_path: Path) -> None:
    """One row samples its last rung: only that is asked for; the map of one ladder is not drawn over two."""
    text = 'name,generate.rungs.2.sampling,pair.pairings\nab,,"[[a, b]]"\nhot,{temperature: 0.7},"[[a, c]]"\n'
    made = project(tmp_path, text)
    said = swept(made)

    assert made.requests() == {"a": 4, "b": 4, "c": 8}
    assert "a: 4 response(s) are those of ladder" in said
    assert told(made)["heat"] is None and "no picture yet" in said


OTHERS = """\
name,pair.pairings,generate.sampling.temperature
r1,"[[a, b]]",0.9
r2,"[[b, c]]",0.9
"""


def test_neither_order_nor_names_of_rows_ask_for_anything_anew(tmp_path: Path) -> None:
    """Two rows of one ladder that is not the base recipe's: turned round and renamed it stays, and done rows do. Lost
    or called as formerly, it comes back by links from what lies beside it."""
    made = project(tmp_path, OTHERS)
    made.recipe["score"].append({"name": "checks"})
    swept(made)
    assert made.requests() == {"a": 4, "b": 4, "c": 4}
    (ladder,) = (tmp_path / "runs" / "pairs").glob("ladder*")
    assert ladder.name == told(made)["rows"][0]["ladder"] == told(made)["rows"][1]["ladder"]

    head, one, two = OTHERS.splitlines()
    (tmp_path / "pairs.csv").write_text("\n".join([head, two, one]))
    assert swept(made).count("nothing to do") == 2
    (tmp_path / "pairs.csv").write_text("\n".join([head, two, one.replace("r1", "rX")]))
    assert "nothing to do" in swept(made)
    assert [path.name for path in (tmp_path / "runs" / "pairs").glob("ladder*")] == [ladder.name]

    ladder.rename(ladder.with_name("ladder-r1"))
    swept(made, "--dry-run", "--json")
    plan = json.loads(made.stdout)["pairs"]
    assert plan["ladders"][0]["to be answered"] == {} and plan["unused"] == ["ladder-r1"]
    said = swept(made)
    assert "a: 4 response(s) are those of ladder-r1" in said and "checks: 0 score(s) are those of ladder-r1" in said
    assert said.count("nothing to do") == 2 and sum(made.requests().values()) == 12


def test_a_dry_run_says_what_would_be_refused_or_made_anew_and_how_much(tmp_path: Path) -> None:
    """Another temperature for rows that are done, 12 answers; another pairing of one row, and none."""
    made = project(tmp_path)
    swept(made)
    asked = ("--dry-run", "--json")
    hot = ("--set", "generate.sampling.temperature=0.8")
    said = swept(made, *asked, *hot)
    plan = json.loads(made.stdout)["pairs"]
    (ladder,), row = plan["ladders"], plan["rows"][0]
    assert ladder["to be answered"] == {"a": 4, "b": 4, "c": 4}
    assert ladder["refused"]["responses/a"] == ["sampling.temperature: 0.0 -> 0.8"] == row["refused"]["responses/a"]
    assert row["would"] == [] and ladder["made anew"] == {}
    assert "a 4, b 4, c 4; refused" in " ".join(said.split()) and "--overwrite" in said
    refused = swept(made, *hot, code=2)
    assert refused.count("sampling.temperature: 0.0 -> 0.8") == 9 and sum(made.requests().values()) == 12

    swept(made, *asked, *hot, "--overwrite")
    plan = json.loads(made.stdout)["pairs"]
    assert plan["rows"][0]["would"] == ["dataset"] and [*plan["rows"][0]["made anew"]] == [
        f"responses/{x}" for x in "abc"
    ]
    assert plan["ladders"][0]["to be answered"] == {"a": 4, "b": 4, "c": 4} and plan["ladders"][0]["refused"] == {}

    (tmp_path / "pairs.csv").write_text(ROWS.replace("[[b, c]]", "all"))
    swept(made, *asked)
    plan = json.loads(made.stdout)["pairs"]
    assert [row["would"] for row in plan["rows"]] == [[], [], []] and plan["ladders"][0]["to be answered"] == {}
    assert [[*row["refused"]] for row in plan["rows"]] == [[], ["pairs"], []]
    assert plan["rows"][1]["refused"]["pairs"][0].startswith("pair.pairings: ")
    swept(made, code=2)
    swept(made, "--overwrite")
    assert rows(made)["bc"]["pairs"] == 12 and sum(made.requests().values()) == 12


def test_a_row_with_other_responses_is_refused_before_they_are_paid_for(tmp_path: Path) -> None:
    """Another seed in its cell is another ladder, which nobody has: nothing is asked until it is to be overwritten."""
    made = project(tmp_path, "name,seed\nx,1\n")
    swept(made)
    (tmp_path / "pairs.csv").write_text("name,seed\nx,2\n")
    assert "seed: 1 -> 2" in swept(made, code=2) and sum(made.requests().values()) == 12
    swept(made, "--overwrite")
    assert sum(made.requests().values()) == 24


def test_a_dry_run_knows_a_grown_pool_and_what_another_ladder_has(tmp_path: Path) -> None:
    """Of a grown pool no number is known; a ladder that differs in a rung lacks that one alone."""
    text = 'name,generate.rungs.2.sampling,pair.pairings\nab,,"[[a, b]]"\n'
    made = project(tmp_path, text)
    swept(made)
    (tmp_path / "pairs.csv").write_text(text + 'hot,{temperature: 0.7},"[[a, c]]"\n')
    swept(made, "--dry-run", "--json")
    plan = json.loads(made.stdout)["pairs"]
    assert [ladder["to be answered"] for ladder in plan["ladders"]] == [{}, {"c": 4}]
    assert [row["would"] for row in plan["rows"]] == [[], ["dataset"]]
    made.write_pool(range(5))
    swept(made, "--dry-run", "--json", "--only", "ab")
    plan = json.loads(made.stdout)["pairs"]
    assert [ladder["to be answered"] for ladder in plan["ladders"]] == [dict.fromkeys("abc")]
    assert [row["would"] for row in plan["rows"]] == [["dataset"], []]


def test_no_judge_is_asked_the_same_for_two_rows(tmp_path: Path) -> None:
    """Comparisons follow the pairings of a row: two rows of one pairing ask once, 2 orders of 8 prompts, whichever
    comes first; rows that differ in scorers alone share what their judges said, and what checks made of it."""
    answers = 8
    made = project(tmp_path, prompts=answers)
    for name, worth in (("a", 3), ("b", 2), ("c", 1)):
        texts = [
            {"prompt": f"Tell me about number {n}.", "response": f"{name}{n} worth:{worth}"} for n in range(answers)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    made.recipe["generate"]["rungs"] = [{"name": name, "responses": f"{name}.jsonl"} for name in "abc"]
    made.recipe |= {"pair": {"pairings": [["a", "b"]]}, "filter": {"rules": []}}
    with serve(judge={}) as loopback:
        made.recipe["score"] = [{"name": "pw", "scorer": "judge", "model": "m", "engine": "server", "form": "pairwise"}]
        made.recipe["runtime"] = {"base_url": loopback.base_url}
        lines = ['bc,"[[b, c]]",', 'also,"[[b, c]]",[{max_repetition: 0.9}]', "base,,"]
        (tmp_path / "pairs.csv").write_text("\n".join(["name,pair.pairings,filter.rules", *lines]))
        swept(made)
        assert len(loopback.requests()) == 2 * 2 * answers
        assert [row["delta"] for row in rows(made).values()] == [rows(made)["bc"]["delta"]] * 2 + [
            rows(made)["base"]["delta"]
        ]
        rating = {"name": "r", "scorer": "judge", "model": "m", "engine": "server"}
        both = json.dumps([*made.recipe["score"], rating]).replace('"', '""')
        (tmp_path / "pairs.csv").write_text(
            f'name,pair.pairings,score\nbase,,\ntwo,"[[b, c]]","{both}"\nagain,,"{both}"\n'
        )
        swept(made)
        assert len(loopback.requests()) == 2 * 2 * answers + 3 * answers

        head, *lines = 'name,pair.pairings,seed\nab,"[[a, b]]",5\ncb,"[[b, c]]",5'.splitlines()
        (tmp_path / "pairs.csv").write_text("\n".join([head, *lines]))
        swept(made)
        (tmp_path / "pairs.csv").write_text("\n".join([head, *reversed(lines)]))
        assert swept(made).count("nothing to do") == 2


MISTAKES = [
    ('ab,"[[a, d]]",', "pairs.csv:3, column pair.pairings", "no rung is called 'd'"),
    ('ab,"[[a, b]]",[finnished]', "pairs.csv:3, column filter.rules", "did you mean 'finished'"),
    ('ab,"[[a, b",', "pairs.csv:3, column pair.pairings", "not YAML"),
    ("ab,[[a, b]],", "pairs.csv:3", "4 cells below 3 columns"),
    ('bc,"[[a, b]]",', "pairs.csv:4, column name", "'bc' is there twice (first in line 3)"),
    ('a/b,"[[a, b]]",', "pairs.csv:3, column name", "is not a name"),
    ('ladder,"[[a, b]]",', "pairs.csv:3, column name", "the sweep itself"),
    ('ab,"[[a, b]]","[{min_delta: {measure: gtp, at_least: 0}}]"', "column filter.rules", "no measure is called 'gtp'"),
    ('ab,"[[a, b]]","[[a', "pairs.csv:3", "not CSV"),
]


@pytest.mark.parametrize(("line", "where", "what"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_wrong_row_is_refused_with_its_place_before_anything_runs(
    tmp_path: Path, line: str, where: str, what: str
) -> None:
    made = project(tmp_path, ROWS.replace('ab,"[[a, b]]",', line))
    said = swept(made, code=2)
    assert where in said and what in said and "cure: " in said
    assert not (tmp_path / "runs").exists() and not made.requests()


def test_all_wrong_rows_are_told_at_once(tmp_path: Path) -> None:
    """Each with its line; a key that no recipe has, a line of the base recipe that a cell made wrong."""
    text = "name,pair.pairing,generate.rungs.0.name\nx,ends,\ny,,\nz,,b\n"
    said = swept(project(tmp_path, text), code=2)
    assert "pairs.csv:2, column pair.pairing" in said and "did you mean 'pairings'" in said
    assert "pairs.csv:4" in said and "the name 'b' is given 2 times" in said and "pairs.csv:3" not in said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no rows"),
        ("name,seed\n", "has no rows"),
        ("nam,seed\nx,1\n", "did you mean 'nam'"),
        ("name,seed,seed\nx,1,2\n", "'seed' is there twice"),
        ("name,\nx,1\n", "a column has no name"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(UserError) as refused:
        sweep_rows.load(tmp_path / "pairs.csv", ROOT / "recipes" / "quickstart.yaml")
    assert what in str(refused.value) and refused.value.cure


@pytest.mark.parametrize(
    ("rows", "section", "until", "where", "what"),
    [
        ("train.args.beta\nx,5.0", {}, "train", "pairs.csv:2", "train.student: no student is named"),
        ("train.args.bata\nx,5.0", {"student": "m"}, "train", "column train.args.bata", "did you mean 'beta'"),
        ("train.args.beta\nx,wide", {"student": "m"}, "train", "column train.args.beta", "is no float"),
        ("train.args.beta\nx,5.0", {"student": "m"}, "evaluate", "pairs.csv:2", "nothing is held out"),
        ("train.args.beta\nx,5.0", {"student": "m"}, "trian", "--until", "did you mean 'train'"),
    ],
)
def test_training_is_checked_before_the_data_is_made(
    tmp_path: Path, rows: str, section: dict[str, Any], until: str, where: str, what: str
) -> None:
    """No student, an argument that TRL does not have, a value it does not take, nothing held out, no such stage."""
    pytest.importorskip("trl")
    made = project(tmp_path, f"name,{rows}\n")
    made.recipe["train"] = section
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(made.recipe))
    table = sweep_rows.load(tmp_path / "pairs.csv", tmp_path / "recipe.yaml")
    sweep.check(table, sweep.Asked(tmp_path))
    with pytest.raises(UserError) as refused:
        sweep.check(table, sweep.Asked(tmp_path, until))
    assert where in str(refused.value.where) and what in str(refused.value)


def test_the_base_recipe_is_named_by_the_csv_or_the_option(tmp_path: Path) -> None:
    """Beside the CSV, else here; neither is refused, as are two sweeps of one name."""
    made = project(tmp_path, "# Recipe: base.yaml\nname,seed\nx,1\n")
    assert "base.yaml" in made.run("sweep", "pairs.csv", "--dry-run", code=2)  # named, but not there
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(made.recipe))
    made.run("sweep", "pairs.csv", "--dry-run")
    (tmp_path / "pairs.csv").write_text("name,seed\nx,1\n")
    assert "no base recipe is named" in made.run("sweep", "pairs.csv", code=2)
    assert "two sweeps" in made.run("sweep", "pairs.csv", "pairs.csv", "--recipe", "base.yaml", code=2)


def test_chosen_quality_is_that_of_the_chosen_responses(tmp_path: Path) -> None:
    """By score a takes two prompts (4, 3), b or c the others: 2 or 3 and 2; what picked them has no agreement."""
    rule = '"[{min_delta: {measure: gpt, at_least: 2}}]"'
    made = project(tmp_path, f"name,pair.pairings,filter.rules\nscore,{{by: gpt}},\nmost,{{by: gpt}},{rule}\n")
    said = swept(made)
    found = rows(made)
    assert found["score"]["quality"] == (4 + 3 + 3 + 2) / 4 == found["most"]["quality"]
    assert found["most"]["kept"] == 2 and found["most"]["kept_quality"] == (4 + 3) / 2
    assert found["score"]["agreement"] is None and said.count("it picked") == 2


def test_figures_that_were_recorded_without_their_quality_are_told_anew(tmp_path: Path) -> None:
    made = project(tmp_path)
    swept(made)
    record = tmp_path / "runs" / "pairs" / "record.json"
    tree = json.loads(record.read_text())
    before = tree["tables"]["ac"]["facts"]
    tree["tables"]["ac"]["facts"] = {key: value for key, value in before.items() if key != "kept_quality"} | {
        "quality": 9
    }
    record.write_text(json.dumps(tree))
    assert "ac: nothing to do" in swept(made)
    assert rows(made)["ac"]["quality"] == 2.5 and json.loads(record.read_text())["tables"]["ac"]["facts"] == before


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("pair.pairingz", "did you mean 'pairings'"),
        ("name.x", "has no keys"),
        ("generate.rungs.7.model", "no item '7'"),
        ("score.0.colour", "unknown key"),
    ],
)
def test_a_column_that_is_no_key_is_refused_though_its_cells_are_empty(tmp_path: Path, column: str, what: str) -> None:
    """A key that a recipe may have is fine, whether the base recipe gives it or not."""
    made = project(tmp_path, f"name,train.args.beta,holdout,pair.also.share,{column}\nx,,,,\n")
    said = swept(made, code=2)
    assert f"pairs.csv:1, column {column}" in said and what in said and "pair.also" not in said
    (tmp_path / "pairs.csv").write_text("name,train.args.beta,holdout,pair.also.share\nx,,,\n")
    swept(made, "--dry-run")


def test_the_base_recipe_may_have_spaces_and_its_absence_names_the_csv(tmp_path: Path) -> None:
    made = project(tmp_path, "# Recipe: my recipe.yaml \nname,seed\nx,1\n")
    said = made.run("sweep", "pairs.csv", "--dry-run", code=2)
    assert "pairs.csv: the base recipe 'my recipe.yaml' is not there" in said
    (tmp_path / "my recipe.yaml").write_text(yaml.safe_dump(made.recipe))
    made.run("sweep", "pairs.csv", "--dry-run")


def test_tables_fit_eighty_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "80")
    said = swept(project(tmp_path), "--until", "dataset")
    start = said.index("delta of gpt")
    assert max(map(len, said[start : said.index("table: ")].splitlines())) <= 80 and "62.5 (" in said


def test_a_fit_is_least_squares_and_its_interval_needs_rows() -> None:
    """y = 0.02 + 0.1 x with residuals that leave it so: slope 0.1; of three rows no interval, of one x no fit."""
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    y = 0.02 + 0.1 * x + 0.003 * np.array([1, -1, -1, 1, 0, 0])
    found = sweep_figures.fit(x, y, 0)
    slope = np.polyfit(x, y, 1)
    assert found is not None
    assert found["slope"] == pytest.approx(slope[0]) and found["n"] == 6
    assert found["line"][0] == pytest.approx(slope[1]) and found["line"][-1] == pytest.approx(slope[1] + 5 * slope[0])
    low, high = found["ci95"]
    assert 0.09 < low < slope[0] < high < 0.11 and len(found["band"]) == len(found["x"])
    few = sweep_figures.fit(x[:3], y[:3], 0)
    assert few and few["ci95"] is None and "too few" in sweep_figures.said(few)
    assert sweep_figures.fit(x[:2], y[:2], 0) is None and sweep_figures.fit(np.ones(6), y, 0) is None
    for ends, said in (((0.1, 0.2), "rises"), ((-0.2, -0.1), "FALLS"), ((-0.1, 0.1), "no clear slope")):
        assert said in sweep_figures.said({"slope": 0.0, "n": 6, "ci95": ends})


def row(name: str, delta: float, gain: float | None, pairing: list[str], **more: Any) -> dict[str, Any]:
    made = {"name": name, "overrides": {}, "measure": "gpt", "kept": 4, "kept_delta": delta, "quality": 1.0}
    made["kept_quality"] = 1 + delta
    ends = None if gain is None else [gain - 0.05, gain + 0.05]
    return made | {"gain": gain, "gain_ci95": ends, "pairing": pairing, "rungs": [*"abc"], "ladder": "ladder"} | more


def test_the_map_is_of_the_gain_once_there_is_one_and_averages_rows_of_a_cell() -> None:
    made = [row("1", 1.0, 0.1, ["a", "b"]), row("2", 1.0, 0.3, ["a", "b"]), row("3", 2.0, None, ["a", "c"])]
    assert sweep_figures.heat(made) is None  # one cell is no map
    made.append(row("4", 3.0, -0.2, ["b", "c"]))
    found = sweep_figures.heat(made)
    assert found is not None and found["of"] == "gain"
    assert {(c["chosen"], c["rejected"]): (round(c["value"], 9), c["rows"]) for c in found["cells"]} == {
        ("a", "b"): (0.2, 2),
        ("b", "c"): (-0.2, 1),
    }
    assert sweep_figures.heat([*made, row("5", 1.0, 0.0, ["a", "c"], ladder="ladder-5")]) is None


def test_the_picture_has_both_fits_and_the_map(tmp_path: Path) -> None:
    pairings = [["a", "b"], ["a", "c"], ["b", "c"]]
    made = [row(f"r{n}", 0.3 * n, 0.05 * n - 0.1, pairings[n % 3]) for n in range(6)]
    told = {"sweep": "s", "rows": made, "fits": sweep_figures.fits(made, 0), "heat": sweep_figures.heat(made)}
    assert sweep_picture.draw(told, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 30_000
    lines = sweep_figures.sentences(told)
    assert len(lines) == 3 and "share prompts" in lines[-1] and "rises" in lines[0]
    bare = [each | {"quality": None, "kept_quality": None, "gain": None, "margin_accuracy": 0.5} for each in made]
    lines = sweep_figures.sentences({"rows": bare, "fits": sweep_figures.fits(bare, 0)})
    assert len(lines) == 2 and "deltas are of gpt" in lines[0] and "no gain" in lines[1]
    nothing = {"sweep": "s", "rows": [], "fits": dict.fromkeys(("kept_delta", "kept_quality")), "heat": None}
    assert not sweep_picture.draw(nothing, tmp_path / "none.png")


SHIPPED = sorted(ROOT.glob("recipes/sweeps/*.csv"))
CELLS = """\
1.5b 1e-7/5
3b 7e-8/5 1e-7/10
7b 5e-8/10 7e-8/5 1e-7/5
14b 5e-8/10 5e-8/10 5e-8/10 5e-8/5
32b 5e-8/10 5e-8/10 5e-8/10 5e-8/5 7e-8/5
72b 5e-8/10 7e-8/5 7e-8/10 1e-7/10 5e-8/10 5e-8/10
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_sweep_parses_and_says_its_question_command_and_cost(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Question", "Data", "Recipe", "Command", "Cost"):
        assert any(line.startswith(f"# {word}:") for line in header)
    cells = sweep_rows.read(path)
    assert cells.base is not None
    if not cells.base.is_file():
        pytest.skip(f"{cells.base} is not here yet")
    assert len(sweep_rows.load(path).ladders) >= 1


def test_the_21_pairs_have_the_released_rates_and_betas() -> None:
    """Chosen by row, rejected from 0.5B up: learning rate / beta, and seed 8 for the first alone."""
    sizes = ["0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"]
    wanted = []
    for line in CELLS.splitlines():
        chosen, *settings = line.split()
        for rejected, setting in zip(sizes, settings, strict=False):
            rate, beta = setting.split("/")
            wanted.append((f"[[qwen2.5-{chosen}, qwen2.5-{rejected}]]", float(rate), float(beta)))
    cells = [cells for _, cells in sweep_rows.read(ROOT / "recipes" / "sweeps" / "qwen_pairs.csv").rows]
    keys = ("train.args.learning_rate", "train.args.beta")
    assert [(row["pair.pairings"], *(float(row[key]) for key in keys)) for row in cells] == wanted
    assert len(wanted) == 21 and [row["train.args.seed"] for row in cells] == ["8"] + [""] * 20


@pytest.mark.slow
def test_rows_are_trained_and_evaluated_and_their_gains_told(tmp_path: Path) -> None:
    """Two pairings, one by a launcher: losses and gains of both; the second evaluation asks the reference nothing, as
    the held-out prompts are those of the first; what is trained is not trained again."""
    pytest.importorskip("trl")
    build(tmp_path / "tiny")
    made = project(
        tmp_path, 'name,pair.pairings,train.args.beta\nab,"[[a, b]]",\nac,"[[a, c]]",2.0\n', 24, characters=40
    )
    lines = [{"prompt": f"Tell me about number {n}.", "check": [{"kind": "include", "any": ["th"]}]} for n in range(24)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made.recipe["collect"]["pools"][0]["keep"] = ["check"]
    made.recipe["score"] = [{"name": "checks"}]
    made.recipe["generate"]["sampling"] = {"max_tokens": 12}
    args = {"learning_rate": 2e-3, "report_to": "none", "max_steps": 2}
    made.recipe |= {"filter": {"rules": []}, "holdout": 0.4, "train": {"student": "tiny", "batch": 4, "args": args}}
    said = swept(made, "--until", "evaluate", "--only", "ab")
    found = rows(made)
    assert found["ab"]["state"] == "done: evaluate" and found["ac"]["state"] == "to do"
    assert found["ab"]["loss"] > 0 and 0 <= found["ab"]["margin_accuracy"] <= 1
    assert found["ab"]["gain"] == pytest.approx(found["ab"]["checks_after"] - found["ab"]["checks_before"])
    assert "students on held-out pairs" in said

    launcher = re.sub(r"\s", r"\\ ", str(ROOT / ".venv" / "bin" / "python"))
    said = swept(made, "--until", "train", "--launch", launcher)
    assert "ab: nothing to do, it is done up to evaluate" in said and rows(made)["ac"]["state"] == "done: train"
    model = tmp_path / "runs" / "pairs" / "ac" / "train" / "dpo" / "model.safetensors"
    before = model.stat().st_mtime_ns
    said = swept(made, "--until", "evaluate")
    assert rows(made)["ac"]["state"] == "done: evaluate" and model.stat().st_mtime_ns == before
    assert "student answers" in said and "reference answers" not in said
    arguments = json.loads((model.parent / "train.json").read_text())["tables"]["train"]["facts"]["arguments"]
    assert arguments["beta"] == 2.0
    assert "cannot be started" in swept(
        made, "--overwrite", "--set", "seed=1", "--until", "train", "--launch", "no/such", code=2
    )
