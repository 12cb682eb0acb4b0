"""How answers to the suite's own tasks are scored; the harness loads it as popqa.yaml and alpaca_eval.yaml name it."""

from __future__ import annotations

import json
import re
import string
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def plain(text: str) -> str:
    """Lower case without punctuation, articles and spare space, as SQuAD and its followers compare answers."""
    words = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(_ARTICLES.sub(" ", words).split())


def popqa(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """`exact_match`: the answer is one of the possible ones; `contains`: one of them stands in it (the authors')."""
    told = doc["possible_answers"]
    known = [plain(answer) for answer in (json.loads(told) if isinstance(told, str) else told)]
    said = plain(results[0].strip().split("\n")[0])
    return {"exact_match": float(said in known), "contains": float(any(answer in said for answer in known if answer))}


def alpaca_eval(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Its length; which answer is better is for a judge to say."""
    return {"characters": float(len(results[0].strip()))}
