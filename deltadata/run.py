"""The stages in order: collect, generate, score, pair, filter, dataset. Each reads tables of the run and writes one.

    deltadata run RECIPE            # all of them; what is finished is skipped
    deltadata pair RECIPE           # one of them

A stage is skipped when its record says the same, rebuilt when what it was made from changed, refused when the recipe's
own fields changed (see `store`). Nothing but `generate` asks a model for anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from deltadata import card, filter, hub, mixed, pair, pair_text, parts, publish, reports, score, tables, unpaired
from deltadata.collect import LEFT_OUT, collected, made_from, told
from deltadata.errors import UserError
from deltadata.generate import drifts, generate
from deltadata.job import DATASET, FILTER, PAIRS, PROMPTS, Job, drift, refuse_drift, settled
from deltadata.nothing import no_prompt
from deltadata.parquet import read_columns, writing
from deltadata.scorer_sections import Score
from deltadata.store import Drift, changes, write_json
from deltadata.tables import DROPPED_BY, POOL, PROMPT_ID, SIMILARITY, fingerprint


def run_collect(job: Job) -> bool:
    """Pools to prompts.parquet. Returns whether anything was done.

    A recipe or a pool that only adds prompts is no drift: those that were there stay, row for row.
    """
    spec, inputs = prompts_of(job)
    state = job.run.state(PROMPTS, spec, inputs, job.prompts_file)
    if state == "done":
        return False
    began = time.monotonic()
    known = {pool.name: hub.licence(pool.path) for pool in job.recipe.collect.pools if pool.path.startswith(hub.PREFIX)}
    with collected(job.recipe, job.recipe_dir, job.run.path) as found:
        if not any(pool["taken"] for pool in found.pools):
            raise no_prompt(found.pools)
        new = job.run.path / f".tmp-new-{tables.PROMPTS_FILE}"
        try:
            frame = _write_prompts(new, found.taken())
            if state == "drift" and not _only_adds(job.prompts_file, frame):
                refuse_drift(job, PROMPTS, spec)
            job.run.forget(PROMPTS)
            new.replace(job.prompts_file)
        finally:
            new.unlink(missing_ok=True)
        with writing(job.run.path / tables.LEFT_OUT_FILE, LEFT_OUT, published=False) as writer:
            for rows in found.left_out():
                writer.write(rows)
    aside = job.run.path / "bad" / "prompts.json"
    if found.bad:
        write_json(aside, found.bad)
        first = found.bad[0]
        job.progress.note(f"{len(found.bad)} bad row(s) written to {aside}; first: {first['where']}: {first['why']}")
    else:
        aside.unlink(missing_ok=True)
    for pool in found.pools:
        job.progress.note(f"pool {pool['name']}: " + ", ".join(f"{n} {what}" for what, n in told(pool).items()))
    pools = [pool | ({"license": known[pool["name"]]} if pool["name"] in known else {}) for pool in found.pools]
    facts = {"pools": pools, "contamination": found.contamination}
    files = [job.prompts_file, job.run.path / tables.LEFT_OUT_FILE]
    job.run.finish(PROMPTS, frame.height, time.monotonic() - began, spec, inputs, facts, files)
    return True


def prompts_of(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """Spec and inputs of the prompts. Raises UserError when what they are collected from is not there."""
    unshaping = {"pools": {"__all__": {"license"}}}
    spec = {"collect": job.recipe.collect.model_dump(exclude=unshaping), "seed": job.recipe.seed}
    return spec, made_from(job.recipe, job.recipe_dir)


def _write_prompts(path: Path, rows: Iterable[pa.Table]) -> pl.DataFrame:
    """Write the prompts, checked as they go; returns all of them but the text."""
    narrow = [tables.empty(tables.PROMPTS).drop(tables.PROMPT)]
    with writing(path, tables.PROMPTS.schema, published=False) as writer:
        for group in rows:
            frame = pl.DataFrame(group)
            tables.check_rows(tables.PROMPTS, frame, str(path))
            narrow.append(frame.drop(tables.PROMPT))
            writer.write(group)
    found = pl.concat(narrow)
    tables.check_keys(tables.PROMPTS, found, str(path))
    return found


def _only_adds(before: Path, now: pl.DataFrame) -> bool:
    if not before.exists():
        return True
    old = read_columns(before, [PROMPT_ID, POOL, tables.META])
    return old.join(now, on=[PROMPT_ID, POOL, tables.META], how="anti", nulls_equal=True).is_empty()


def run_generate(job: Job) -> bool:
    """Prompts to responses/. Returns whether anything was added."""
    job.need(PROMPTS, "collect")
    return generate(job.run, job.recipe, job.recipe_dir, job.progress, job.overwrite, job.retry) > 0


def run_score(job: Job) -> bool:
    """Responses to scores/. Returns whether anything was done."""
    job.need(PROMPTS, "collect")
    score.refuse_early(job.run.path, job.recipe, job.recipe_dir, job.progress)
    ladder = _whole_ladder(job)
    return any([_run_scorer(job, asked, ladder) for asked in job.recipe.score])


def _run_scorer(job: Job, asked: Score, ladder: dict[str, parts.Parts]) -> bool:
    table, spec = tables.scores_name(asked.name), score.spec_of(asked)
    rungs = {name: of_rung.inputs for name, of_rung in ladder.items()}
    inputs = {"prompts": job.run.record[PROMPTS].fingerprint, "rungs": rungs}
    inputs |= score.inputs_of(asked, job.recipe, job.recipe_dir, job.run.record)
    if job.retry and score.failed(job.run.record.get(table)):
        job.run.forget(table)
    if settled(job, table, spec, inputs):
        return False
    began = time.monotonic()
    found = score.score(job.run, job.recipe, job.recipe_dir, asked, ladder, job.progress, job.retry)
    files = sorted(job.made(table).glob("part-*.parquet"))  # a lost part must not pass for null scores
    job.run.finish(table, found.rows, time.monotonic() - began, spec, inputs, found.facts, files)
    return True


def _whole_ladder(job: Job) -> dict[str, parts.Parts]:
    """Every rung's parts. Raises UserError when one is not finished, or was changed since."""
    ladder = job.ladder()
    for name, of_rung in ladder.items():
        job.need(tables.ladder_name(name), "generate")
        finished = job.run.record[tables.ladder_name(name)].inputs
        if any(finished.get(key) != value for key, value in of_rung.inputs.items()):
            cure = f"deltadata generate {job.recipe_path} makes them whole"
            raise UserError(f"responses of {name!r} have changed since", where=str(job.run.path), cure=cure)
    return ladder


