"""E5 at laptop size: the copy without layers, the ten pairings, and fits whose slopes are known.

pytest tests/test_study_ladder.py
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_study_self_improvement import answered
from tiny_model import build

from deltadata import sweep_picture, sweep_rows
from deltadata.store import write_json
from studies import ladder, self_improvement
from studies.answers import GREEDY, SAMPLED
from studies.self_improvement import COOLER, REFERENCE

ROOT = Path(__file__).parents[1]
RUNGS = ["self", "warm", "gemma", "dropped", "hot"]
QUALITY = dict(zip(RUNGS, (0.6, 0.55, 0.45, 0.3, 0.2), strict=True))
PROMPTS = 80


def test_the_rows_are_all_pairings_of_the_ladder_and_differ_in_nothing_else() -> None:
    """Ten of five rungs, the stronger one chosen; one ladder, one seed, the same settings; E3's settings."""
    table = sweep_rows.load(ROOT / ladder.CSV)
    recipes = [row.recipe for row in table.rows]
    assert [rung.name for rung in recipes[0].generate.rungs] == RUNGS
    assert [tuple(recipe.pair.pairings[0]) for recipe in recipes] == [*combinations(RUNGS, 2)]
    assert [row.name for row in table.rows] == [f"{one}_over_{other}" for one, other in combinations(RUNGS, 2)]
    assert len(table.ladders) == 1 and all(recipe.train == recipes[0].train for recipe in recipes)
    e3 = sweep_rows.load(ROOT / self_improvement.CSV).rows[0].recipe
    assert recipes[0].train.args == e3.train.args and recipes[0].train.batch == e3.train.batch
    assert recipes[0].generate.sampling == e3.generate.sampling
    assert recipes[0].seed not in {row.recipe.seed for row in sweep_rows.load(ROOT / self_improvement.CSV).rows}
    assert set(ladder.QUICK_ROWS) <= {row.name for row in table.rows}


