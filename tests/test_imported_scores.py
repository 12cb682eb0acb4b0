"""Scores from a file land on the response they speak of; what cannot be used is refused with its place.

pytest tests/test_imported_scores.py
"""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladder import Quiet, recipe
from project import Project

from deltadata import run, tables
from deltadata.errors import UserError
from deltadata.imported_scores import ImportedScores, imported_scores
from deltadata.job import Job
from deltadata.recipe import Recipe
from deltadata.scorer_sections import Imported
from deltadata.store import open_run, read_record

Row = dict[str, Any]
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}]
PROMPTS = {"hi": "Hi.", "bye": 'Bye, now\nor "later".', "talk": TALK}


def key(prompt: Any) -> str:
    return tables.prompt_id(prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}])


IDS = {name: key(prompt) for name, prompt in PROMPTS.items()}
LADDER = {(prompt, model, sample) for prompt in IDS.values() for model in ("strong", "weak") for sample in (0, 1)}
KEYS = pl.DataFrame(
    sorted(LADDER), schema={"prompt_id": pl.String, "model": pl.String, "sample": pl.UInt32}, orient="row"
)

KEYS = pl.DataFrame(
    sorted(LADDER),
    schema={"prompt_id": pl.String, "model": pl.String, "sample": pl.UInt32},
    orient="row",
)


