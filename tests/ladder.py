"""A ladder of three rungs written by hand, and the run folder that the scripted engine makes of a small pool.

Prompts are called by one letter; the id of `a` is `aaaaaaaaaaaaaaaa`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow.parquet as pq

from deltadata import pair, run, tables
from deltadata.job import Job
from deltadata.recipe import Recipe
from deltadata.store import open_run

RUNGS = ("strong", "middle", "frail")  # strongest first, which is not the order of the alphabet
LENGTHS = ["tokens", "characters", "response_ratio"]  # measures whose deltas can be written down by hand
PROMPTS = "bacd"  # the order of the prompts table, which is not that of the ids
SAMPLES = 2


class Response(NamedTuple):
    """A text of None is an error row."""

    prompt: str
    model: str
    sample: int
    text: str | None
    tokens: int | None = None
    finish: str = "stop"


LADDER = [
    Response("a", "strong", 0, "aaaa", 4),
    Response("a", "strong", 1, "aaaaaaaa", 8),
    Response("a", "middle", 0, "aa", 2),
    Response("a", "middle", 1, "öö", 2),  # two characters, four bytes
    Response("a", "frail", 0, "a", 1),  # and no second sample
    Response("b", "strong", 0, "bb", 2),  # the middle rung never answered b
    Response("b", "frail", 0, "bbbb", 4),
    Response("c", "strong", 0, None),
    Response("c", "middle", 0, "cc", 2),
    Response("c", "frail", 0, "cccc", None),  # nobody counted its tokens
    Response("d", "strong", 0, "d", 1, "length"),
    Response("d", "middle", 0, "d", 1),
    Response("d", "frail", 0, "", 0),
]


def key(letter: str) -> str:
    return letter * 16


# Numbers of a pair that every rule lets pass.
PAIR: dict[str, Any] = {
    "prompt_id": key("a"),
    "pool": "own",
    "chosen_model": "strong",
    "rejected_model": "frail",
    "chosen_sample": 0,
    "rejected_sample": 0,
    "chosen_tokens": 10,
    "rejected_tokens": 10,
    "chosen_finish_reason": "stop",
    "rejected_finish_reason": "stop",
    "chosen_is_empty": False,
    "rejected_is_empty": False,
    "same_text": False,
}


def recipe(
    rungs: Sequence[str] = RUNGS, samples: int = SAMPLES, pair: dict[str, Any] | None = None, **sections: Any
) -> Recipe:
    """A recipe over these rungs; `pair` and the other sections as in a recipe file."""
    tree = {
        "name": "by-hand",
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {
            "engine": "scripted",
            "rungs": [{"name": name, "model": name} for name in rungs],
            "sampling": {"samples": samples},
        },
        "pair": pair or {},
    }
    return Recipe.model_validate(tree | sections)


def write_parts(folder: Path, responses: Iterable[Response], part_rows: int = 100) -> dict[str, list[Path]]:
    """Part files of every rung that has a response, `part_rows` each, in the order given."""
    rungs: dict[str, list[Response]] = {}
    for response in responses:
        rungs.setdefault(response.model, []).append(response)
    files: dict[str, list[Path]] = {}
    for rung, rows in rungs.items():
        for start in range(0, len(rows), part_rows):
            path = folder / f"{rung}-{start:05d}.parquet"
            pq.write_table(_table(rows[start : start + part_rows]), path)
            files.setdefault(rung, []).append(path)
    return files


def _table(rows: list[Response]) -> Any:
    return tables.as_rows(
        tables.RESPONSES,
        {
            tables.PROMPT_ID: [key(row.prompt) for row in rows],
            tables.MODEL: [row.model for row in rows],
            tables.SAMPLE: [row.sample for row in rows],
            tables.RESPONSE: [row.text for row in rows],
            tables.FINISH: ["error" if row.text is None else row.finish for row in rows],
            tables.ERROR: ["it broke" if row.text is None else None for row in rows],
            tables.RESPONSE_TOKENS: [row.tokens for row in rows],
        },
    )


def prompts_frame(letters: str = PROMPTS) -> pl.DataFrame:
    return pl.DataFrame({tables.PROMPT_ID: [key(letter) for letter in letters], tables.POOL: ["own"] * len(letters)})


def numbers(files: dict[str, list[Path]], samples: int = SAMPLES) -> pl.DataFrame:
    """What `pair.pair` starts from; the order of `files` is not that of the rungs."""
    return pair.response_numbers(frames(files), prompts_frame(), recipe(samples=samples))


def frames(files: dict[str, list[Path]]) -> dict[str, list[pl.DataFrame]]:
    """Each rung's parts, read."""
    return {rung: [pl.read_parquet(path) for path in paths] for rung, paths in files.items()}


class Quiet:
    """A Progress that nobody watches; `notes` keeps what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def rung(self, name: str, total: int, done: int) -> None: ...
    def advance(self, tokens: int, failed: bool) -> None: ...
    def rung_done(self) -> None: ...


def small_run(samples: int = 2, part_rows: int = 7, **sections: Any) -> Recipe:
    """A recipe whose ladder has all there is: cut-off, failed, missing, empty and equal responses, unknown counts."""
    tree = {
        "name": "small",
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {
            "engine": "scripted",
            "rungs": [
                {"name": "strong", "model": "a"},
                {"name": "middle", "model": "b", "sampling": {"temperature": 0.7}},
                {"name": "frail", "responses": "frail.jsonl"},
            ],
            "sampling": {"max_tokens": 50, "samples": samples},
            "part_rows": part_rows,
        },
        "pair": {"pairings": "all", "measures": LENGTHS},
        "filter": {
            "rules": [{"max_length_delta": {"measure": "characters", "at_most": 60}}, "finished"],
            "where": "response_ratio < 1.25",
        },
        "holdout": 0.3,
        "runtime": {"scripted": {"fail_on": "number 3?"}},
    }
    return Recipe.model_validate(tree | sections)


def write_sources(folder: Path, prompts: int = 24) -> None:
    """The pool and the imported rung that `small_run` names."""
    asked = [f"What is the number {number}?" for number in range(prompts)]
    (folder / "pool.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in asked))
    answered = [{"prompt": text, "response": "It is even. " * (number % 20)} for number, text in enumerate(asked[:-2])]
    (folder / "frail.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*answered, *answered[5:7]]))


def do(folder: Path, made_by: Recipe, *stages: str, overwrite: bool = False) -> Job:
    """Do these stages (all of them when none is named) in the run folder `folder`; its sources lie beside it."""
    with open_run(folder, made_by.name) as opened:
        job = Job(opened, made_by, folder.parent / "recipe.yaml", Quiet(), overwrite)
        if not stages:
            run.run_all(job)
        for stage in stages:
            run.STAGES[stage](job)
    return job