_YOUNGER = ("also", "soft_label")  # pairs that were made before these keys existed are those of a recipe without them


def _pair_spec(job: Job) -> dict[str, Any]:
    fields = {key: value for key, value in job.recipe.pair.model_dump().items() if value or key not in _YOUNGER}
    return {"pair": fields, "measures": pair.measures(job.recipe), "seed": job.recipe.seed}


def _pair_inputs(job: Job, ladder: dict[str, parts.Parts]) -> dict[str, Any]:
    samples = pair.samples(job.recipe)
    rungs = [[name, fingerprint(of_rung.specs), of_rung.inputs, samples[name]] for name, of_rung in ladder.items()]
    scores = {asked.name: job.need(tables.scores_name(asked.name), "score") for asked in job.recipe.score}
    return {"prompts": job.run.record[PROMPTS].fingerprint, "rungs": rungs, "scores": scores}


def run_pair(job: Job, also_filter: bool = False) -> bool:
    """Responses to pairs.parquet with every delta. With `also_filter` the rules are applied in the same pass."""
    rules = filter.rules(job.recipe)  # a mistake in them is found before anything is done
    pair.planned(job.recipe)
    ladder = _whole_ladder(job)
    spec, inputs = _pair_spec(job), _pair_inputs(job, ladder)
    if also_filter:
        refuse_drift(job, FILTER, _filter_spec(job))
    if settled(job, PAIRS, spec, inputs):
        return False
    began = time.monotonic()
    used = rules if also_filter else filter.always(rules)
    numbers, facts = _paired(job, ladder, filter.sides(used))
    numbers = numbers.with_columns(filter.dropped_by(numbers, used))
    job.run.forget(FILTER)
    contract = pair.contract(job.recipe, [rule.name for rule in used])
    pair_text.write_pairs(job.pairs_file, contract, numbers, job.prompts_file, _files(ladder))
    if job.recipe.pair.also:
        facts |= mixed.facts(numbers)
        job.progress.note(mixed.said(facts, any(mixed.CONTRADICTED in rule.inputs for rule in rules)))
    job.run.finish(PAIRS, numbers.height, time.monotonic() - began, spec, inputs, facts)
    if also_filter:
        _finish_filter(job, numbers, rules, time.monotonic() - began)
    return True


def _files(ladder: dict[str, parts.Parts]) -> dict[str, list[Path]]:
    return {name: of_rung.files for name, of_rung in ladder.items()}


