"""What a person sees, on stderr: a progress line per rung and the closing table; plain lines where no terminal is."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

QUIET_SECONDS = 10.0  # between two progress lines of a log


class Screen:
    """Implements the stages' Progress. A terminal gets a live bar; a log gets a line now and then."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def note(self, text: str) -> None:
        """One line, printed above a running bar; never read as markup."""
        console = self._bar.console if self._bar else self.console
        console.print(text, markup=False)

    def rung(self, name: str, total: int, done: int) -> None:
        self._name, self._total, self._done, self._asked_now = name, total, done, 0
        self._tokens = self._errors = 0
        self._began = self._said = time.monotonic()
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(name, total=total, completed=done, rate="")
            self._bar.start()
        elif done:
            self.note(f"{name}: {done}/{total} responses are there already")

    def advance(self, tokens: int, failed: bool) -> None:
        self._done += 1
        self._asked_now += 1
        self._tokens += tokens
        self._errors += failed
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._done, rate=self._rate())
        elif time.monotonic() - self._said > QUIET_SECONDS:
            self._said = time.monotonic()
            left = (self._total - self._done) * (self._said - self._began) / self._asked_now
            self.note(f"{self._name}: {self._done}/{self._total} responses, {self._rate()}, about {left:.0f} s left")

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        speed = (
            f"{self._tokens / seconds:.0f} tok/s" if self._tokens else f"{self._asked_now / seconds:.0f} responses/s"
        )
        return f"{speed}, {self._errors} failed" if self._errors else speed

    def rung_done(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
        seconds = time.monotonic() - self._began
        self.note(f"{self._name}: {self._done}/{self._total} responses in {seconds:.1f} s, {self._rate()}")

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def closing(self, facts: dict[str, Any]) -> None:
        """Rows in, kept and dropped, mean deltas, where the dataset lies, what to do next."""
        counts = f"{facts['name']}: {facts['kept']} of {facts['pairs']} pairs kept"
        table = Table(title=f"{counts}; mean delta (chosen - rejected) of all pairs", title_justify="left")
        table.add_column("pairing", overflow="fold")
        for column in ("pairs", "kept", *facts["measures"]):
            table.add_column(column, justify="right", no_wrap=True)
        for pairing in facts["pairings"]:
            deltas = [_number(pairing["delta"][measure]) for measure in facts["measures"]]
            rungs = f"{pairing['chosen']} > {pairing['rejected']}"
            table.add_row(rungs, str(pairing["pairs"]), str(pairing["kept"]), *deltas)
        self.console.print(table)
        dropped = ", ".join(f"{rule} {count}" for rule, count in facts["funnel"].items() if count) or "nothing"
        self.note(f"dropped by rule: {dropped}")
        if facts["without_pair"]:
            self.note(f"{facts['without_pair']} prompt(s) have no pair: a rung has no answer to them")

    def blocks(self, rows: list[dict[str, Any]]) -> None:
        """Records with long values, one below the other."""
        for row in rows:
            (first, head), *others = row.items()
            self.note("\n".join([f"{first}: {head}", *(f"    {column}: {value}" for column, value in others)]))

    def rows(self, title: str, rows: list[dict[str, Any]]) -> None:
        """A plain table of records."""
        table = Table(title=Text(title), title_justify="left")
        for i, column in enumerate(rows[0] if rows else ()):
            table.add_column(column, overflow="fold", no_wrap=i == 0)
        for row in rows:
            table.add_row(*(Text(str(value)) for value in row.values()))
        self.console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}"
