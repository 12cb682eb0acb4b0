"""Every response with text gets one score per scorer; nothing is scored twice, and a bad check stops before any work.

pytest tests/test_score.py
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ladder import do
from polars.testing import assert_frame_equal
from project import Project

from deltadata.errors import UserError
from deltadata.recipe import Recipe
from deltadata.store import read_record
from deltadata.tables import prompt_id

SHORT_YES = [
    {"kind": "include", "any": ["yes"]},
    {"kind": "count", "of": "words", "relation": "at_most", "n": 3},
]

ANY_WORD = [{"kind": "count", "of": "words", "relation": "at_least", "n": 1}]


def asked(number: int) -> str:
    return f"What is the number {number}?"


def key(text: str) -> str:
    return prompt_id([{"role": "user", "content": text}])


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_pool(folder: Path, prompts: int, check: Any = SHORT_YES) -> None:
    """Numbered prompts that all carry the same check."""
    write(folder / "pool.jsonl", [{"prompt": asked(number), "check": check} for number in range(prompts)])


def recipe(rungs: list[dict[str, Any]], score: list[dict[str, Any]] | None = None, **sections: Any) -> Recipe:
    """A recipe over the scripted engine with four responses a part, scored by checks."""
    tree: dict[str, Any] = {
        "name": "scored",
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl", "keep": ["check"]}]},
        "generate": {"engine": "scripted", "rungs": rungs, "part_rows": 4},
        "score": [{"name": "checks"}] if score is None else score,
    }
    return Recipe.model_validate(tree | sections)


TWO = [{"name": "strong", "model": "a"}, {"name": "weak", "model": "b"}]


def scores(run: Path, scorer: str = "checks") -> pl.DataFrame:
    """All score rows of a scorer, by key."""
    parts = pl.read_parquet(run / "scores" / scorer / "part-*.parquet")
    return parts.sort("prompt_id", "model", "sample")


def by_answer(run: Path) -> dict[tuple[str, str, int], float | None]:
    return {(row[0], row[1], row[2]): row[4] for row in scores(run).iter_rows()}


def states(run: Path) -> dict[str, tuple[int, int]]:
    """What shows whether a part of scores was written again."""
    files = sorted((run / "scores").glob("*/part-*.parquet"))
    return {str(path.relative_to(run)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_the_scores_of_a_ladder_by_hand(tmp_path: Path) -> None:
    """The share of its prompt's checks that each response meets, null where its prompt has none."""
    pool = [
        {"prompt": "Agree.", "check": SHORT_YES},
        {"prompt": "Chat.", "check": None},
        {"prompt": "Six times seven?", "check": "#### 42"},
    ]
    write(tmp_path / "pool.jsonl", pool)
    strong = [
        ("Agree.", "Yes!"),
        ("Agree.", "yes, oh yes, I do"),
        ("Chat.", "Hello."),
        ("Six times seven?", "It is 42."),
    ]
    weak = [("Agree.", "not in my life"), ("Agree.", ""), ("Chat.", ""), ("Six times seven?", "41")]
    for name, rows in (("strong", strong), ("weak", weak)):
        write(tmp_path / f"{name}.jsonl", [{"prompt": prompt, "response": text} for prompt, text in rows])
    made_by = recipe([{"name": name, "responses": f"{name}.jsonl"} for name in ("strong", "weak")])

    do(tmp_path / "run", made_by, "collect", "generate", "score")

    agree, chat, seven = (key(row["prompt"]) for row in pool)
    expected = {
        (agree, "strong", 0): 1.0,
        (agree, "strong", 1): 0.5,  # yes, but in five words
        (chat, "strong", 0): None,
        (seven, "strong", 0): 1.0,
        (agree, "weak", 0): 0.0,  # four words and no yes
        (agree, "weak", 1): 0.0,  # an empty response meets nothing, not even "at most three words"
        (chat, "weak", 0): None,
        (seven, "weak", 0): 0.0,
    }
    assert by_answer(tmp_path / "run") == expected
    assert set(scores(tmp_path / "run")["scorer"]) == {"checks"}
    entry = read_record(tmp_path / "run")[1]["scores/checks"]
    assert entry.rows == 6
    assert entry.facts["responses"] == 8
    assert entry.facts["rungs"] == [
        {"model": "strong", "graded": 3, "mean": 2.5 / 3},
        {"model": "weak", "graded": 3, "mean": 0.0},
    ]


def test_the_delta_of_a_scorer_is_chosen_minus_rejected(tmp_path: Path) -> None:
    """`delta_checks` of a pair is the difference of its two responses' scores, null where either has none."""
    write(tmp_path / "pool.jsonl", [{"prompt": "Agree.", "check": SHORT_YES}, {"prompt": "Chat.", "check": None}])
    for name, text in (("strong", "yes"), ("weak", "yes, oh yes, I do")):
        rows = [{"prompt": prompt, "response": text} for prompt in ("Agree.", "Chat.")]
        write(tmp_path / f"{name}.jsonl", rows)
    rungs = [{"name": name, "responses": f"{name}.jsonl"} for name in ("weak", "strong")]  # weak is chosen
    do(tmp_path / "run", recipe(rungs), "collect", "generate", "score", "pair")
    pairs = pl.read_parquet(tmp_path / "run" / "pairs.parquet").select("prompt_id", "delta_checks")
    assert dict(pairs.iter_rows()) == {key("Agree."): -0.5, key("Chat."): None}


