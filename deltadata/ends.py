"""How a command ends: what it says on stderr, and its exit code. The one place where an error becomes either.

deltadata show runs/none; echo $?
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from deltadata.errors import DeltadataError, OutsideError, UserError

CLOSED = 141  # as a shell has it of a program that a closed pipe ended
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# Of typer's own copy of click, or of click itself: only its children are public.
_Usage: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def ended(app: typer.Typer) -> None:
    """Run the command that was typed, and exit. Bugs go through, with their traceback."""
    try:
        code = app(prog_name="deltadata", standalone_mode=False)  # else typer has words and a frame of its own
        sys.stdout.flush()
    except DeltadataError as problem:
        _end(problem.exit_code, f"error: {problem}", at_once=isinstance(problem, OutsideError))
    except _Usage as mistake:
        _end(UserError.exit_code, _usage(mistake))
    except SystemExit as left:  # what typer and rich make of a pipe whose reader has left; nothing else says 1
        _end(CLOSED if left.code == 1 else left.code, at_once=left.code == 1)
    except OSError as problem:
        if problem.errno == errno.EPIPE:
            _end(CLOSED, at_once=True)
        if problem.errno not in _FULL:
            raise
        cure = "make room, then run the same command again"
        told = OutsideError(str(problem.strerror), where=problem.filename or "cannot write the output", cure=cure)
        _end(told.exit_code, f"error: {told}", at_once=True)
    else:
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def resumable(where: Path, kept: str) -> Iterator[None]:
    """Ctrl-C as an OutsideError that says what is kept: the same command goes on from there."""
    try:
        yield
    except KeyboardInterrupt:
        cure = "the same command goes on from there"
        raise OutsideError(f"stopped; {kept} kept", where=str(where), cure=cure) from None


def _usage(mistake: Any) -> str:
    """A mistaken option or argument in the words of every other mistake; where a command is missing, the help."""
    said, context = str(mistake.format_message()).strip(), getattr(mistake, "ctx", None)
    if context is None or type(mistake).__name__ == "NoArgsIsHelpError":
        return said
    cure = f"{context.command_path} --help lists what it takes"
    what = f"{said[:1].lower()}{said[1:]}".rstrip(".")
    return f"error: {UserError(what, where=context.command_path, cure=cure)}"


def _end(code: Any, said: str = "", at_once: bool = False) -> None:
    """Say what is to be said and exit. `at_once` past every orderly way out: a reader of Arrow's that still waits for a
    broken stream would abort Python there, and text that could not be written would be tried again."""
    with suppress(OSError):
        if said:
            print(said, file=sys.stderr)
        sys.stderr.flush()
    if at_once:
        os._exit(code)
    sys.exit(code)
