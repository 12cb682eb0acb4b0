"""What is counted in answers, and the figures and the picture of the study of sections.

    python studies/sections.py

The attribute is the package's measure `bold`. Beside it: sections with headings of their own, sections per 100 words
(three sections are longer than two), answers that loop, answers cut off at the length cap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from deltadata import bins, measure, sheet
from deltadata.parquet import read_columns
from deltadata.sheet import GREY, INK, LINE, MUTED, NEGATIVE, POSITIVE
from deltadata.tables import FINISH, PROMPT_ID, RESPONSE, RESPONSE_TOKENS, SAMPLE
from studies.common import interval

CHOSEN, REJECTED = 3, 2  # sections of the training answers
LOOPS = 0.3  # repetition from which on an answer counts as degenerate
BASE = "base"
STYLES = {  # what an arm is called, its colour, dashes and mark: no two are alike without their colour
    "up": ("DPO, 3 over 2", POSITIVE, "-", "o"),
    "sft": ("SFT on 3", NEGATIVE, (0, (1.2, 1.2)), "^"),
    "tied": ("DPO, 3 over another 3", GREY, (0, (5, 1.5)), "s"),
    "reversed": ("DPO, 2 over 3", INK, (0, (6, 1.5, 1, 1.5)), "D"),
}


def counted(folder: Path, rung: str) -> pl.DataFrame:
    """A rung's answers, failed ones left out, with `sections` (bold spans), `repetition` and `words`."""
    columns = [PROMPT_ID, SAMPLE, RESPONSE, FINISH, RESPONSE_TOKENS]
    parts = sorted((folder / "responses" / rung).glob("*.parquet"))
    found = pl.concat([read_columns(part, columns) for part in parts]).filter(pl.col(RESPONSE).is_not_null())
    text = pl.col(RESPONSE)
    spans = text.str.extract_all(r"\*\*[^*\n]+\*\*").list.eval(pl.element().str.to_lowercase()).list.n_unique()
    return found.with_columns(
        sections=measure.of_text("bold", text),
        distinct=spans.cast(pl.Float64),
        repetition=measure.of_text("repetition", text),
        words=text.str.count_matches(r"\S+").cast(pl.Float64),
    ).sort(PROMPT_ID, SAMPLE)


def of_answers(found: pl.DataFrame) -> dict[str, float]:
    """One checkpoint's figures over its answers. `sound`: the mean count where nothing loops and nothing was cut."""
    sections, loops, cut = pl.col("sections"), pl.col("repetition") >= LOOPS, pl.col(FINISH) == "length"
    told = found.select(
        sections=sections.mean(),
        median=sections.median(),
        distinct=pl.col("distinct").mean(),
        per_100_words=100 * sections.sum() / pl.col("words").sum(),
        above=(sections > CHOSEN).mean(),
        loops=loops.mean(),
        cut=cut.mean(),
        unsound=(loops | cut).mean(),
        sound=sections.filter(~loops & ~cut).mean(),
        tokens=pl.col(RESPONSE_TOKENS).mean(),
    )
    return {name: float("nan") if value is None else float(value) for name, value in told.row(0, named=True).items()}


def figures(home: Path, size: Any, pairs: Mapping[str, Any], arms: Sequence[str]) -> dict[str, Any]:
    """All numbers: by arm and step, each over seeds; the differences from the untrained student; the verdict."""
    steps = {arm: [0] if arm == BASE else [*range(size.every, size.steps + 1, size.every)] for arm in arms}
    rows = {
        (arm, step, seed): counted(home / "fresh" / f"{arm}-{seed}", BASE if arm == BASE else f"step-{step:03}")
        for arm in arms
        for step in steps[arm]
        for seed in size.seeds
    }
    told = {arm: [_at(step, [rows[arm, step, seed] for seed in size.seeds]) for step in steps[arm]] for arm in arms}
    untrained = told[BASE][0]["sections"]["values"]
    for row in (row for arm in arms for row in told[arm]):  # the same prompts and draws: seed by seed
        row["shift"] = interval(
            [ours - theirs for ours, theirs in zip(row["sections"]["values"], untrained, strict=True)]
        )
    last = {arm: steps[arm][-1] for arm in arms}
    histograms = {arm: histogram([rows[arm, last[arm], seed] for seed in size.seeds]) for arm in arms}
    trainings = {
        f"{arm}-{seed}": training(home / "arms" / f"{arm}-{seed}.json")
        for arm in arms
        for seed in size.seeds
        if arm != BASE
    }
    found = {"seeds": [*size.seeds], "pairs": dict(pairs), "arms": told, "histograms": histograms}
    return found | {"trainings": trainings, "verdict": verdict(told)}


def _at(step: int, by_seed: list[pl.DataFrame]) -> dict[str, Any]:
    """A step's figures: each with its interval over seeds, and of the count also that over topics."""
    each = [of_answers(found) for found in by_seed]
    together = pl.concat(by_seed)
    topics = bins.mean(together["sections"].to_numpy(), together[PROMPT_ID].to_numpy(), seed=0)["ci95"]
    told: dict[str, Any] = {"step": step, "answers": together.height, "topics": together[PROMPT_ID].n_unique()}
    told |= {name: over_seeds([one[name] for one in each]) for name in each[0]}
    told["sections"]["ci95_topics"] = topics
    return told


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """The interval over the seeds that have the figure (no sound answer has no sections); None where none has."""
    known = [value for value in values if np.isfinite(value)]
    return interval(known) if known else {"mean": None, "ci95": None, "n": 0, "values": []}