def test_a_failed_response_has_no_score(tmp_path: Path) -> None:
    """Rows of scores are the responses with text, one each, and no others."""
    write_pool(tmp_path, 9)
    runtime = {"scripted": {"fail_on": "number 3?"}}
    do(tmp_path / "run", recipe(TWO, runtime=runtime), "collect", "generate", "score")
    responses = pl.read_parquet(tmp_path / "run" / "responses" / "*" / "part-*.parquet")
    answered = responses.filter(pl.col("response").is_not_null())
    assert (responses.height, answered.height) == (18, 16)
    columns = ["prompt_id", "model", "sample"]
    assert_frame_equal(scores(tmp_path / "run").select(columns), answered.select(columns).sort(columns))


def test_a_second_run_scores_nothing(tmp_path: Path) -> None:
    """No part is written again, and no stage says that it did anything."""
    write_pool(tmp_path, 9)
    do(tmp_path / "run", recipe(TWO))
    before = states(tmp_path / "run")
    record = (tmp_path / "run" / "record.json").read_bytes()
    do(tmp_path / "run", recipe(TWO))
    do(tmp_path / "run", recipe(TWO), "score")
    assert len(before) == 6  # nine responses of two rungs, four a part
    assert states(tmp_path / "run") == before
    assert (tmp_path / "run" / "record.json").read_bytes() == record


def test_more_prompts_score_only_what_is_new(tmp_path: Path) -> None:
    """A raised limit adds parts; those that were there keep their files, and no response is without its score."""
    write_pool(tmp_path, 24)

    def limited(limit: int) -> Recipe:
        pools = [{"name": "own", "path": "pool.jsonl", "keep": ["check"]}]
        return recipe(TWO, collect={"pools": pools, "limit": limit})

    do(tmp_path / "run", limited(8))
    before, first = states(tmp_path / "run"), by_answer(tmp_path / "run")
    do(tmp_path / "run", limited(16))
    after, second = states(tmp_path / "run"), by_answer(tmp_path / "run")
    assert (len(before), len(after)) == (4, 8)
    assert {path: after[path] for path in before} == before
    assert (len(first), len(second)) == (16, 32)
    assert first.items() <= second.items()
    assert pl.read_parquet(tmp_path / "run" / "pairs.parquet")["delta_checks"].null_count() == 0


def test_a_changed_check_scores_its_responses_anew(tmp_path: Path) -> None:
    """Only the parts that answer the changed prompt are scored again; no model is asked, no --overwrite needed."""
    write_pool(tmp_path, 12, check=[{"kind": "include", "any": ["no such word"]}])
    log = tmp_path / "requests.log"
    made_by = recipe(TWO, runtime={"scripted": {"log": str(log)}})
    do(tmp_path / "run", made_by)
    before, requests = states(tmp_path / "run"), log.read_text()
    assert set(by_answer(tmp_path / "run").values()) == {0.0}

    rows = [json.loads(line) for line in (tmp_path / "pool.jsonl").read_text().splitlines()]
    write(tmp_path / "pool.jsonl", [row | ({"check": ANY_WORD} if row["prompt"] == asked(5) else {}) for row in rows])
    do(tmp_path / "run", made_by)

    expected = {answer: float(answer[0] == key(asked(5))) for answer in by_answer(tmp_path / "run")}
    assert by_answer(tmp_path / "run") == expected
    assert len(expected) == 24
    after = states(tmp_path / "run")
    assert len(after) == len(before) == 6
    assert len(before.items() & after.items()) == 4  # one part of each rung answers that prompt
    assert log.read_text() == requests
    pairs = pl.read_parquet(tmp_path / "run" / "pairs.parquet")
    assert set(pairs["delta_checks"]) == {0.0}


def test_a_rung_that_is_gone_takes_its_scores_with_it(tmp_path: Path) -> None:
    """Scores are those of the recipe's rungs; the parts of the others stay as they are."""
    write_pool(tmp_path, 5)
    three = [*TWO, {"name": "weakest", "model": "c"}]
    do(tmp_path / "run", recipe(three), "collect", "generate", "score")
    kept = scores(tmp_path / "run").filter(pl.col("model") != "weakest")
    before = states(tmp_path / "run")
    do(tmp_path / "run", recipe(TWO), "collect", "generate", "score")
    assert_frame_equal(scores(tmp_path / "run"), kept)
    assert states(tmp_path / "run").items() < before.items()


