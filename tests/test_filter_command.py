"""`deltadata filter` as a user runs it: a dry run that changes nothing, and one message for each mistake.

pytest tests/test_filter_command.py
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from project import Project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run of 40 pairs."""
    project = Project(tmp_path_factory.mktemp("made"))
    project.recipe["generate"]["sampling"] = {"max_tokens": 70}
    project.run()
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A copy of it, to spoil."""
    copy = Project(tmp_path)
    copy.recipe["generate"]["sampling"] = {"max_tokens": 70}
    shutil.copytree(made.path, copy.path)
    return copy


def contents(project: Project) -> dict[str, tuple[bytes, int]]:
    """Every file of the run folder but the lock, with its time of change."""
    files = [path for path in project.path.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(project.path)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def funnel(said: str) -> dict[str, tuple[int, int]]:
    """The printed table: what each rule drops, and how many are left."""
    rows = [line.split() for line in said.split("rules, and the delta of ")[1].splitlines()]
    return {row[0]: (int(row[1]), int(row[2])) for row in rows if len(row) > 2 and row[1].isdigit()}


def halves(project: Project) -> dict[str, Any]:
    """Rules with a hand-counted outcome: the 20 pairs of the highest delta, then those of a short chosen side."""
    pairs = project.pairs()
    ended = pairs.filter((pl.col("chosen_finish_reason") == "stop") & (pl.col("rejected_finish_reason") == "stop"))
    bound = float(ended["delta_characters"].sort(descending=True)[9])
    return {
        "rules": ["finished", {"min_delta": {"measure": "characters", "at_least": bound}}],
        "where": "chosen_characters < 250",
    }


def expected(project: Project, asked: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """What these rules drop, counted from the texts themselves."""
    left, told = project.pairs(), {"not_empty": (0, 40), "texts_differ": (0, 40)}
    bound = asked["rules"][1]["min_delta"]["at_least"]
    texts = {side: pl.col(side).list.last().struct.field("content").str.len_chars() for side in ("chosen", "rejected")}
    steps = {
        "finished": (pl.col("chosen_finish_reason") == "stop") & (pl.col("rejected_finish_reason") == "stop"),
        "min_delta": texts["chosen"].cast(pl.Int64) - texts["rejected"].cast(pl.Int64) >= bound,
        "where": texts["chosen"] < 250,
    }
    for name, keeps in steps.items():
        kept = left.filter(keeps)
        told[name] = (left.height - kept.height, kept.height)
        left = kept
    return told


def test_a_dry_run_shows_every_rule_and_changes_no_byte(project: Project) -> None:
    """Each rule with what it drops and leaves, and the same folder as before, down to the times of its files."""
    project.recipe["filter"] = halves(project)
    before, counted = contents(project), expected(project, project.recipe["filter"])
    assert all(counted[name][0] for name in ("finished", "min_delta", "where"))

    said = project.run("filter", "recipe.yaml", "--dry-run")

    assert funnel(said) == counted
    assert said.rstrip().endswith("a dry run: nothing was changed")
    assert contents(project) == before
    assert not project.requests()


def test_what_the_dry_run_said_is_what_the_filter_does(project: Project) -> None:
    """The same counts in the record and in pairs.parquet, once it is told to overwrite."""
    project.recipe["filter"] = halves(project)
    counted = {
        name: dropped for name, (dropped, _) in funnel(project.run("filter", "recipe.yaml", "--dry-run")).items()
    }
    before = project.pairs().drop("dropped_by")

    assert 'filter.rules: ["finished"] -> ' in project.run("filter", "recipe.yaml", code=2)
    project.run("filter", "recipe.yaml", "--overwrite")

    assert project.record()["tables"]["filter"]["facts"]["funnel"] == counted
    reasons = project.pairs()["dropped_by"].to_list()
    assert {name: reasons.count(name) for name in counted} == counted
    assert project.pairs().drop("dropped_by").equals(before)
    assert not project.requests()


def test_a_dry_run_needs_no_filter_before_it(project: Project) -> None:
    """`deltadata pair` alone is enough; the folder stays without a filter."""
    shutil.rmtree(project.path)
    for stage in ("collect", "generate", "pair"):
        project.run(stage, "recipe.yaml")
    before = contents(project)
    said = project.run("filter", "recipe.yaml", "--dry-run")
    assert funnel(said).keys() == {"not_empty", "texts_differ", "finished"}
    assert contents(project) == before
    assert "filter" not in project.record()["tables"]


RULES: list[tuple[Any, str, str]] = [
    ("finishd", "no rule is called 'finishd'", "did you mean 'finished'?"),
    ({"min_delta": {"measure": "tokns", "at_least": 1}}, "no measure is called 'tokns'", "did you mean 'tokens'?"),
    ({"top": {"measure": "checks", "share": 0.5}}, "no measure is called 'checks'", "cure: name a measure"),
    ({"max_delta": {"measure": "similarity", "at_most": 1}}, "is not measured by this recipe", "add similarity to"),
    ({"no_refusal": "chosn"}, "side is one of both, chosen, rejected, not 'chosn'", "name one of them"),
]
WHERES = [
    ("chosen_caracters > 20", "no column is called 'chosen_caracters'", "did you mean 'chosen_characters'?"),
    ("delta_checks > 0", "no column is called 'delta_checks'", "did you mean"),
    ("chosen_tokens <", "not an SQL expression", "e.g."),
    ("keep the good ones", "not an SQL expression", "e.g."),
    ("chosen_tokens + 1", "cannot be decided: it gives a number", "give a yes-or-no expression"),
]
MISTAKES = [({"rules": ["finished", rule]}, "filter.rules[1]", what, cure) for rule, what, cure in RULES]
MISTAKES += [({"rules": [], "where": where}, "filter.where", what, cure) for where, what, cure in WHERES]


@pytest.mark.parametrize(("asked", "where", "what", "cure"), MISTAKES, ids=[mistake[2] for mistake in MISTAKES])
def test_a_mistake_is_one_message(project: Project, asked: Any, where: str, what: str, cure: str) -> None:
    """Exit 2 with the address, what is wrong and the cure, no traceback; the folder is as it was."""
    project.recipe["filter"] = asked
    before = contents(project)
    said = project.run("filter", "recipe.yaml", "--dry-run", code=2)
    assert said.startswith(f"error: {where}: ")
    assert said.count("error: ") == 1
    assert what in said
    assert cure in said
    assert contents(project) == before


def test_every_command_refuses_a_mistaken_rule_alike(project: Project) -> None:
    """With the same words, and even under --overwrite before anything is done."""
    project.recipe["filter"] = {"rules": [{"min_delta": {"measure": "tokns", "at_least": 1}}]}
    before = contents(project)
    said = project.run("filter", "recipe.yaml", "--dry-run", code=2)
    for other in (("filter", "recipe.yaml"), ("pair", "recipe.yaml"), ("run", "recipe.yaml", "--overwrite")):
        assert project.run(*other, code=2) == said
    assert contents(project) == before


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_pairs_must_be_there(project: Project, dry: list[str]) -> None:
    """Before there are pairs the command that makes them is named."""
    shutil.rmtree(project.path)
    project.run("collect", "recipe.yaml")
    said = project.run("filter", "recipe.yaml", *dry, code=2)
    assert "the table 'pairs' is not finished" in said
    assert "cure: deltadata pair recipe.yaml" in said


@pytest.mark.parametrize("options", [["--dry-run"], [], ["--overwrite"]])
def test_pairs_of_another_recipe_are_refused(project: Project, options: list[str]) -> None:
    """Rules over measures that these pairs do not have: the field is named, and the folder stays whole."""
    project.recipe["pair"] = {"measures": ["tokens", "similarity"]}
    project.recipe["filter"] = {"rules": [{"max_delta": {"measure": "similarity", "at_most": 0.5}}]}
    before = contents(project)
    said = project.run("filter", "recipe.yaml", *options, code=2)
    assert "measures: " in said
    assert options != ["--overwrite"] or "or add --overwrite" not in said  # that was tried just now
    assert contents(project) == before


@pytest.mark.parametrize("stage", [["filter", "recipe.yaml", "--dry-run"], ["filter", "recipe.yaml"]])
def test_what_drops_all_is_told(tmp_path: Path, stage: list[str]) -> None:
    """Unknown numbers, and a share that too few groups can fulfil: in the dry run as in the filter."""
    project = Project(tmp_path, prompts=6)
    rows = [{"prompt": f"Tell me about number {i}.", "response": "So."} for i in range(4)]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.recipe["generate"]["rungs"][1] = {"name": "old", "responses": "old.jsonl"}
    for earlier in ("collect", "generate", "pair"):
        project.run(earlier, "recipe.yaml")
    project.recipe["filter"] = {"rules": [{"max_length_delta": 100}]}
    said = project.run(*stage)
    assert "max_length_delta: 4 pair(s) dropped since what it asks for is unknown (imported responses have no" in said
    assert "max_length_delta: dropped the last 4 pair(s)\n" in said
    project.recipe["filter"] = {"rules": [{"balance": {"by": "pool", "max_share": 0.35}}]}
    said = project.run(*stage, *([] if "--dry-run" in stage else ["--overwrite"]))
    why = "with fewer than 3 values of pool none can be kept at a share of 0.35"
    assert f"balance: dropped the last 4 pair(s); {why}\n" in said
