"""theory.png: the cosine by step, the gain by delta, and how often the first step helps; predicted and simulated."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deltadata import sheet
from deltadata.sheet import GREY, INK, LINE, MUTED, NEGATIVE, POSITIVE
from deltadata.theory import Setting, accuracy, best, first_step
from deltadata.theory_study import FIRST, QUALITIES, REVERSED, SETTINGS, STORY, TIED

Told = Mapping[str, Any]
ARMS = {  # of the first panel: setting, arm, colour, dashes, mark; no two are alike without their colour
    "DPO, chosen over rejected": (STORY, "dpo", POSITIVE, "-", "o"),
    "DPO, equal teachers": (TIED, "dpo", GREY, (0, (5, 1.5)), "s"),
    "SFT on chosen": (STORY, "sft", NEGATIVE, (0, (1.2, 1.2)), "^"),
    "DPO, reversed": (REVERSED, "dpo", INK, (0, (6, 1.5, 1, 1.5)), "D"),
}
LOW, HIGH = 0.56, 0.9  # of the first panel
SWEEP = ((INK, ":", "s"), (GREY, "--", "^"), (POSITIVE, "-", "o"))  # one for each of QUALITIES


def draw(told: Told, path: Path) -> bool:
    """Write the picture of theory.json's content; returns False where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    rows = {row["name"]: row for row in told["settings"]}
    gain, setting = rows[STORY]["dpo"]["simulated"]["best"], SETTINGS[STORY]
    teachers = f"{setting.chosen:.1f} and {setting.rejected:.1f}"
    title = f"Teachers at cosine {teachers} lift a student at {setting.student:.1f} to {gain:.3f}; "
    title += "copying the better one drags it down"
    plan = told["plan"]
    note = (
        "Logistic regression. Lines: predicted, by our own derivation (the paper's theorem is not known to us). Marks: "
        f"simulated, means of {plan['dpo_draws']} draws (SFT {plan['sft_draws']}), {plan['dimension']} dimensions. "
        "Cosine: with the true direction. "
        "Where no errors are shared, SFT that stops early gains too, and more than DPO."
    )
    with sheet.style():
        figure, axes = sheet.blank(title, note, (3, 1), 2.0, left=0.62, gap=0.75, right=0.3, above=0.1)
        _curves(axes[0][0], rows)
        _gains(axes[1][0], told["sweep"])
        _shares(axes[2][0], told["first_step"], plan["share_batch"])
        sheet.save(figure, "theory", path)
    return True


def _curves(axes: Any, rows: Mapping[str, Told]) -> None:
    setting, last = SETTINGS[STORY], 1
    axes.set_title("Cosine by step; the teachers share errors with the student")
    for name, (row, arm, colour, dashes, mark) in ARMS.items():
        curve = rows[row][arm]["curve"]
        steps, predicted, simulated = (np.array(curve[key]) for key in ("step", "predicted", "simulated"))
        inside = (steps > 0) & (predicted > LOW)
        axes.plot(steps[steps > 0], predicted[steps > 0], color=colour, linestyle=dashes, linewidth=1.5)
        shown = np.flatnonzero(inside)[::5]
        axes.plot(steps[shown], simulated[shown], mark, color=colour, markersize=4, markerfacecolor="white")
        last = max(last, int(steps[-1]))
        if arm == "dpo" and row == STORY:
            _best(axes, setting, rows[row][arm], name)
        else:
            end = int(np.flatnonzero(inside)[-1])
            axes.plot([], [], mark, color=colour, linestyle=dashes, markerfacecolor="white", markersize=4, label=name)
            if steps[end] < steps[-1]:
                told = f"to {predicted[-1]:.2f}"
                sheet.write(axes, told, (steps[end], LOW), (3, 1), fontsize=8, color=MUTED)
    for level, told, off in ((setting.student, "student", -10), (setting.chosen, "chosen teacher", 3)):
        axes.axhline(level, color=LINE, linewidth=0.8, zorder=0)
        sheet.write(axes, f"{told}, {level:.2f}", (1, level), (0, off), fontsize=8, color=MUTED)
    sheet.write(axes, f"rejected teacher, {setting.rejected:.2f}: below", (1, LOW), (0, 2), fontsize=8, color=MUTED)
    axes.legend(loc=(0.0, 0.3), frameon=False, fontsize=8, handlelength=4)
    axes.set(xscale="log", xlim=(0.95, last * 1.05), ylim=(LOW, HIGH), xlabel="step", ylabel="cosine")
    _plain(axes.xaxis)


