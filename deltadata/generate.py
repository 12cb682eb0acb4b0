"""PROMPTS to RESPONSES: every rung answers every prompt, in parts that are written as they finish.

    deltadata generate RECIPE

Only what is missing is asked for: a part on disk is never generated again, be it from a killed run, from before a rung
was added or from before the pool grew. A part is a batch whose members are fixed by the order of the prompts, so a bf16
engine gives a resumed run the same text as an uninterrupted one. With `overlap` (always so for a server, which batches
as it likes) a part is whatever finished together: a fuller engine and no such promise.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import polars as pl

from deltadata import models, parts, tables, taken
from deltadata.engines import HOSTED, Conversation, Engine, Model, open_engine
from deltadata.errors import UserError, did_you_mean
from deltadata.imported import imported_responses
from deltadata.parquet import TextColumn, read_columns, write_table
from deltadata.recipe import Recipe
from deltadata.replies import NESTED
from deltadata.sections import Rung
from deltadata.store import Drift, Run, write_json

# Which keys under `runtime:` belong to which engine; what no other engine takes is an argument of vLLM's.
RUNTIME_KEYS = {
    "server": ("base_url", "api_key_env", "concurrency", "timeout", "retries"),
    "transformers": ("batch_size", "max_model_len"),
    "scripted": ("scripted",),
}
OWNED = {key for keys in RUNTIME_KEYS.values() for key in keys}


class Progress(Protocol):
    """What the stages tell the screen."""

    def note(self, text: str) -> None: ...
    def rung(self, name: str, total: int, done: int) -> None: ...
    def advance(self, tokens: int, failed: bool) -> None: ...
    def rung_done(self) -> None: ...


class Ask(NamedTuple):
    """What one rung still has to answer: rows of the prompts table and sample indexes, in order."""

    rung: Rung
    rows: pl.Series
    samples: pl.Series
    total: int


class Stop:
    """Whether the user asked to end, and whether a part is being answered."""

    asked = False
    in_part = False


def generate(
    run: Run, recipe: Recipe, recipe_dir: Path, progress: Progress, overwrite: bool = False, retry: bool = False
) -> int:
    """Complete every rung's responses; returns how many rows were added. Needs the prompts table.

    With `retry` the failed ones are asked for again.

    Raises UserError on drift, OutsideError when an engine fails (finished parts stay), KeyboardInterrupt on Ctrl-C.
    """
    prompts = read_columns(run.path / tables.PROMPTS_FILE, [tables.PROMPT_ID])
    drifted = drifts(run, recipe, recipe_dir)
    if drifted and not overwrite:
        run.refuse_drift(drifted)
    for drift in drifted:
        progress.note(f"{drift.table}: {drift.costs}; the former ones: {_move_aside(run, drift)}")
    for name, number in taken.take_over(run.path / NESTED, run.path, recipe, recipe_dir).items():
        progress.note(f"{name}: {number} response(s) are taken over from {run.path / NESTED}")
    for rung in recipe.generate.rungs if retry else []:
        if not rung.responses and (removed := parts.without_failed(run.path, rung.name)):
            progress.note(f"{rung.name}: {removed} failed response(s) are asked for again")
    added = 0
    with graceful(progress) as stop:
        # Imported rungs first: a mistake in their files must not wait for hours of generation.
        for rungs in sorted(_by_load(recipe), key=lambda rungs: rungs[0].responses is None):
            if rungs[0].responses:
                added += _import(run, recipe, recipe_dir, rungs[0], prompts, progress)
                continue
            asks = [_ask(run, recipe, rung, prompts) for rung in rungs]
            if any(len(ask.rows) for ask in asks):
                added += _load_and_answer(run, recipe, recipe_dir, asks, progress, stop)
            for rung in rungs:
                _finish(run, rung, 0.0)
    return added


def drifts(run: Run, recipe: Recipe, recipe_dir: Path) -> list[Drift]:
    """Rungs whose parts were made by other fields than the recipe has now."""
    found = []
    for rung in recipe.generate.rungs:
        spec, have = parts.spec_of(recipe, rung, recipe_dir), parts.read(run.path, rung.name)
        old = next((old for old in have.specs if not parts.same(old, spec)), None)
        if old is not None:
            costs = f"{have.rows} responses of {rung.name} are moved aside and MADE ANEW"
            found.append(Drift(tables.ladder_name(rung.name), old, spec, costs))
    return found


def _move_aside(run: Run, drift: Drift) -> Path:
    """No token is ever lost: overwritten responses go to replaced/."""
    folder = run.path / drift.table
    place = run.path / "replaced" / f"{folder.name}-{tables.fingerprint(drift.old)}"
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{place.name.partition('.')[0]}.{number}")
    run.forget(drift.table)
    place.parent.mkdir(exist_ok=True)
    folder.rename(place)
    return place


def _ask(run: Run, recipe: Recipe, rung: Rung, prompts: pl.DataFrame) -> Ask:
    samples = recipe.generate.sampling_of(rung).samples
    wanted = prompts.with_row_index("row").join(
        pl.DataFrame({tables.SAMPLE: pl.Series(range(samples), dtype=pl.UInt32)}),
        how="cross",
        maintain_order="left_right",
    )
    have = parts.read(run.path, rung.name).keys
    missing = wanted.join(have, on=[tables.PROMPT_ID, tables.SAMPLE], how="anti", maintain_order="left")
    return Ask(rung, missing["row"], missing[tables.SAMPLE], wanted.height)


def _by_load(recipe: Recipe) -> list[list[Rung]]:
    """Rungs that differ in sampling alone share one loaded engine; an imported rung stands alone."""
    loads: dict[str, list[Rung]] = {}
    for rung in recipe.generate.rungs:
        engine = recipe.generate.engine_of(rung)
        shared = [engine, rung.model, rung.revision, rung.dtype, None if rung.responses else runtime_of(recipe, rung)]
        loads.setdefault(json.dumps([rung.name] if rung.responses else shared), []).append(rung)
    return list(loads.values())


def keys_of(engine: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the keys under `runtime:` that this engine takes."""
    if engine == "vllm":
        return {key: value for key, value in given.items() if key not in OWNED or key == "max_model_len"}
    return {key: given[key] for key in RUNTIME_KEYS[engine] if key in given}


