"""Existing responses become a rung of the ladder: the promises of imported.py.

pytest tests/test_imported.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_collect import collect

from deltadata import imported, tables
from deltadata.errors import UserError
from deltadata.imported import Imported, imported_responses
from deltadata.recipe import Recipe
from deltadata.sections import Rung

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "alpaca_eval"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str | None) -> dict[str, str | None]:
    return {"role": "assistant", "content": text}


def known(*prompts: str | list[dict[str, str]]) -> dict[str, str]:
    """Prompt ids of these prompts, with the text of each."""
    turns = [[user(prompt)] if isinstance(prompt, str) else prompt for prompt in prompts]
    return {tables.prompt_id(messages): messages[-1]["content"] for messages in turns}


KNOWN = known("a", "b", "c")
A, B, C = KNOWN


def bring(path: Path, rows: list[Any], prompts: Any = KNOWN, **rung: Any) -> Imported:
    """What is imported from a .jsonl of these rows, or a .parquet."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return imported_responses(Rung(name="big", responses=str(path), **rung), prompts, path.parent)


def test_rows_become_responses_in_file_order(tmp_path: Path) -> None:
    """A row gives one response of the rung; equal prompts are samples 0, 1, ...; strangers are counted, not kept."""
    rows = [
        {"prompt": "b", "response": " B\n"},
        {"prompt": "x", "response": "nobody asked"},
        {"prompt": [user("a")], "response": ""},
        {"prompt": "b", "response": "B again"},
        {"prompt": "b", "response": None},
    ]
    got = bring(tmp_path / "r.jsonl", rows)
    empty = {"error": None, "prompt_tokens": None, "response_tokens": None}
    assert got.responses.schema == tables.RESPONSES.schema
    assert got.responses.to_pylist() == [
        {"prompt_id": B, "model": "big", "sample": 0, "response": " B\n", "finish_reason": "stop"} | empty,
        {"prompt_id": A, "model": "big", "sample": 0, "response": "", "finish_reason": "stop"} | empty,
        {"prompt_id": B, "model": "big", "sample": 1, "response": "B again", "finish_reason": "stop"} | empty,
        {"prompt_id": B, "model": "big", "sample": 2, "response": None, "finish_reason": "error"}
        | empty
        | {"error": "null in the source"},
    ]
    assert got.counts == {"read": 5, "matched": 4, "unmatched": 1, "bad": 0, "not_selected": 0}
    assert got.bad == []
    frame = pl.DataFrame(pl.from_arrow(got.responses))
    tables.check_rows(tables.RESPONSES, frame, "test")
    tables.check_keys(tables.RESPONSES, frame.select(tables.RESPONSES.key), "test")


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("with_prompt", [True, False])
def test_the_wide_ladder(tmp_path: Path, ending: str, with_prompt: bool) -> None:
    """A conversation's last turn is the response; without a prompt column the turns before it are the prompt."""
    asked = [user("one"), assistant("1"), user("two")]
    rows: list[dict[str, Any]] = [
        {"big": [user("a"), assistant("from big")], "small": [user("a"), assistant("from small")]},
        {"big": [*asked, assistant("2")], "small": [*asked, assistant("3")]},
        {"big": [user("b"), assistant(None)], "small": [user("b"), assistant("")]},
    ]
    if with_prompt:
        rows = [row | {"prompt": prompt} for row, prompt in zip(rows, ["a", "two", "b"], strict=True)]
    prompts = known("a", "two" if with_prompt else asked, "b")  # type: ignore[arg-type]
    for column, texts in (("big", ["from big", "2", None]), ("small", ["from small", "3", ""])):
        got = bring(tmp_path / f"r{ending}", rows, prompts, response=column)
        assert got.responses["prompt_id"].to_pylist() == list(prompts)
        assert got.responses["response"].to_pylist() == texts


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_column_may_be_prompt_and_response(tmp_path: Path, ending: str) -> None:
    """Named as both it is a conversation, whose earlier turns are the prompt, whatever the column `prompt` says."""
    asked = [user("one"), assistant("1"), user("two")]
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "qwen-2.5-3b": [user("b"), assistant("B")], "prompt_id": A},
        {"prompt": "two", "qwen-2.5-3b": [*asked, assistant("2")], "prompt_id": A},
        {"prompt": "a", "qwen-2.5-3b": [user("b"), assistant(None)], "prompt_id": A},
        {"prompt": "a", "qwen-2.5-3b": None, "prompt_id": A},
    ]
    prompts = known("a", "b", asked)  # type: ignore[arg-type]
    got = bring(tmp_path / f"r{ending}", rows, prompts, prompt="qwen-2.5-3b", response="qwen-2.5-3b")
    assert got.responses["prompt_id"].to_pylist() == [B, [*prompts][2], B]
    assert got.responses["response"].to_pylist() == ["B", "2", None]
    assert [row["why"] for row in got.bad] == [
        "qwen-2.5-3b is null; to be the prompt as well it must be a conversation"
    ]
    with pytest.raises(
        UserError, match=r"all 1 selected rows are bad: .* x is of type str; to be the prompt as well it"
    ):
        bring(tmp_path / "text.jsonl", [{"x": "a"}], prompt="x", response="x")