def _best(axes: Any, setting: Setting, told: Told, name: str) -> None:
    """The predicted best point, with what was found there."""
    place, top = told["predicted"]["step"], told["predicted"]["best"]
    axes.plot([place], [top], "*", color=POSITIVE, markersize=10, zorder=4)
    found = told["simulated"]["best"]
    shares = [f"{100 * accuracy(cosine):.1f}" for cosine in (setting.student, found)]
    text = f"{name}: predicted {top:.3f}, found {found:.3f}\n(accuracy {' → '.join(shares)} %), then too many steps"
    sheet.write(
        axes, text, (1, HIGH), (0, -4), ("axes fraction", "data"), fontsize=8, color=POSITIVE, ha="right", va="top"
    )


def _gains(axes: Any, sweep: list[Told]) -> None:
    axes.set_title("Gain by delta: the gap decides, the quality of chosen much less")
    for chosen, (colour, dashes, mark) in zip(QUALITIES, SWEEP, strict=True):
        own = sorted((p for p in sweep if p["chosen"] == chosen), key=lambda point: point["delta"])
        deltas = np.linspace(own[0]["delta"], own[-1]["delta"], 120)
        lines = [best(Setting(0.8, chosen, chosen - delta))[1] - 0.8 for delta in deltas]
        axes.plot(deltas, lines, color=colour, linestyle=dashes, linewidth=1.5)
        told = {key: [point[key] for point in own] for key in ("delta", "simulated")}
        axes.plot(told["delta"], told["simulated"], mark, color=colour, markersize=4.5, markerfacecolor="white")
        at, shade = (deltas[-1], lines[-1]), MUTED if colour == GREY else colour
        sheet.write(axes, f"chosen {chosen:.1f}", at, (8, -6), fontsize=8, color=shade)
    axes.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    sheet.write(axes, "reversed or equal:\nno gain", (0, 0), (-4, 6), fontsize=8, color=MUTED, ha="right")
    axes.set(xlabel="delta: cosine of chosen − rejected", ylabel="gain in cosine")
    axes.set_ylim(bottom=-0.0015)
    sheet.stretch(axes, 0.03, 0.17)
    sheet.numbers(axes.xaxis, 8)
    sheet.numbers(axes.yaxis, 5)


def _shares(axes: Any, shares: list[Told], batch: int) -> None:
    axes.set_title(f"The first step helps, of {shares[0]['draws']:,} pairs of random teachers ({FIRST})")
    dimensions = np.geomspace(shares[0]["dimension"], shares[-1]["dimension"], 80)
    for size, dashes, colour in ((np.inf, "-", POSITIVE), (batch, ":", INK)):
        line = [first_step(SETTINGS[FIRST], d, size) for d in dimensions]
        axes.plot(dimensions, line, linestyle=dashes, color=colour, linewidth=1.5)
    for point in shares:
        axes.plot([point["dimension"]] * 2, point["ci95"], color=POSITIVE, linewidth=1.6, alpha=0.55)
        axes.plot(
            [point["dimension"]], [point["simulated"]], "o", color=POSITIVE, markersize=5, markerfacecolor="white"
        )
    told = f"solid: the formula, exact gradient\ndotted: with the noise of {batch:,} x a step"
    sheet.write(axes, told, (1, 0.4), (0, 0), "axes fraction", fontsize=8, color=MUTED, ha="right")
    axes.set(xscale="log", xlabel="dimensions", ylabel="share", xticks=[point["dimension"] for point in shares])
    axes.minorticks_off()
    _plain(axes.xaxis)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def _plain(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