def _paired(job: Job, ladder: dict[str, parts.Parts], sides: set[str]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The pairs' numbers, from responses and scores; and what the record keeps of the responses."""
    prompts = read_columns(job.prompts_file, [PROMPT_ID, POOL])
    responses = {name: parts.checked(paths, name) for name, paths in _files(ladder).items()}
    scores = [score.read(job.run.path, asked.name) for asked in job.recipe.score]
    numbers = pair.response_numbers(responses, prompts, job.recipe, scores, sides)
    del scores
    facts, answered = {"characters": pair.mean_characters(numbers)}, unpaired.counted(numbers, job.recipe)
    numbers = pair.pair(numbers, job.recipe, sides)
    facts |= unpaired.facts(prompts, answered, numbers, job.recipe)
    if SIMILARITY in pair.measures(job.recipe):
        numbers = numbers.with_columns(pair_text.similarities(numbers, _files(ladder)))
    return numbers, facts


def _filter_spec(job: Job) -> dict[str, Any]:
    return {"filter": job.recipe.filter.model_dump()}


def run_filter(job: Job) -> bool:
    """Pairs to pairs with `dropped_by`: only that column changes."""
    rules = filter.rules(job.recipe)
    spec, inputs = _filter_spec(job), {"pairs": job.need(PAIRS, "pair")}
    _refuse_other_pairs(job)
    if settled(job, FILTER, spec, inputs):
        return False
    began = time.monotonic()
    numbers = would_filter(job)
    job.run.forget(FILTER)
    pair_text.redrop(job.pairs_file, numbers[DROPPED_BY])
    _finish_filter(job, numbers, rules, time.monotonic() - began)
    return True


def _refuse_other_pairs(job: Job) -> None:
    """Raises UserError when the pairs were made by another recipe: their numbers are not those it asks for."""
    for found in drift(job, PAIRS, _pair_spec(job)):
        what = "the pairs were made by another recipe: " + "; ".join(changes(found.old, found.new))
        cure = f"deltadata pair {job.recipe_path} --overwrite makes them anew, or set the fields back"
        raise UserError(what, where=str(job.run.path), cure=cure)


def would_filter(job: Job) -> pl.DataFrame:
    """The pairs' numbers with the reasons that the recipe's rules give them; nothing is written.

    Raises UserError when the pairs were made by another recipe.
    """
    job.need(PAIRS, "pair")
    _refuse_other_pairs(job)
    rules = filter.rules(job.recipe)
    numbers = pair_text.pair_numbers(job.pairs_file, _files(job.ladder()), filter.sides(rules))
    return numbers.with_columns(filter.dropped_by(numbers, rules))


def would_report(job: Job) -> dict[str, Any]:
    """The report that the recipe's rules would give; nothing is written. Raises UserError as `would_filter` does."""
    rules, numbers = filter.rules(job.recipe), would_filter(job)
    _tell(job, numbers, rules)
    return reports.would_be(job.run.path, numbers, [rule.name for rule in rules])


def _tell(job: Job, numbers: pl.DataFrame, rules: list[filter.Rule]) -> dict[str, int]:
    """Say what a person would not expect of the rules; returns how many pairs each dropped for what is unknown."""
    unknown = filter.unknown(numbers, rules)
    for rule in (rule for rule in rules if rule.name in unknown):
        cure = " (imported responses have no token counts; `measure: characters` is always known)"
        what = f"{rule.name}: {unknown[rule.name]} pair(s) dropped since what it asks for is unknown"
        job.progress.note(what + (cure if filter.uncounted(numbers, rule) else ""))
    if emptied := filter.emptied(numbers[DROPPED_BY], rules):
        job.progress.note(emptied)
    return unknown


def _finish_filter(job: Job, numbers: pl.DataFrame, rules: list[filter.Rule], seconds: float) -> None:
    unknown = _tell(job, numbers, rules)
    pairings = card.pairings(numbers, pair.measures(job.recipe))
    facts = {"funnel": filter.funnel(numbers[DROPPED_BY], rules), "unknown": unknown, "pairings": pairings}
    kept = numbers[DROPPED_BY].null_count()
    inputs = {"pairs": job.run.record[PAIRS].fingerprint}
    job.run.finish(FILTER, kept, seconds, _filter_spec(job), inputs, facts, [job.pairs_file])
    reports.remove(job.run.path)  # that of other pairs


STAGES: dict[str, Callable[[Job], bool]] = {
    "collect": run_collect,
    "generate": run_generate,
    "score": run_score,
    "pair": run_pair,
    "filter": run_filter,
}


def drifted_tables(job: Job) -> list[Drift]:
    """What was made by other fields than the recipe has now; of the prompts only collecting them tells."""
    specs = [(tables.scores_name(asked.name), score.spec_of(asked)) for asked in job.recipe.score]
    specs += [(PAIRS, _pair_spec(job)), (FILTER, _filter_spec(job)), (DATASET, publish.spec_of(job))]
    found = drifts(job.run, job.recipe, job.recipe_dir)
    for table, spec in specs:
        found += drift(job, table, spec)
    return found


def run_all(job: Job) -> bool:
    """Every stage up to dataset/. Returns whether anything was done."""
    filter.rules(job.recipe)  # the user's mistakes first, before anything takes time
    pair.planned(job.recipe)
    if (drifted := drifted_tables(job)) and not job.overwrite:  # all of it at once, and before anything takes time
        job.run.refuse_drift(drifted)
    done = [run_collect(job)]
    score.refuse_early(job.run.path, job.recipe, job.recipe_dir, job.progress)
    done += [run_generate(job), run_score(job), run_pair(job, also_filter=True), run_filter(job), publish.publish(job)]
    return any(done)
