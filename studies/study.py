"""The study page: the theory, three experiments on this machine, the published figures; every number is computed.

    make study            # python studies/study.py: up to three hours on two cores; killed, it goes on where it was
    make study-quick      # python studies/study.py --quick: a quarter of an hour; its page stays in runs/study-quick

docs/study.md is studies/study.md.jinja over theory.json, the figures.json of each experiment, and the published figures
of recipes/suite/suite.yaml.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from deltadata.store import atomic
from studies import common, ladder, sections, self_improvement
from studies.common import ROOT, say

EXPERIMENTS = (sections, self_improvement, ladder)
TEMPLATE = Path(__file__).with_name("study.md.jinja")
DOCS = ROOT / "docs"
PAGE, PICTURES, NUMBERS = "study.md", "study", "figures.json"
THEORY = "theory"
Tree = dict[str, Any]


def main(folder: Path, docs: Path, quick: bool) -> Path:
    """Everything that is not done yet, then the page in `docs`. Raises common.Failed."""
    found = {THEORY: theory(folder / THEORY, quick)}
    for experiment in EXPERIMENTS:
        say(experiment.NAME)
        found[experiment.NAME] = experiment.main(folder, quick)
    pictures(folder, docs / PICTURES)
    path = docs / PAGE
    with atomic(path) as temporary:
        temporary.write_text(page(found | {"quick": quick}), encoding="utf-8")
    with atomic(docs / PICTURES / NUMBERS) as temporary:
        temporary.write_text(json.dumps(of_page(found), indent=1) + "\n", encoding="utf-8")
    say(str(path))
    return path


def theory(home: Path, quick: bool) -> Tree:
    """theory.json of `deltadata theory`, which takes under a minute."""
    path = home / "theory.json"
    if not path.exists():
        common.run(THEORY, "--out", home.resolve(), *(["--quick"] if quick else []), log=home / "theory.log")
    told: Tree = json.loads(path.read_text(encoding="utf-8"))
    return told


def pictures(folder: Path, place: Path) -> None:
    """The PNG of each part, where there is one."""
    place.mkdir(parents=True, exist_ok=True)
    for name in (THEORY, *(experiment.NAME for experiment in EXPERIMENTS)):
        drawn = folder / name / f"{name}.png"
        if drawn.exists():
            with atomic(place / drawn.name) as temporary:
                shutil.copyfile(drawn, temporary)


def of_page(found: Tree) -> Tree:
    """The figures that go beside the page; of the theory what is checked, its curves are made in a minute."""
    return found | {THEORY: {key: found[THEORY][key] for key in ("seed", "checks", "failed")}}


def page(found: Tree) -> str:
    """The page's Markdown. A number that is missing is an error (jinja2.UndefinedError)."""
    surroundings = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    surroundings.filters |= {"percent": percent, "points": points, "number": number, "minutes": minutes}
    published = yaml.safe_load((ROOT / "recipes" / "suite" / "suite.yaml").read_text(encoding="utf-8"))["published"]
    template = surroundings.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(found, published=published["means"], checks=checks(found[THEORY]))


def checks(told: Tree) -> list[Tree]:
    """All that the theory's simulation is held to: what, simulated, expected, within, holds."""
    parts = [*told["settings"], told["whole"], *told["first_step"]]
    return [check for part in parts for check in part["checks"]]


def number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def points(value: float, ends: Sequence[float] | None = None, digits: int = 1) -> str:
    """+4.2 (+1.0 to +7.3), of a share, in hundredths."""
    limits = "" if ends is None else f" ({100 * ends[0]:+.{digits}f} to {100 * ends[1]:+.{digits}f})"
    return f"{100 * value:+.{digits}f}{limits}"


def minutes(seconds: dict[str, float]) -> str:
    return f"{sum(seconds.values()) / 60:.0f} minutes"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer steps and seeds; the page says so")
    parser.add_argument("--folder", type=Path, help="where the runs lie [runs/study, or runs/study-quick]")
    given = parser.parse_args()
    where = given.folder or ROOT / "runs" / ("study-quick" if given.quick else "study")
    try:
        main(where, where if given.quick else DOCS, given.quick)
    except common.Failed as problem:
        sys.exit(str(problem))
