"""A run's report: report.json, plots/*.png and report.html, from its tables alone; nothing else in the run changes.

deltadata report runs/quickstart
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from deltadata import mixed, page, parts, pictures, rules, score, scorer_notes, tables
from deltadata.dataset import in_test
from deltadata.errors import UserError
from deltadata.measure import characters
from deltadata.pair import ENDS
from deltadata.parquet import TextColumn, open_parquet, read_columns
from deltadata.report import SPLIT, SPLITS, About, report
from deltadata.store import Entry, atomic, read_record, replacing, write_json
from deltadata.tables import (
    CHOSEN,
    DROPPED_BY,
    FINISH,
    MODEL,
    PAIRS_FILE,
    PAIRS_NAME,
    POOL,
    PREFERENCE_TYPE,
    PROMPT,
    PROMPT_ID,
    REJECTED,
    RESPONSE_TOKENS,
    SAMPLE,
    SIDES,
    SIMILARITY,
    TOKENS,
    measured,
    of,
)

JSON_FILE, PAGE_FILE, PLOTS = "report.json", "report.html", "plots"
EXAMPLES = {"largest": 2, "median": 2, "negative": 2}  # of each pairing
PAIRINGS_WITH_EXAMPLES = 12
Record = Mapping[str, Entry]


def make(run: Path, drawn: bool = True, holdout: float | None = None) -> dict[str, Any]:
    """Compute and write the report of the run folder `run`; with `drawn` its pictures and page, too. Returns the JSON.

    `holdout` is the share of prompts in the split `test`; None: that of the run's dataset.

    Raises UserError when there are no pairs yet, or a package of the extra `report` is missing.
    """
    name, record = read_record(run)
    pairs, ladder = frames(run, record, holdout)
    filtered = record.get(tables.FILTER_NAME)
    told = compute(name, record, pairs, ladder, list(filtered.facts["funnel"]) if filtered else [*rules.ALWAYS])
    write_json(run / JSON_FILE, told)
    if drawn:
        shown = examples(run, told, pairs)
        measures = {measured(told[key]) for key in ("lead", "length_measure")}  # all that pictures are made of
        pairs = pairs.select(pl.exclude(f"^{tables.DELTA}.*$"), *sorted(measures))
        with replacing(run / PLOTS) as folder:
            svgs = pictures.draw(told, pairs, ladder, folder)
        with atomic(run / PAGE_FILE) as temporary:
            text = page.render(told, svgs, shown)
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    else:
        _remove_page(run)
    return told


def remove(run: Path) -> None:
    """A report of other numbers would be worse than none."""
    (run / JSON_FILE).unlink(missing_ok=True)
    _remove_page(run)


def _remove_page(run: Path) -> None:
    (run / PAGE_FILE).unlink(missing_ok=True)
    shutil.rmtree(run / PLOTS, ignore_errors=True)


def would_be(run: Path, pairs: pl.DataFrame, found: list[str]) -> dict[str, Any]:
    """The report that these pairs would have under the rules `found`, before anything is written."""
    name, record = read_record(run)
    return compute(name, record, _narrowed(record, pairs.lazy()).collect(), _ladder(run, record), found)


def compute(name: str, record: Record, pairs: pl.DataFrame, ladder: pl.DataFrame, found: list[str]) -> dict[str, Any]:
    """The report of these pairs, dropped by the rules `found`; names and rungs are as the record has them."""
    made = record[PAIRS_NAME]
    told = report(
        pairs,
        ladder,
        About(
            name,
            made.spec["pair"]["control"],
            [rung[0] for rung in made.inputs["rungs"]],
            [measure for measure in made.spec["measures"] if measure != SIMILARITY],
            list(made.inputs["scores"]),
            found,
            [pool["name"] for pool in record[tables.PROMPTS.name].facts["pools"]],
            made.spec["seed"],
            _scored_by(record),
            (made.spec["pair"].get("also") or {}).get("by"),
            _by(made.spec["pair"]["pairings"]),
        ),
    )
    for rung in told["ladder"]:
        rung[f"mean_{characters.__name__}"] = made.facts["characters"].get(rung[MODEL])
    return told


def _by(pairings: Any) -> str | None:
    """Who chose the sides, where no order did."""
    return str(pairings["by"]) if isinstance(pairings, dict) else None


def _scored_by(record: Record) -> dict[str, dict[str, Any]]:
    """What is told of the scorers of which there is more to tell than their numbers."""
    entries = {name: record[tables.scores_name(name)] for name in record[PAIRS_NAME].inputs["scores"]}
    told = {name: scorer_notes.known(one.spec, one.facts, one.rows) for name, one in entries.items()}
    return {name: tree for name, tree in told.items() if tree is not None}


def frames(run: Path, record: Record, holdout: float | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The run's pairs and responses as a report sees them: no text, names as enums, prompt ids as the numbers they are.

    Raises UserError when there are no pairs.
    """
    if PAIRS_NAME not in record:
        raise UserError("the pairs are not made yet", where=str(run), cure="deltadata run RECIPE makes them")
    with open_parquet(run / PAIRS_FILE):  # a damaged file is told of, not read
        pairs = pl.scan_parquet(run / PAIRS_FILE).select(pl.exclude(PROMPT, *SIDES))
    return _narrowed(record, pairs, holdout).collect(engine="streaming"), _ladder(run, record)