def write(path: Path, rows: list[Row]) -> None:
    """Rows as JSONL, CSV or parquet, by the file's ending."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            writer.writerows(rows)
    else:
        pl.DataFrame(rows).write_parquet(path)


def read(folder: Path, rows: list[Row], ending: str = "jsonl", **fields: Any) -> ImportedScores:
    """What these rows give for the ladder above."""
    write(folder / f"judge.{ending}", rows)
    asked = Imported.model_validate({"name": "judge", "scores": f"judge.{ending}"} | fields)
    return imported_scores(asked, recipe(["strong", "weak"]), folder, KEYS)


def found(imported: ImportedScores) -> dict[tuple[str, str, int], float | None]:
    """The scores by response."""
    rows = imported.scores.to_pylist()
    assert {row["scorer"] for row in rows} <= {"judge"}
    told = {(row["prompt_id"], row["model"], row["sample"]): row["score"] for row in rows}
    assert len(told) == len(rows)
    return told


def refusal(folder: Path, rows: list[Row], ending: str = "jsonl", **fields: Any) -> tuple[str, str, str]:
    """Where, what and cure of the error that these rows give."""
    with pytest.raises(UserError) as met:
        read(folder, rows, ending, **fields)
    where = str(met.value.where).replace(f"{folder}/", "")
    return where, met.value.what.replace(f"{folder}/", ""), str(met.value.cure)


def row(prompt: str, model: str, score: Any, **more: Any) -> Row:
    return {"prompt": PROMPTS[prompt], "model": model, "score": score} | more


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_scores_by_the_text_of_the_prompt(tmp_path: Path, ending: str) -> None:
    """Each row finds its response by prompt, rung and sample; without a sample it is the first."""
    rows = [row("hi", "strong", 3.5), row("bye", "weak", -2.0), row("hi", "weak", 0.0)]
    expected = {(IDS["hi"], "strong", 0): 3.5, (IDS["bye"], "weak", 0): -2.0, (IDS["hi"], "weak", 0): 0.0}
    assert found(read(tmp_path, rows, ending)) == expected
    imported = read(tmp_path, rows, ending)
    assert imported.counts == {"read": 3, "matched": 3, "unmatched": 0, "left_out": 0}
    assert imported.scores.schema == tables.SCORES.schema


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_scores_by_the_messages_of_the_prompt(tmp_path: Path, ending: str) -> None:
    """A conversation is its own prompt: the same last turn without the system turn is another."""
    rows = [row("talk", "strong", 1.0), {"prompt": TALK[1:], "model": "strong", "score": 2.0}]
    assert found(read(tmp_path, rows, ending)) == {(IDS["talk"], "strong", 0): 1.0, (IDS["hi"], "strong", 0): 2.0}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_scores_by_prompt_id_under_other_names(tmp_path: Path, ending: str) -> None:
    """`prompt: prompt_id` takes ids; the columns of the rung and the number may have any name."""
    rows = [{"prompt_id": IDS["talk"], "who": "weak", "mark": 7.25, "score": 1.0, "prompt": "other"}]
    expected = {(IDS["talk"], "weak", 0): 7.25}
    assert found(read(tmp_path, rows, ending, prompt="prompt_id", model="who", score="mark")) == expected


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_sample_column_tells_samples_apart(tmp_path: Path, ending: str) -> None:
    """Samples are indices; an empty one is the first."""
    rows = [
        row("hi", "strong", 1.0, sample=1),
        row("hi", "strong", 2.0, sample=0),
        row("bye", "weak", 3.0, sample=None),
    ]
    expected = {(IDS["hi"], "strong", 1): 1.0, (IDS["hi"], "strong", 0): 2.0, (IDS["bye"], "weak", 0): 3.0}
    assert found(read(tmp_path, rows, ending)) == expected


@pytest.mark.parametrize("sample", [-1, 0.5, "first", True])
def test_a_sample_that_is_no_index_is_refused(tmp_path: Path, sample: Any) -> None:
    """Neither below zero nor between two, nor a text."""
    where, what, _ = refusal(tmp_path, [row("hi", "strong", 1.0), row("bye", "strong", 1.0, sample=sample)])
    assert where == "judge.jsonl:2"
    assert what.startswith("scorer 'judge': sample is no ")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_empty_score_is_null(tmp_path: Path, ending: str) -> None:
    """Nothing, and NaN, are unknown: a row with null, no zero and no error."""
    rows = [row("hi", "strong", 1.0), row("bye", "strong", None), row("talk", "strong", float("nan"))]
    rows = rows if ending == "jsonl" else rows[:2] + [row("hi", "weak", float("nan"))]
    values = list(found(read(tmp_path, rows, ending)).values())
    assert values == [1.0, None, None]


def test_numbers_may_be_text(tmp_path: Path) -> None:
    """CSV knows nothing else; JSON may have it either way."""
    rows = [row("hi", "strong", "0.5"), row("hi", "weak", 2), row("bye", "weak", "-1e-3")]
    assert list(found(read(tmp_path, rows)).values()) == [0.5, 2.0, -0.001]


def test_a_sample_beyond_all_counting_is_unmatched(tmp_path: Path) -> None:
    """An index that no table could hold is a sample that does not exist."""
    imported = read(tmp_path, [row("hi", "strong", 1.0), row("bye", "strong", 1.0, sample=2**40)])
    assert imported.counts == {"read": 2, "matched": 1, "unmatched": 1, "left_out": 0}


@pytest.mark.parametrize(
    "score", ["good", [1.0], {"a": 1}, True, "1,5", "0x10", 10**400], ids=lambda score: str(score)[:9]
)
def test_a_score_that_is_no_number_is_refused(tmp_path: Path, score: Any) -> None:
    """With the file, the row and what stands there."""
    where, what, cure = refusal(tmp_path, [row("hi", "strong", 1.0), row("bye", "strong", score)])
    assert (where, cure) == ("judge.jsonl:2", "mend that row")
    assert what == f"scorer 'judge': score is no number: {score!r:.40}"


@pytest.mark.parametrize(
    ("ending", "score", "place"),
    [
        ("csv", "inf", "judge.csv: row 2"),
        ("csv", "1e999", "judge.csv: row 2"),
        ("jsonl", float("-inf"), "judge.jsonl:2"),
        ("parquet", float("inf"), "judge.parquet: row 2"),
    ],
)
def test_an_infinite_score_is_refused(tmp_path: Path, ending: str, score: Any, place: str) -> None:
    """No mean and no delta could be had of it; file and row are named."""
    first = "1.0" if isinstance(score, str) else 1.0
    where, what, _ = refusal(tmp_path, [row("hi", "strong", first), row("bye", "strong", score)], ending)
    assert (where, what) == (place, "scorer 'judge': score is infinite")


def test_names_of_the_file_are_mapped_to_rungs(tmp_path: Path) -> None:
    """`models:` says whose rung a name is, null leaves its rows out; names of rungs need no entry."""
    rows = [row("hi", "Big-72B", 1.0), row("hi", "weak", 2.0), row("hi", "judge itself", 3.0), row("bye", "Big-72B", 4)]
    imported = read(tmp_path, rows, models={"Big-72B": "strong", "judge itself": None})
    assert found(imported) == {
        (IDS["hi"], "strong", 0): 1.0,
        (IDS["hi"], "weak", 0): 2.0,
        (IDS["bye"], "strong", 0): 4.0,
    }
    assert imported.counts == {"read": 4, "matched": 3, "unmatched": 0, "left_out": 1}


def test_a_mapping_goes_before_the_rungs_own_names(tmp_path: Path) -> None:
    """A file may call our weak rung `strong`."""
    rows = [row("hi", "strong", 1.0)]
    assert found(read(tmp_path, rows, models={"strong": "weak"})) == {(IDS["hi"], "weak", 0): 1.0}


def test_all_unknown_names_are_told_at_once(tmp_path: Path) -> None:
    """Each with its first row and the rung that may be meant; the cure maps them all."""
    names = ["stron", "strong", "nobody", "stron", "weakk", "nobody"]
    where, what, cure = refusal(tmp_path, [row("hi", name, 1.0) for name in names])
    assert where == "judge.jsonl"
    assert what == (
        "scorer 'judge': no rung is called 'stron' (first at judge.jsonl:1; did you mean 'strong'?), "
        "'nobody' (first at judge.jsonl:3; known are: strong, weak), "
        "'weakk' (first at judge.jsonl:5; did you mean 'weak'?)"
    )
    assert "`models: {stron: null, nobody: null, weakk: null}`" in cure


def test_many_unknown_names_are_counted(tmp_path: Path) -> None:
    """Five are shown, the others are a number."""
    _, what, _ = refusal(tmp_path, [row("hi", f"model{number}", 1.0) for number in range(8)])
    assert what.endswith(" and 3 more")
    assert "'model4'" in what
    assert "'model5'" not in what


def test_two_scores_of_one_response_are_refused_with_both_places(tmp_path: Path) -> None:
    """Even when they are equal: which of them counts is the user's to say."""
    rows = [row("hi", "strong", 1.0), row("bye", "strong", 1.0), {**row("hi", "strong", 1.0), "sample": 0}]
    where, what, _ = refusal(tmp_path, rows)
    assert where == "judge.jsonl:3"
    assert what == "scorer 'judge': a second score for this response; the first is at judge.jsonl:1"
    mapped = [row("hi", "strong", 1.0), row("hi", "Big", 2.0)]
    assert refusal(tmp_path, mapped, models={"Big": "strong"})[0] == "judge.jsonl:2"


