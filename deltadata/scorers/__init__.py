"""The scorer seam: prompts and responses in, one number per response out. A scorer knows no table and no run folder.

A scorer has two methods: `refuse` looks at a prompt before any response exists, `score` gives the numbers. Its `facts`
are what the record and the card say of it. To add one, write its module here and name it in `open_scorer`.
"""

from __future__ import annotations

from typing import Any, Iterable, Iterator, NamedTuple, Protocol

from deltadata.errors import UserError, did_you_mean
from deltadata.sections import SCORERS


class Asked(NamedTuple):
    """One prompt: messages of {role, content} that end with the user's turn, and the columns its pool kept."""

    messages: list[dict[str, str]]
    meta: dict[str, Any] = {}


class BadCheck(ValueError):
    """A prompt that carries something its scorer cannot use; the text is a sentence for the user, without the place."""


class Scorer(Protocol):
    """Two methods. `facts` are JSON values: the settings, and the versions of what changes the numbers."""

    facts: dict[str, Any]

    def refuse(self, asked: Asked) -> None:
        """Nothing for a prompt that can be scored, or that holds nothing to score.

        Raises BadCheck for what is wrong in the prompt's columns, UserError for a package that is not installed.
        """
        ...

    def score(self, prompts: Iterable[Asked], responses: Iterable[str]) -> Iterator[float | None]:
        """One number per pair of the two, in their order; more is better; None where nothing can be said.

        Both may be lazy; the same prompt may come many times. Raises what `refuse` raises.
        """
        ...


def open_scorer(name: str, **settings: Any) -> Scorer:
    """The scorer called `name`; `settings` are the keyword arguments of its class. Raises UserError."""
    match name:
        case "checks":
            from deltadata.scorers.checks import Checks

            return Checks(**settings)
        case _:
            raise UserError(f"no scorer is called {name!r}", cure=did_you_mean(name, SCORERS))
