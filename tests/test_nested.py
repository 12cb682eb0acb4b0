"""A list within a row is rows of their own, for responses and for scores: the promises of nested.py.

pytest tests/test_nested.py
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import client_env, serving
from ladder import recipe
from project import Project

from deltadata import tables
from deltadata.errors import UserError
from deltadata.imported import Imported as Answers
from deltadata.imported import imported_responses
from deltadata.imported_scores import ImportedScores, imported_scores
from deltadata.nested import read_each
from deltadata.recipe import Recipe
from deltadata.rows import Row
from deltadata.scorer_sections import Imported
from deltadata.sections import Rung

ROOT = Path(__file__).parents[1]
ENDINGS = ["jsonl", "json", "csv", "parquet"]


def answer(model: str, response: Any, score: Any = None, rating: Any = None) -> dict[str, Any]:
    """A completion as UltraFeedback has it."""
    rated = {"helpfulness": {"Rating": rating, "Rationale": "So."}}
    return {"model": model, "response": response, "overall_score": score, "annotations": rated}


ROWS = [
    {
        "source": "flan",
        "instruction": "a",
        "models": ["big", "small"],
        "completions": [answer("big", "A", 7.5, "4"), answer("small", "a", 2.0, "N/A")],
    },
    {"source": "flan", "instruction": "b", "models": ["small"], "completions": [answer("small", "b", 9.0, "5")]},
    {
        "source": "evol",
        "instruction": "c",
        "models": ["small", "big"],
        "completions": [answer("small", "c", 1.0, "1"), answer("big", "C", 3.0, "")],
    },
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """Rows in the kind of file that its ending names; a list in CSV is JSON text."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            texts = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
            writer.writerows(texts)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(path: Path, rows: list[dict[str, Any]], columns: list[str] | None = None, each: str = "xs") -> list[Row]:
    return list(read_each(write(path, rows), path.parent, columns, each))


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_item_is_a_row_with_the_keys_of_both(tmp_path: Path, ending: str) -> None:
    """The item's key hides the outer one's, the list itself is gone, and the place names row and item."""
    given = [{"id": "r", "k": "outer", "xs": [{"k": "first", "n": 1}, {"k": "second", "n": 2}]}]
    given += [{"id": "s", "k": "outer", "xs": [{"k": "third", "n": 3}]}]
    found = rows_of(tmp_path / f"f.{ending}", given, ["id", "k", "n"])
    values = [row.value for row in found]
    assert values == [
        {"id": "r", "k": "first", "n": 1},
        {"id": "r", "k": "second", "n": 2},
        {"id": "s", "k": "third", "n": 3},
    ]
    at = ["f.jsonl:1", "f.jsonl:2"] if ending == "jsonl" else [f"f.{ending}: row 1", f"f.{ending}: row 2"]
    places = [row.where.removeprefix(f"{tmp_path}/") for row in found]
    assert places == [f"{at[0]}, xs[0]", f"{at[0]}, xs[1]", f"{at[1]}, xs[0]"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_paths_lead_into_the_item_or_the_row(tmp_path: Path, ending: str) -> None:
    """A path of the item wins, an item's struct hides the outer one of its name, and what is nowhere is left out."""
    given = [{"o": "x", "deep": {"n": 0, "m": 0}, "xs": [{"deep": {"n": 1, "m": None}}, {"deep": {"n": 2, "m": None}}]}]
    given = given if ending != "csv" else [{"o": "x", "xs": given[0]["xs"]}]
    found = rows_of(tmp_path / f"f.{ending}", given, ["o", "deep.n", "deep.z"])
    assert [row.value and (row.value["o"], row.value["deep.n"]) for row in found] == [("x", 1), ("x", 2)]
    assert not any("deep.z" in (row.value or {}) for row in found)


def test_an_outer_path_that_an_item_hides_is_hidden(tmp_path: Path) -> None:
    """`deep.m` of the row does not show through an item whose `deep` has no m."""
    given = [{"deep": {"m": 7}, "xs": [{"deep": {"n": 1}}, {"n": 2}]}]
    found = rows_of(tmp_path / "f.jsonl", given, ["deep.m"])
    assert [(row.value or {}).get("deep.m") for row in found] == [None, 7]


def test_the_list_may_lie_at_a_path(tmp_path: Path) -> None:
    """`each: data.xs` goes into a struct."""
    found = rows_of(tmp_path / "f.jsonl", [{"data": {"xs": [{"n": 1}]}, "o": 2}], ["n", "o"], "data.xs")
    assert [(row.value or {})["n"] for row in found] == [1]
    assert found[0].where.endswith("f.jsonl:1, data.xs[0]")


def test_what_is_no_list_of_objects_is_a_row_with_its_reason(tmp_path: Path) -> None:
    """Another type, no such column, an item that is text; null and an empty list are no row, the others are read."""
    given = [{"xs": [{"n": 1}, "x", None]}, {"xs": None}, {"xs": {"n": 1}}, {"ys": 1}, {"xs": []}, {"xs": [{"n": 2}]}]
    found = rows_of(tmp_path / "f.jsonl", given)
    assert [(row.where.rpartition("f.jsonl:")[2], row.value or row.problem) for row in found] == [
        ("1, xs[0]", {"n": 1}),
        ("1, xs[1]", "not an object but of type str"),
        ("1, xs[2]", "not an object but of type NoneType"),
        ("3", "xs is no list but of type dict"),
        ("4", "no column 'xs'"),
        ("6, xs[0]", {"n": 2}),
    ]
    assert [row.raw for row in found if row.value is None] == [
        '"x"',
        "null",
        '{"xs": {"n": 1}}',
        '{"ys": 1}',
    ]


def test_a_row_whose_list_is_null_stops_neither_rung_nor_scorer(tmp_path: Path) -> None:
    """Nobody answered that prompt: no bad row, no score, and the others are taken."""
    project = Project(tmp_path, prompts=4)
    answers = [{"model": "big", "response": "It is a number.", "rating": 4}, {"model": "gpt", "response": "No."}]
    rows = [{"prompt": f"Tell me about number {i}.", "xs": answers if i else None} for i in range(4)]
    write(tmp_path / "uf.jsonl", rows)
    big = {"name": "strong", "responses": "uf.jsonl", "each": "xs", "select": {"model": "big"}}
    project.recipe["generate"]["rungs"][0] = big
    names = {"big": "strong", "gpt": None}
    project.recipe["score"] = [{"name": "r", "scores": "uf.jsonl", "each": "xs", "score": "rating", "models": names}]
    said = project.run()
    assert "strong: 6 read, 3 matched, 0 unmatched, 0 bad, 3 not_selected" in said
    assert "r: 6 scores read, 3 matched, 0 unmatched, 3 left out" in said


@pytest.mark.parametrize("text", ["[{'model': 'big'}]", "", "7", '{"n": 1}', "[" * 20_000])
def test_text_that_is_no_json_list_is_refused_with_a_cure(tmp_path: Path, text: str) -> None:
    """A list as Python prints it is no JSON: the file, the row and what to write instead."""
    with pytest.raises(UserError, match="xs is text that is no JSON list") as met:
        rows_of(tmp_path / "f.csv", [{"o": "1", "xs": '[{"n": 1}]'}, {"o": "2", "xs": text}])
    assert str(met.value.where).endswith("f.csv: row 2")
    assert "give .jsonl or .parquet" in str(met.value.cure)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("size", [3, 1200])
def test_a_column_that_is_not_there_is_refused_with_the_near_one(tmp_path: Path, ending: str, size: int) -> None:
    """By the name that was meant, for responses and for scores, however long the file."""
    path = write(tmp_path / f"f.{ending}", [{"instruction": "a", "completions": [answer("big", "A", 1.0)]}] * size)
    asked: dict[str, Any] = {"each": "completion", "prompt": "instruction"}
    with pytest.raises(UserError, match="rung 'big': no row has a column 'completion'") as met:
        imported_responses(Rung(name="big", responses=path, **asked), {}, tmp_path)
    assert met.value.cure == "did you mean 'completions'?"
    scorer = Imported(name="judge", scores=path, score="overall_score", **asked)
    with pytest.raises(UserError, match="scorer 'judge': no row has a column 'completion'") as met:
        imported_scores(scorer, recipe(["big", "small"]), tmp_path, keys({"a": ["big"]}))
    assert met.value.cure == "did you mean 'completions'?"


def test_a_hub_dataset_may_be_nested(tmp_path: Path) -> None:
    """A Parquet dataset of the Hub gives its items as any file does."""
    pytest.importorskip("datasets", reason="the extra [hub] is not installed")
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    code = (
        "import json, sys; from pathlib import Path; from deltadata.nested import read_each\n"
        "rows = read_each('hf:me/uf', Path(), ['instruction', 'annotations.helpfulness.Rating'], 'completions')\n"
        "told = [[r.where, *map(r.value.get, ('instruction', 'annotations.helpfulness.Rating'))] for r in rows]\n"
        "print(json.dumps(told))"
    )
    with serving() as hub:
        hub.commit("me/uf", {"train.parquet": sink.getvalue()})
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=client_env(hub.url, tmp_path),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [row[1:] for row in found] == [["a", "4"], ["a", "N/A"], ["b", "5"], ["c", "1"], ["c", ""]]
    assert found[1][0] == "hf:me/uf::train row 1, completions[1]"


def ids(*prompts: str) -> dict[str, str]:
    return {tables.prompt_id([{"role": "user", "content": prompt}]): prompt for prompt in prompts}


def keys(answered: dict[str, list[str]], samples: int = 1) -> pl.DataFrame:
    """The keys of a run's responses: of each prompt those of these rungs."""
    rows = [
        (prompt_id, rung, sample)
        for prompt_id, prompt in ids(*answered).items()
        for rung in answered[prompt]
        for sample in range(samples)
    ]
    return pl.DataFrame(rows, schema={"prompt_id": pl.String, "model": pl.String, "sample": pl.UInt32}, orient="row")


def bring(path: Path, rows: list[dict[str, Any]] = ROWS, model: str = "big", **more: Any) -> Answers:
    """The responses of one model to the prompts a, b and c."""
    asked: dict[str, Any] = {"each": "completions", "prompt": "instruction", "select": {"model": model}} | more
    return imported_responses(Rung(name=model, responses=write(path, rows), **asked), ids("a", "b", "c"), path.parent)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_rung_takes_its_responses_out_of_the_lists(tmp_path: Path, ending: str) -> None:
    """Those whose keys, of item or row, have the selected values; the others are counted."""
    for model, texts in (("big", ["A", "C"]), ("small", ["a", "b", "c"])):
        got = bring(tmp_path / f"f.{ending}", model=model)
        assert got.responses["response"].to_pylist() == texts
        assert got.counts == {
            "read": 5,
            "matched": len(texts),
            "unmatched": 0,
            "bad": 0,
            "not_selected": 5 - len(texts),
        }
    both = bring(tmp_path / f"f.{ending}", select={"model": "big", "source": "evol"})
    assert both.responses["response"].to_pylist() == ["C"]


def test_a_bad_item_is_set_aside_with_its_place(tmp_path: Path) -> None:
    """File, line and item; the rest of its row is taken."""
    rows = [ROWS[0], {"instruction": "b", "completions": [answer("big", 5), answer("big", "B"), 3]}]
    got = bring(tmp_path / "f.jsonl", rows)
    assert got.responses["response"].to_pylist() == ["A", "B"]
    assert [(bad["where"].rpartition("f.jsonl:")[2], bad["why"]) for bad in got.bad] == [
        ("2, completions[0]", "response is not text but of type int"),
        ("2, completions[2]", "not an object but of type int"),
    ]


def test_a_column_that_no_item_has_is_refused_with_the_near_one(tmp_path: Path) -> None:
    """The names of the items and of the rows are both known."""
    for wrong, cure in (
        ({"response": "respons"}, "did you mean 'response'?"),
        ({"select": {"modell": "big"}}, "did you mean 'model'?"),
        ({"prompt": "instructions"}, "did you mean 'instruction'?"),
        ({"response": "annotations.helpfulnes.Rating"}, "did you mean 'annotations.helpfulness.Rating'?"),
    ):
        for ending in ("jsonl", "parquet"):
            with pytest.raises(UserError, match="rung 'big': no row has a column") as met:
                bring(tmp_path / f"f.{ending}", **wrong)
            assert met.value.cure == cure


def scored(path: Path, rows: list[dict[str, Any]] = ROWS, made_by: Recipe | None = None, **more: Any) -> ImportedScores:
    """The scores of both models' responses."""
    asked: dict[str, Any] = {"each": "completions", "prompt": "instruction", "score": "overall_score"} | more
    scorer = Imported(name="judge", scores=write(path, rows), **asked)
    there = keys({"a": ["big", "small"], "b": ["small"], "c": ["big", "small"]}, 2)
    return imported_scores(scorer, made_by or recipe(["big", "small"]), path.parent, there)


def found(imported: ImportedScores) -> list[tuple[str, str, int, float | None]]:
    """Prompt, rung, sample and score in the order of the file."""
    names = ids("a", "b", "c")
    rows = imported.scores.to_pylist()
    return [(names[row["prompt_id"]], row["model"], row["sample"], row["score"]) for row in rows]


@pytest.mark.parametrize("ending", ENDINGS)
def test_scores_come_out_of_the_lists(tmp_path: Path, ending: str) -> None:
    """Prompt of the row, model and score of the item."""
    expected = [("a", "big", 7.5), ("a", "small", 2.0), ("b", "small", 9.0), ("c", "small", 1.0), ("c", "big", 3.0)]
    imported = scored(tmp_path / f"f.{ending}")
    assert found(imported) == [(prompt, model, 0, score) for prompt, model, score in expected]
    assert imported.counts == {"read": 5, "matched": 5, "unmatched": 0, "left_out": 0}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_rating_is_text_at_a_path(tmp_path: Path, ending: str) -> None:
    """A number's text is the number; "N/A" and nothing are null, and no number is made of them."""
    imported = scored(tmp_path / f"f.{ending}", score="annotations.helpfulness.Rating")
    assert [row[3] for row in found(imported)] == [4.0, None, 5.0, 1.0, None]


@pytest.mark.parametrize("rating", ["good", "n/a", "NA", "4/5", "None", [4], True])
def test_any_other_rating_is_refused_with_its_place(tmp_path: Path, rating: Any) -> None:
    """File, line and item, and what stands there."""
    rows = [ROWS[0], {"instruction": "b", "completions": [answer("big", "B", 1, "4"), answer("small", "b", 1, rating)]}]
    with pytest.raises(UserError) as met:
        scored(tmp_path / "f.jsonl", rows, score="annotations.helpfulness.Rating")
    assert str(met.value.where).endswith("f.jsonl:2, completions[1]")
    assert met.value.what == f"scorer 'judge': annotations.helpfulness.Rating is no number: {rating!r}"


def test_a_missing_path_of_scores_is_refused_with_the_near_one(tmp_path: Path) -> None:
    """Scores that are all null for want of the column are no scores."""
    for ending in ("jsonl", "parquet"):
        with pytest.raises(UserError, match=r"no row has a column 'annotations\.helpfulness\.Ratings'") as met:
            scored(tmp_path / f"f.{ending}", score="annotations.helpfulness.Ratings")
        assert met.value.cure == "did you mean 'annotations.helpfulness.Rating'?"


def test_an_unreadable_item_of_scores_is_refused(tmp_path: Path) -> None:
    """A score cannot be lost aside."""
    with pytest.raises(UserError, match="scorer 'judge': not an object but of type int") as met:
        scored(tmp_path / "f.jsonl", [ROWS[0], {"instruction": "b", "completions": [3]}])
    assert str(met.value.where).endswith("f.jsonl:2, completions[0]")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_list_hides_the_scores_around_it(tmp_path: Path, ending: str) -> None:
    """Rows that would do as scores by themselves are not taken for them where a list is asked for."""
    a = next(iter(ids("a")))
    outer = {"prompt_id": a, "model": "big", "score": 1.0}
    rows = [outer | {"xs": [{"model": "big", "score": 2.0}, {"model": "small", "score": 3.0}]}]
    imported = scored(tmp_path / f"f.{ending}", rows, each="xs", prompt="prompt_id", score="score")
    assert found(imported) == [("a", "big", 0, 2.0), ("a", "small", 0, 3.0)]


TWICE = [*ROWS, {"instruction": "a", "completions": [answer("small", "a again", 5.0), answer("big", "A again", 6.0)]}]


def of_one_file(path: Path, **more: Any) -> Recipe:
    """Two rungs that take their responses out of the lists of this file."""
    tree = recipe(["big", "small"]).model_dump()
    for rung in tree["generate"]["rungs"]:
        select = {"model": rung["name"]} | more
        rung |= {
            "model": None,
            "responses": str(path),
            "each": "completions",
            "prompt": "instruction",
            "select": select,
        }
    return Recipe.model_validate(tree)


def test_a_prompt_that_stands_twice_has_its_scores_in_the_order_of_its_responses(tmp_path: Path) -> None:
    """Where the rungs take all of the very same lists, the second answer of a model is its sample 1, and so scored."""
    path = tmp_path / "f.jsonl"
    again = found(scored(path, TWICE, of_one_file(path)))[5:]
    assert again == [("a", "small", 1, 5.0), ("a", "big", 1, 6.0)]
    texts = bring(path, TWICE).responses.select(["prompt_id", "sample", "response"]).to_pylist()
    a = next(iter(ids("a")))
    assert [(row["sample"], row["response"]) for row in texts if row["prompt_id"] == a] == [(0, "A"), (1, "A again")]


def test_elsewhere_a_second_score_wants_a_sample(tmp_path: Path) -> None:
    """Of rungs that take a part, or another file, nobody can say which response a second score is of."""
    path = tmp_path / "f.jsonl"
    for made_by in (None, of_one_file(tmp_path / "other.jsonl"), of_one_file(path, source="flan")):
        with pytest.raises(UserError, match="a second score for this response") as met:
            scored(path, TWICE, made_by)
        assert str(met.value.where).endswith("f.jsonl:4, completions[1]") or str(met.value.where).endswith("[0]")


def test_a_rung_of_a_model_has_no_lists(tmp_path: Path) -> None:
    """`each` without `responses` is refused, as the other keys of a file are."""
    project = Project(tmp_path, prompts=3)
    project.recipe["generate"]["rungs"][0]["each"] = "completions"
    said = project.run(code=2)
    assert "generate.rungs[0].each: has no effect on a rung with `model`\n  cure: leave it out" in said


def test_another_list_is_drift_and_none_is_as_before(tmp_path: Path) -> None:
    """`each` shapes a rung's responses; a rung without it has the record that it always had."""
    project = Project(tmp_path, prompts=3)
    rows = [
        {
            "prompt": f"Tell me about number {i}.",
            "response": f"outer {i}",
            "xs": [{"response": f"x {i}"}],
            "ys": [{"response": f"y {i}"}],
        }
        for i in range(3)
    ]
    write(tmp_path / "old.jsonl", rows)
    project.recipe["generate"]["rungs"][1] = rung = {"name": "weak", "responses": "old.jsonl"}
    project.run()
    assert project.responses().filter(pl.col("model") == "weak")["response"].str.starts_with("outer").all()
    rung["each"] = "xs"
    assert 'rung.each: null -> "xs"' in project.run(code=2)
    project.run("run", "recipe.yaml", "--overwrite")
    assert sorted(project.responses().filter(pl.col("model") == "weak")["response"]) == ["x 0", "x 1", "x 2"]
