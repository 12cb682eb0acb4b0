"""An evaluation from its command: held-out pairs, fresh answers, the suite; shown, written after each, resumed.

deltadata evaluate runs/quickstart --model runs/quickstart/train/dpo --suite gsm8k --data benchmarks
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deltadata import eval_models, eval_tables, evaluate, student, suite
from deltadata.errors import OutsideError
from deltadata.evaluate import FILE, FOLDER, PICTURE, Told
from deltadata.screen import Screen
from deltadata.store import write_json
from deltadata.student import Student
from deltadata.suite import ANSWERS, LIST, Bench
from deltadata.trainings import Asked

OUTPUTS = "alpaca_eval_outputs.json"
KEPT = "suite"  # in <run>/evaluate/: figures by model and settings, which another student finds


def run_evaluation(asked: Asked, told: Told, bench: Bench | None, screen: Screen) -> dict[str, Any]:
    """All that the command asks for, written to <run>/evaluate/<name>/ and shown; returns evaluate.json.

    Raises UserError for what is wrong in the arguments, models or data, OutsideError when an engine or the harness
    fails: what is finished is kept, and the same command goes on.
    """
    if bench and bench.names == LIST:
        screen.rows("the suite", needs())
        return suite.known()
    benchmarks, left = suite.chosen(bench) if bench and bench.names != ANSWERS else ({}, {})
    both = eval_models.both(asked, told.model, told.reference, told.name, screen)
    folder = asked.run / FOLDER / both.name
    facts = evaluate.evaluate(asked, told, screen)
    shown(facts, folder, screen)
    if bench and bench.names == ANSWERS:
        answers(both.student, both.name, bench, told, folder, screen)
    elif bench:
        models = {"student": both.student, "reference": both.reference}
        models |= {one: student.open_student(one, asked.recipe.parent, screen.note) for one in bench.baselines}
        facts["suite"] = {"left_out": left, "limit": told.limit, "models": {n: m._asdict() for n, m in models.items()}}
        failed = _figures(facts, models, benchmarks, bench, told, folder, screen)
        screen.rows("the suite, in per cent; published figures are of another harness", suite_rows(facts["suite"]))
        for line in suite_notes(facts["suite"]):
            screen.note(line)
        if failed:
            cure = "mend it and run the same command again: finished benchmarks are kept"
            raise OutsideError("; ".join(failed), where=str(folder), cure=cure)
    return facts


def _figures(
    facts: dict[str, Any],
    models: dict[str, Student],
    benchmarks: dict[str, Any],
    bench: Bench,
    told: Told,
    folder: Path,
    screen: Screen,
) -> list[str]:
    """Every figure of every model, written after each; what failed is told and does not stop the others."""
    failed = []
    for called, one in benchmarks.items():
        for name, model in models.items():
            if one.get("needs", {}).get("judge") and name != "student":
                continue  # one leaderboard is one model's
            try:
                found = suite.run(model, called, one, bench, told.limit, told.engine, folder.parent / KEPT, screen)
            except OutsideError as problem:
                failed.append(f"{name}: {problem.what}")
                continue
            facts["suite"].setdefault(name, {})[called] = found
            evaluate.write(folder, facts)
    return failed


def answers(model: Student, name: str, bench: Bench, told: Told, folder: Path, screen: Screen) -> Path:
    """The student's answers to AlpacaEval as its package reads them; returns the file."""
    one = suite.known()["benchmarks"]["alpaca_eval"]
    found = suite.run(
        model, ANSWERS, one, bench._replace(judged=None), told.limit, told.engine, folder.parent / KEPT, screen
    )
    path = folder / OUTPUTS
    write_json(path, [row | {"generator": name, "dataset": "alpaca_eval"} for row in found["outputs"]])
    screen.note(f"{len(found['outputs'])} answers: {path}")
    return path


def shown(facts: dict[str, Any], folder: Path, screen: Screen) -> None:
    """Sentences and tables."""
    for line in eval_tables.sentences(facts):
        screen.note(line)
    screen.rows(f"{facts['name']} against {facts['reference']['told']}, held out", eval_tables.overall(facts))
    if rows := eval_tables.by_bin(facts):
        screen.rows("does a bigger delta train a bigger margin?", rows)
    if rows := eval_tables.fresh(facts):
        screen.rows("student - reference on the same prompts", rows)
    screen.note(f"numbers: {folder / FILE}; picture: {folder / PICTURE}")


def needs() -> list[dict[str, str]]:
    """What each benchmark asks for and needs."""
    rows = []
    for name, one in suite.known()["benchmarks"].items():
        wants = one.get("needs", {})
        told = [f"{one['data']} (Hub, or --data FOLDER/{one['data']}/)", *wants.get("files", [])]
        told += ["runs the model's code: --allow-code"] if wants.get("code") else []
        told += ["a judge: --judged"] if wants.get("judge") else []
        told += [f"packages {', '.join(wants['packages'])}"] if wants.get("packages") else []
        settings = one["asks"] + (f"; {one['unlike']}" if "unlike" in one else "")
        rows.append({"name": name, "benchmark": one["told"], "setting": settings, "needs": "; ".join(told)})
    return rows


def suite_rows(told: dict[str, Any]) -> list[dict[str, str]]:
    """A row per benchmark and one for the mean: every model of this harness, then what was published, marked so."""
    known = suite.known()
    published = known["published"]["card"]["columns"]
    rows = []
    for name, one in known["benchmarks"].items():
        row = {"benchmark": one["told"]}
        row |= {model: _percent(told.get(model, {}).get(name)) for model in told["models"]}
        rows.append(row | {f"{column}, published": f"{one['card'][key]:.1f}" for key, column in published.items()})
    cards = {key: [one["card"][key] for one in known["benchmarks"].values()] for key in published}
    last = {"benchmark": "mean"} | {model: suite.mean_told(told.get(model, {})) for model in told["models"]}
    last |= {f"{column}, published": f"{sum(cards[key]) / len(cards[key]):.2f}" for key, column in published.items()}
    return [*rows, last]


def _percent(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{100 * found['value']:.1f} (n={found['n']})"


def suite_notes(told: dict[str, Any]) -> list[str]:
    """Where the published figures are from, the paper's own means, and what was left out and why."""
    published = suite.known()["published"]
    means = ", ".join(f"{name} {value:.1f}" for name, value in published["means"]["models"].items())
    lines = [f"published columns: {published['card']['source']}; their means are worked out from it"]
    lines.append(f"published means, of other runs: {means} ({published['means']['source']})")
    lines += [f"left out: {name}: {why}" for name, why in told["left_out"].items()]
    if told["limit"]:
        lines.append(f"the first {told['limit']} items of each task only: no figure to cite")
    return lines
