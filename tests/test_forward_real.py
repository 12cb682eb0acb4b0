"""Scores of real answers by real weights: vLLM's against a forward pass in float32, for both sides of 50 pairs.

pytest -m slow tests/test_forward_real.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_forward import ROWS, asked, classifier, logprob, reward
from tiny_model import build

from deltadata.scorer_sections import LogProb, RewardModel
from deltadata.scorers import open_scorer
from deltadata.scorers.sequences import RESOLUTION, resolution

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "alpaca_eval"
MODEL = ROOT / "models" / "smollm2-135m-instruct"
PAIRS, SIDES = 50, ("gemma-7b-it", "gemma-2b-it")

pytestmark = pytest.mark.slow


def scored(section: RewardModel | LogProb, rows: list[tuple[str, str]], log: Path) -> list[float]:
    with open_scorer(section, log) as scorer:
        found = list(scorer.score(asked(*(prompt for prompt, _ in rows)), [text for _, text in rows]))
        assert not scorer.notes, log.read_text()
    return [number for number in found if number is not None]


def test_vllm_rewards_are_those_of_transformers(tmp_path: Path) -> None:
    """The pooling runner's raw logits in float32, also of a model that knows no padding token: equal to 1e-4."""
    for name, pad in (("pad", 0), ("no-pad", None)):
        path = classifier(tmp_path / name, pad=pad)
        one, other = (
            scored(reward(path, engine=engine, dtype="float32"), ROWS, tmp_path / "log")
            for engine in ("transformers", "vllm")
        )
        assert max(one) > 1.0
        assert other == pytest.approx(one, abs=1e-4)


def test_vllm_cuts_where_transformers_cuts(tmp_path: Path) -> None:
    """At max_length the log-probs are the same; without it vLLM, which must say one token more, has one less."""
    path = build(tmp_path / "lm")
    rows = [("hi", "the sea " * 50), ("say", "the sea")]
    found = []
    for engine in ("transformers", "vllm"):
        with open_scorer(logprob(path, engine=engine, dtype="float32", max_length=50), tmp_path / "log") as scorer:
            found.append(list(scorer.score(asked(*(prompt for prompt, _ in rows)), [text for _, text in rows])))
            assert scorer.notes == {"cut": 1}
            assert scorer.engine_facts["max_length"] == 50
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    with open_scorer(logprob(path, engine="vllm"), tmp_path / "log") as scorer:
        assert list(scorer.score(asked("hi"), ["the sea " * 200])) != [None]
        assert (scorer.engine_facts["max_length"], scorer.notes) == (255, {"cut": 1})


@pytest.mark.skipif(not (DATA.is_dir() and MODEL.is_dir()), reason="needs the answers beside the checkout, and SmolLM2")
def test_vllm_log_probs_of_real_pairs(tmp_path: Path) -> None:
    """Both sides within 0.02 of transformers in float32, chat template included, and so are their deltas."""
    answers = [
        {row["instruction"]: row["output"] for row in json.loads((DATA / f"{m}.json").read_text())} for m in SIDES
    ]
    prompts = [prompt for prompt in answers[0] if prompt in answers[1]][:PAIRS]
    rows = [(prompt, of_one[prompt]) for prompt in prompts for of_one in answers]
    plain = scored(logprob(MODEL), rows, tmp_path / "plain.log")
    coarse = scored(logprob(MODEL, engine="vllm"), rows, tmp_path / "vllm.log")
    assert len(plain) == len(coarse) == 2 * PAIRS
    apart = [one - other for one, other in zip(plain, coarse, strict=True)]
    assert 1e-4 < max(map(abs, apart)) < 0.02
    deltas = [abs(chosen - rejected) for chosen, rejected in zip(apart[::2], apart[1::2], strict=True)]
    assert max(deltas) < resolution("logprob", "bfloat16")["resolution"]
    assert RESOLUTION == {"float32": 1e-4}
