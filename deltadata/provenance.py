"""Where a dataset comes from, as its card says it: rungs, scorers, pools, and what is needed to make them again.

deltadata run RECIPE            # the tables of dataset/README.md
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from deltadata.recipe import Recipe
from deltadata.scorer_sections import ByModel, Checks, Imported, Score
from deltadata.sections import Rung

HUB = "https://huggingface.co"
ENGINES = ("vllm", "transformers", "server")  # each has an extra of its name; the first two take models from the Hub
_MODEL_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_DATASET_ID = re.compile(r"hf:([\w.-]+/[\w.-]+)", re.ASCII)
_FILES = (".json", ".jsonl", ".csv", ".parquet", ".gz", ".zst")
SYSTEM = 200  # characters of a system turn that the card shows
Tree = dict[str, Any]


def shown(source: str) -> str:
    """A source as the card names it: an address or a name as it is, a file without the folders of this machine."""
    path = Path(source)
    return path.name if path.is_absolute() or path.suffix in _FILES else source


def rung_facts(recipe: Recipe, rung: Rung, entry: Any, told: Tree, licence: str) -> Tree:
    """A rung's rows in the tables of models and of answers."""
    sampling = recipe.generate.sampling_of(rung).model_dump()
    seen = next(one for one in told["ladder"] if one["model"] == rung.name)
    counted = seen["mean_tokens"] is not None
    local = "model_files" in entry.spec
    return {
        "name": rung.name,
        "model": shown(rung.model) if rung.model else f"responses from {Path(str(rung.responses)).name}",
        "link": _link(rung.model, entry.facts["engine"], local),
        "revision": _revision(rung, entry.facts, entry.spec.get("model_files") or entry.spec.get("file")),
        "params": rung.params or entry.facts.get("parameters"),
        "engine": _engine(entry.facts),
        "sampling": "as imported" if rung.responses else ", ".join(f"{k} {v}" for k, v in sampling.items()),
        "template": _template(rung, entry.facts),
        "rows": entry.rows,
        "errors": entry.facts["errors"],
        "tokens": entry.facts["tokens"] if counted else None,
        "mean_tokens": seen["mean_tokens"],
        "mean_characters": seen["mean_characters"],
        "cut_off": "unknown" if seen["cut_off"] is None else entry.facts["cut_off"],
        "share_cut_off": seen["cut_off"],
        "license": licence,
    }


def _link(model: str | None, engine: str | None, local: bool) -> str | None:
    """The model's page on the Hub, where it is from there."""
    on_hub = model and not local and engine in ENGINES[:2] and _MODEL_ID.fullmatch(model)
    return f"{HUB}/{model}" if on_hub else None


def _revision(asked: Rung | ByModel, facts: Tree, digest: str | None) -> str:
    """The commit, else a digest of the files that were used, else what is known: nothing."""
    if revision := facts.get("revision") or asked.revision:
        return str(revision)
    return f"files {digest[:12]}" if digest else "not stated"


def _engine(told: Tree) -> str:
    """Name, version and number format; several where a run was continued by another version."""
    made = told.get("made_by") or [told]
    keys = ("engine", "engine_version", "version", "dtype", "device")
    return "; ".join(dict.fromkeys(" ".join(str(one[key]) for key in keys if one.get(key)) for one in made))


def _template(rung: Rung, told: Tree) -> str:
    """The chat template by its digest, what was passed to it, and the system turn."""
    if rung.responses:
        return "as imported"
    said = [f"template {told['chat_template']}"] if told.get("chat_template") else ["the engine's own template"]
    said += [f"{key} {value}" for key, value in rung.chat_template_kwargs.items()]
    system = rung.system or ""
    if len(system) > SYSTEM:
        system = f"{system[:SYSTEM]} … ({len(system) - SYSTEM:,} more characters in recipe.yaml)"
    return ", ".join([*said, f'system "{system}"' if system else "no system turn"])


def scorer_facts(score: Score, entry: Any, told: Tree, licence: str | None) -> Tree:
    """What scored, how many answers, the mean score of each rung, and what the report says of a model or a mixture."""
    noted = told.get("scored_by", {}).get(score.name, {"what": "", "said": []})
    source = noted["what"] or "verifiable checks that the prompts carry"
    if isinstance(score, Imported):
        source = f"scores from {Path(score.scores).name}"
    means = {rung["model"]: rung["mean"] for rung in entry.facts["rungs"]}
    found = {"name": score.name, "source": source, "graded": entry.rows, "of": entry.facts["responses"], "means": means}
    return found | {"model": _scoring_model(score, entry, licence), "said": noted["said"]}


def _scoring_model(score: Score, entry: Any, licence: str | None) -> Tree | None:
    """The row of a scorer's model; None where none is asked."""
    if not isinstance(score, ByModel):
        return None
    digest = entry.inputs.get("model_files")
    return {
        "model": shown(score.model),
        "link": _link(score.model, entry.facts.get("engine"), bool(digest)),
        "revision": _revision(score, entry.facts, digest),
        "engine": _engine(entry.facts) or "not stated",
        "license": licence or "not known",
    }


def pool_facts(pool: Tree, told: Tree, licence: str) -> Tree:
    """A pool's row, with how many of the kept pairs come from it."""
    own = [pairing["by_pool"].get(pool["name"], {"kept": 0})["kept"] for pairing in told["pairings"]]
    return pool | {"path": shown(pool["path"]), "kept": sum(own), "license": licence}


def sources(recipe: Recipe) -> list[str]:
    """The Hub ids among the pools, each once."""
    found = [_DATASET_ID.match(pool.path) for pool in recipe.collect.pools]
    return list(dict.fromkeys(match[1] for match in found if match))


def extras(recipe: Recipe) -> str:
    """What `pip install 'deltadata-toolkit[...]'` has to bring to make the dataset again."""
    used = recipe.engines()
    found = [engine for engine in ENGINES if engine in used]
    found += ["hub"] if sources(recipe) else []
    found += ["checks"] if any(isinstance(score, Checks) for score in recipe.score) else []
    found += ["dedup"] if recipe.collect.dedup == "near" else []
    return ",".join([*found, "report"])
