"""The card of a trained model: a template (cards/model.md.jinja) and facts of its training.

An undefined name is an error. `deltadata train` writes it to train/<name>/README.md.
"""

from __future__ import annotations

import json
import math
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deltadata import __version__, licences, preflight
from deltadata.markdown import inert
from deltadata.sections import Train
from deltadata.tables import PROMPT, fingerprint
from deltadata.templates import folder

METHODS = {"dpo": "preference tuning (DPO)", "sft": "supervised fine-tuning on the chosen answers alone"}
TAGS = {"dpo": ["trl", "dpo", "preference"], "sft": ["trl", "sft"]}


def facts(name: str, train: Train, seed: int, told: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Everything the card says, from the recipe's section and the record of the training."""
    found = licences.found(parts(told["student"], told["dataset"]))
    return {
        "name": name,
        "version": __version__,
        "method": train.method,
        "what": METHODS[train.method],
        "student": told["student"],
        "dataset": told["dataset"],
        "deltas": told["deltas"],
        "measures": list(dict.fromkeys(measure for row in told["deltas"] for measure in row["deltas"])),
        "rows": told["rows"],
        "batch": train.batch,
        "steps": told["steps"],
        "devices": told["devices"],
        "minutes": seconds / 60,
        "arguments": {key: json.dumps(value) for key, value in sorted(told["arguments"].items())},
        "lora": json.dumps(told["lora"]) if told["lora"] else None,
        "first": told["first"],
        "last": told["last"],
        "held_out": told["held_out"],
        "before": math.log(2) if told["arguments"].get("loss_type") == ["sigmoid_norm"] else None,
        "preflight": told["preflight"],
        "reasons": preflight.REASONS,
        "prompt_tokens": told["preflight"]["tokens"][PROMPT],
        "recipe": yaml.safe_dump({"name": name, "seed": seed, "train": train.model_dump(mode="json")}, sort_keys=False),
        "licences": [one._asdict() | {"role": one.part.where, "name": one.part.name} for one in found],
        "proposed": licences.proposed(found),
        "notices": licences.notices(found),
        "spec": fingerprint([train.model_dump(mode="json"), told["dataset"]["digest"], told["student"]["digest"]]),
    }


def parts(student: dict[str, Any], dataset: dict[str, Any]) -> list[licences.Part]:
    """What the trained model is made of, for its licence."""
    data = f"{licences.DATASET_PREFIX}{dataset['repo']}" if dataset["repo"] else dataset["told"]
    return [
        licences.Part("student", licences.GENERATOR, student["told"], None, student["licence"]),
        licences.Part("dataset", licences.SOURCE, data, None, dataset["licence"]),
    ]


def render(facts: dict[str, Any]) -> str:
    """Markdown with its YAML header; text from outside (names, paths, ids) is made inert."""
    environment = Environment(
        loader=FileSystemLoader(folder()), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"md": inert, "number": number, "fenced": fenced}
    return environment.get_template("model.md.jinja").render(facts, header=header(facts))


def header(facts: dict[str, Any]) -> str:
    """The card's YAML; `base_model` and `datasets` only where they are ids of the Hub."""
    student, dataset = facts["student"], facts["dataset"]
    tree: dict[str, Any] = dict(licences.header(facts["proposed"]))
    tree |= {"library_name": "peft" if facts["lora"] else "transformers"}
    tree |= {"base_model": student["path"]} if student["revision"] else {}
    tree |= {"datasets": [dataset["repo"]]} if dataset["repo"] else {}
    tree |= {"pipeline_tag": "text-generation", "tags": [*TAGS[facts["method"]], "deltadata", "delta-learning"]}
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return text


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def fenced(text: str) -> str:
    """Text that cannot close the fence it stands in."""
    return text.replace("```", "` ` `")


def closing(told: dict[str, Any], seconds: float) -> list[str]:
    """Lines for the screen: steps and time, and what the held-out pairs say before and after."""
    first, last, held = told["first"], told["last"], told["held_out"]
    lines = [
        f"{told['steps']} steps in {seconds / 60:.1f} min: loss {first.get('loss', math.nan):.4f} -> "
        f"{last.get('loss', math.nan):.4f}"
    ]
    if "eval_margin" in held:
        # Student and reference are the same before the first step: no margin, whatever the pair.
        lines.append(
            f"held out: loss {math.log(2):.4f} -> {held['eval_loss']:.4f}, margin 0 -> {held['eval_margin']:+.4f}, "
            f"accuracy {held['eval_accuracy']:.2f} (before: no pair has a margin)"
            if told["arguments"].get("loss_type") == ["sigmoid_norm"]
            else f"held out: loss {held['eval_loss']:.4f}, margin 0 -> {held['eval_margin']:+.4f}, "
            f"accuracy {held['eval_accuracy']:.2f}"
        )
    elif "eval_loss" in held:
        lines.append(f"held out: loss {held['eval_loss']:.4f}")
    return lines