def test_scores_of_nobody_are_counted(tmp_path: Path) -> None:
    """Another prompt, or a sample that does not exist, is unmatched; twice the same one is no error."""
    stranger = {"prompt": "Who?", "model": "weak", "score": 1.0}
    rows = [row("hi", "strong", 1.0), stranger, stranger, row("hi", "strong", 1.0, sample=2)]
    imported = read(tmp_path, rows)
    assert imported.counts == {"read": 4, "matched": 1, "unmatched": 3, "left_out": 0}
    assert imported.stranger.endswith("judge.jsonl:2")


def test_a_file_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    """With the first row that found no response and what to point `prompt:` at."""
    rows = [{"prompt": f"Who is {number}?", "model": "weak", "score": 1.0} for number in range(3)]
    where, what, cure = refusal(tmp_path, rows)
    assert where == "judge.jsonl:1"
    assert what == "scorer 'judge': none of its 3 scores is of a response of this run"
    assert "`prompt:`" in cure
    left_out = refusal(tmp_path, [row("hi", "weak", 1.0)], models={"weak": None})
    assert left_out[1] == "scorer 'judge': the file has no scores of any rung"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("field", "near"), [("prompt", "promt"), ("model", "modell"), ("score", "scores")])
def test_a_missing_column_is_refused_with_the_near_one(tmp_path: Path, ending: str, field: str, near: str) -> None:
    """Not as a null in the first row: the column is named, and the one that was meant."""
    whole = [row("hi", "weak", 1.0), row("bye", "weak", 2.0)]
    rows = [{near if name == field else name: value for name, value in one.items()} for one in whole]
    where, what, cure = refusal(tmp_path, rows, ending)
    assert where == f"judge.{ending}"
    assert what == f"scorer 'judge': no row has a column {field!r}"
    assert cure == f"did you mean {near!r}?"