def test_a_bad_row_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    """A row without a usable prompt or response is named with its line and why; the others are imported."""
    rows: list[Any] = [
        {"prompt": "a", "response": "A"},
        "{\n",
        {"prompt": "a"},
        {"prompt": "a", "response": 5},
        {"prompt": "a", "response": "\ud800"},
        {"prompt": "a", "response": [user("a")]},
        {"prompt": "a", "response": []},
        {"prompt": None, "response": "A"},
        {"response": "A"},
        {"response": [assistant("A")]},
        {"prompt": "b", "response": [assistant("B")]},
    ]
    got = bring(tmp_path / "r.jsonl", rows)
    assert got.responses["response"].to_pylist() == ["A", "B"]
    assert [(row["where"].rpartition(":")[2], row["why"]) for row in got.bad] == [
        ("2", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("3", "no column 'response'"),
        ("4", "response is not text but of type int"),
        ("5", "response holds what UTF-8 cannot (half of a surrogate pair, or broken bytes)"),
        ("6", "response does not end with a turn of assistant"),
        ("7", "response does not end with a turn of assistant"),
        ("8", "prompt is null"),
        ("9", "no column 'prompt'"),
        ("10", "response before the response has no messages"),
    ]
    assert got.counts == {"read": 11, "matched": 2, "unmatched": 0, "bad": 9, "not_selected": 0}


def test_a_prompt_id_column_is_the_prompt(tmp_path: Path) -> None:
    """With `prompt: prompt_id` the column is the id; plain sets of ids are enough to know."""
    rows = [
        {"prompt_id": C, "response": "C"},
        {"prompt_id": "0" * 16, "response": "?"},
        {"prompt_id": 3, "response": ""},
    ]
    got = bring(tmp_path / "r.jsonl", rows, set(KNOWN), prompt="prompt_id")
    assert got.responses["prompt_id"].to_pylist() == [C]
    assert got.counts == {"read": 3, "matched": 1, "unmatched": 1, "bad": 1, "not_selected": 0}


def test_facts_of_the_generation_are_taken_where_known(tmp_path: Path) -> None:
    """finish_reason and token counts come from the file if they mean something."""
    rows: list[Any] = [
        {"finish_reason": "length", "prompt_tokens": 3, "response_tokens": 256},
        {"finish_reason": "stop", "prompt_tokens": "3", "response_tokens": 0},
        {"finish_reason": "eos", "prompt_tokens": -1, "response_tokens": True},
        {"finish_reason": "error", "prompt_tokens": 2**32, "response_tokens": 1.5},
        {"finish_reason": None, "prompt_tokens": "many", "response_tokens": "9" * 5000},
    ]
    got = bring(tmp_path / "r.jsonl", [{"prompt": "a", "response": "A"} | row for row in rows])
    facts = got.responses.select(["finish_reason", "prompt_tokens", "response_tokens"]).to_pylist()
    assert [tuple(row.values()) for row in facts] == [
        ("length", 3, 256),
        ("stop", 3, 0),
        ("stop", None, None),
        ("length", None, None),
        ("stop", None, None),
    ]
    # A column of integers in which one is null is a column of floats to pandas.
    row = {
        "prompt": "a",
        "response": "A",
        "finish_reason": "length",
        "prompt_tokens": 3.0,
        "response_tokens": float("nan"),
    }
    got = bring(tmp_path / "r.parquet", [row])
    facts = got.responses.select(["finish_reason", "prompt_tokens", "response_tokens"]).to_pylist()
    assert [tuple(row.values()) for row in facts] == [("length", 3, None)]


@pytest.mark.parametrize(
    ("said", "means"),
    [(said, "stop") for said in ("stop", "STOP", "eos", "end_turn", "stop_sequence", "eos_token", "", None)]
    + [(said, "length") for said in ("length", "max_tokens", "content_filter", "error", "tool_calls", 7, ["stop"])],
)
def test_only_a_known_word_for_stop_is_finished(tmp_path: Path, said: Any, means: str) -> None:
    """A response that was cut off, under whatever name, never passes for a finished one."""
    got = bring(tmp_path / "r.jsonl", [{"prompt": "a", "response": "A", "finish_reason": said}])
    assert got.responses["finish_reason"].to_pylist() == [means]


def test_select_takes_the_rows_that_have_its_values(tmp_path: Path) -> None:
    """Every key of `select` must be equal; CSV cells, which are text, equal the number or bool they spell."""
    rows: list[Any] = [
        {"prompt": "a", "response": "1", "generator": "x", "turn": 1},
        {"prompt": "a", "response": "2", "generator": "y", "turn": 1},
        {"prompt": "b", "response": "3", "generator": "x", "turn": 2},
        {"prompt": "b", "response": "4", "turn": 1},
    ]
    got = bring(tmp_path / "r.jsonl", rows, select={"generator": "x", "turn": 1})
    assert got.responses["response"].to_pylist() == ["1"]
    assert got.counts == {"read": 4, "matched": 1, "unmatched": 0, "bad": 0, "not_selected": 3}
    path = tmp_path / "r.csv"
    path.write_text("prompt,response,turn,first\na,1,1,true\na,2,2,false\n")
    rung = Rung(name="big", responses=str(path), select={"turn": 1, "first": True})
    assert imported_responses(rung, KNOWN, tmp_path).responses["response"].to_pylist() == ["1"]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_column_that_no_row_has_is_refused(tmp_path: Path, ending: str) -> None:
    """A misspelt column of the rung is an error with the right one."""
    rows = [{"instruction": "a", "output": "A", "generator": "x"}] * 3
    right: dict[str, Any] = {"prompt": "instruction", "response": "output", "select": {"generator": "x"}}
    assert bring(tmp_path / f"r{ending}", rows, **right).counts["matched"] == 3
    for wrong, cure in (
        ({"prompt": "instructions"}, "did you mean 'instruction'?"),
        ({"response": "outptu"}, "did you mean 'output'?"),
        ({"select": {"model": "x"}}, "known are: instruction, output, generator"),
    ):
        with pytest.raises(UserError, match="rung 'big': no row has a column") as caught:
            bring(tmp_path / f"r{ending}", rows, **right | wrong)
        assert caught.value.cure == cure


def test_a_missing_column_is_not_waited_for(tmp_path: Path) -> None:
    """A column that none of the first 1,000 rows has is refused there."""
    rows: list[Any] = [{"prompt": "a", "output": "A"}] * 1000
    with pytest.raises(UserError, match="no row has a column 'response'"):
        bring(tmp_path / "r.jsonl", [*rows, {"prompt": "a", "response": "late"}])
    assert bring(tmp_path / "r.jsonl", [*rows[1:], {"prompt": "a", "response": "soon"}]).counts["matched"] == 1


def test_a_rung_without_a_match_is_refused(tmp_path: Path) -> None:
    """When no response is for a known prompt the message shows both sides; nothing selected and nothing good say so."""
    rows: list[Any] = [{"prompt": "A?", "response": "x", "turn": 1}, {"prompt": "B?", "response": "y", "turn": 1}]
    with pytest.raises(UserError) as caught:
        bring(tmp_path / "r.jsonl", rows)
    assert caught.value.what == (
        "rung 'big': none of its 2 responses answers a prompt of the pools\n"
        f"  {tmp_path}/r.jsonl:1: '[[\"user\",\"A?\"]]'\n  a prompt of the pools: 'a'"
    )
    with pytest.raises(UserError, match=r"none of its 2 rows has \{'turn': 3\}"):
        bring(tmp_path / "r.jsonl", rows, select={"turn": 3})
    with pytest.raises(UserError, match=r"all 1 selected rows are bad: .*r.jsonl:1: response is not text"):
        bring(tmp_path / "r.jsonl", [{"prompt": "a", "response": 1}])
    with pytest.raises(UserError, match="the source has no rows"):
        bring(tmp_path / "r.jsonl", ["\n"])


def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are counted on through the chunks that the table is built of."""
    monkeypatch.setattr(imported, "CHUNK", 2)
    got = bring(tmp_path / "r.jsonl", [{"prompt": "a", "response": str(i)} for i in range(7)])
    assert got.responses["sample"].to_pylist() == list(range(7))
    assert got.responses["response"].to_pylist() == list("0123456")


MODELS = ["Qwen1.5-1.8B-Chat", "Qwen1.5-7B-Chat", "falcon-40b-instruct", "falcon-7b-instruct"]
MODELS += ["gemma-2b-it", "gemma-7b-it", "vicuna-13b", "vicuna-7b"]


def test_eight_real_models_answer_one_pool() -> None:
    """AlpacaEval: a pool made of one model's file matches all 805 responses of each, empty answers included."""
    if not DATA.is_dir():
        pytest.skip("the real data is not beside the project")
    path = str(DATA / "vicuna-7b.json")
    recipe = Recipe.model_validate(
        {
            "name": "alpaca",
            "collect": {"pools": [{"name": "alpaca", "path": path, "prompt": "instruction", "keep": ["dataset"]}]},
            "generate": {"rungs": [{"name": "m", "model": "m"}]},
        }
    )
    ids = collect(recipe, ROOT).prompts["prompt_id"].to_pylist()
    assert len(ids) == 805
    for model in MODELS:
        rung = Rung(name=model, responses=str(DATA / f"{model}.json"), prompt="instruction", response="output")
        got = imported_responses(rung, set(ids), ROOT)
        assert got.counts == {"read": 805, "matched": 805, "unmatched": 0, "bad": 0, "not_selected": 0}
        assert sorted(got.responses["prompt_id"].to_pylist()) == sorted(ids)
        assert got.responses["response"].to_pylist().count("") == (22 if model == "gemma-2b-it" else 0)


def test_answers_by_id_are_told_how_to_be_named(tmp_path: Path) -> None:
    """A file with `prompt_id` and no `prompt` is matched by saying so."""
    with pytest.raises(UserError) as met:
        bring(tmp_path / "r.jsonl", [{"prompt_id": C, "response": "C"}])
    assert met.value.cure == "the file has ids: say `prompt: prompt_id`"
