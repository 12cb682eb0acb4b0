"""E3 on a laptop: a student trained on its own greedy answers over hotter ones, its controls, and what it then does.

    python studies/self_improvement.py [--quick] [--folder runs/study]

Data and trainings are rows of recipes/sweeps/laptop_self_improvement.csv (six arms, three seeds). Primary measure,
said before the first training: the share of checks met by answers sampled at temperature 1.0 to test prompts whose
topics no training prompt has; greedy answers are second. Settings were searched on the validation prompts with another
seed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from deltadata import sheet, sweep_rows
from deltadata.sheet import INK, LINE, MUTED
from deltadata.store import write_json
from deltadata.sweep_rows import Row
from deltadata.tables import fingerprint
from studies import answers, common, prompts
from studies.answers import GREEDY, SAMPLED, Asking

NAME = "self_improvement"
CSV = Path("recipes") / "sweeps" / "laptop_self_improvement.csv"
STUDENT = common.ROOT / "models" / "smollm2-135m-instruct"
REFERENCE, SWEEP = "reference", "sweep"  # folders
ARMS = {
    "dpo": "greedy over hot",
    "reversed": "hot over greedy",
    "tied": "warm over warm",
    "sft": "SFT on greedy",
    "warm": "warm over hot",
    "warm_sft": "SFT on warm",
}
CONTRASTS = (("dpo", "reversed"), ("dpo", "tied"), ("dpo", "sft"), ("warm", "tied"), ("warm", "warm_sft"))
COOLER = {"sampled_07": 0.7, "sampled_04": 0.4}  # the untrained student, sampled cooler: is a gain no more than that?
SEED = 11  # of the test answers and of every bootstrap


class Size(NamedTuple):
    """How much is done: arms, seeds, prompts a seed, steps, test prompts (None: all), sampled answers a test prompt."""

    arms: tuple[str, ...] = tuple(ARMS)
    seeds: tuple[int, ...] = (1, 2, 3)
    limit: int | None = None
    steps: int | None = None
    test: int | None = None
    samples: int = 1


FULL, QUICK = Size(), Size(("dpo", "reversed", "sft", "warm"), (1,), limit=64, steps=6, test=60)


def sets(folder: Path, size: Size) -> list[str]:
    """What the study sets over the recipe: where the prompts are, and the smaller size of a quick run."""
    found = [f"collect.pools.0.path={prompts.path(folder, 'train').resolve()}"]
    found += [f"collect.limit={size.limit}"] if size.limit else []
    return found + ([f"train.args.max_steps={size.steps}"] if size.steps else [])


def options(given: Sequence[str]) -> list[str]:
    """Overrides as words of a command."""
    return [word for one in given for word in ("--set", one)]


def datasets(csv: Path, home: Path, rows: Sequence[Row], given: Sequence[str]) -> None:
    """`deltadata sweep CSV --until dataset` of these rows: a ladder is made once, a changed recipe refused."""
    only = [word for row in rows for word in ("--only", row.name)]
    with common.timed(home, "data"):
        place = (home / SWEEP).resolve()
        common.run("sweep", csv, "--run", place, *options(given), *only, log=home / "data.log")


def trained(table: sweep_rows.Sweep, row: Row, home: Path) -> Path:
    """The row's student, as `deltadata sweep --until train` trains it; several may be trained at once."""
    run = (home / SWEEP / row.name).resolve()
    words = options([*table.sets, *row.given])
    with common.timed(home, "training"):
        common.run("train", table.base, "--run", run, *words, log=home / f"{row.name}.log")
    common.say(f"{row.name}: trained")
    return run / "train" / row.recipe.train.method


def made_of(row: Row) -> str:
    """What stands for a row's student: another recipe is another one."""
    return fingerprint(row.recipe.model_dump(mode="json", exclude={"runtime", "push"}))