def runtime_of(recipe: Recipe, rung: Rung) -> dict[str, Any]:
    """The runtime keys of the rung's engine. `base_url` may be a mapping of the names of rungs and judges to addresses.

    Raises UserError for a key that no engine of this recipe takes.
    """
    return runtime_for(recipe, rung.name, recipe.generate.engine_of(rung))


def runtime_for(recipe: Recipe, name: str, engine: str) -> dict[str, Any]:
    """The runtime keys of `engine`, for the rung or the scorer called `name`; raises as `runtime_of` does."""
    given = recipe.runtime.model_extra or {}
    mine = keys_of(engine, given)
    if "vllm" not in recipe.engines():
        for key in given.keys() - OWNED:
            cure = did_you_mean(key, ["overlap", *RUNTIME_KEYS[engine]])
            raise UserError(f"the engine {engine} takes no such key", where=f"runtime.{key}", cure=cure)
    if isinstance(mine.get("base_url"), dict):
        if name not in mine["base_url"]:
            cure = f"add `{name}: http://...`"
            raise UserError(f"no address for {name!r}", where="runtime.base_url", cure=cure)
        mine["base_url"] = mine["base_url"][name]
    return mine


def _load_and_answer(
    run: Run, recipe: Recipe, recipe_dir: Path, asks: list[Ask], progress: Progress, stop: Stop
) -> int:
    """Open the engine these rungs share and let each answer what is missing."""
    first = asks[0].rung
    engine_name = recipe.generate.engine_of(first)
    fetch(str(first.model), progress)
    model = Model(str(first.model), first.revision, first.dtype)
    log = run.path / "logs" / f"{first.name}.log"
    told = f" (its output: {log})" if engine_name in HOSTED else ""
    progress.note(f"loading {model.path} with {engine_name}{told}")
    began = time.monotonic()
    added = 0
    with open_engine(engine_name, model, runtime_of(recipe, first), log) as engine:
        progress.note(f"ready after {time.monotonic() - began:.1f} s")
        for ask in asks:
            began = time.monotonic()
            progress.rung(ask.rung.name, ask.total, ask.total - len(ask.rows))
            # The weights may have been fetched just now, and their digest belongs to the spec.
            facts = engine.facts | models.facts(Path(model.path)) | {"overlap": parts.overlaps(recipe, ask.rung)}
            writer = parts.Writer(run.path, ask.rung.name, parts.spec_of(recipe, ask.rung, recipe_dir), facts)
            _answer(run, recipe, ask, engine, writer, progress, stop)
            progress.rung_done()
            added += writer.added
            _finish(run, ask.rung, time.monotonic() - began)
    return added


