"""The real command with a reward model and a log-prob: nothing scored twice after kill -9, mistakes with a cure.

pytest tests/test_forward_command.py
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from project import Project
from test_forward import classifier
from tiny_model import build

from deltadata import parts
from deltadata.grade import grade
from deltadata.scorers import Asked

PROMPTS, PART_ROWS = 24, 8
SCORERS = [
    {"name": "reward", "scorer": "reward_model", "model": "rm"},
    {"name": "logp", "scorer": "logprob", "model": "lm"},
]


class Imported(Project):
    """A ladder of two rungs whose responses exist, one part each, scored by tiny models."""

    def __init__(self, folder: Path, prompts: int = PROMPTS) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, prompts)
        for number, rung in enumerate(("strong", "weak")):
            rows = [
                {"prompt": f"Tell me about number {i}.", "response": f"{rung} says " + "the sea " * (i % 7 + number)}
                for i in range(prompts)
            ]
            (folder / f"{rung}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rungs = [{"name": rung, "responses": f"{rung}.jsonl"} for rung in ("strong", "weak")]
        self.recipe["generate"] = {"engine": "scripted", "rungs": rungs, "part_rows": PART_ROWS}
        self.recipe["score"] = [dict(scorer) for scorer in SCORERS]
        del self.recipe["runtime"]

    def parts(self) -> dict[str, tuple[int, int]]:
        """What shows whether a part of scores was written again."""
        files = sorted((self.path / "scores").glob("*/part-*.parquet"))
        return {str(path.relative_to(self.path)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    def scores(self, scorer: str) -> pl.DataFrame:
        found = pl.read_parquet(self.path / "scores" / scorer / "part-*.parquet")
        return found.sort("prompt_id", "model", "sample")


@pytest.fixture
def project(tmp_path: Path) -> Imported:
    made = Imported(tmp_path / "whole")
    classifier(made.folder / "rm")
    build(made.folder / "lm")
    return made


def test_a_large_part_is_scored_in_slices_and_what_is_there_stays(project: Imported) -> None:
    """A rung of 24 rows in one part makes three parts of eight scores; the record says what computed them."""
    project.run()
    (only,) = (project.path / "responses" / "strong").glob("part-*")
    assert pq.read_metadata(only).num_rows == PROMPTS
    made = project.parts()
    assert len(made) == 2 * 2 * PROMPTS // PART_ROWS
    assert {pq.read_metadata(project.path / part).num_rows for part in made} == {PART_ROWS}
    for scorer in ("reward", "logp"):
        assert project.scores(scorer)["score"].null_count() == 0
        facts = project.record()["tables"][f"scores/{scorer}"]["facts"]
        told = {"scorer": {"logp": "logprob"}.get(scorer, "reward_model"), "engine": "transformers"}
        assert facts | told | {"dtype": "float32", "max_length": 256, "device": "cpu"} == facts
        assert facts.get("resolution") == (1e-4 if scorer == "logp" else None)
        assert "notes" not in facts
    assert {"delta_reward", "delta_logp"} <= set(project.pairs().columns)
    record = project.record()

    project.run()
    assert project.parts() == made
    (project.path / "record.json").write_text(json.dumps(without(record, "scores/")))
    project.run("score", "recipe.yaml")  # loads nothing: the facts of the engine come from the parts
    assert project.parts() == made
    for scorer in ("scores/reward", "scores/logp"):
        assert project.record()["tables"][scorer]["facts"] == record["tables"][scorer]["facts"]


def without(record: dict[str, Any], prefix: str) -> dict[str, Any]:
    tables = {name: entry for name, entry in record["tables"].items() if not name.startswith(prefix)}
    return record | {"tables": tables}


def test_notes_are_summed_over_all_parts(project: Imported) -> None:
    """Responses that were cut, prompts that fill the window: counted in the record, also those of an earlier run."""
    project.recipe["score"] = [SCORERS[1] | {"max_length": 42}]
    # A prompt has 41 tokens where its number has one digit, else 42: room for one token of the response, or for none.
    notes = {"cut": 2 * 10, "the prompt fills the window": 2 * 14}
    said = [project.run(stage, "recipe.yaml") for stage in ("collect", "generate", "score")]
    assert "logp: 20 of 48 responses have a score; the others: the prompt fills the window (28)\n" in said[-1]
    assert project.record()["tables"]["scores/logp"]["facts"]["notes"] == notes
    assert project.scores("logp")["score"].null_count() == 2 * 14
    next((project.path / "scores").glob("*/part-00003.parquet")).unlink()
    project.run("score", "recipe.yaml")
    assert project.record()["tables"]["scores/logp"]["facts"]["notes"] == notes


class Slow:
    """A scorer that notes when it is handed something, and when a number is taken."""

    facts: dict[str, Any] = {}
    engine_facts: dict[str, Any] = {}
    reads_meta = False

    def __init__(self) -> None:
        self.notes: dict[str, int] = {}
        self.seen: list[str] = []

    def refuse(self, asked: Asked) -> None: ...

    def score(self, prompts: Iterable[Asked], responses: Iterable[str]) -> Iterator[float | None]:
        rows = len(list(zip(prompts, responses, strict=True)))
        self.seen.append("handed")

        def numbers() -> Iterator[float | None]:
            self.seen.append("taken")
            yield from map(float, range(rows))
            self.notes["noted"] = rows

        return numbers()


def test_the_next_slice_is_handed_over_before_the_last_is_written(project: Imported) -> None:
    """Two slices are with the scorer whenever numbers are awaited; each part has its own rows and notes."""
    for stage in ("collect", "generate"):
        project.run(stage, "recipe.yaml")
    scorer, home = Slow(), project.path / "by-hand"
    ladder = {"strong": parts.read(project.path, "strong")}
    progress: Any = Nobody()
    found = grade(home, "slow", [], scorer, project.path / "prompts.parquet", ladder, PART_ROWS, progress)
    assert scorer.seen == ["handed", "handed", "taken", "handed", "taken", "taken"]
    assert found.notes == {"noted": PROMPTS}
    asked = ladder["strong"].keys
    written = [pl.read_parquet(path) for path in sorted(home.glob("part-*"))]
    assert [part["score"].to_list() for part in written] == [[float(n) for n in range(PART_ROWS)]] * 3
    assert_frame_equal(pl.concat(written).select(asked.columns), asked)


class Nobody:
    """Hears what a stage tells the screen."""

    def rung(self, name: str, total: int, done: int) -> None: ...
    def advance(self, tokens: int, failed: bool) -> None: ...
    def rung_done(self) -> None: ...


@pytest.mark.slow
def test_a_kill_scores_nothing_twice(project: Imported, tmp_path: Path) -> None:
    """kill -9 in the middle, twice, then the same command: finished parts are kept and the tables are equal."""
    killed = Imported(tmp_path / "killed")
    killed.recipe = json.loads(json.dumps(project.recipe))
    for scorer in killed.recipe["score"]:
        scorer["model"] = str(project.folder / scorer["model"])
    project.recipe["score"] = json.loads(json.dumps(killed.recipe["score"]))
    project.run()
    killed.run("collect", "recipe.yaml")
    killed.run("generate", "recipe.yaml")
    kept: dict[str, tuple[int, int]] = {}
    for wanted in (2, 7):
        process = killed.start("run", "recipe.yaml")
        while process.poll() is None and len(killed.parts()) < wanted:
            time.sleep(0.0005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert kept.items() <= killed.parts().items()
        kept = killed.parts()
        assert wanted <= len(kept) < 12
    killed.run()
    assert kept.items() < killed.parts().items()
    assert len(killed.parts()) == len(project.parts()) == 12
    for scorer in ("reward", "logp"):
        assert_frame_equal(killed.scores(scorer), project.scores(scorer), check_exact=True)
    assert_frame_equal(killed.pairs(), project.pairs(), check_exact=True)


def test_mistakes_end_with_a_cure(project: Imported) -> None:
    """Exit 2 and the edit that cures it; a model that the Hub's client cannot find is exit 3."""
    classifier(project.folder / "two", labels=2)
    build(project.folder / "mute", template=None)
    (project.folder / "mute-rm").mkdir()
    for scorer, model, code, said in (
        ("reward_model", "nowhere", 2, "neither a directory nor a Hub id"),
        ("reward_model", "two", 2, "num_labels is 2"),
        ("logprob", "mute", 2, "no chat template"),
        ("logprob", "mute-rm", 2, "no config.json"),
        ("logprob", "no-such-owner/no-such-model", 3, "could not be loaded"),
    ):
        project.recipe["score"] = [{"name": "s", "scorer": scorer, "model": model}]
        told = project.run(code=code)
        assert said in told and "cure:" in told