def student(table: sweep_rows.Sweep, row: Row, home: Path, asking: Asking) -> None:
    """Train a row and ask its student; the weights go then, for twelve are 6.5 GB, and come back if asked for again."""
    asking = asking._replace(model=made_of(row))
    if answers.done(home / "answers" / row.name, asking):
        return
    model = trained(table, row, home)
    answers.ask(row.name, model, asking, home / "answers")
    shutil.rmtree(model)


def main(folder: Path, quick: bool) -> dict[str, Any]:
    """Everything that is not there yet; FOLDER/self_improvement/figures.json and .png. Raises common.Failed."""
    return study(folder, QUICK if quick else FULL, quick)


def study(folder: Path, size: Size, quick: bool = False) -> dict[str, Any]:
    """As `main`, of any size."""
    home, files = folder / NAME, prompts.write(folder)
    table = sweep_rows.load(CSV, sets=sets(folder, size))
    rows = chosen(table, size)
    asking = Asking(files["test"], size.samples, SEED, size.test)
    # Data take one core mostly: the untrained student is asked meanwhile.
    begin = [partial(datasets, CSV, home, rows, table.sets), partial(reference, folder, asking)]
    common.side_by_side(begin)
    common.side_by_side([partial(student, table, row, home, asking) for row in rows])
    found = figures(folder, rows, size, quick)
    write_json(home / "figures.json", found)
    draw(found, home / f"{NAME}.png")
    return found


def arm_of(row: Row) -> str:
    return row.name.rpartition("_")[0]


def chosen(table: sweep_rows.Sweep, size: Size) -> list[Row]:
    """The rows of this size's arms and seeds."""
    return [row for row in table.rows if row.recipe.seed in size.seeds and arm_of(row) in size.arms]


def reference(folder: Path, asking: Asking) -> Path:
    """The untrained student's answers, at temperature 1.0, cooler, and greedy; E5 has them as well.

    Three times as many sampled ones as of a student: every gain has the noise of these.
    """
    return answers.ask(REFERENCE, STUDENT, asking._replace(samples=3 * asking.samples), folder / "answers", COOLER)


def figures(folder: Path, rows: Sequence[Row], size: Size, quick: bool) -> dict[str, Any]:
    """All that a page would say, each with n and interval."""
    home, before = folder / NAME, folder / "answers" / REFERENCE
    levels = {rung: level(before, rung) for rung in (SAMPLED, GREEDY, *COOLER)}
    arms = {arm: arm_figures(home, before, arm, [row for row in rows if arm_of(row) == arm]) for arm in size.arms}
    return {
        "quick": quick,
        "primary": SAMPLED,
        "seeds": [*size.seeds],
        "test_seed": SEED,
        "reference": levels,
        "arms": arms,
        "contrasts": contrasts(home, size),
        "seconds": seconds(folder, home),
        "machine": common.machine(),
    }


def seconds(folder: Path, home: Path) -> dict[str, float]:
    """By stage; of what went side by side the sum. The untrained student is asked once for both experiments."""
    reference = common.seconds(folder / "answers").get("answers", 0.0)
    return common.seconds(home) | common.seconds(home / "answers") | {REFERENCE: reference}


def level(run: Path, rung: str) -> dict[str, Any]:
    """A model's mean share of checks met, the share of prompts with all met, and the shape of its answers."""
    shares = answers.by_prompt(run, rung)
    return {"checks": sum(shares.values()) / len(shares), "prompts": len(shares)} | answers.shape(run, rung)


def arm_figures(home: Path, before: Path, arm: str, rows: Sequence[Row]) -> dict[str, Any]:
    """An arm's data and gains over the untrained student, sampled and greedy."""
    runs = [home / "answers" / row.name for row in rows]
    told: dict[str, Any] = {"what": ARMS[arm], "data": [pairs(home / SWEEP / row.name) for row in rows]}
    for rung in (SAMPLED, GREEDY):
        base = answers.by_prompt(before, rung)
        told[rung] = answers.gains([answers.by_prompt(run, rung) for run in runs], base, SEED)
        told[rung]["shape"] = [answers.shape(run, rung) for run in runs]
    return told


