"""What a record says against what a recipe says: which difference is one.

pytest tests/test_store.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from project import Project

from deltadata import parts
from deltadata.store import Run, changes


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": 1}, {"a": 1, "each": None}, []),
        ({"a": 1, "gone": None}, {"a": 1}, []),
        ({"pools": [{"name": "x"}]}, {"pools": [{"name": "x", "take": None}]}, []),
        ({"a": {"b": None}}, {"a": {"b": 2}}, ["a.b: null -> 2"]),
        ({"a": {"b": 2}}, {"a": {}}, ["a.b: 2 -> null"]),
        ({"a": [1]}, {"a": [2]}, ["a: [1] -> [2]"]),
        ({"args": {}}, {"args": {"max_grad_norm": None}}, ["args.max_grad_norm: not there -> null"]),
        ({"models": {"gpt": None}}, {"models": {"gpt": "big"}}, ['models.gpt: null -> "big"']),
    ],
)
def test_a_null_is_a_field_that_is_not_there_unless_a_person_wrote_it(old: Any, new: Any, told: list[str]) -> None:
    """A default of null that a record is too old for, or too young, is no change; in a person's own mapping it is."""
    assert changes(old, new) == told


def test_a_record_without_a_younger_field_is_done(tmp_path: Path) -> None:
    """Neither a spec nor inputs that differ in nulls alone make a table drift or stale."""
    run = Run(tmp_path, "tiny")
    run.finish("t", 1, 0.0, {"a": 1, "each": None}, {"price": None, "file": "x"})
    states = [
        run.state("t", spec, inputs, tmp_path)
        for spec, inputs in [({"a": 1}, {"file": "x"}), ({"a": 1}, {"file": "y"}), ({"a": 2}, {"file": "x"})]
    ]
    assert states == ["done", "stale", "drift"]


def test_a_part_without_a_younger_field_is_made_by_the_same() -> None:
    """Of what made a part, nulls, weights that are gone and the size of parts under overlap tell no other text."""
    old: dict[str, Any] = {"rung": {"model": "a"}, "part_rows": 16, "model_files": "f"}
    assert parts.same(old, {"rung": {"model": "a", "dtype": None}})
    assert not parts.same(old, {"rung": {"model": "a", "dtype": "float32"}})
    assert not parts.same(old, old | {"part_rows": 32})
    assert not parts.same(old, old | {"seed": 1})


def test_a_run_by_an_older_version_is_skipped_and_validated(tmp_path: Path) -> None:
    """Records that have a null field more, or one less, than the recipe of today are those of this very recipe."""
    project = Project(tmp_path, prompts=10)
    scores = [
        {"prompt": f"Tell me about number {i}.", "model": rung, "score": i % 3 + (rung == "strong")}
        for i in range(10)
        for rung in ("strong", "weak")
    ]
    (tmp_path / "scores.jsonl").write_text("\n".join(map(json.dumps, scores)))
    project.recipe["score"] = [{"name": "given", "scores": "scores.jsonl"}]
    project.run()
    project.run("validate", "recipe.yaml", "--sample", "5")
    for run, table in ((project.path, "dataset"), (project.path / "validate", "scores/given")):
        told = json.loads((run / "record.json").read_text())
        spec = told["tables"][table]["spec"]
        told["tables"][table]["spec"] = {key: value for key, value in spec.items() if value is not None} | {"old": None}
        (run / "record.json").write_text(json.dumps(told))
    assert "nothing to do" in project.run()
    assert "no longer says" not in project.run("validate", "recipe.yaml")
