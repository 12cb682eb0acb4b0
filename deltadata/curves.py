"""train.png: loss, margin and accuracy by step, from the log of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deltadata import sheet

SHOWN = {  # of the log: what it is called in the picture, and the line that says "nothing learnt"
    "loss": ("loss", None),
    "margin": ("margin per token of an answer, times beta", 0.0),
    "accuracy": ("accuracy: share of pairs with a margin above 0", 0.5),
}
SMOOTH = 20  # points over which the strong line is a running mean, once there are more than four times as many
Entry = Mapping[str, Any]


def points(history: Sequence[Entry], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one quantity, of the entries that have it."""
    found = [(entry["step"], entry[name]) for entry in history if isinstance(entry.get(name), int | float)]
    return [step for step, _ in found], [value for _, value in found]


def ends(history: Sequence[Entry]) -> tuple[dict[str, float], dict[str, float]]:
    """The first and the last step's loss, and margin and accuracy where they are known."""
    steps = [entry for entry in history if "loss" in entry]
    told = [{name: entry[name] for name in ("step", *SHOWN) if name in entry} for entry in (steps[:1] + steps[-1:])]
    return (told[0], told[-1]) if told else ({}, {})


def draw(history: Sequence[Entry], path: Path, name: str) -> bool:
    """Write the picture; returns False where matplotlib is missing or the log is empty."""
    shown = [quantity for quantity in SHOWN if points(history, quantity)[0]]
    if not shown or not sheet.available():
        return False
    with sheet.style():
        figure, axes = sheet.blank(f"Training on {name}", "By optimizer step.", (len(shown), 1), 1.4, 0.6, gap=0.4)
        for axis, quantity in zip(axes[:, 0], shown, strict=True):
            title, level = SHOWN[quantity]
            steps, values = points(history, quantity)
            axis.set_title(title)
            if level is not None:
                axis.axhline(level, color=sheet.LINE, linewidth=0.8)
            many = len(values) > 4 * SMOOTH
            axis.plot(steps, values, color=sheet.GREY if many else sheet.POSITIVE, linewidth=0.6 if many else 1.2)
            if many:
                smooth = np.convolve(values, np.ones(SMOOTH) / SMOOTH, mode="valid")
                axis.plot(steps[SMOOTH - 1 :], smooth, color=sheet.POSITIVE, linewidth=1.4)
        sheet.save(figure, "train", path)
    return True
