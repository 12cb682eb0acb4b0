"""What a person sees, on stderr: a progress line per rung and the closing table; plain lines where no terminal is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from deltadata import grid, kinds
from deltadata.findings import FEW

QUIET_SECONDS = 10.0  # between two progress lines of a log
MOST_ROWS = 12  # pairings in a table
MARKS = {"good": "+", "warn": "!", "note": "-"}  # of findings


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
        """Rows in, kept and dropped, the deltas that matter most, where the dataset lies, what to do next."""
        counts = f"{facts['name']}: {facts['kept']} of {facts['pairs']} pairs kept"
        rows = [
            [_pairing(pairing), str(pairing["pairs"]), str(pairing["kept"])]
            + [_number(pairing["delta"][measure]) for measure in facts["lead"]]
            for pairing in facts["pairings"][:MOST_ROWS]
        ]
        head = ["pairing", "pairs", "kept", *facts["lead"]]
        self.table(f"{counts}; mean delta (chosen - rejected) of all pairs", head, rows)
        self._more(facts["pairings"], "pairings")
        dropped = ", ".join(f"{rule} {count}" for rule, count in facts["funnel"].items() if count) or "nothing"
        self.note(f"dropped by rule: {dropped}")
        if facts["without_pair"]:
            self.note(f"{facts['without_pair']} prompt(s) have no pair: {facts['without_pair_since']}")

    def report(self, told: dict[str, Any]) -> None:
        """Findings in words, then the tables of a report: deltas, ladder, funnel."""
        for finding in told["findings"]:
            self.note(f"{MARKS[finding['level']]} {finding['text']}")
        for measure in dict.fromkeys([*told["scorers"], told["lead"], told["length_measure"]]):
            self._deltas(told, measure)
        self._more(told["pairings"], "pairings")
        self._ladder(told)
        self._scorers(told["scored_by"])
        self.funnel(told)

    def _deltas(self, told: dict[str, Any], measure: str) -> None:
        by_score, rows = kinds.scored(told["pairings"]), []
        for pairing in told["pairings"][:MOST_ROWS]:
            cells = _spread(pairing["measures"][measure])
            if measure == told.get("also") and pairing in by_score:
                cells[-1] = "it picked"
            rows.append([_pairing(pairing), *cells])
        head = ["pairing", "pairs", "mean", "sd", "median", "agree (95 %)"]
        self.table(f"delta of {measure}, chosen - rejected, before the filter", head, rows)

    def _ladder(self, told: dict[str, Any]) -> None:
        """Rungs, then a line for each score of a rung: a table that is as wide with one scorer as with nine."""
        rungs = told["ladder"]
        rows = [[rung["model"], str(rung["responses"]), _percent(rung["cut_off"])] for rung in rungs]
        self.table("ladder, strongest first in the recipe", ["rung", "responses", "cut off"], rows)
        scores = [[scorer, rung["model"], *_strength(rung, scorer)] for scorer in told["scorers"] for rung in rungs]
        if scores:
            self.table("scores of the ladder", ["scorer", "rung", "mean", "strength (95 %)"], scores)

    def _scorers(self, scorers: dict[str, Any]) -> None:
        """The scorers that are models or made of others, and what is said of each."""
        if not scorers:
            return
        rows = [[name, str(one["scored"]), _count(one["responses"]), _named(one)] for name, one in scorers.items()]
        self.table("scorers that are models, or made of others", ["scorer", "scored", "of", "what it is"], rows)
        for name, one in scorers.items():
            for sentence in one["said"]:
                self.note(f"{name}: {sentence}")

    def funnel(self, told: dict[str, Any]) -> None:
        """What each rule drops, and the lead measure's delta before and after it."""
        lead = told["lead"]
        of = ", agreement of pairs by order" if "also" in told else ""
        left, rows = told["pairs"], []
        for step in told["funnel"]:
            left -= step["dropped"]
            before, after = step["delta_before"][lead], step["delta_after"][lead]
            shown = [_short(before["mean"]), _short(after["mean"])]
            shown += [_percent(before["agreement"]), _percent(after["agreement"])]
            rows.append([step["rule"], str(step["dropped"]), str(left), *shown])
        head = ["rule", "dropped", "left", "mean before", "mean after", "agree before", "agree after"]
        self.table(f"rules, and the delta of {lead}{of}", head, rows)

    def tree(self, folder: Path, files: dict[str, int]) -> None:
        """What a push sends."""
        rows = [[name, f"{size:,}"] for name, size in files.items()]
        self.table(f"{folder}, {sum(files.values()) / 1e6:.1f} MB", ["file", "bytes"], rows)

    def proof(self, rows: list[dict[str, Any]]) -> None:
        """What came back from the Hub."""
        told = [
            [f"{row['config']}/{row['split']}", row["how"], f"{row['rows']:,}", row["content"]]
            + ["no" if row["differs"] else "yes"]
            for row in rows
        ]
        self.table("read back from the Hub", ["config/split", "how", "rows", "content", "equal"], told)

    def _more(self, rows: list[Any], what: str) -> None:
        if len(rows) > MOST_ROWS:
            self.note(f"and {len(rows) - MOST_ROWS} more {what}")

    def blocks(self, rows: list[dict[str, Any]]) -> None:
        """Records with long values, one below the other."""
        for row in rows:
            (first, head), *others = row.items()
            self.note("\n".join([f"{first}: {head}", *(f"    {column}: {value}" for column, value in others)]))

    def rows(self, title: str, rows: list[dict[str, Any]]) -> None:
        """Records, of which the first column is a name."""
        head = list(dict.fromkeys(column for row in rows for column in row))
        self.table(title, head, [[str(row.get(column, "")) for column in head] for row in rows])

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table no wider than the terminal, names wrapped and figures whole; where it cannot be, a block a row."""
        width, plain = self.console.width, self.console.options.ascii_only
        self._print(grid.wrapped(title, width), "table.title")
        columns = grid.columns(head, rows, width)
        if columns is None:
            for row in rows:
                self._print([*grid.block(head, row, width), ""])
            return
        self._print(grid.lines(columns, head), "table.header")
        self._print([grid.line(columns, "-" if plain else "─")])
        self._print([*(line for row in rows for line in grid.lines(columns, row)), ""])

    def _print(self, lines: Sequence[str], style: str = "") -> None:
        self.console.print(Text("\n".join(lines), style=style), soft_wrap=True)


def _named(scorer: dict[str, Any]) -> str:
    return ": ".join(part for part in (scorer["what"], scorer["model"]) if part)


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _pairing(pairing: dict[str, Any]) -> str:
    return kinds.sides(pairing, " > ")


def _spread(stats: dict[str, Any]) -> list[str]:
    """The cells of one measure's deltas."""
    shown = [stats["mean"], stats["std"], (stats["quantiles"] or {}).get("0.5")]
    low, high = stats["agreement_ci95"] or (None, None)
    agreed = f"{_percent(stats['agreement'])} ({_percent(low)} - {_percent(high)})".replace(" %", "")
    few = 0 < stats["n"] < FEW  # the interval of a handful that all agree is a point
    return [str(stats["n"]), *map(_short, shown), "too few" if few else "-" if low is None else agreed]


def _strength(rung: dict[str, Any], scorer: str) -> list[str]:
    """Mean score, and strength with its interval."""
    low, high = rung["strength_ci95"][scorer] or (None, None)
    span = f" ({low:+.2f} to {high:+.2f})" if low is not None and high is not None else ""
    strength = rung["strength"][scorer]
    return [_short(rung["mean_score"][scorer]), "-" if strength is None else f"{strength:+.2f}{span}"]


def _short(value: float | None) -> str:
    return "-" if value is None else "0" if not value else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}"
