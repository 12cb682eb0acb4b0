"""A tiny student and pairs of a few words, and a training on them: what the tests of `train` share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from tiny_model import build

from deltadata import tables, trainings
from deltadata.screen import Screen
from deltadata.sections import Train

WORDS = ["rain", "hills", "river", "sea", "seven", "shells", "three", "fills", "runs", "sells", "the"]
SCHEMA = pa.schema(
    [
        *((name, tables.MESSAGES) for name in ("prompt", "chosen", "rejected")),
        *((name, pa.string()) for name in ("prompt_id", "chosen_model", "rejected_model")),
        ("delta_tokens", pa.float64()),
    ]
)


def say(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def pair(number: int) -> dict[str, Any]:
    """Chosen walks through the words, rejected jumps and says no."""
    prompt = say("user", f"tell me of number {number}")
    return {
        "prompt": prompt,
        "chosen": say("assistant", " ".join(WORDS[(number + step) % 11] for step in range(6 + number % 5))),
        "rejected": say("assistant", " ".join(WORDS[(3 * number + 2 * step) % 11] for step in range(4 + number % 7))),
        "prompt_id": tables.prompt_id(prompt),
        "chosen_model": "strong",
        "rejected_model": "weak",
        "delta_tokens": float(number % 5),
    }


def write(folder: Path, rows: list[dict[str, Any]], split: str = "train", schema: pa.Schema = SCHEMA) -> Path:
    """A dataset folder with these rows in a split; returns the folder."""
    data = folder / "data" / "default"
    data.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), data / f"{split}-00000-of-00001.parquet")
    return folder


def pairs(folder: Path, count: int = 32, held_out: int = 0) -> Path:
    write(folder, [pair(number) for number in range(count)])
    if held_out:
        write(folder, [pair(number) for number in range(count, count + held_out)], "test")
    return folder


def student(folder: Path, **how: Any) -> Path:
    return folder if (folder / "config.json").exists() else build(folder, **how)


def asked(folder: Path, student: Path | str, dataset: Path, **section: Any) -> trainings.Asked:
    """A training of eight pairs a step at a rate that moves 0.1 M parameters; `args` come on top."""
    args = {"learning_rate": 2e-3, "num_train_epochs": 2, "report_to": "none"} | section.pop("args", {})
    tree = {"student": str(student), "dataset": str(dataset), "batch": 8, "args": args} | section
    return trainings.Asked("tiny", folder / "run", Train.model_validate(tree), 0, folder / "recipe.yaml", {})


def recipe(folder: Path, student: Path | str, dataset: Path, **section: Any) -> Path:
    """The same as a recipe file."""
    import yaml

    told = asked(folder, student, dataset, **section).train.model_dump(mode="json", exclude_unset=True)
    tree = {
        "name": "tiny",
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {"engine": "scripted", "rungs": [{"name": "strong", "model": "a"}]},
        "train": told,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return folder / "recipe.yaml"


class Heard:
    """A Screen and what it said."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.screen = Screen(Console(file=self._file, width=400, highlight=False))

    @property
    def text(self) -> str:
        return self._file.getvalue()
