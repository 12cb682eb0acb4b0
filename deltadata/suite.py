"""The eleven benchmarks by lm-evaluation-harness: which run here, with what settings, beside what was published.

    deltadata evaluate RUN --model DIR --suite gsm8k,ifeval --data FOLDER

recipes/suite/suite.yaml has them all. A benchmark whose needs are not met is left out and said why, or refused where it
was asked for by name; a mean of fewer than eleven says so.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deltadata import tables
from deltadata.errors import OutsideError, UserError, did_you_mean, need
from deltadata.generate import Progress
from deltadata.store import write_json
from deltadata.student import Student
from deltadata.templates import folder

ALL, LIST, ANSWERS = "all", "list", "alpaca_eval_answers"
SUITE = "recipes/suite"
JUDGED = "length_controlled_winrate"
Tree = dict[str, Any]


class Bench(NamedTuple):
    """What of the suite is asked for."""

    names: str
    data: Path | None = None
    baselines: tuple[str, ...] = ()
    allow_code: bool = False
    judged: Path | None = None


def known() -> Tree:
    """suite.yaml: `benchmarks` by name, what is `published`, and the `harness` it was written for."""
    told: Tree = yaml.safe_load((folder(SUITE) / "suite.yaml").read_text(encoding="utf-8"))
    return told


def chosen(bench: Bench) -> tuple[dict[str, Tree], dict[str, str]]:
    """The benchmarks to run, and those left out with why.

    Raises UserError for an unknown name, and for one asked for by name whose needs are not met.
    """
    benchmarks = known()["benchmarks"]
    need("lm_eval", "eval")
    if bench.data is not None and not bench.data.is_dir():
        raise UserError("no such folder", where=str(bench.data), cure="--suite list says what belongs into it")
    names = list(benchmarks) if bench.names == ALL else [name.strip() for name in bench.names.split(",")]
    for name in names:
        if name not in benchmarks:
            cure = did_you_mean(name, [ALL, LIST, ANSWERS, *benchmarks])
            raise UserError(f"no benchmark is called {name!r}", where="--suite", cure=cure)
    left = {name: why for name in names if (why := lacks(benchmarks[name], bench))}
    if left and bench.names != ALL:
        name, (what, cure) = next(iter(left.items()))
        raise UserError(f"{benchmarks[name]['told']} cannot run here: {what}", where="--suite", cure=cure)
    found = {name: benchmarks[name] for name in names if name not in left}
    return found, {name: f"{what} ({cure})" for name, (what, cure) in left.items()}


def lacks(one: Tree, bench: Bench) -> tuple[str, str] | None:
    """What a benchmark needs and does not have here, and the cure; None when it can run."""
    needs = one.get("needs", {})
    missing = [name for name in needs.get("packages", []) if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed", "pip install 'deltadata-toolkit[eval]'"
    if needs.get("code") and not bench.allow_code:
        return "it runs code that the model wrote", "add --allow-code, in a machine you can lose"
    if needs.get("judge") and bench.judged is None:
        return (
            "its figure is a judge's",
            f"--suite {ANSWERS} writes the answers; judge them with "
            "`alpaca_eval --model_outputs FILE --annotators_config weighted_alpaca_eval_gpt4_turbo` (it asks an API), "
            "and give its leaderboard.csv as --judged",
        )
    if bench.data is None or needs.get("judge"):
        return None
    for file in (one["data"], *needs.get("files", [])):
        if not (bench.data / file).exists() and not _elsewhere(file):
            return f"no {bench.data / file}", _fetch(file, one["data"], bench.data)
    return None


def _elsewhere(file: str) -> bool:
    """Whether NLTK's own places have what the data folder lacks."""
    if not file.startswith("nltk_data/"):
        return False
    places = [
        *os.environ.get("NLTK_DATA", "").split(os.pathsep),
        str(Path.home() / "nltk_data"),
        "/usr/share/nltk_data",
    ]
    return any(place and (Path(place) / file.removeprefix("nltk_data/")).exists() for place in places)


def _fetch(file: str, dataset: str, data: Path) -> str:
    if file == dataset:
        return f"hf download {dataset} --repo-type dataset --local-dir {data / dataset}"
    if file.startswith("nltk_data/"):
        return f"python -m nltk.downloader -d {data / 'nltk_data'} punkt_tab"
    return f"hf download evaluate-metric/code_eval --repo-type space --local-dir {data / 'metrics' / 'code_eval'}"


