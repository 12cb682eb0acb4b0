"""The UltraFeedback-Weak recipe over made-up rows of that layout: an allow-list of models, paired anew by score.

pytest tests/test_ultrafeedback_weak.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from project import in_place

from deltadata import recipe

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "recipes" / "ultrafeedback_weak.yaml"
# Of each prompt model and mean rating; None is one that GPT-4 did not give.
ANSWERS: list[tuple[str, list[tuple[str, float | None]]]] = [
    ("Why is the sky blue?", [("gpt-4", 5.0), ("alpaca-7b", 2.0), ("vicuna-33b", 4.5), ("starchat", 3.0)]),
    ("Name a prime.", [("gpt-4", 1.0), ("bard", 5.0), ("pythia-12b", 2.5), ("alpaca-7b", 4.0)]),
    ("Sort a list.", [("gpt-4", 5.0), ("bard", 1.0), ("ultralm-65b", 2.0), ("starchat", 4.0)]),
    ("Say hello.", [("alpaca-7b", 3.0), ("wizardlm-7b", 3.0), ("gpt-3.5-turbo", 1.0), ("wizardlm-70b", 5.0)]),
    ("Say goodbye.", [("llama-2-7b-chat", None), ("mpt-30b-chat", 2.0), ("ultralm-13b", 3.75), ("starchat", 3.5)]),
    ("Name a prime.", [("pythia-12b", 5.0), ("llama-2-13b-chat", 3), ("wizardlm-13b", 3), ("falcon-40b-instruct", 4)]),
]  # fmt: skip
PAIRS = {
    "Why is the sky blue?": ("vicuna-33b 0", "alpaca-7b 0", 2.5),  # gpt-4 is no candidate
    "Name a prime.": ("pythia-12b 5", "pythia-12b 1", 2.5),  # the prompt stands twice, and so do pythia's answers
    "Say goodbye.": ("ultralm-13b 4", "mpt-30b-chat 4", 1.75),  # what has no rating is no candidate
}  # one answer of a weak model is no pair, and neither are two of one rating


def rows() -> list[dict[str, Any]]:
    """The answers as the dataset has them; `overall_score` is 10 throughout, as the first release had some."""
    return [
        {
            "source": "made_up",
            "instruction": prompt,
            "models": [model for model, _ in answers],
            "completions": [
                {
                    "annotations": {"helpfulness": {"Rating": "N/A", "Rationale": ""}},
                    "custom_system_prompt": "Be helpful.",
                    "model": model,
                    "overall_score": 10.0,
                    "fine-grained_score": rating,
                    "principle": "helpfulness",
                    "response": f"{model} {number}",
                }
                for model, rating in answers
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        }
        for number, (prompt, answers) in enumerate(ANSWERS)
    ]


def test_the_recipe_re_pairs_the_weak_models_by_score(tmp_path: Path) -> None:
    """The pairs by hand, the models left out nowhere in them, and the responses with the scores that were theirs."""
    (tmp_path / "uf").mkdir()
    for part, some in enumerate((rows()[:3], rows()[3:])):
        (tmp_path / "uf" / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    places = [f"generate.rungs.{i}.responses" for i in range(len(recipe.load(SHIPPED).generate.rungs))]
    places += ["collect.pools.0.path", "score.0.scores"]
    command = ["run", str(SHIPPED), "--run", "run", "--set", "holdout=0.0"]
    for place in places:
        command += ["--set", f"{place}={tmp_path}/uf/*.jsonl"]
    code, _, said = in_place(tmp_path, *command)
    assert code == 0, said
    facts = json.loads((tmp_path / "run" / "record.json").read_text())["tables"]["scores/overall"]["facts"]
    assert (facts["read"], facts["matched"], facts["unmatched"], facts["left_out"]) == (24, 16, 0, 8)
    pairs = pl.read_parquet(tmp_path / "run" / "dataset" / "data" / "default" / "train-*.parquet")
    texts = [pl.col(name).list.last().struct.field("content").alias(name) for name in ("prompt", "chosen", "rejected")]
    found = {prompt: rest for prompt, *rest in pairs.select(*texts, "delta_overall").iter_rows()}
    assert found == {prompt: list(rest) for prompt, rest in PAIRS.items()}
    assert pairs.height == 3


def test_the_allow_list_leaves_out_what_the_scores_leave_out() -> None:
    """Every one of UltraFeedback's 17 models is a rung or named as left out, and none is both."""
    asked = recipe.load(SHIPPED)
    rungs = [rung.name for rung in asked.generate.rungs]
    assert all(rung.select == {"model": rung.name} for rung in asked.generate.rungs)
    left_out = {*asked.score[0].model_dump()["models"]}
    assert len(rungs) == 11 and len(left_out) == 6
    assert not left_out & {*rungs}


def test_what_was_not_recovered_stays_so() -> None:
    """The header invents no figure."""
    header = [line for line in SHIPPED.read_text().splitlines() if line.startswith("#")]
    assert sum(line.count("NOT RECOVERED") for line in header) == 2
    assert "Not run on the real data" in "\n".join(header)
    assert pytest.approx(5e-7) == recipe.load(SHIPPED).train.args["learning_rate"]
