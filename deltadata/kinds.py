"""The pairings of a report by the kind of their pairs: how each is called, and which say something of the order.

    deltadata report RUN

In a set that has pairs by order and by score (`pair: {also: ...}`) a pairing is of one kind; elsewhere it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deltadata.tables import BY_SCORE, CHOSEN, PREFERENCE_TYPE, REJECTED, SIDES

Tree = dict[str, Any]
Pairing = Mapping[str, Any]


def key(pairing: Pairing) -> Tree:
    """What tells it from all others: both rungs and, where there are two, its kind."""
    return {name: pairing[name] for name in (*SIDES, PREFERENCE_TYPE) if name in pairing}


def sides(pairing: Pairing, over: str = " over ") -> str:
    """Its name: strong over weak, or strong over weak by score."""
    kind = f" by {pairing[PREFERENCE_TYPE]}" if PREFERENCE_TYPE in pairing else ""
    return f"{pairing[CHOSEN]}{over}{pairing[REJECTED]}{kind}"


def ordered(pairings: Sequence[Pairing]) -> list[Tree]:
    """Those that say something of the order of the rungs: all but those by score beside others by order."""
    return [dict(pairing) for pairing in pairings if pairing.get(PREFERENCE_TYPE) != BY_SCORE]


def scored(pairings: Sequence[Pairing]) -> list[Tree]:
    """The others."""
    return [dict(pairing) for pairing in pairings if pairing.get(PREFERENCE_TYPE) == BY_SCORE]


def chose(scorer: str) -> str:
    """What is said of a set that has no pairs by order."""
    return f"{scorer} chose the sides, so that its own agreement is no evidence"


def picked(scorer: str) -> str:
    """What is said of pairs by score."""
    return f"{scorer} picked their two responses, so that its agreement there is no evidence"
