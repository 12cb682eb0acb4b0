"""The card's YAML header: what the Hub, its viewer and `load_dataset` read of a dataset.

deltadata run RECIPE            # the first lines of dataset/README.md
"""

from __future__ import annotations

from typing import Any

import yaml

from deltadata.tables import fingerprint

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
TAGS = ["dpo", "preference", "synthetic", "trl", "deltadata", "delta-learning"]
SPOKEN = 0.05  # the share of the answers from which on a language is named
Tree = dict[str, Any]


def header(facts: Tree) -> str:
    """The YAML between the dashes. Keys of which nothing is known (language, licence, sources) are left out."""
    configs = by_config(facts["splits"])
    rows = sum(split["rows"] for split in facts["splits"])
    spoken = [code for code, share in (facts["languages"] or {}).items() if share >= SPOKEN]
    tree = {
        "pretty_name": facts["name"],
        **({"language": spoken} if spoken else {}),
        **facts["licence"]["header"],
        "task_categories": ["text-generation"],
        "tags": TAGS,
        "size_categories": [next((name for limit, name in SIZES if rows < limit), "n>10M")],
        **({"source_datasets": facts["sources"]} if facts["sources"] else {}),
        "configs": [_config(name, splits) for name, splits in configs.items()],
        "dataset_info": [_info(name, splits) for name, splits in configs.items()],
    }
    text: str = yaml.safe_dump(tree, sort_keys=False)  # ASCII: PyYAML loses \x85 otherwise
    return text


def by_config(splits: list[Tree]) -> dict[str, list[Tree]]:
    """The splits of each config, in the order given."""
    configs: dict[str, list[Tree]] = {}
    for split in splits:
        configs.setdefault(split["config"], []).append(split)
    return configs


def _config(name: str, splits: list[Tree]) -> Tree:
    files = [{"split": split["split"], "path": f"data/{name}/{split['split']}-*.parquet"} for split in splits]
    return {"config_name": name, "data_files": files} | ({"default": True} if name == "default" else {})


def _info(config: str, splits: list[Tree]) -> Tree:
    """Columns and sizes as `datasets` states them, and the content's digest.

    `datasets` caches a local folder under a hash of this header, not of its files: without the digest two runs with
    equal counts, or one run before and after a new filter, would be served each other's rows.
    """
    return {
        "config_name": config,
        "description": f"content {fingerprint([split['digest'] for split in splits])}",
        "features": splits[0]["features"],
        "splits": [
            {"name": split["split"], "num_bytes": split["bytes"], "num_examples": split["rows"]} for split in splits
        ],
        "download_size": sum(split["file_bytes"] for split in splits),
        "dataset_size": sum(split["bytes"] for split in splits),
    }