def test_a_copy_without_layers_is_a_model_of_those_that_are_left(tmp_path: Path) -> None:
    """The first layer of three goes: the copy answers as a model of the other two, and loads as any model does."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = build(tmp_path / "tiny")
    config = LlamaConfig.from_pretrained(source)
    config.num_hidden_layers = 3
    torch.manual_seed(1)
    whole = LlamaForCausalLM(config).to(torch.bfloat16)
    whole.save_pretrained(source)
    out = ladder.without_layers(source, tmp_path / "models" / "copy", (0,))
    copy = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16)
    assert copy.config.num_hidden_layers == 2 and len(copy.model.layers) == 2
    for kept, was in zip(copy.model.layers, list(whole.model.layers)[1:], strict=True):
        assert torch.equal(kept.mlp.up_proj.weight, was.mlp.up_proj.weight)
    assert torch.equal(copy.model.embed_tokens.weight, whole.model.embed_tokens.weight)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert copy.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape[1] > 4  # its cache as well
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(source).chat_template
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert ladder.without_layers(source, out, (0,)) == out and (out / "model.safetensors").stat().st_mtime_ns == before


def rows(slope: float, level: float) -> tuple[list[dict[str, Any]], np.ndarray]:
    """All pairings with a gain of slope * delta + level * quality, and their differences by prompt."""
    found = []
    for one, other in combinations(RUNGS, 2):
        delta = QUALITY[one] - QUALITY[other]
        found.append({"kept_delta": delta, "kept_quality": QUALITY[one], "gain": slope * delta + level * QUALITY[one]})
    noise = np.random.default_rng(0).normal(0, 0.3, (len(found), PROMPTS))
    gains = np.array([row["gain"] for row in found])[:, None]
    return found, gains + noise - noise.mean(axis=1, keepdims=True)


@pytest.mark.parametrize(("slope", "level"), [(0.5, 0.0), (0.0, 0.5), (0.4, -0.2)])
def test_slopes_that_are_known_are_found(slope: float, level: float) -> None:
    """Exact gains of both regressors: both slopes, all variance explained; drawn prompts leave room around them."""
    told = ladder.joint(*rows(slope, level), seed=0)
    assert told is not None and told["rows"] == 10
    assert told["slopes"] == {
        "kept_delta": pytest.approx(slope, abs=1e-9),
        "kept_quality": pytest.approx(level, abs=1e-9),
    }
    assert told["r2"] == pytest.approx(1)
    for name, value in (("kept_delta", slope), ("kept_quality", level)):
        assert told["by_rows"][name] == pytest.approx([value, value], abs=1e-6)
        low, high = told["by_prompt"][name]
        assert low < value < high and 0.1 < high - low < 1.5
    if not (slope and level):
        assert told["r2_alone"]["kept_quality" if level else "kept_delta"] == pytest.approx(1)
    assert told["correlation"] == pytest.approx(
        np.corrcoef([[r["kept_delta"], r["kept_quality"]] for r in rows(1, 0)[0]], rowvar=False)[0, 1]
    )


def test_three_rows_are_no_plane() -> None:
    """A quick run has no fit of both."""
    found, differences = rows(0.5, 0.0)
    assert ladder.joint(found[:3], differences[:3], 0) is None


def test_figures_have_the_gain_of_the_test_prompts_beside_that_of_the_sweep(tmp_path: Path) -> None:
    """Gains of half the delta, 0.3 being the untrained student: pairs whose chosen side is below it are named."""
    home, table = tmp_path / ladder.NAME, sweep_rows.load(ROOT / ladder.CSV)
    base = np.full(PROMPTS, 0.35)
    answered(tmp_path / "answers" / REFERENCE, {rung: base.tolist() for rung in (SAMPLED, GREEDY, *COOLER)})
    swept = []
    for row in table.rows:
        one, other = row.name.split("_over_")
        delta = QUALITY[one] - QUALITY[other]
        told = {SAMPLED: (base + delta / 2).tolist(), GREEDY: base.tolist()}
        answered(home / "answers" / row.name, told)
        figures = {"measure": "checks", "pairs": 100, "kept": 100, "delta": delta, "kept_delta": delta}
        figures |= {
            "quality": QUALITY[one],
            "kept_quality": QUALITY[one],
            "gain": 9.0,
            "gain_ci95": [8.0, 10.0],
            "rungs": RUNGS,
        }
        swept.append({"name": row.name, "ladder": "ladder", "pairing": [one, other]} | figures)
    (home / "sweep").mkdir()
    write_json(home / "sweep" / "sweep.json", {"rows": swept})
    found = ladder.figures(tmp_path, table.rows, False)
    assert json.loads(json.dumps(found)) == found
    first = found["rows"][0]
    assert first["gain"] == pytest.approx(0.025) and first["sweep_gain"] == 9.0 and first["prompts"] == PROMPTS
    assert first["checks_before"] == pytest.approx(0.35) and first["greedy"]["gain"] == pytest.approx(0)
    assert found["fits"]["kept_delta"]["slope"] == pytest.approx(0.5)
    assert found["joint"]["slopes"]["kept_delta"] == pytest.approx(0.5)
    assert found["beyond"] == ["dropped_over_hot"] and len(found["heat"]["cells"]) == 10
    assert sweep_picture.draw(ladder.pictured(found), tmp_path / "one.png")
    assert ladder.pictured(found | {"quick": True})["sweep"] == "ladder, QUICK RUN"


@pytest.mark.slow
def test_two_real_pairings_are_swept_asked_and_told(tmp_path: Path) -> None:
    """20 prompts, one step, 14 test prompts; the sweep finds its trainings done, and has a gain of its own."""
    if not all((ROOT / "models" / name / "config.json").exists() for name in ("smollm2-135m-instruct", "gemma-3-270m")):
        pytest.skip("needs both packaged models")
    rows = ("self_over_hot", "gemma_over_hot")
    size = self_improvement.Size(limit=20, steps=1, test=14)
    found = ladder.study(tmp_path, size, rows)
    assert [row["name"] for row in found["rows"]] == [*rows] and found["joint"] is None
    assert all(row["prompts"] == 14 and row["state"] == "done: evaluate" for row in found["rows"])
    assert found["rows"][0]["kept_delta"] > found["rows"][1]["kept_delta"] and (tmp_path / "ladder/ladder.png").exists()
    said = (tmp_path / "ladder" / "sweep.log").read_text()
    assert said.count("nothing to do, this training is done") == 2