def test_a_row_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A file of scores has no bad rows to be put aside: a lost score would look like an unknown one."""
    (tmp_path / "judge.jsonl").write_text(json.dumps(row("hi", "weak", 1.0)) + "\n{broken\n")
    asked = Imported.model_validate({"name": "judge", "scores": "judge.jsonl"})
    with pytest.raises(UserError, match="scorer 'judge': not JSON") as met:
        imported_scores(asked, recipe(["strong", "weak"]), tmp_path, KEYS)
    assert str(met.value.where).endswith("judge.jsonl:2")


def by_id(prompt: str, model: str, score: float | None) -> Row:
    return {"prompt_id": IDS[prompt], "model": model, "score": score}


ODD_FILES: dict[str, list[Row]] = {
    "good": [by_id("hi", "weak", 1.0), by_id("bye", "weak", None), by_id("talk", "weak", float("nan"))],
    "left out": [by_id("hi", "weak", 1.0), by_id("hi", "nobody", 1.0)],
    "twice": [by_id("hi", "weak", 1.0), by_id("bye", "weak", 2.0), by_id("hi", "weak", 3.0)],
    "infinite": [by_id("hi", "weak", 1.0), by_id("bye", "weak", float("inf"))],
    "unknown": [by_id("hi", "weak", 1.0), by_id("bye", "waek", 1.0)],
    "no prompt": [by_id("hi", "weak", 1.0), by_id("hi", "strong", 1.0) | {"prompt_id": None}],
    "no model": [by_id("hi", "weak", 1.0), by_id("bye", "weak", 1.0) | {"model": None}],
    "strangers": [by_id("hi", "weak", 1.0) | {"prompt_id": "0" * 16}],
    "some strangers": [by_id("hi", "weak", 1.0), by_id("hi", "weak", 1.0) | {"prompt_id": "0" * 16}],
}


@pytest.mark.parametrize("rows", ODD_FILES.values(), ids=list(ODD_FILES))
def test_parquet_is_read_as_any_other_file(tmp_path: Path, rows: list[Row]) -> None:
    """Ids in parquet are read at once and not row by row: the same scores, counts, places and refusals."""
    told = []
    for ending in ("parquet", "jsonl"):
        try:
            imported = read(tmp_path, rows, ending, prompt="prompt_id", models={"nobody": None})
            seen: Any = (imported.scores.to_pylist(), imported.counts, imported.stranger)
        except UserError as problem:
            seen = (problem.what, problem.where, problem.cure)
        told.append(str(seen).replace("judge.parquet: row ", "judge.jsonl:").replace("judge.parquet", "judge.jsonl"))
    assert told[0] == told[1]


ANSWERS = sorted(LADDER)


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.dictionaries(
        st.sampled_from(ANSWERS), st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1
    ),
    strangers=st.integers(0, 3),
    data=st.data(),
)
def test_the_order_of_rows_changes_nothing(numbers: Any, strangers: int, data: Any) -> None:
    """Every score stands in the table as it stands in the file, in whatever order the rows come."""
    rows: list[Row] = [
        {"prompt_id": answer[0], "model": answer[1], "sample": answer[2], "score": score}
        for answer, score in numbers.items()
    ]
    rows += [{"prompt_id": f"{n:016x}", "model": "weak", "sample": 0, "score": 1.0} for n in range(strangers)]
    with tempfile.TemporaryDirectory() as folder:
        imported = read(Path(folder), data.draw(st.permutations(rows)), prompt="prompt_id")
    assert found(imported) == numbers
    assert imported.counts == {
        "read": len(rows),
        "matched": len(numbers),
        "unmatched": strangers,
        "left_out": 0,
    }


def imported_run(folder: Path, rows: list[Row]) -> tuple[Recipe, Quiet]:
    """Two scripted rungs over two prompts, scored from these rows up to the stage `score`; what was noted."""
    (folder / "pool.jsonl").write_text("".join(json.dumps({"prompt": PROMPTS[name]}) + "\n" for name in ("hi", "bye")))
    write(folder / "judge.csv", rows)
    made_by = recipe(["strong", "weak"], samples=1, score=[{"name": "judge", "scores": "judge.csv"}])
    quiet = Quiet()
    with open_run(folder / "run", made_by.name) as opened:
        job = Job(opened, made_by, folder / "recipe.yaml", quiet)
        for stage in ("collect", "generate", "score"):
            run.STAGES[stage](job)
    return made_by, quiet


def test_the_note_says_what_was_not_matched(tmp_path: Path) -> None:
    """How many scores were read, matched and not, where the first stranger stands, and how much is graded."""
    rows = [row("hi", "strong", 1.0), {"prompt": "Who?", "model": "weak", "score": 2.0}, row("bye", "weak", "")]
    made_by, quiet = imported_run(tmp_path, rows)
    stranger = f"{tmp_path}/judge.csv: row 2"
    assert quiet.notes[-2:] == [
        f"judge: 3 scores read, 2 matched, 1 unmatched, 0 left out (the first at {stranger})",
        "judge: 1 of 4 responses have a score",
    ]
    facts = read_record(tmp_path / "run")[1]["scores/judge"].facts
    assert (facts["read"], facts["matched"], facts["unmatched"], facts["left_out"]) == (3, 2, 1, 0)
    stored = pl.read_parquet(tmp_path / "run" / "scores" / "judge" / "part-*.parquet")
    assert stored.select("prompt_id", "model", "score").rows() == [
        (IDS["hi"], "strong", 1.0),
        (IDS["bye"], "weak", None),
    ]
    assert made_by.score[0].name == "judge"


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    """The file's content is an input: other numbers take the place of the old ones without --overwrite."""
    imported_run(tmp_path, [row("hi", "strong", 1.0), row("bye", "weak", 2.0)])
    part = tmp_path / "run" / "scores" / "judge" / "part-00000.parquet"
    before = part.stat().st_ino
    _, quiet = imported_run(tmp_path, [row("hi", "strong", 1.0), row("bye", "weak", 2.0)])
    assert (part.stat().st_ino, quiet.notes) == (before, [])
    imported_run(tmp_path, [row("hi", "strong", 5.0)])
    assert pl.read_parquet(part)["score"].to_list() == [5.0]