def _narrowed(record: Record, pairs: pl.LazyFrame, holdout: float | None = None) -> pl.LazyFrame:
    held_out = (record["dataset"].spec["holdout"] if "dataset" in record else 0.0) if holdout is None else holdout
    split = pl.when(in_test(held_out)).then(pl.lit(SPLITS[1])).otherwise(pl.lit(SPLITS[0])).cast(pl.Enum(SPLITS))
    rungs, pools = _names(record)
    kinds = {POOL: pools} | {of(side, MODEL): rungs for side in SIDES} | {of(side, FINISH): ENDS for side in SIDES}
    named = [pl.col(name).cast(kind) for name, kind in kinds.items()]
    return pairs.with_columns(split.alias(SPLIT), pl.col(DROPPED_BY).cast(pl.Categorical), *named).with_columns(
        tables.id_number()
    )


def _names(record: Record) -> tuple[pl.Enum, pl.Enum]:
    """The rungs, strongest first, and the pools."""
    pools = [pool["name"] for pool in record[tables.PROMPTS.name].facts["pools"]]
    return pl.Enum([rung[0] for rung in record[PAIRS_NAME].inputs["rungs"]]), pl.Enum(pools)


def _ladder(run: Path, record: Record) -> pl.DataFrame:
    """One row per response with text. How imported ones ended is not known."""
    made, (rungs, pools) = record[PAIRS_NAME], _names(record)
    found = []
    for rung, *_ in made.inputs["rungs"]:
        imported = record[tables.ladder_name(rung)].facts["engine"] == "imported"
        columns = [*tables.RESPONSES.key, FINISH, RESPONSE_TOKENS]
        answered = pl.concat(read_columns(path, columns) for path in parts.read(run, rung).files)
        end = pl.lit(None, ENDS) if imported else pl.col(FINISH).cast(ENDS)
        answered = answered.filter(pl.col(FINISH) != "error").select(
            tables.id_number(),
            pl.col(MODEL).cast(rungs),
            SAMPLE,
            end.alias(FINISH),
            pl.col(RESPONSE_TOKENS).cast(pl.Float64).alias(TOKENS),
        )
        for scorer in made.inputs["scores"]:
            scores = score.read(run, scorer).filter(pl.col(MODEL) == rung).drop(MODEL).with_columns(tables.id_number())
            answered = answered.join(scores, on=[PROMPT_ID, SAMPLE], how="left")
        found.append(answered)
    prompts = read_columns(run / tables.PROMPTS_FILE, [PROMPT_ID, POOL])
    return pl.concat(found).join(prompts.select(tables.id_number(), pl.col(POOL).cast(pools)), on=PROMPT_ID)


def examples(run: Path, told: dict[str, Any], pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """Pairs to read, of each pairing those of the largest, the median and the most negative delta, with their texts."""
    column = measured(told["lead"])
    rows = pairs.with_row_index("row").filter(pl.col(column).is_not_null())
    texts = {name: TextColumn([run / PAIRS_FILE], name) for name in (PROMPT, *SIDES)}
    found = []
    for pairing in told["pairings"][:PAIRINGS_WITH_EXAMPLES]:
        here = rows.filter(mixed.of_pairing(pairing)).sort(column, PROMPT_ID, of(CHOSEN, SAMPLE), of(REJECTED, SAMPLE))
        middle = max(0, here.height // 2 - EXAMPLES["median"] // 2)
        shelves = {
            "largest": here.filter(pl.col(column) > 0).reverse().head(EXAMPLES["largest"]),
            "median": here.slice(middle, EXAMPLES["median"]),
            "negative": here.filter(pl.col(column) < 0).head(EXAMPLES["negative"]),
        }
        for which, shelf in shelves.items():
            for pair in shelf.iter_rows(named=True):
                place = pl.Series([pair["row"]])
                messages = {name: texts[name].take(place).to_pylist()[0] for name in texts}
                kind = {key: pairing[key] for key in (PREFERENCE_TYPE,) if key in pairing}
                found.append(_example(which, pair, messages, told) | kind)
    return found


def _example(which: str, pair: dict[str, Any], messages: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    facts = (of(CHOSEN, MODEL), of(REJECTED, MODEL), PROMPT_ID, POOL, DROPPED_BY)
    deltas = {measure: pair[measured(measure)] for measure in told["measures"]}
    known = {name: pair[name] for name in facts} | {PROMPT_ID: f"{pair[PROMPT_ID]:016x}"}
    return {"which": which, "deltas": deltas} | known | messages
