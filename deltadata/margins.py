"""What a model makes of held-out pairs: the mean log-prob of an answer's tokens, and from two models the margin.

    deltadata evaluate RUN --model DIR [--reference MODEL]

For a prompt x and an answer y of |y| tokens, its end of turn included and cut at the training's window:

    mean log-prob   L(y) = 1/|y| * sum_t log p(y_t | x, y_<t)
    gap             L(chosen) - L(rejected)                              of one model
    margin          gap of the student - gap of the reference            what `sigmoid_norm` multiplies by beta

TRL's own `rewards/margins` are beta times *summed* log-ratios: not these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from deltadata import preflight, tables
from deltadata.errors import UserError, first_line, need
from deltadata.parquet import write_table
from deltadata.scorers.passes import Answer, log_probs
from deltadata.student import Student, tokenizer
from deltadata.tables import CHOSEN, REJECTED, SIDES, TOKENS, of

MEAN = "mean_log_prob"


def load(model: Student) -> Any:
    """The causal language model, ready to score. float32 on a CPU and bfloat16 on a GPU."""
    torch = need("torch", "train")
    from transformers import AutoModelForCausalLM

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    kind = "float32" if device.type == "cpu" else "bfloat16"
    try:
        found = AutoModelForCausalLM.from_pretrained(model.path, revision=model.revision, dtype=kind)
    except (OSError, ValueError) as problem:
        cure = "give the directory of a causal language model"
        raise UserError(f"the model cannot be loaded: {first_line(problem)}", where=model.told, cure=cure) from None
    return found.to(device).eval()


def answers(told: Any, rows: Sequence[dict[str, Any]], window: int) -> list[dict[str, Answer] | None]:
    """Both answers of each pair as TRL trains them, cut at `window`; None where the prompt fills it or one is empty."""
    found: list[dict[str, Answer] | None] = []
    for tokens in preflight.tokenised(told, rows):
        room = window - len(tokens.prompt)
        fits = room > 0 and tokens.prompt and all(tokens.sides.values())
        found.append({side: (tokens.prompt, ids[:room]) for side, ids in tokens.sides.items()} if fits else None)
    return found


def of_model(model: Student, rows: Iterable[dict[str, Any]], window: int) -> pl.DataFrame:
    """Per pair, in order, each side's mean log-prob and tokens; null where the pair does not fit the window.

    `rows` hold prompt, chosen and rejected as messages. Raises UserError as `student.tokenizer` and `load` do.
    """
    told = tokenizer(model)
    asked = answers(told, list(rows), window)
    known = [i for i, pair in enumerate(asked) if pair]
    flat = [pair[side] for pair in asked if pair for side in SIDES]
    summed = log_probs(load(model), flat, told.pad_token_id or 0) if flat else []
    columns: dict[str, list[Any]] = {of(side, what): [None] * len(asked) for side in SIDES for what in (MEAN, TOKENS)}
    for place, number in enumerate(known):
        for offset, side in enumerate(SIDES):
            length = len(flat[2 * place + offset][1])
            columns[of(side, MEAN)][number] = summed[2 * place + offset] / length
            columns[of(side, TOKENS)][number] = length
    kinds = {name: pl.Float64 if name.endswith(MEAN) else pl.UInt32 for name in columns}
    return pl.DataFrame(columns, schema=kinds)


def cached(folder: Path, key: Any, model: Student, rows: Iterable[dict[str, Any]], window: int) -> pl.DataFrame:
    """As `of_model`; kept in `folder` by `key`, so that the next student finds its reference's."""
    path = folder / f"{tables.fingerprint([key, model.digest, window])}.parquet"
    if path.exists():
        return pl.read_parquet(path)
    found = of_model(model, rows, window)
    write_table(path, found.to_arrow())
    return found


def gap(of_one: pl.DataFrame) -> pl.Series:
    """Mean log-prob of chosen minus that of rejected."""
    return of_one[of(CHOSEN, MEAN)] - of_one[of(REJECTED, MEAN)]


def refuse_other_tokens(student: pl.DataFrame, reference: pl.DataFrame, where: str) -> None:
    """Raises UserError when the two models cut the answers into different tokens: no margin per token would be fair."""
    counts = [of(side, TOKENS) for side in SIDES]
    if not student.select(counts).equals(reference.select(counts)):
        what = "the reference's tokenizer or template makes other tokens of the answers than the student's"
        raise UserError(what, where=where, cure="give the model that the student was trained from as --reference")
