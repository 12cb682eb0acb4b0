"""A judge that says what the texts it is shown tell it to, for the loopback server: verdicts and faults by content.

    rate:7             every aspect gets 7                  rate:7,8        the first 7, the second 8
    worth:3            what a response is worth when two are compared; equal ones tie
    fault:refusal      that fault (below), always           fault:503*2     the first two times the request is made

Faults of the reply are refusal, prose, eleven, missing, more, float, bool, array, nothing, fenced and cut. Any other
is one of the server's own (an HTTP status, drop, garbage, empty, slow, null, content_filter ...).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

REPLIES = ("refusal", "prose", "eleven", "missing", "more", "float", "bool", "array", "nothing", "fenced", "cut")


def told(body: dict[str, Any]) -> str:
    text: str = body["messages"][-1]["content"]
    return text


def asked_fault(body: dict[str, Any], same: int) -> str | None:
    """The fault that the texts ask for, when the request comes for the `same`th time."""
    found = re.search(r"fault:(\w+)(?:\*(\d+))?", told(body))
    return found[1] if found and same <= int(found[2] or 10**9) else None


def fault(body: dict[str, Any], same: int) -> str | int | None:
    """The server's own fault, if one is asked for."""
    name = asked_fault(body, same)
    return None if name is None or name in REPLIES else int(name) if name.isdecimal() else name


def reply(body: dict[str, Any], biased: float = 0.0) -> str:
    """What the judge says. `biased`: the share of comparisons, by hash, in which it prefers the first one shown."""
    right = compared(body, biased) if "<second-" in told(body) else rated(body)
    key = next(iter(right))
    faulty = {
        "refusal": "I'm sorry, but I can't rate this.",
        "prose": f"Here you go: {json.dumps(right)} I hope this helps!",
        "eleven": json.dumps(right | {key: 11}),
        "missing": json.dumps(dict([*right.items()][1:])),
        "more": json.dumps(right | {"wit": 3}),
        "float": json.dumps(right | {key: 7.0}),
        "bool": json.dumps(right | {key: True}),
        "array": json.dumps([right]),
        "nothing": "",
        "fenced": f"```json\n{json.dumps(right, indent=1)}\n```",
        "cut": json.dumps(right) + " and" * 1000,
    }
    name = asked_fault(body, 1)
    return faulty[name] if name in faulty else json.dumps(right)


def rated(body: dict[str, Any]) -> dict[str, Any]:
    keys = re.findall(r'"(\w+)"', told(body).splitlines()[-1])
    found = re.search(r"rate:([\d,]+)", told(body))
    rates = [int(rate) for rate in found[1].split(",")] if found else [5]
    return {key: rates[min(place, len(rates) - 1)] for place, key in enumerate(keys)}


def compared(body: dict[str, Any], biased: float) -> dict[str, Any]:
    texts = [text for _, text in re.findall(r"<(first|second)-\w+>\n(.*?)\n</", told(body), re.DOTALL)]
    if is_biased(texts[0], texts[1], biased):
        return {"better": "first"}
    one, other = (int(worth) for worth in re.findall(r"worth:(\d+)", " ".join(texts)))
    return {"better": "first" if one > other else "second" if one < other else "tie"}


def is_biased(one: str, other: str, share: float) -> bool:
    """Whether the judge does not look at these two, in whatever order."""
    return int(hashlib.sha256("\n".join(sorted([one, other])).encode()).hexdigest()[:8], 16) < share * 2**32
