"""The study of `deltadata theory`: settings, what is predicted, what is simulated, and whether they agree.

deltadata theory --quick
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deltadata.theory import (
    FORMULAS,
    LEGEND,
    Array,
    Setting,
    accuracy,
    best,
    first_step,
    hurts_above,
    limit,
    path,
    slope,
)
from deltadata.theory_simulation import at_random, repeated, simulate, whole

SOURCE = (
    "Of the paper (arXiv 2507.06187) only the claim is known to us: a student improves, with high probability, by the "
    "gap between two teachers weaker than itself, and has to stop early. Its theorem, assumptions and constants are "
    "not: every formula here is our own derivation of the same claim."
)
TIED, REVERSED = "shared, tie", "shared, reversed"  # its controls
STORY = "shared error"  # the setting in which DPO gains and SFT on the same chosen labels loses, as in the paper
SETTINGS = {
    "delta 0.3": Setting(0.8, 0.6, 0.3),
    "delta 0.5": Setting(0.8, 0.7, 0.2),
    "another student": Setting(0.7, 0.5, 0.0),
    "tie": Setting(0.8, 0.5, 0.5),
    "reversed": Setting(0.8, 0.3, 0.6),
    STORY: Setting(0.8, 0.6, 0.3, 0.8),
    TIED: Setting(0.8, 0.6, 0.6, 0.8),
    REVERSED: Setting(0.8, 0.3, 0.6, 0.8),
}
FIRST = "delta 0.3"  # the setting of the first-step check
QUALITIES = (0.3, 0.5, 0.7)  # of chosen, in the sweep over delta
BEST_WITHIN, NO_GAIN, END_WITHIN, SHARE_WITHIN = 0.002, 0.0005, 0.005, 0.03  # what agreement means
POINTS = 90  # of a curve, about evenly spaced in the logarithm of the step


@dataclass(frozen=True)
class Plan:
    """How much is simulated. `early` and `late`: the steps at which the table reads the curves."""

    dimension: int = 200
    batch: int = 2000
    rate: float = 0.02
    dpo_steps: int = 1500
    sft_steps: int = 1500
    early: int = 20
    late: int = 300
    dpo_draws: int = 8
    sft_draws: int = 4
    sweep_steps: int = 100
    sweep_draws: int = 16
    whole_draws: int = 4
    share_draws: int = 4000
    share_batch: int = 4000
    share_dimensions: tuple[int, ...] = (25, 50, 100, 200, 400, 1000)


QUICK = Plan(50, 1000, 0.04, 150, 750, 10, 150, 16, 2, 50, 8, 4, 2500, 3000, (25, 100))


def study(plan: Plan, seed: int, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """All of it, as theory.json holds it. The same plan and seed give the same numbers; `say` hears what goes on."""
    rows = []
    for number, (name, setting) in enumerate(SETTINGS.items()):
        say(f"{number + 1}/{len(SETTINGS)}: {name}")
        rows.append(_row(name, setting, plan, [seed, 0, number]))
    say("every number of x; gain by delta; first steps")
    told: dict[str, Any] = {
        "source": SOURCE,
        "formulas": {name: {"formula": formula, "ours": True} for name, formula in FORMULAS.items()},
        "legend": LEGEND,
        "seed": seed,
        "plan": asdict(plan) | {"share_dimensions": list(plan.share_dimensions)},
        "settings": rows,
        "whole": _whole(plan, np.random.default_rng([seed, 1])),
        "sweep": _sweep(plan, np.random.default_rng([seed, 2])),
        "first_step": _shares(plan, np.random.default_rng([seed, 3])),
    }
    checks = [each for part in [*rows, told["whole"], *told["first_step"]] for each in part["checks"]]
    return told | {"checks": len(checks), "failed": [each["what"] for each in checks if not each["holds"]]}


def _check(what: str, value: float, target: float, within: float) -> dict[str, Any]:
    return {
        "what": what,
        "simulated": value,
        "expected": target,
        "within": within,
        "holds": bool(abs(value - target) < within),
    }


def _row(name: str, setting: Setting, plan: Plan, seed: list[int]) -> dict[str, Any]:
    """One setting: both arms, predicted and simulated, and the checks."""
    steps = {"dpo": plan.dpo_steps, "sft": plan.sft_steps}
    draws = {"dpo": plan.dpo_draws, "sft": plan.sft_draws}
    arms: dict[str, Any] = {}
    for number, arm in enumerate(steps):
        rng = np.random.default_rng([*seed, number])
        size = plan.dimension, plan.batch, plan.rate, steps[arm]
        simulated = simulate(repeated(setting, draws[arm]), arm, *size, rng)
        arms[arm] = _arm(setting, arm, simulated, path(setting, arm, plan.rate, steps[arm]), plan)
    dpo, sft = arms["dpo"], arms["sft"]
    checks = [
        _check(f"{name}: DPO's best cosine", dpo["simulated"]["best"], best(setting)[1], BEST_WITHIN),
        _check(f"{name}: SFT ends at chosen's cosine", sft["simulated"]["end"], setting.chosen, END_WITHIN),
    ]
    for arm, told in arms.items():
        if slope(setting, arm) <= 1e-12:
            gain = told["simulated"]["best"] - setting.student
            checks.append(_check(f"{name}: {arm.upper()} has no gain", gain, 0.0, NO_GAIN))
    facts = asdict(setting) | {"delta": round(setting.delta, 9), "noise": setting.noise}
    facts["sft_hurts_above"] = hurts_above(setting)
    return {"name": name, "setting": facts, **arms, "checks": checks}


def _arm(setting: Setting, arm: str, simulated: Array, predicted: Array, plan: Plan) -> dict[str, Any]:
    """One arm's figures of the mean curve over draws, beside those of infinite batches."""
    mean, steps = simulated.mean(axis=0), _shown(simulated.shape[1] - 1)
    spread = simulated.std(axis=0, ddof=1) / math.sqrt(len(simulated))
    place, top = best(setting, arm)
    return {
        "predicted": _figures(predicted, plan) | {"s": place, "best": top, "limit": limit(setting, arm)},
        "simulated": _figures(mean, plan) | {"best_se": float(spread[mean.argmax()])},
        "farthest": float(abs(mean - predicted).max()),
        "curve": {
            "step": steps.tolist(),
            "predicted": predicted[steps].round(5).tolist(),
            "simulated": mean[steps].round(5).tolist(),
            "se": spread[steps].round(6).tolist(),
        },
    }


