"""Commands that look at a run: report, show, explain.

deltadata show runs/quickstart pairs
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from deltadata.cli_types import RunPath


def report(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="report.json on stdout")] = False,
    numbers_only: Annotated[bool, typer.Option("--numbers-only", help="no pictures, no page")] = False,
) -> None:
    """How large the deltas are and whose order they follow: tables, report.html, plots/*.png."""
    from deltadata.errors import need
    from deltadata.reports import JSON_FILE, PAGE_FILE, make
    from deltadata.screen import Screen

    if not numbers_only:
        need("matplotlib", "report")
    told = make(run, drawn=not numbers_only)
    if as_json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    screen = Screen()
    screen.report(told)
    screen.note(f"{'open ' + str(run / PAGE_FILE) if not numbers_only else 'all of it'}; numbers: {run / JSON_FILE}")


def show(
    run: RunPath,
    table: Annotated[
        str | None, typer.Argument(help="prompts, pairs, responses/RUNG or scores/SCORER: its rows")
    ] = None,
    rows: Annotated[int, typer.Option(help="how many rows", min=1, max=100_000)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """The record of a run, or rows of one of its tables."""
    from deltadata.show import record_rows, table_rows

    found: list[dict[str, Any]] = record_rows(run) if table is None else table_rows(run, table, rows)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    from deltadata.screen import Screen

    screen = Screen()
    screen.rows(str(run), found) if table is None else screen.blocks(found)


def explain(
    run: RunPath,
    prompt_id: Annotated[str, typer.Argument(metavar="PROMPT_ID", help="how its id begins")],
) -> None:
    """One prompt's life: source or reason and twin, responses, scores, pairs."""
    from deltadata.screen import Screen
    from deltadata.show import explain

    Screen().blocks(explain(run, prompt_id))
