"""The scorer seam: prompts and responses in, one number per response out. A scorer knows no table and no run folder.

A scorer has two methods: `refuse` looks at a prompt before any response exists, `score` gives the numbers. Its `facts`
are what the record and the card say of it. To add one, write its module here and name it in `open_scorer`.

A judge and a combined scorer are none: one keeps what it was told (`judgements`), the other has no text (`combine`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from deltadata.scorer_sections import Checks, LogProb, RewardModel


class Asked(NamedTuple):
    """One prompt: messages of {role, content} that end with the user's turn, and the columns its pool kept."""

    messages: list[dict[str, str]]
    meta: dict[str, Any] = {}


class BadCheck(ValueError):
    """A prompt that carries something its scorer cannot use; the text is a sentence for the user, without the place."""


class Scorer(Protocol):
    """Two methods. `facts` are JSON values: the settings, and the versions of what changes the numbers.

    `engine_facts` are those that are known once a model is loaded; they are told, and no part is made anew for them.
    `reads_meta`: whether the columns that a pool keeps are part of what is scored. `notes` counts what a person should
    know of the responses scored since it was last emptied: those without a score by reason, those that were cut.
    """

    facts: dict[str, Any]
    engine_facts: dict[str, Any]
    reads_meta: bool
    notes: dict[str, int]

    def refuse(self, asked: Asked) -> None:
        """Nothing for a prompt that can be scored, or that holds nothing to score.

        Raises BadCheck for what is wrong in the prompt's columns, UserError for a package that is not installed.
        """
        ...

    def score(self, prompts: Iterable[Asked], responses: Iterable[str]) -> Iterator[float | None]:
        """One number per pair of the two, in their order; more is better; None where nothing can be said.

        Both may be lazy; the same prompt may come many times. Called again before its numbers are taken, it may begin
        with what comes next. Raises what `refuse` raises.
        """
        ...


def open_scorer(
    asked: Checks | RewardModel | LogProb, log: Path | None = None, runtime: dict[str, Any] | None = None
) -> AbstractContextManager[Scorer]:
    """The scorer that a recipe asks for. A model is loaded when the first number is asked for, in a child process.

    `log` is where that child's output goes, `runtime` what its engine is given. Raises UserError for what is known to
    be wrong before: a package that is missing, a model that is none.
    """
    match asked:
        case Checks():
            from deltadata.scorers.checks import Checks as ByChecks

            return nullcontext(ByChecks(asked.form, asked.column))
        case RewardModel() | LogProb():
            from deltadata.scorers.forward import opened

            return opened(asked, runtime or {}, log)