def _figures(curve: Array, plan: Plan) -> dict[str, Any]:
    """What the table reads off a curve of cosines. `until`: the last step at which it is above its start."""
    above = np.flatnonzero(curve > curve[0])
    return {
        "best": float(curve.max()),
        "step": int(curve.argmax()),
        "early": float(curve[plan.early]),
        "late": float(curve[plan.late]),
        "end": float(curve[-1]),
        "until": int(above[-1]) if above.size else 0,
        "accuracy": [accuracy(float(curve[0])), accuracy(float(curve.max()))],
    }


def _shown(steps: int) -> Array:
    return np.unique(np.concatenate([[0], np.geomspace(1, steps, POINTS).round()])).astype(int)


def _whole(plan: Plan, rng: np.random.Generator) -> dict[str, Any]:
    """The story's DPO with every coordinate of x drawn: the shortcut of `simulate` changes nothing."""
    setting = SETTINGS[STORY]
    size = plan.dimension, plan.batch, plan.rate, plan.late
    mean = np.mean([whole(setting, "dpo", *size, rng) for _ in range(plan.whole_draws)], axis=0)
    what = f"{STORY}: DPO's best cosine, all of x drawn"
    checks = [_check(what, float(mean.max()), best(setting)[1], BEST_WITHIN)]
    return {"name": STORY, "draws": plan.whole_draws, "best": float(mean.max()), "step": int(mean.argmax())} | {
        "checks": checks
    }


def _sweep(plan: Plan, rng: np.random.Generator) -> list[dict[str, float]]:
    """DPO's gain for three qualities of chosen, over every rejected from cosine 0 to just below the student's."""
    points = []
    for chosen in QUALITIES:
        for rejected in np.arange(0, 8) / 10:
            setting = Setting(0.8, chosen, float(rejected))
            if setting.delta < -0.25:
                continue
            size = plan.dimension, plan.batch, plan.rate, plan.sweep_steps
            curve = simulate(repeated(setting, plan.sweep_draws), "dpo", *size, rng).mean(axis=0)
            gains = {"predicted": best(setting)[1] - setting.student, "simulated": float(curve.max()) - setting.student}
            points.append({"chosen": chosen, "rejected": setting.rejected, "delta": round(setting.delta, 9)} | gains)
    return points


def _shares(plan: Plan, rng: np.random.Generator) -> list[dict[str, Any]]:
    """How often one step helps when the teachers' errors are drawn at random, by dimension."""
    setting, found = SETTINGS[FIRST], []
    for dimension in plan.share_dimensions:
        teams = at_random(setting, dimension, plan.share_draws, rng)
        two = simulate(teams, "dpo", dimension, plan.share_batch, plan.rate, 1, rng)
        share, expected = float((two[:, 1] > two[:, 0]).mean()), first_step(setting, dimension)
        what = f"{FIRST}: share of first steps that help, {dimension} dimensions"
        found.append(
            {
                "dimension": dimension,
                "draws": plan.share_draws,
                "predicted": expected,
                "predicted_of_batch": first_step(setting, dimension, plan.share_batch),
                "simulated": share,
                "ci95": wilson(share, plan.share_draws),
                "checks": [_check(what, share, expected, SHARE_WITHIN)],
            }
        )
    return found


def wilson(share: float, draws: int) -> list[float]:
    """Wilson's 95 % interval of a share."""
    z = 1.959964
    middle = (share + z * z / (2 * draws)) / (1 + z * z / draws)
    half = z / (1 + z * z / draws) * math.sqrt(share * (1 - share) / draws + z * z / (4 * draws**2))
    return [middle - half, middle + half]
