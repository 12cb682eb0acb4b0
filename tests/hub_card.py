"""What the loopback Hub reads in the card of a repository, and what it refuses there.

    card_errors("---\\nlicense: Apache 2.0\\n---\\n")  # ['"license" must be a string or ...']

The real rules are more; these are the ones that a card made by a program breaks: types, ids that are not the Hub's
form (a language `no` that YAML takes for false), configs without a name, a split or a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

CARD = re.compile(r"\A---[ \r]*\n(?P<header>.*?)^---[ \r]*$", re.DOTALL | re.MULTILINE)
ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
SIZES = "n<1K|1K<n<10K|10K<n<100K|100K<n<1M|1M<n<10M|10M<n<100M|100M<n<1B|1B<n<10B|10B<n<100B|100B<n<1T|n>1T"
STRINGS = {  # what the values of a card's key look like, and whether one alone may stand without a list
    "license": (r"[a-z0-9.+-]+", True),
    "language": (r"[a-z]{2,3}(-\w+)*|multilingual|code", True),
    "size_categories": (SIZES, True),
    "source_datasets": (r"\S+", True),
    "task_categories": (r"[a-z0-9-]+", False),
    "tags": (r"[^\n]+", False),
}


def card(text: str) -> tuple[dict[str, Any], list[str]]:
    """A README's header and the tags that the Hub shows for it; none where it is not a header."""
    found = CARD.match(text)
    data = yaml.safe_load(found["header"]) if found and not card_errors(text) else {}
    tags = list(data.get("tags", []))
    for key in ("license", "language", "size_categories", "task_categories"):
        values = data.get(key, [])
        tags += [f"{key}:{value}" for value in (values if isinstance(values, list) else [values])]
    return data, tags + [f"arxiv:{number}" for number in dict.fromkeys(ARXIV.findall(text))]


def card_errors(text: str) -> list[str]:
    """What the Hub would not take in a card's header; a card without one is only warned of."""
    if (found := CARD.match(text)) is None:
        return []
    try:
        data = yaml.safe_load(found["header"])
    except yaml.YAMLError as error:
        return [f"YAML: {' '.join(str(error).split())}"]
    if not isinstance(data, dict):
        return ["the metadata must be a mapping"]
    wrong = []
    for key, (pattern, alone) in STRINGS.items():
        if key not in data:
            continue
        values = [data[key]] if alone and not isinstance(data[key], list) else data[key]
        if not isinstance(values, list) or not all(isinstance(v, str) and re.fullmatch(pattern, v) for v in values):
            wrong.append(f'"{key}" must be {"a string or " if alone else ""}a list of strings like {pattern}')
    info = data.get("dataset_info", {})
    if not all(isinstance(part, dict) for part in (info if isinstance(info, list) else [info])):
        wrong.append('"dataset_info" must be a mapping or a list of them')
    return wrong + list(config_errors(data.get("configs", [])))


def config_errors(configs: Any) -> Iterator[str]:
    named = isinstance(configs, list) and all(isinstance(c, dict) for c in configs)
    names = [config.get("config_name") for config in configs] if named else [None]
    if not all(isinstance(name, str) for name in names):
        yield '"configs" must be a list of mappings with a "config_name"'
        return
    if len(set(names)) < len(names) or sum(bool(config.get("default")) for config in configs) > 1:
        yield '"configs" has a name twice, or more than one default'
    for config in configs:
        files = config.get("data_files", [])
        for file in files if isinstance(files, list) else [files]:
            split = file.get("split") if isinstance(file, dict) else "train"
            path = file.get("path") if isinstance(file, dict) else file
            if not (isinstance(path, str | list) and re.fullmatch(r"\w+(\.\w+)*", str(split))):
                yield f'"data_files" of {config["config_name"]} must have a "split" and a "path" each'
