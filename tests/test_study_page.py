"""The study page says what its figures say, whatever they are, and is missing none.

pytest tests/test_study_page.py
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest

from studies import study

Tree = dict[str, Any]
MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "memory_gb": 24.0,
    "versions": {"deltadata": "1", "torch": "2", "trl": "3"},
}


def over_seeds(mean: float, half: float | None = 0.1) -> Tree:
    return {"mean": mean, "ci95": None if half is None else [mean - half, mean + half], "n": 3, "values": [mean] * 3}


def step(number: int, sections: float) -> Tree:
    told = {name: over_seeds(0.25) for name in ("above", "unsound", "per_100_words")}
    return {"step": number, "answers": 96, "topics": 48, "sections": over_seeds(sections), **told}


def gained(gain: float, half: float = 0.02) -> Tree:
    told = {
        "gain": gain,
        "sign_flip": 0.001,
        "over_seeds": over_seeds(gain),
        "both": {"ci95": [gain - half, gain + half]},
    }
    return told | {"by_prompt": {"ci95": [gain - half, gain + half], "prompts": 420}, "student": 0.5 + gain}


def check(holds: bool) -> Tree:
    return {"what": "best cosine", "simulated": 0.80454, "expected": 0.80459, "within": 0.002, "holds": holds}


def arm(sampled: float, greedy: float) -> Tree:
    data = [{"kept": kept, "delta_checks": 0.324, "delta_tokens": -27.0} for kept in (83, 85)]
    return {"what": f"arm {sampled}", "data": data, "sampled": gained(sampled), "greedy": gained(greedy)}


FOUND: Tree = {
    "quick": False,
    "theory": {
        "seed": 0,
        "settings": [{"checks": [check(True)]}],
        "whole": {"checks": [check(True)]},
        "first_step": [{"checks": [check(False)]}],
        "checks": 3,
        "failed": ["best cosine"],
    },
    "sections": {
        "seeds": [1, 2, 3],
        "machine": MACHINE,
        "seconds": {"training": 600.0, "fresh answers": 300.0},
        "pairs": {"pairs": {"pairs": 131, "chosen_tokens": 61.2, "rejected_tokens": 59.7}},
        "arms": {
            "base": [step(0, 2.5)],
            "up": [step(8, 2.9), step(24, 3.71)],
            "reversed": [step(24, 1.42)],
            "tied": [step(24, 2.61)],
            "sft": [step(24, 2.83)],
        },
        "verdict": {
            "up_over_base": True,
            "base_over_reversed": True,
            "up_over_reversed": True,
            "up_beyond_chosen": True,
            "sft_beyond_chosen": False,
        },
    },
    "self_improvement": {
        "machine": MACHINE,
        "seconds": {"training": 1200.0},
        "reference": {
            "sampled": {"checks": 0.47, "prompts": 420},
            "greedy": {"checks": 0.63},
            "sampled_07": {"checks": 0.55},
            "sampled_04": {"checks": 0.60},
        },
        "arms": {"dpo": arm(0.14, 0.01), "reversed": arm(-0.2, -0.1)},
        "contrasts": {"dpo - reversed": gained(0.34)},
    },
    "ladder": {
        "machine": MACHINE,
        "seconds": {"training": 1200.0},
        "rows": [
            {
                "pairing": ["self", "hot"],
                "kept": 102,
                "kept_delta": 0.4,
                "kept_quality": 0.6,
                "gain": 0.12,
                "gain_ci95": [0.08, 0.16],
                "greedy": {"gain": 0.02, "ci95": [-0.01, 0.05]},
            }
        ],
        "joint": {
            "rows": 10,
            "slopes": {"kept_delta": 0.31, "kept_quality": 0.05},
            "by_rows": {"kept_delta": [0.1, 0.5], "kept_quality": [-0.2, 0.3]},
            "r2": 0.8,
            "r2_alone": {"kept_delta": 0.78, "kept_quality": 0.33},
            "correlation": 0.52,
        },
        "beyond": ["gemma_over_hot"],
    },
}


def page(**changed: Any) -> str:
    return " ".join(study.page(FOUND | changed).split())


def test_numbers_stand_where_they_belong() -> None:
    """Tables and sentences by hand."""
    told = page()
    for said in (
        "3 predictions are compared with a simulation, of which 2 hold",
        "| best cosine | 0.8045 | 0.8046 | 0.002 | NO |",
        "131 such pairs were found (chosen 61 tokens, rejected 60)",
        "| DPO, 3 over 2 | 24 | 3.71 (3.61 to 3.81) | 0.25 (0.15 to 0.35) | 25.0 % | 25.0 % |",
        "Untrained it meets 47.0 % of the checks, and 63.0 % when it answers greedily",
        "| arm 0.14 | 83, 85 | 0.32 | +14.0 (+12.0 to +16.0) | +1.0 (-1.0 to +3.0) |",
        "- dpo - reversed, sampled: +34.0 (+32.0 to +36.0) points, sign-flip p 0.0010.",
        "| self > hot | 102 | 0.40 | 0.60 | +12.0 (+8.0 to +16.0) | +2.0 |",
        "one hundredth of delta brings 0.31 hundredths of gain (0.10 to 0.50, pairings drawn)",
        "| + DPO on Qwen2.5-3B over Qwen2.5-1.5B | 63.4 |",
        "15 minutes + 20 minutes + 20 minutes",
    ):
        assert said in told, said
    assert "quick run" not in told


def test_sentences_follow_the_figures() -> None:
    """Another result is another sentence; without an interval there is no verdict."""
    told = page()
    assert "The chosen direction moves the count up and the reversed one moves it down" in told
    assert (
        "goes beyond the three sections of any training answer on average; SFT on the same chosen answers does not."
        in told
    )
    assert "the sampled measure up and the greedy one neither up nor down, as far as these data tell." in told
    found = copy.deepcopy(FOUND)
    found["sections"]["verdict"] |= dict.fromkeys(found["sections"]["verdict"], False)
    found["self_improvement"]["arms"]["dpo"] = arm(-0.14, 0.05)
    told = page(**found)
    assert "The chosen direction does not surely move the count up" in told
    assert "their intervals overlap" in told and "does not surely go beyond three" in told
    assert "the sampled measure down and the greedy one up." in told
    found["sections"]["verdict"]["up_over_reversed"] = None
    found["ladder"] |= {"joint": None, "beyond": []}
    told = page(**found | {"quick": True})
    assert "One seed has no interval: no verdict." in told and "Too few pairings for a fit." in told
    assert "A quick run: one seed, few steps." in told


@pytest.mark.parametrize("place", ["sections.arms.up", "self_improvement.reference.greedy", "ladder.joint.r2"])
def test_a_missing_number_is_an_error(place: str) -> None:
    """Never an empty cell."""
    found = copy.deepcopy(FOUND)
    *way, last = place.split(".")
    part = found
    for name in way:
        part = part[name]
    del part[last]
    with pytest.raises(jinja2.UndefinedError):
        study.page(found)


def test_tables_are_whole() -> None:
    """Every row of a table has the cells of its head, and no macro left an empty line within one."""
    for table in re.findall(r"(?:^\|.*\n)+", study.page(FOUND), re.MULTILINE):
        rows = table.splitlines()
        assert len(rows) > 2 and {row.count("|") for row in rows} == {rows[0].count("|")}


def test_the_page_in_the_repository_names_pictures_that_are_there() -> None:
    """Once it has been made."""
    path = study.DOCS / study.PAGE
    if not path.exists():
        pytest.skip("make study has not been run")
    for name in re.findall(r"\]\((study/[^)]+)\)", path.read_text(encoding="utf-8")):
        assert (Path(study.DOCS) / name).is_file(), name
