"""One benchmark of the suite in a process of its own, by lm-evaluation-harness; `deltadata.suite` starts it.

    python -m deltadata.harness job.json

The job says what to run (see `suite.Job`); the figure goes to its `out`, what the user must mend to its `refused`. A
process for each benchmark: one that fails, or that runs code a model wrote, takes no other with it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from deltadata.errors import UserError

ENDINGS = (".parquet", ".jsonl", ".json", ".csv")
BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}


def main(path: Path) -> None:
    job = json.loads(path.read_text(encoding="utf-8"))
    try:
        told = run(job)
    except UserError as problem:
        Path(job["refused"]).write_text(json.dumps([problem.what, problem.where, problem.cure]), encoding="utf-8")
        sys.exit(problem.exit_code)
    Path(job["out"]).write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The figure of one benchmark: {"value", "n", "tasks": {name: {"value", "n", "version"}}, "outputs": [...]?}.

    Raises UserError for data that is not there.
    """
    import lm_eval
    import torch
    from lm_eval.tasks import TaskManager

    root = Path(lm_eval.__file__).parent / "tasks"
    folders = [job["own"]] if job["own"] else [str(root / folder) for folder in job["folders"]]
    manager = TaskManager(include_defaults=False, include_path=folders)
    tasks = [task_of(manager, leaf, job) for task in job["tasks"] for leaf in leaves(manager.task_index, task)]
    found = lm_eval.simple_evaluate(
        model=job["backend"],
        model_args=job["model_args"],
        tasks=tasks,
        task_manager=manager,
        batch_size=job["batch_size"],
        device=str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu",
        limit=job["limit"],
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
        log_samples=True,
        confirm_run_unsafe_code=job["allow_code"],
    )
    return gathered(found, job)


def leaves(index: Any, asked: Any) -> list[str]:
    """The tasks that a name, or a group written out, stands for: members of groups and tags, all the way down."""
    if isinstance(asked, list):
        return [leaf for member in asked for leaf in leaves(index, member)]
    if isinstance(asked, dict):
        name = asked.get("group")
        return leaves(index, name if name in index else asked["task"])
    entry = index[asked]
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    return leaves(index, entry.cfg["task"]) if entry.kind.name == "GROUP" else [asked]


def task_of(manager: Any, leaf: str, job: dict[str, Any]) -> dict[str, Any]:
    """The task with what the suite pins over its own file, reading from the data folder where one is given."""
    from lm_eval.tasks._yaml_loader import load_yaml

    told: dict[str, Any] = load_yaml(manager.task_index[leaf].yaml_path, resolve_func=True, recursive=True)
    told |= job["settings"]
    if job["k"]:
        told["metric_list"] = [metric | {"k": job["k"]} for metric in told["metric_list"]]
    if job["data"]:
        wanted, examples = told.get("test_split") or told["validation_split"], _examples_from(told)
        for split in ("training_split", "validation_split", "fewshot_split"):
            if told.get(split) not in (wanted, examples):
                told.pop(split, None)  # the harness would read it without need
        told |= local(Path(job["data"]), job["dataset"], told.get("dataset_name"), wanted, examples)
    return told


def _examples_from(config: dict[str, Any]) -> str | None:
    """The split that examples are taken from, where they do not stand in the task itself."""
    if not config.get("num_fewshot") or (config.get("fewshot_config") or {}).get("samples"):
        return None
    return config.get("fewshot_split") or config.get("training_split") or config.get("validation_split")


def local(data: Path, dataset: str, subset: str | None, wanted: str, examples: str | None) -> dict[str, Any]:
    """The overrides that read a dataset from FOLDER/<owner>/<name>/[<subset>/]: files that begin with their split.

    A copy of the Hub's repository is such a folder, and so is one file in the suite's own format: a lone file without a
    split in its name is the one that is evaluated. Raises UserError naming what is missing.
    """
    home = data / dataset
    inside = [home / "data" / subset, home / subset] if subset else []
    for place in [*inside, home / "data", home, home / home.name]:
        files = sorted(path for path in place.glob("*") if path.suffix in ENDINGS and not path.name.startswith("."))
        found = {
            split: [path for path in files if path.name.startswith(split)] for split in (wanted, examples) if split
        }
        if not found[wanted] and len(files) == 1:
            found[wanted] = files
        if found[wanted]:
            break
    missing = next((split for split, paths in found.items() if not paths), None)
    if missing:
        where = home / subset if subset else home
        cure = f"hf download {dataset} --repo-type dataset --local-dir {home}, or lay {missing}.jsonl there"
        raise UserError(
            f"no file of the split {missing!r} (.parquet, .jsonl, .json, .csv)", where=str(where), cure=cure
        )
    kind = BUILDERS[found[wanted][0].suffix]
    paths = {split: [str(path) for path in paths if BUILDERS[path.suffix] == kind] for split, paths in found.items()}
    return {"dataset_path": kind, "dataset_name": None, "dataset_kwargs": {"data_files": paths}}


def gathered(found: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """The benchmark's figure from the harness' results of its tasks."""
    tasks = {
        name: {
            "value": float(found["results"][name][job["metric"]]),
            "n": int(found["n-samples"][name]["effective"]),
            "version": found["versions"].get(name),
        }
        for name in found["samples"]
    }
    sizes = [task["n"] if job["combine"] == "by_size" else 1 for task in tasks.values()]
    value = sum(task["value"] * size for task, size in zip(tasks.values(), sizes, strict=True)) / sum(sizes)
    told = {"value": value, "n": sum(task["n"] for task in tasks.values()), "tasks": tasks}
    if job["outputs"]:
        told["outputs"] = [
            {"instruction": sample["doc"]["instruction"], "output": sample["resps"][0][0].strip()}
            for name in tasks
            for sample in found["samples"][name]
        ]
    return told


if __name__ == "__main__":
    main(Path(sys.argv[1]))