def histogram(by_seed: list[pl.DataFrame], most: int = 10) -> list[float]:
    """Shares of the answers with 0, 1, ... and `most` or more sections."""
    counts = np.concatenate([found["sections"].to_numpy() for found in by_seed]).astype(int)
    return [float(share) for share in np.bincount(np.minimum(counts, most), minlength=most + 1) / len(counts)]


def training(path: Path) -> dict[str, Any]:
    """What a page quotes of a training: its first and last loss, margin and accuracy, steps, pairs."""
    facts = json.loads(path.read_text(encoding="utf-8"))["facts"]
    return {name: facts[name] for name in ("first", "last", "steps", "rows")}


def verdict(arms: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What the last steps say; None where one seed gives no interval."""
    ends = {arm: rows[-1]["sections"] for arm, rows in arms.items()}

    def over(one: str, other: str) -> bool | None:
        low, high = ends[one]["ci95"], ends[other]["ci95"]
        return None if low is None or high is None else bool(low[0] > high[1])

    told = {"up_over_base": over("up", BASE), "base_over_reversed": over(BASE, "reversed")}
    told |= {"up_over_reversed": over("up", "reversed"), "up_over_sft": over("up", "sft")}
    told |= {"up_over_tied": over("up", "tied"), "tied_over_reversed": over("tied", "reversed")}
    for arm in ("up", "sft"):
        told[f"{arm}_beyond_chosen"] = None if ends[arm]["ci95"] is None else bool(ends[arm]["ci95"][0] > CHOSEN)
    return told


def draw(told: Mapping[str, Any], path: Path) -> bool:
    """sections.png: the count by step, the counts at the end, and per 100 words. False without matplotlib."""
    if not sheet.available():
        return False
    ends = {arm: rows[-1]["sections"]["mean"] for arm, rows in told["arms"].items()}
    title = (
        f"Trained on three bold sections over two, DPO writes {ends['up']:.1f}; trained on three, SFT {ends['sft']:.1f}"
    )
    base = told["arms"][BASE][0]
    seeds = f"Bars: 95 % over {len(told['seeds'])} seeds (t)."
    note = (
        f"SmolLM2-135M-Instruct on its own answers; {base['topics']} held-out topics, temperature 0.8. "
        f"{'QUICK: one seed, few steps, no interval.' if told['quick'] else seeds} "
        f"Loops: {100 * LOOPS:.0f} % of the runs of four words were there before."
    )
    with sheet.style():
        figure, axes = sheet.blank(title, note, (4, 1), 1.5, left=0.62, gap=0.62, right=0.2)
        _by_step(axes[0][0], told, "sections", "Bold sections in a fresh answer, by step")
        place = ("axes fraction", "data")
        for level, name in ((CHOSEN, "chosen"), (REJECTED, "rejected")):
            axes[0][0].axhline(level, color=LINE, linewidth=0.8, zorder=0)
            sheet.write(axes[0][0], f"{name} answers", (0, level), (4, 2), place, fontsize=8, color=MUTED)
        _by_step(axes[1][0], told, "per_100_words", "Bold sections per 100 words")
        _by_step(axes[2][0], told, "unsound", "Share of answers that loop or were cut off")
        _shares(axes[3][0], told["histograms"])
        sheet.save(figure, "sections", path)
    return True


def _by_step(axes: Any, told: Mapping[str, Any], name: str, title: str) -> None:
    axes.set_title(title)
    base = told["arms"][BASE][0]
    for place, (arm, (label, colour, dashes, mark)) in enumerate(STYLES.items()):
        rows = [base, *told["arms"][arm]]
        steps = np.array([row["step"] for row in rows], float)
        steps[1:] += (place - 1.5) * 0.012 * steps[-1]  # beside each other, or the bars hide each other
        means = np.array([row[name]["mean"] for row in rows])
        ends = [row[name]["ci95"] or [row[name]["mean"]] * 2 for row in rows]
        bars = np.abs(np.array(ends).T - means)
        shown = {"markersize": 4, "markerfacecolor": "white", "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(steps, means, bars, color=colour, linestyle=dashes, marker=mark, label=label, **shown)
    axes.set(xlabel="step")


def _shares(axes: Any, shares: Mapping[str, Sequence[float]]) -> None:
    axes.set_title("Answers by their number of sections, after the last step")
    most = len(shares[BASE]) - 1
    axes.step(range(most + 1), shares[BASE], where="mid", color=LINE, linewidth=3, label="untrained")
    for arm, (label, colour, dashes, mark) in STYLES.items():
        shown = {"markersize": 4, "markerfacecolor": "white", "linewidth": 1.2}
        axes.plot(range(most + 1), shares[arm], color=colour, linestyle=dashes, marker=mark, label=label, **shown)
    axes.legend(frameon=False, fontsize=8, handlelength=4)
    ticks = [*range(most + 1)]
    axes.set(xlabel="bold sections", xticks=ticks, ylim=(0, None))
    axes.set_xticklabels([*map(str, ticks[:-1]), f"{most}+"])