def pairs(run: Path) -> dict[str, Any]:
    """Pairs that were kept and their mean delta in checks and tokens, from the run's report."""
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    after = report["funnel"][-1]["delta_after"]
    return {"kept": report["kept"], "delta_checks": after["checks"]["mean"], "delta_tokens": after["tokens"]["mean"]}


def contrasts(home: Path, size: Size) -> dict[str, Any]:
    """One arm against another, sampled, by prompt over the same seeds."""
    told = {}
    for one, other in (pair for pair in CONTRASTS if {*pair} <= {*size.arms}):
        ours, theirs = (
            [answers.by_prompt(home / "answers" / f"{arm}_{seed}", SAMPLED) for seed in size.seeds]
            for arm in (one, other)
        )
        told[f"{one} - {other}"] = answers.contrast(ours, theirs, SEED)
    return told


NOTE = (
    "Bars: 95 % intervals, prompts and seeds drawn; a small mark is one seed. Filled: sampled at temperature 1.0 "
    "(primary). Hollow: greedy. Test prompts, whose topics no training prompt has."
)


def title(found: dict[str, Any]) -> str:
    """What the picture says, in a sentence."""
    told, start = found["arms"]["dpo"], "QUICK RUN, one seed: " if found["quick"] else ""
    both = " and ".join(f"{said(told[rung])} {rung}" for rung in (SAMPLED, GREEDY))
    return f"{start}own greedy answers over hotter ones: {both}"


def said(told: dict[str, Any]) -> str:
    """A gain in points with its interval."""
    low, high = (100 * end for end in told["both"]["ci95"])
    return f"{100 * told['gain']:+.1f} ({low:+.1f} to {high:+.1f})"


def draw(found: dict[str, Any], path: Path) -> None:
    """A line an arm: share of checks met, sampled (filled) and greedy (hollow), beside the untrained student's."""
    if not sheet.available():
        return
    arms = found["arms"]
    with sheet.style():
        figure, axes = sheet.blank(title(found), NOTE, (1, 1), 3.3, left=1.25, above=0.35)
        axis = axes[0, 0]
        for rung, dashes, side in ((SAMPLED, "-", "right"), (GREEDY, "--", "left")):
            value = 100 * found["reference"][rung]["checks"]
            axis.axvline(value, color=INK, linestyle=dashes, linewidth=0.9, zorder=0)
            at, text = axis.get_xaxis_transform(), f"untrained,\n{rung} {value:.1f}"
            sheet.write(axis, text, (value, 1), (0, 4), at, color=MUTED, ha=side, fontsize=8)
        for place, arm in enumerate(arms.values()):
            _arm(axis, len(arms) - 1 - place, arm)
        axis.set_yticks(range(len(arms))[::-1], [arm["what"] for arm in arms.values()])
        axis.set_ylim(-0.6, len(arms) - 0.4)
        axis.set_xlabel("checks met, %")
        axis.grid(axis="x", color=LINE, linewidth=0.5)
        sheet.save(figure, NAME, path)


def _arm(axis: Any, place: int, arm: dict[str, Any]) -> None:
    """An arm's students: the mean with its interval, each seed beside it."""
    for rung, up, filled in ((SAMPLED, 0.14, True), (GREEDY, -0.14, False)):
        told = arm[rung]
        ends = [100 * (told["reference"] + end) for end in told["both"]["ci95"]]
        face = INK if filled else "white"
        axis.plot(ends, [place + up] * 2, color=INK, linewidth=1.4)
        axis.plot(100 * told["student"], place + up, "o", color=INK, markerfacecolor=face, markersize=5.5)
        seeds = [100 * (told["reference"] + value) for value in told["over_seeds"]["values"]]
        axis.plot(seeds, [place + up + 0.13] * len(seeds), "|", color=MUTED, markersize=4)


if __name__ == "__main__":
    common.command(main)