def test_unknown_names_end_with_exit_2(tmp_path: Path) -> None:
    """One message with every name, and no traceback."""
    project = Project(tmp_path, prompts=3)
    rows = [{"prompt": "Tell me about number 0.", "model": name, "score": 1} for name in ("stong", "weak", "other")]
    write(tmp_path / "judge.csv", rows)
    project.recipe["score"] = [{"name": "judge", "scores": "judge.csv"}]
    said = project.run(code=2)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "'stong' (first at" in errors[0]
    assert "did you mean 'strong'?" in errors[0]
    assert "'other' (first at" in errors[0]


def test_ids_in_place_of_prompts_are_told_how_to_be_named(tmp_path: Path) -> None:
    """A file with `prompt_id` and no `prompt` is matched by saying so."""
    rows = [{"prompt_id": IDS["hi"], "model": "weak", "score": 1.0}]
    assert refusal(tmp_path, rows)[2] == "the file has ids: say `prompt: prompt_id`"
    assert found(read(tmp_path, rows, prompt="prompt_id"))


def test_scores_of_other_samples_are_no_scores_of_other_prompts(tmp_path: Path) -> None:
    """Prompts and rungs that match, samples counted from 1: the column is named, not the prompts."""
    where, what, cure = refusal(tmp_path, [row("hi", "weak", 1.0, sample=7), row("bye", "weak", 1.0, sample=7)])
    assert where == "judge.jsonl:1"
    assert what.endswith("prompts and rungs are there, the column 'sample' names others of their samples")
    assert cure.startswith("number the samples of each prompt from 0")


def test_a_damaged_file_of_scores_is_not_ours_to_make_anew(tmp_path: Path) -> None:
    """Parquet that is cut short: fetched or written again, never removed."""
    write(tmp_path / "judge.parquet", [{"prompt_id": IDS["hi"], "model": "weak", "score": 1.0}])
    whole = (tmp_path / "judge.parquet").read_bytes()
    (tmp_path / "judge.parquet").write_bytes(whole[: len(whole) // 2])
    asked = Imported.model_validate({"name": "judge", "scores": "judge.parquet", "prompt": "prompt_id"})
    with pytest.raises(UserError, match="damaged") as met:
        imported_scores(asked, recipe(["strong", "weak"]), tmp_path, KEYS)
    assert met.value.cure == "fetch or write the file again"