def fetch(model: str, progress: Progress) -> None:
    """Fetch and convert the model when it is one of `deltadata models` and missing."""
    path = Path(model)
    if path.parent == Path("models") and path.name in models.KNOWN and not (path / "config.json").exists():
        models.fetch(path.name, path.parent, progress.note)


def _answer(
    run: Run, recipe: Recipe, ask: Ask, engine: Engine, writer: parts.Writer, progress: Progress, stop: Stop
) -> None:
    """Ask for everything missing and write a part per `part_rows` answers."""
    part_rows, overlap = recipe.generate.part_rows, parts.overlaps(recipe, ask.rung)
    sampling = recipe.generate.sampling_of(ask.rung).model_dump(exclude={"samples"})
    requests = _requests(run, recipe, ask, stop)
    # One call per part fixes its composition; one call for all lets the engine take from the next part early.
    calls = 1 if overlap else -(-len(ask.rows) // part_rows)
    for _ in range(calls):
        asked: dict[int, tuple[str, int]] = {}
        batch = _remember(requests if overlap else islice(requests, part_rows), asked)
        stop.in_part = True
        try:
            for completion in engine.generate(batch, sampling):
                writer.add(*asked.pop(completion.index), completion)
                progress.advance(completion.response_tokens or 0, completion.error is not None)
                if overlap and len(writer.rows) == part_rows:
                    _flush(writer, progress)
        finally:
            if overlap:  # whatever ended it, what was answered is kept; a fixed part is whole or not there
                _flush(writer, progress)
        _flush(writer, progress)
        stop.in_part = False
        if stop.asked:
            raise KeyboardInterrupt


def _flush(writer: parts.Writer, progress: Progress) -> None:
    reasons = {completion.error for _, _, completion in writer.rows}
    if len(writer.rows) > 1 and len(reasons) == 1 and None not in reasons:
        progress.note(f"{writer.rung}: all {len(writer.rows)} answers of this part failed: {reasons.pop()}")
    writer.flush()


class Request(NamedTuple):
    prompt_id: str
    sample: int
    conversation: Conversation


def _requests(run: Run, recipe: Recipe, ask: Ask, stop: Stop) -> Iterator[Request]:
    """What is missing, a part's worth of prompts in memory at a time; ends at a part's border once asked to stop."""
    prompts = run.path / tables.PROMPTS_FILE
    ids, texts = TextColumn([prompts], tables.PROMPT_ID), TextColumn([prompts], tables.PROMPT)
    rung, part_rows = ask.rung, recipe.generate.part_rows
    for start in range(0, len(ask.rows), part_rows):
        if stop.asked:
            return
        rows, samples = ask.rows.slice(start, part_rows), ask.samples.slice(start, part_rows)
        for prompt_id, messages, sample in zip(
            ids.take(rows).to_pylist(), texts.take(rows).to_pylist(), samples, strict=True
        ):
            if rung.system is not None and messages[0][tables.ROLE] != "system":
                messages = [{tables.ROLE: "system", tables.CONTENT: rung.system}, *messages]
            seed = seed_of(recipe.seed, prompt_id, sample)
            yield Request(prompt_id, sample, Conversation(messages, seed, rung.chat_template_kwargs))


def seed_of(seed: int, prompt_id: str, sample: int) -> int:
    """One for each prompt and sample, the same for every rung, whatever else is in the pool."""
    return tables.rank(seed, prompt_id, sample) >> 32


def _remember(requests: Iterable[Request], asked: dict[int, tuple[str, int]]) -> Iterator[Conversation]:
    """The engine sees conversations and answers by position; this keeps whose position is whose."""
    for index, request in enumerate(requests):
        asked[index] = (request.prompt_id, request.sample)
        yield request.conversation


def _import(run: Run, recipe: Recipe, recipe_dir: Path, rung: Rung, prompts: pl.DataFrame, progress: Progress) -> int:
    """A rung whose responses exist: one part, made anew when the prompts have changed."""
    spec, name = parts.spec_of(recipe, rung, recipe_dir), tables.ladder_name(rung.name)
    before = parts.read(run.path, rung.name)
    made_of = {"prompts": run.record[tables.PROMPTS.name].fingerprint}
    path = parts.folder(run.path, rung.name) / parts.NAME.format(0)
    if run.state(name, spec, made_of | before.inputs, path) == "done":
        return 0
    began = time.monotonic()
    found = imported_responses(rung, set(prompts[tables.PROMPT_ID]), recipe_dir)
    frame = pl.DataFrame(found.responses)
    tables.check_rows(tables.RESPONSES, frame, str(path))
    tables.check_keys(tables.RESPONSES, frame, str(path))
    made_by = {
        parts.SPEC: json.dumps(spec, sort_keys=True),
        parts.FACTS: json.dumps({"engine": "imported"} | found.counts),
        parts.DIGEST: parts.digest_of(found.responses),
    }
    write_table(path, found.responses, made_by)
    progress.note(f"{rung.name}: " + ", ".join(f"{number} {what}" for what, number in found.counts.items()))
    if found.bad:
        aside = run.path / "bad" / f"{rung.name}.json"
        write_json(aside, found.bad)
        progress.note(f"{rung.name}: {len(found.bad)} bad row(s) written to {aside}")
    _finish(run, rung, time.monotonic() - began, made_of)
    return frame.height - before.rows


def _finish(run: Run, rung: Rung, seconds: float, made_of: dict[str, Any] | None = None) -> None:
    """Check the rung's keys as a whole and write its record, unless it stands there already."""
    have, name = parts.read(run.path, rung.name), tables.ladder_name(rung.name)
    inputs = (made_of or {}) | have.inputs
    folder = parts.folder(run.path, rung.name)
    if run.state(name, have.specs[0], inputs, folder) == "done":
        return
    parts.check_unique(have)
    numbers = pl.concat(read_columns(file, [tables.FINISH, tables.RESPONSE_TOKENS]) for file in have.files)
    counted = numbers.select(
        errors=(pl.col(tables.FINISH) == "error").sum(),
        cut_off=(pl.col(tables.FINISH) == "length").sum(),
        tokens=pl.col(tables.RESPONSE_TOKENS).sum(),
    )
    facts = have.facts[-1] | counted.row(0, named=True)
    if len(have.facts) > 1:
        facts["made_by"] = have.facts  # parts of several sessions, with another engine version, say
    run.finish(name, have.rows, seconds, have.specs[0], inputs, facts)


@contextmanager
def graceful(progress: Progress) -> Iterator[Stop]:
    """The first Ctrl-C lets the current part finish, so that no token is lost; the second ends at once."""
    stop = Stop()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        if stop.asked or not stop.in_part:
            raise KeyboardInterrupt
        stop.asked = True
        progress.note("finishing the current part, then stopping; Ctrl-C again ends at once and loses that part")

    try:
        former = signal.signal(signal.SIGINT, asked)
    except ValueError:  # not the main thread: signals are the caller's business
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, former)
