"""The dataset card: a template (cards/dataset.md.jinja) and facts of the run. An undefined name is an error.

`deltadata run` writes it to dataset/README.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
TAGS = ["dpo", "preference", "synthetic", "trl", "deltadata", "delta-learning"]


def folder() -> Path:
    """Where the templates lie: in the package when installed, beside it in a checkout."""
    here = Path(__file__).parent
    return next(place for place in (here / "cards", here.parent / "cards") if place.is_dir())


def render(facts: dict[str, Any]) -> str:
    """Markdown with its YAML header; text from outside (names, paths, ids) is made inert."""
    environment = Environment(
        loader=FileSystemLoader(folder()), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"md": inert, "number": number}
    return environment.get_template("dataset.md.jinja").render(facts, header=header(facts))


def header(facts: dict[str, Any]) -> str:
    """The card's YAML: what the Hub and `load_dataset` read."""
    configs: dict[str, list[dict[str, str]]] = {}
    for split in facts["splits"]:
        files = f"data/{split['config']}/{split['split']}-*.parquet"
        configs.setdefault(split["config"], []).append({"split": split["split"], "path": files})
    rows = sum(split["rows"] for split in facts["splits"])
    tree = {
        "pretty_name": facts["name"],
        "task_categories": ["text-generation"],
        "tags": TAGS,
        "size_categories": [next((name for limit, name in SIZES if rows < limit), "n>10M")],
        "configs": [
            {"config_name": name, "data_files": files} | ({"default": True} if name == "default" else {})
            for name, files in configs.items()
        ],
    }
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return text


def inert(text: Any) -> str:
    """Text that cannot become Markdown or HTML, nor leave its table cell."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>|#!~])", r"\\\1", flat).replace("\\_", "_")


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}"