@pytest.mark.parametrize("change", [{"form": "constraints"}, {"column": "test"}])
def test_another_form_or_column_is_refused_without_overwrite(tmp_path: Path, change: dict[str, str]) -> None:
    """The fields that shape the numbers are drift: refused by name, and scored anew when told to overwrite."""
    rows = [{"prompt": asked(number), "check": ANY_WORD, "test": "42"} for number in range(5)]
    write(tmp_path / "pool.jsonl", rows)
    collect = {"pools": [{"name": "own", "path": "pool.jsonl", "keep": ["check", "test"]}]}
    do(tmp_path / "run", recipe(TWO, collect=collect))
    before, was = states(tmp_path / "run"), by_answer(tmp_path / "run")
    changed = recipe(TWO, [{"name": "checks"} | change], collect=collect)
    for stages in ((), ("score",)):
        with pytest.raises(UserError) as met:
            do(tmp_path / "run", changed, *stages)
        assert f"scores/checks: \n    {next(iter(change))}: " in met.value.what
        assert "--overwrite (responses are scored anew" in str(met.value.cure)
    assert states(tmp_path / "run") == before

    do(tmp_path / "run", changed, overwrite=True)
    now = by_answer(tmp_path / "run")
    assert now.keys() == was.keys()
    assert (now == was) == ("form" in change)  # the same checks, named; against a number that nobody said
    assert not before.items() & states(tmp_path / "run").items()


def test_scores_wait_for_responses(tmp_path: Path) -> None:
    """`score` before `generate` is refused with the command that is missing, and `pair` before `score` too."""
    write_pool(tmp_path, 5)
    do(tmp_path / "run", recipe(TWO), "collect")
    with pytest.raises(UserError, match="'responses/strong' is not finished") as met:
        do(tmp_path / "run", recipe(TWO), "score")
    assert "deltadata generate" in str(met.value.cure)
    do(tmp_path / "run", recipe(TWO), "generate")
    with pytest.raises(UserError, match="'scores/checks' is not finished") as met:
        do(tmp_path / "run", recipe(TWO), "pair")
    assert "deltadata score" in str(met.value.cure)


def scored_project(folder: Path, prompts: int, check: Any, **scripted: Any) -> Project:
    """A project whose recipe scores by checks."""
    folder.mkdir(exist_ok=True)
    project = Project(folder, prompts, **scripted)
    write_pool(folder, prompts, check)
    project.recipe["collect"]["pools"][0]["keep"] = ["check"]
    project.recipe["score"] = [{"name": "checks"}]
    return project


@pytest.mark.slow
def test_kills_while_scoring_change_nothing(tmp_path: Path) -> None:
    """kill -9 in the middle of scoring, three times, then the same command: equal tables, finished parts kept."""
    check = [{"kind": "repetition", "at_most": 0.5}, {"kind": "include", "any": ["river green bread light"]}] * 4
    whole, killed = (scored_project(tmp_path / name, 80, check, characters=4000) for name in ("whole", "killed"))
    for project in (whole, killed):
        project.recipe["generate"] |= {"part_rows": 2, "sampling": {"max_tokens": 2000}}
    whole.run()
    killed.run("collect", "recipe.yaml")
    killed.run("generate", "recipe.yaml")

    at = []
    kept: dict[str, tuple[int, int]] = {}
    for wanted in (4, 20, 45):
        process = killed.start("run", "recipe.yaml")
        while process.poll() is None and len(states(killed.path)) < wanted:
            time.sleep(0.001)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert kept.items() <= states(killed.path).items()
        kept = states(killed.path)
        at.append(len(kept))
        assert "scores/checks" not in killed.record()["tables"]
    killed.run()

    assert 4 <= at[0] < at[1] < at[2] < 80
    assert kept.items() < states(killed.path).items()
    assert len(states(killed.path)) == len(states(whole.path)) == 80
    assert_frame_equal(scores(whole.path), scores(killed.path))
    assert_frame_equal(whole.pairs(), killed.pairs())
    assert whole.requests() == killed.requests() == {"a": 80, "b": 80}
    assert scores(whole.path)["score"].n_unique() > 1


def test_a_bad_check_is_found_before_any_response(tmp_path: Path) -> None:
    """An unknown kind ends with exit 2 and the file and line of its prompt, before a model is asked for anything."""
    project = scored_project(tmp_path, 12, SHORT_YES)
    lines = (tmp_path / "pool.jsonl").read_text().splitlines()
    lines[6] = json.dumps({"prompt": asked(6), "check": [{"kind": "includes", "any": ["yes"]}]})
    (tmp_path / "pool.jsonl").write_text("\n".join(lines) + "\n")

    said = project.run(code=2)

    assert "error: pool.jsonl:7: scorer 'checks': no constraint is called 'includes'; did you mean 'include'?" in said
    assert not project.requests()
    assert not (project.path / "responses").exists()
    lines[6] = json.dumps({"prompt": asked(6), "check": SHORT_YES})
    (tmp_path / "pool.jsonl").write_text("\n".join(lines) + "\n")
    project.run()


def test_an_unknown_scorer_is_refused_with_the_near_one(tmp_path: Path) -> None:
    """Exit 2 with address, line and the name that was meant, before any work."""
    project = scored_project(tmp_path, 4, SHORT_YES)
    project.recipe["score"] = [{"name": "check"}]
    said = project.run(code=2)
    assert said.startswith("error: recipe.yaml:")
    assert "score[0].name: no scorer is called 'check'\n  cure: did you mean 'checks'?" in said
    assert not project.path.exists()
