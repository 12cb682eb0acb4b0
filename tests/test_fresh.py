"""What changed between two models' answers: scored, paired by prompt, kept; an engine asks both alike.

pytest tests/test_fresh.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny_model import build
from trainings_by_hand import Heard, say

from deltadata import fresh
from deltadata.errors import UserError
from deltadata.scorers.checks import Checks
from deltadata.student import Student, open_student


def prompts(count: int, **meta: Any) -> list[fresh.Held]:
    return [fresh.Held(f"{n:016x}", say("user", f"number {n}"), meta) for n in range(count)]


def answers(texts: list[str | None], **columns: Any) -> pl.DataFrame:
    told: dict[str, Any] = {"prompt_id": [f"{n:016x}" for n in range(len(texts))], "response": texts}
    told |= {"finish_reason": ["error" if text is None else "stop" for text in texts], "error": None}
    lengths = [None if text is None else len(text.split()) for text in texts]
    return pl.DataFrame(told | {"response_tokens": lengths} | columns)


def test_checks_and_shifts_are_paired_by_prompt() -> None:
    """Three prompts of reference 4; the student is right twice and longer, the reference once; one has no answer."""
    held = prompts(3, check="4")
    student = answers(["the answer is 4", "it is 5, I think", None])
    reference = answers(["4", "6", "4"], finish_reason=["stop", "length", "stop"])
    told = fresh.shifts(held, student, reference, Checks(), 0)
    checks = told["shifts"]["checks"]
    assert (checks["n"], checks["student"], checks["reference"], checks["difference"]) == (2, 0.5, 0.5, 0.0)
    tokens = told["shifts"]["tokens"]
    assert (tokens["student"], tokens["reference"], tokens["difference"]) == (4.5, 1.0, 3.5)
    assert told["shifts"]["cut_off"]["reference"] == 0.5 and told["shifts"]["cut_off"]["student"] == 0.0
    assert told["failed"] == {"student": 1, "reference": 0} and told["same_text"] == 0
    assert list(told["shifts"]) == ["checks", "tokens", "characters", "repetition", "refusal", "cut_off"]


def test_repetition_and_refusal_shift() -> None:
    """A loop and a refusal are seen; without checks none are told."""
    loop = "so it goes on " * 10
    told = fresh.shifts(
        prompts(2), answers([loop, "I cannot assist with that."]), answers(["a b c d", "yes"]), Checks(), 0
    )["shifts"]
    assert "checks" not in told
    assert told["repetition"]["student"] == pytest.approx(
        fresh.quantities(prompts(1), answers([loop]), None)["repetition"][0] / 2
    )
    assert told["repetition"]["student"] > 0.4 and told["repetition"]["reference"] == 0
    assert (told["refusal"]["student"], told["refusal"]["difference"]) == (0.5, 0.5)


def test_what_pools_kept_comes_along(tmp_path: Path) -> None:
    """Distinct prompts in their order, with the run's meta; a folder without prompts gives none."""
    rows = [{"prompt_id": f"{n:016x}", "prompt": say("user", f"number {n}")} for n in (2, 1, 2, 3)]
    pl.DataFrame(
        {"prompt_id": [f"{n:016x}" for n in (1, 2)], "meta": [json.dumps({"check": "7"}), None]}
    ).write_parquet(tmp_path / "prompts.parquet")
    held = fresh.held_out(rows, tmp_path)
    assert [(one.prompt_id[-1], one.meta) for one in held] == [("2", {}), ("1", {"check": "7"}), ("3", {})]
    assert [one.meta for one in fresh.held_out(rows, tmp_path / "none")] == [{}, {}, {}]
    nameless = fresh.held_out([{"prompt": say("user", "hi")}], tmp_path)
    assert len(nameless[0].prompt_id) == 16


def test_an_engine_answers_and_its_answers_are_kept(tmp_path: Path) -> None:
    """Greedy answers of the tiny model: the same rows from the file, without an engine; other sampling asks again."""
    model = open_student(str(build(tmp_path / "tiny")), tmp_path, print)
    asking = fresh.Asking("transformers", {"temperature": 0.0, "max_tokens": 8}, 0, {})
    heard = Heard()
    first = fresh.answered(prompts(3), model, asking, tmp_path / "kept", "student", heard.screen)
    assert first["response"].null_count() == 0 and first["prompt_id"].to_list() == [p.prompt_id for p in prompts(3)]
    assert 0 < first["response_tokens"].max() <= 8  # type: ignore[operator]
    gone = Student(model.told, "/nowhere", None, model.digest)
    assert fresh.answered(prompts(3), gone, asking, tmp_path / "kept", "student", heard.screen).equals(first)
    with pytest.raises(UserError, match="nowhere"):
        fresh.answered(prompts(2), gone, asking, tmp_path / "kept", "student", heard.screen)


def test_no_answer_at_all_is_an_error(tmp_path: Path) -> None:
    """Prompts beyond the model's positions: what the engine said of the first."""
    model = open_student(str(build(tmp_path / "tiny")), tmp_path, print)
    long = [fresh.Held("0" * 16, say("user", "rain " * 400), {})]
    asking = fresh.Asking("transformers", {"temperature": 0.0, "max_tokens": 8}, 0, {})
    with pytest.raises(UserError, match="no prompt was answered: the prompt has"):
        fresh.answered(long, model, asking, tmp_path / "kept", "student", Heard().screen)