def run(
    model: Student, name: str, one: Tree, bench: Bench, limit: int | None, engine: str | None, home: Path, say: Progress
) -> Tree:
    """One model's figure of one benchmark, kept in `home` by model and settings.

    Raises UserError for what the user must mend, OutsideError when the harness fails (its log is named).
    """
    if one.get("needs", {}).get("judge") and bench.judged:
        return judged(bench.judged, model.told)
    data = str(bench.data.resolve()) if bench.data else None
    kept = home / f"{name}-{tables.fingerprint([model.digest, one, limit, engine, _state(bench.data, one)])}.json"
    if kept.is_file():
        told: Tree = json.loads(kept.read_text(encoding="utf-8"))
        return told
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="deltadata-") as place:
        job = _job(model, one, bench, limit, engine) | {"data": data}
        job |= {"out": str(Path(place) / "out.json"), "refused": str(Path(place) / "refused.json")}
        (Path(place) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        log = home / f"{name}.log"
        say.note(f"{one['told']} of {model.told} (log: {log})")
        with log.open("wb") as said:
            command = [sys.executable, "-P", "-m", "deltadata.harness", str(Path(place) / "job.json")]
            code = subprocess.run(command, stdout=said, stderr=said, env=_around(bench.data, place), **_in(bench.data))
        if Path(job["refused"]).is_file():
            what, where, cure = json.loads(Path(job["refused"]).read_text(encoding="utf-8"))
            raise UserError(f"{one['told']}: {what}", where=where, cure=cure)
        if code.returncode:
            last = "".join(f"\n    {line}" for line in log.read_text(errors="replace").splitlines()[-5:])
            cure = "mend it and run the same command again: finished benchmarks are kept"
            raise OutsideError(
                f"{one['told']}: the harness ended with exit code {code.returncode}{last}", where=str(log), cure=cure
            )
        found: Tree = json.loads(Path(job["out"]).read_text(encoding="utf-8"))
    write_json(kept, found)
    return found


def _job(model: Student, one: Tree, bench: Bench, limit: int | None, engine: str | None) -> Tree:
    """What the child is told."""
    args = {"pretrained": model.path, "dtype": "auto"} | ({"revision": model.revision} if model.revision else {})
    return {
        "backend": "vllm" if engine == "vllm" else "hf",
        "model_args": args,
        "batch_size": "auto" if engine == "vllm" else 8,
        "tasks": one["tasks"],
        "dataset": one["data"],
        "folders": one.get("folders", []),
        "own": str(folder(SUITE)) if one.get("own") else None,
        "settings": one.get("settings", {}),
        "metric": one["metric"],
        "combine": one.get("combine", "mean"),
        "k": one.get("k"),
        "limit": limit,
        "allow_code": bench.allow_code,
        "outputs": bool(one.get("needs", {}).get("judge")),
    }


def _state(data: Path | None, one: Tree) -> Any:
    """Names, sizes and times of a benchmark's local files: other files are another benchmark."""
    if data is None:
        return None
    files = sorted(path for path in (data / one["data"]).rglob("*") if path.is_file() and ".cache" not in path.parts)
    return [[str(path.relative_to(data)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _around(data: Path | None, place: str) -> dict[str, str]:
    """The child's environment: offline with a data folder, and never a cache that another file went into."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    told = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_ALLOW_CODE_EVAL": "1", "TQDM_DISABLE": "1"}
    told |= {"OMP_WAIT_POLICY": "passive", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    if data is None:
        return told
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    places = os.pathsep.join(filter(None, [str(data.resolve() / "nltk_data"), os.environ.get("NLTK_DATA")]))
    return told | offline | {"HF_DATASETS_CACHE": f"{place}/datasets", "NLTK_DATA": places}


def _in(data: Path | None) -> Tree:
    """Where the child stands: `evaluate` finds a local metric by its folder's name in the current directory."""
    metrics = data.resolve() / "metrics" if data else None
    return {"cwd": metrics} if metrics and metrics.is_dir() else {}


def judged(path: Path, model: str) -> Tree:
    """The length-controlled win rate of `model` in AlpacaEval's leaderboard.csv; of its only row, whatever its name.

    Raises UserError when the file has no such column or row.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as problem:
        raise UserError(f"cannot be read: {problem.strerror}", where=str(path), cure="give leaderboard.csv") from None
    named = [row for row in rows if next(iter(row.values())) == Path(model).name] or (rows if len(rows) == 1 else [])
    if not named or not named[0].get(JUDGED):
        cure = "give the leaderboard.csv that `alpaca_eval` writes beside its annotations"
        raise UserError(f"no {JUDGED} of {Path(model).name!r}", where=str(path), cure=cure)
    return {"value": float(named[0][JUDGED]) / 100, "n": int(float(named[0].get("n_total") or 0)), "tasks": {}}


def mean(told: Mapping[str, Tree]) -> float | None:
    """The plain mean over the benchmarks that have a figure."""
    values = [one["value"] for one in told.values()]
    return sum(values) / len(values) if values else None


def mean_told(told: Mapping[str, Tree]) -> str:
    """The mean in per cent, and over how many where it is not over all eleven."""
    found, all_ = mean(told), len(known()["benchmarks"])
    if found is None:
        return "-"
    return f"{100 * found:.1f}" + ("" if len(told) == all_ else f" (of {len(told)} of {all_})")
