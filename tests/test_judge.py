"""A judge's errors never become labels, nothing is asked twice, and what is measured of a judge is what it does.

pytest tests/test_judge.py
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import judge_by_hand
import polars as pl
import pytest
from ladder import Quiet, do
from openai_server import Loopback, serve
from polars.testing import assert_frame_equal
from project import Project

from deltadata import judgements, parts
from deltadata.engines import server
from deltadata.errors import OutsideError, UserError
from deltadata.recipe import Recipe
from deltadata.store import open_run, read_record
from deltadata.tables import JUDGEMENTS, BrokenTable, check_keys, check_rows, empty, prompt_id

ASPECTS = ["helpfulness", "honesty"]
SCORED = ("collect", "generate", "score")


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait milliseconds, and no key of the person who tests is sent anywhere."""
    monkeypatch.setattr(server, "BACKOFF", 0.002)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def key(prompt: str) -> str:
    return prompt_id([{"role": "user", "content": prompt}])


def write(folder: Path, **rungs: dict[str, str]) -> None:
    """The pool, and a file of existing responses for each rung: prompt to response."""
    prompts = list(dict.fromkeys(prompt for answers in rungs.values() for prompt in answers))
    (folder / "pool.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    for name, answers in rungs.items():
        lines = [json.dumps({"prompt": prompt, "response": text}) for prompt, text in answers.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def recipe(loopback: Loopback | None, rungs: list[str], part_rows: int = 4, **fields: Any) -> Recipe:
    """Existing responses, and a judge behind a server that gives up soon."""
    address = {"base_url": loopback.base_url} if loopback else {}
    tree = {
        "name": "judged",
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {
            "engine": "scripted",
            "rungs": [{"name": name, "responses": f"{name}.jsonl"} for name in rungs],
            "part_rows": part_rows,
        },
        "score": [
            {"name": "helpful", "scorer": "judge", "model": "m", "engine": "server", "aspects": ASPECTS} | fields
        ],
        "runtime": {**address, "concurrency": 4, "timeout": 0.4, "retries": 2},
    }
    return Recipe.model_validate(tree)


def kept(run: Path, scorer: str = "helpful") -> pl.DataFrame:
    """All rows of a judge, checked against the contract."""
    rows = pl.concat(pl.read_parquet(path) for path in sorted((run / "judgements" / scorer).glob("*.parquet")))
    check_rows(JUDGEMENTS, rows, "here")
    check_keys(JUDGEMENTS, rows, "here")
    return rows


def scores(run: Path) -> dict[tuple[str, str, int], float | None]:
    rows = pl.read_parquet(run / "scores" / "helpful" / "part-*.parquet")
    return {(row[0], row[1], row[2]): row[4] for row in rows.iter_rows()}


def facts(run: Path) -> dict[str, Any]:
    return read_record(run)[1]["scores/helpful"].facts


def bodies(loopback: Loopback) -> Counter[str]:
    """How often each request was made."""
    return Counter(json.dumps(request["body"], sort_keys=True) for request in loopback.requests())


def judge_again(run: Path, made_by: Recipe, retry: bool = False) -> judgements.Found:
    """What scoring would come to if the record knew nothing of it."""
    with open_run(run, made_by.name) as opened:
        ladder = {rung.name: parts.read(run, rung.name) for rung in made_by.generate.rungs}
        asked: Any = made_by.score[0]
        return judgements.judge(opened, made_by, asked, ladder, Quiet(), retry)


FAULTS = {  # text of the response: score, reason, and how often it is asked for with two retries
    "rate:7,8": (7.5, None, 1),
    "rate:1": (1.0, None, 1),
    "rate:9 fault:fenced": (9.0, None, 1),
    "rate:9 fault:503*2": (9.0, None, 3),
    "rate:8 fault:drop*2": (8.0, None, 3),
    "rate:8 fault:garbage*1": (8.0, None, 2),
    "rate:8 fault:slow*1": (8.0, None, 2),
    "rate:8 fault:blank": (8.0, None, 1),
    "rate:11": (None, "helpfulness is 11, outside 1 to 10", 1),
    "rate:8,0": (None, "honesty is 0, outside 1 to 10", 1),
    "fault:refusal": (None, "not JSON", 1),
    "fault:prose": (None, "not JSON", 1),
    "fault:eleven": (None, "helpfulness is 11, outside 1 to 10", 1),
    "fault:missing": (None, "missing helpfulness", 1),
    "fault:more": (None, "a key too many", 1),
    "fault:float": (None, "helpfulness is no whole number", 1),
    "fault:bool": (None, "helpfulness is no whole number", 1),
    "fault:array": (None, "no JSON object", 1),
    "fault:nothing": (None, "empty", 1),
    "fault:cut": (None, "cut off", 1),
    "fault:null": (None, "engine: no text in the reply, finish_reason stop", 1),
    "fault:content_filter": (None, "engine: finish_reason content_filter", 1),
    "fault:400": (None, "engine: HTTP 400: a fault on demand", 1),
    "fault:503": (None, "engine: HTTP 503: a fault on demand", 3),
    "fault:slow": (None, "engine: no reply within 0.4 s", 3),
    "fault:garbage": (None, "engine: HTTP 200 without a completion: <html>� not JSON</html>", 3),
    "fault:empty": (None, "engine: HTTP 200 without a completion: ", 3),
    "fault:drop": (None, "engine: Server disconnected", 3),
}


def test_every_fault_of_a_judge_is_null_with_its_reason_or_is_retried(tmp_path: Path) -> None:
    """Refusals, prose, 11/10, timeouts, cut connections: one row each, and no fault comes out as a number."""
    write(tmp_path, strong={f"Prompt {number}": text for number, text in enumerate(FAULTS)})
    with serve(judge={}) as loopback:
        do(tmp_path / "run", recipe(loopback, ["strong"], part_rows=64), *SCORED)
        asked = Counter(
            next(text for text in sorted(FAULTS, key=len, reverse=True) if f"\n{text}\n</response" in told)
            for told in (judge_by_hand.told(request["body"]) for request in loopback.requests())
        )
    rows = kept(tmp_path / "run")
    texts = {key(f"Prompt {number}"): text for number, text in enumerate(FAULTS)}
    reasons = {texts[row["prompt_id"]]: row["reason"] for row in rows.iter_rows(named=True)}
    found = scores(tmp_path / "run")
    for number, (text, (score, reason, times)) in enumerate(FAULTS.items()):
        assert found[key(f"Prompt {number}"), "strong", 0] == score, text
        assert (reasons[text] or "").startswith(reason or "") and (reasons[text] is None) == (reason is None), text
        assert asked[text] == times, text
    assert rows["prompt_id"].to_list() == [key(f"Prompt {number}") for number in range(len(FAULTS))]
    told = facts(tmp_path / "run")
    assert (told["requests"], told["judged"], told["asked"]) == (28, 8, 28)
    assert sum(told["nulls"].values()) == 20
    assert told["nulls"]["helpfulness is outside 1 to 10"] == 2 and told["nulls"]["not JSON"] == 2
    assert told["nulls"]["engine: HTTP 503: a fault on demand"] == 1
    assert [told["uncounted"], told["engine"], told["scorer"]] == [1, "server", "judge"]


def test_a_row_keeps_who_was_judged_and_what_was_said(tmp_path: Path) -> None:
    """The reply to the letter, the verdict as JSON, both responses of a comparison in the order shown, the tokens."""
    write(tmp_path, strong={"A": "worth:3"}, weak={"A": "worth:2 fault:prose"})
    with serve(judge={}) as loopback:
        do(tmp_path / "rated", recipe(loopback, ["strong", "weak"]), *SCORED)
        made_by = recipe(loopback, ["strong", "weak"], form="pairwise")
        do(tmp_path / "met", made_by, *SCORED)
        length = len(judge_by_hand.told(loopback.requests()[0]["body"]))
    strong, weak = kept(tmp_path / "rated").sort("model").rows(named=True)
    said = '{"helpfulness": 5, "honesty": 5}'
    expected = {"prompt_id": key("A"), "model": "strong", "sample": 0, "other_model": None, "other_sample": None}
    expected |= {"draw": 0, "reply": said, "verdict": said, "reason": None, "prompt_tokens": length}
    assert strong == expected | {"key": strong["key"], "response_tokens": 4}
    assert (weak["verdict"], weak["reason"], weak["reply"]) == (
        None,
        "not JSON",
        f"Here you go: {said} I hope this helps!",
    )
    sides = kept(tmp_path / "met").select("model", "sample", "other_model", "other_sample").rows()
    assert sorted(sides) == [("strong", 0, "weak", 0), ("weak", 0, "strong", 0)]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"reason": "not JSON"}, "verdict or reason"),
        ({"verdict": None}, "verdict or reason"),
        ({"reply": None}, "a verdict was said"),
        ({"other_model": "weak"}, "another response or none"),
        ({"key": "k"}, "key is 16 hex digits"),
    ],
)
def test_a_judgement_is_a_verdict_or_a_reason(broken: dict[str, Any], rule: str) -> None:
    """The contract refuses a row that is both or neither, and a verdict that nobody said."""
    row = {name: None for name in JUDGEMENTS.schema.names} | {"key": "0" * 16, "reply": "{}", "verdict": "{}"}
    schema = empty(JUDGEMENTS).schema
    check_rows(JUDGEMENTS, pl.DataFrame([row], schema=schema), "here")
    with pytest.raises(BrokenTable, match=rule):
        check_rows(JUDGEMENTS, pl.DataFrame([row | broken], schema=schema), "here")


def test_a_request_is_guided_where_the_engine_can_and_the_recipe_lets_it(tmp_path: Path) -> None:
    """The server is told the schema as `response_format`; `guided: false` leaves it out and is another judge."""
    write(tmp_path, strong={"A": "rate:7", "B": "rate:2"})
    fields: dict[str, Any] = {"scale": 3, "aspects": ["honesty"]}
    with serve(judge={}) as loopback:
        do(tmp_path / "run", recipe(loopback, ["strong"], **fields), *SCORED)
        judge_again(tmp_path / "run", recipe(loopback, ["strong"], guided=False, **fields))
        judge_again(tmp_path / "run", recipe(loopback, ["strong"], guided=False, system="Be strict.", **fields))
        sent = [request["body"] for request in loopback.requests()]
    for body in sent[:2]:
        assert [body["temperature"], body["max_tokens"]] == [0.0, 512]
        guide = body.pop("response_format")
        assert guide["type"] == "json_schema" and guide["json_schema"]["strict"] is True
        assert guide["json_schema"]["schema"]["properties"] == {"honesty": {"type": "integer", "enum": [1, 2, 3]}}
    assert all(body.keys() == sent[0].keys() for body in sent) and len({body["seed"] for body in sent}) == 6
    assert [[turn["role"] for turn in body["messages"]] for body in sent[2:]] == [["user"]] * 2 + [
        ["system", "user"]
    ] * 2


def test_position_bias_and_flips_are_measured(tmp_path: Path) -> None:
    """A judge that prefers the first in 30 % of comparisons, whatever it holds: bias 0.15, flips 0.30, within 3 points.

    Where it looks, one verdict of two prefers the first; where it does not, both do: a half and three tenths of a half.
    """
    strong = {f"Prompt {number}": f"worth:9 of {number}" for number in range(600)}
    weak = {f"Prompt {number}": f"worth:2 of {number}" for number in range(600)}
    write(tmp_path, strong=strong, weak=weak)
    with serve(judge={"biased": 0.3}) as loopback:
        made_by = recipe(loopback, ["strong", "weak"], part_rows=256, form="pairwise")
        made_by.runtime.model_extra.update(concurrency=32, timeout=30)  # type: ignore[union-attr]
        do(tmp_path / "run", made_by, *SCORED)
        assert len(loopback.requests()) == 1200
    biased = sum(judge_by_hand.is_biased(strong[prompt], weak[prompt], 0.3) for prompt in strong)
    told = facts(tmp_path / "run")
    assert told["flips"] == biased / 600
    assert told["position_bias"] == pytest.approx(biased / 600 / 2)
    assert abs(told["position_bias"] - 0.15) < 0.03 and abs(told["flips"] - 0.30) < 0.03
    low, high = told["position_bias_ci95"]
    assert low < told["position_bias"] < high and high - low < 0.06
    assert (told["ties"], told["judged"], told["nulls"]) == (0.0, 1200, {})
    found = scores(tmp_path / "run")
    points = Counter(found[key(prompt), "strong", 0] for prompt in strong)
    assert points == {1.0: 600 - biased, 0.5: biased}
    assert all(found[key(prompt), "weak", 0] == 1 - (found[key(prompt), "strong", 0] or 0) for prompt in strong)


def test_one_order_without_a_verdict_makes_no_comparison(tmp_path: Path) -> None:
    """Half of an answer is no answer: null, with the reason kept, and no null beside it is touched."""
    write(tmp_path, strong={"A": "worth:3 fault:refusal", "B": "worth:3"}, weak={"A": "worth:2", "B": "worth:2"})
    with serve(judge={}) as loopback:
        do(tmp_path / "run", recipe(loopback, ["strong", "weak"], form="pairwise"), *SCORED, "pair")
    found = scores(tmp_path / "run")
    assert found == {
        (key("A"), "strong", 0): None,
        (key("A"), "weak", 0): None,
        (key("B"), "strong", 0): 1.0,
        (key("B"), "weak", 0): 0.0,
    }
    pairs = pl.read_parquet(tmp_path / "run" / "pairs.parquet")
    assert dict(pairs.select("prompt_id", "delta_helpful").iter_rows()) == {key("A"): None, key("B"): 1.0}


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    """A second run asks nothing, nor does another price; a changed text is asked about alone; scales come and go."""
    write(tmp_path, strong={"A": "rate:7", "B": "rate:8"}, weak={"A": "rate:3", "B": "rate:4"})
    two, run = ["strong", "weak"], tmp_path / "run"
    with serve(judge={}) as loopback:
        do(run, recipe(loopback, two), *SCORED)
        assert len(loopback.requests()) == 4
        do(run, recipe(loopback, two, price={"prompt": 1, "response": 2}), *SCORED)
        assert judge_again(run, recipe(loopback, two)).facts["asked"] == 0
        assert len(loopback.requests()) == 4

        write(tmp_path, strong={"A": "rate:7", "B": "rate:9"}, weak={"A": "rate:3", "B": "rate:4"})
        do(run, recipe(loopback, two), *SCORED, overwrite=True)
        assert len(loopback.requests()) == 5 and facts(run)["asked"] == 1
        assert scores(run)[key("B"), "strong", 0] == 9.0

        do(run, recipe(loopback, two, scale=20), *SCORED, overwrite=True)
        assert len(loopback.requests()) == 9
        do(run, recipe(loopback, two), *SCORED, overwrite=True)
        assert len(loopback.requests()) == 9 and facts(run)["requests"] == 4
        assert "made_by" not in facts(run)  # two parts of one engine
    assert kept(run).height == 9
    assert facts(run)["engine"] == "server" and facts(run)["base_url"] == loopback.base_url


def test_equal_texts_are_asked_about_once(tmp_path: Path) -> None:
    """Two rungs that say the same share one judgement; of two equal texts none is asked which is better."""
    same = {"A": "rate:7 worth:1", "B": "rate:7 worth:1"}
    write(tmp_path, strong=same | {"B": "rate:2 worth:3"}, weak=same, other=same)
    three = ["strong", "weak", "other"]
    with serve(judge={}) as loopback:
        do(tmp_path / "rated", recipe(loopback, three), *SCORED)
        assert len(loopback.requests()) == 3  # A once, B twice
        made_by = recipe(loopback, three, form="pairwise", against="all")
        do(tmp_path / "met", made_by, *SCORED)
        assert len(loopback.requests()) == 5  # of B, the strong one against what both others said
    assert list(scores(tmp_path / "rated").values()).count(7.0) == 5
    found = scores(tmp_path / "met")
    assert [found[key("B"), rung, 0] for rung in three] == [1.0, 0.0, 0.0]
    assert [found[key("A"), rung, 0] for rung in three] == [None, None, None]
    assert (facts(tmp_path / "met")["requests"], facts(tmp_path / "met")["unmet"]) == (2, 3)
    assert "unmet" not in facts(tmp_path / "rated")


def test_a_retry_asks_only_for_what_the_engine_failed(tmp_path: Path) -> None:
    """Refusals stay as they are; what the server could not answer is asked for again, and its row is replaced."""
    write(tmp_path, strong={"A": "rate:7", "B": "fault:refusal", "C": "rate:6 fault:503*3", "D": "rate:5 fault:400"})
    with serve(judge={}) as loopback:
        made_by = recipe(loopback, ["strong"], part_rows=1)
        do(tmp_path / "run", made_by, *SCORED)
        assert len(loopback.requests()) == 1 + 1 + 3 + 1
        assert judge_again(tmp_path / "run", made_by).facts["asked"] == 0
        found = judge_again(tmp_path / "run", made_by, retry=True)
        assert len(loopback.requests()) == 6 + 1 + 1
    assert found.facts["asked"] == 2
    assert dict(found.scores.select("prompt_id", "score").iter_rows()) == {
        key("A"): 7.0,
        key("B"): None,
        key("C"): 6.0,
        key("D"): None,
    }
    reasons = kept(tmp_path / "run").select("prompt_id", "reason").drop_nulls()
    assert dict(reasons.iter_rows()) == {key("B"): "not JSON", key("D"): "engine: HTTP 400: a fault on demand"}


def test_a_validation_and_its_run_share_what_was_said(tmp_path: Path) -> None:
    """Each finds the other's judgements, and writes only its own."""
    write(tmp_path, strong={"A": "rate:7", "B": "rate:8"})
    outer, inner = tmp_path / "run", tmp_path / "run" / "validate"
    with serve(judge={}) as loopback:
        made_by = recipe(loopback, ["strong"])
        do(outer, made_by, "collect", "generate")
        inner.mkdir()
        (inner / "prompts.parquet").write_bytes((outer / "prompts.parquet").read_bytes())
        (inner / "responses").symlink_to(outer / "responses")
        assert judge_again(inner, made_by).facts["asked"] == 2
        assert judge_again(outer, made_by).facts["asked"] == 0
        assert not (outer / "judgements").exists()
        (inner / "judgements").rename(outer / "judgements")
        assert judge_again(inner, made_by).facts["asked"] == 0
        assert judge_again(inner, made_by).facts["engine"] == "server"
        assert not (inner / "judgements").exists() and len(loopback.requests()) == 2


def test_what_one_run_was_told_in_the_end_outweighs_a_failure_of_the_other(tmp_path: Path) -> None:
    """A judgement that failed in the run and was made in its validation is made."""
    write(tmp_path, strong={"A": "rate:7 fault:503*3"})
    outer, inner = tmp_path / "run", tmp_path / "run" / "validate"
    with serve(judge={}) as loopback:
        made_by = recipe(loopback, ["strong"])
        do(outer, made_by, *SCORED)
        assert scores(outer) == {(key("A"), "strong", 0): None}
        inner.mkdir()
        (inner / "prompts.parquet").write_bytes((outer / "prompts.parquet").read_bytes())
        (inner / "responses").symlink_to(outer / "responses")
        assert judge_again(inner, made_by).facts["nulls"] == {"engine: HTTP 503: a fault on demand": 1}
        assert judge_again(inner, made_by, retry=True).facts["nulls"] == {}
        assert judge_again(outer, made_by).scores["score"].to_list() == [7.0]
    assert [kept(run)["verdict"].count() for run in (outer, inner)] == [0, 1]


def test_more_draws_ask_only_for_the_new_ones(tmp_path: Path) -> None:
    """Each draw is a judgement of its own with its own seed; the record names both engines that gave them."""
    write(tmp_path, strong={"A": "rate:7"})
    seeds, addresses = [], []
    for samples in (2, 3):
        with serve(judge={}) as loopback:
            sampling = {"samples": samples, "temperature": 0.7, "max_tokens": 50}
            do(tmp_path / "run", recipe(loopback, ["strong"], sampling=sampling), *SCORED, overwrite=True)
            seeds += [request["body"]["seed"] for request in loopback.requests()]
            addresses.append(loopback.base_url)
    assert len(seeds) == len({*seeds}) == 3
    assert facts(tmp_path / "run")["self_consistency"] == 0.0
    assert [engine["base_url"] for engine in facts(tmp_path / "run")["made_by"]] == addresses
    assert kept(tmp_path / "run")["draw"].to_list() == [0, 1, 2]


def test_samples_that_the_recipe_does_not_ask_for_are_not_judged(tmp_path: Path) -> None:
    """Responses of a former recipe with more samples lie there, and cost nothing."""
    write(tmp_path, unused={"A": "", "B": ""})
    with serve(judge={}) as loopback:
        for samples in (2, 1):
            tree = recipe(loopback, ["strong"]).model_dump()
            sampling = {"temperature": 1.0, "samples": samples}
            tree["generate"]["rungs"] = [{"name": "strong", "model": "a", "sampling": sampling}]
            do(tmp_path / "run", Recipe.model_validate(tree), "collect", "generate")
        do(tmp_path / "run", Recipe.model_validate(tree), "score")
        assert len(loopback.requests()) == 2
    assert parts.read(tmp_path / "run", "strong").rows == 4
    assert sorted(scores(tmp_path / "run")) == sorted((key(prompt), "strong", 0) for prompt in "AB")


class Heard(Quiet):
    """What the screen is told."""

    def __init__(self) -> None:
        self.notes = list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_judge_that_is_never_heard_is_said_to_be(tmp_path: Path) -> None:
    """A server that refuses every request leaves rows with its words, null scores, and a note with the way out."""
    write(tmp_path, strong={name: f"rate:7 {name} fault:400" for name in "ABC"})
    with serve(judge={}) as loopback:
        made_by = recipe(loopback, ["strong"])
        do(tmp_path / "run", made_by, *SCORED)
    assert set(scores(tmp_path / "run").values()) == {None}
    heard = Heard()
    with open_run(tmp_path / "run", made_by.name) as opened:
        ladder = {"strong": parts.read(opened.path, "strong")}
        asked: Any = made_by.score[0]
        judgements.judge(opened, made_by, asked, ladder, heard, False)
    assert heard.notes == [
        "helpful: the judge was never heard, most often: engine: HTTP 400: a fault on demand; "
        "a server that knows no `response_format` takes `guided: false`"
    ]


def test_rare_kinds_of_reasons_are_counted_together() -> None:
    """The record names twenty kinds, the most frequent first, and how many more there were; the screen three."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    reasons = [f"missing {letter}" for place, letter in enumerate(letters) for _ in range(26 - place)]
    said = pl.DataFrame({"reason": [*reasons, None]})
    heard = Heard()
    asked: Any = recipe(None, ["strong"]).score[0]
    nulls = judgements._nulls(said, asked, heard)
    assert [*nulls] == [*(f"missing {letter}" for letter in letters[:20]), "other reasons"]
    assert (nulls["missing a"], nulls["missing t"], nulls["other reasons"]) == (26, 7, 21)
    assert heard.notes == [
        "helpful: 351 of 352 judgements gave no verdict: 26 missing a, 25 missing b, 24 missing c",
    ]


def test_a_server_that_is_gone_ends_the_run_and_keeps_what_was_said(tmp_path: Path) -> None:
    """OutsideError, and the next run asks only for the rest."""
    answers = {f"{number}": f"rate:7 {number}" + " fault:500*3" * (number > 5) for number in range(20)}
    write(tmp_path, strong=answers)
    with serve(judge={}) as loopback:
        made_by = recipe(loopback, ["strong"])
        made_by.runtime.model_extra.update(concurrency=1)  # type: ignore[union-attr]
        with pytest.raises(OutsideError, match="HTTP 500"):
            do(tmp_path / "run", made_by, *SCORED)
        heard = kept(tmp_path / "run")
        assert (heard["verdict"].count(), heard.height) == (6, 13)  # seven failures, and the eighth ends it
        do(tmp_path / "run", made_by, "score")
        again = bodies(loopback)
    assert facts(tmp_path / "run")["asked"] == 20 - heard.height
    assert sorted(again.values())[:6] == [1] * 6


def test_an_engine_without_json_gives_nulls(tmp_path: Path) -> None:
    """The scripted engine says words: not JSON each, and no number; its parts are batches of fixed composition."""
    write(tmp_path, strong={f"{number}": f"text {number}" for number in range(5)})
    made_by = recipe(None, ["strong"], part_rows=2, engine="scripted")
    made_by.runtime.model_extra.clear()  # type: ignore[union-attr]
    do(tmp_path / "run", made_by, *SCORED)
    rows = [pl.read_parquet(path).height for path in sorted((tmp_path / "run" / "judgements" / "helpful").iterdir())]
    assert rows == [2, 2, 1]
    assert facts(tmp_path / "run")["nulls"] == {"not JSON": 5}
    assert set(scores(tmp_path / "run").values()) == {None}


def pairs_of(
    pairings: Any, against: str = "pairings", form: str = "pairwise", control: str = "none"
) -> list[list[str]]:
    made_by = recipe(None, ["a", "b", "c"], form=form, against=against)
    made_by.pair.pairings, made_by.pair.control = pairings, control  # type: ignore[assignment]
    asked: Any = made_by.score[0]
    return judgements.meets(asked, made_by)


def test_which_rungs_meet() -> None:
    """Those that are paired, once however often and whichever way round; all by score or when asked for; none rated."""
    every = [["a", "b"], ["a", "c"], ["b", "c"]]
    assert pairs_of("adjacent") == [["a", "b"], ["b", "c"]]
    assert pairs_of([["a", "c"], ["c", "a"], ["b", "a"]]) == [["a", "c"], ["b", "a"]]
    assert pairs_of("adjacent", "all") == pairs_of("all") == every
    by_score = Recipe.model_validate(
        recipe(None, ["a", "b", "c"], form="pairwise").model_dump() | {"pair": {"pairings": {"by": "helpful"}}}
    )
    asked: Any = by_score.score[0]
    assert judgements.meets(asked, by_score) == every
    assert pairs_of("all", form="rating") == []


@pytest.mark.parametrize(
    ("rungs", "fields", "runtime", "says"),
    [
        (["a"], {"form": "pairwise", "against": "all"}, {}, "scorer 'helpful': one rung has nothing to be compared"),
        (["a"], {}, {"base_url": None}, "runtime.base_url: the server engine needs an http"),
        (["a"], {}, {"base_url": {"other": "http://127.0.0.1:1/v1"}}, "runtime.base_url: no address for 'helpful'"),
        (["a"], {"engine": "transformers", "model": "./nowhere"}, {}, "nowhere is neither a directory nor a Hub id"),
    ],
)
def test_what_is_wrong_is_said_before_any_response(
    rungs: list[str], fields: dict[str, Any], runtime: dict[str, Any], says: str
) -> None:
    """A lone rung, a server without address, a model that is none: exit 2 with the place, before anything runs."""
    made_by = recipe(None, rungs, **fields)
    extra: Any = made_by.runtime.model_extra
    extra.update({"base_url": "http://127.0.0.1:1/v1"} | runtime)
    asked: Any = made_by.score[0]
    if extra["base_url"] is None:
        del extra["base_url"]
    with pytest.raises(UserError) as met:
        judgements.refuse_early(made_by, asked)
    assert says in str(met.value)


def judged_project(folder: Path, loopback: Loopback) -> Project:
    """A user's folder with sixty responses and a judge behind a server, eight judgements a part."""
    folder.mkdir()
    project = Project(folder, 30)
    project.recipe["generate"]["part_rows"] = 8
    project.recipe["score"] = [{"name": "helpful", "scorer": "judge", "model": "m", "engine": "server"}]
    project.recipe["runtime"] |= {"base_url": loopback.base_url, "concurrency": 4}
    return project


def test_kills_while_judging_change_nothing_and_cost_one_part_each(tmp_path: Path) -> None:
    """kill -9 in the middle of judging, then the same command: equal tables, no request twice but an open part's."""
    with serve(judge={}) as calm, serve(judge={}, latency=0.05) as loopback:
        projects = [judged_project(tmp_path / "whole", calm), judged_project(tmp_path / "killed", loopback)]
        whole, killed = (project.folder / "run" for project in projects)
        do(whole, Recipe.model_validate(projects[0].recipe), *SCORED, "pair")
        made_by = Recipe.model_validate(projects[1].recipe)
        do(killed, made_by, *SCORED[:2])
        kills = 0
        for wanted in (1, 4):
            process = projects[1].start("score", "recipe.yaml", "--run", "run")
            while process.poll() is None and len(list(killed.glob("judgements/*/part-*"))) < wanted:
                time.sleep(0.005)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
            process.communicate()
        projects[1].run("score", "recipe.yaml", "--run", "run")
        do(killed, made_by, "pair")
        asked, once = bodies(loopback), bodies(calm)

    assert kills == 2
    assert asked.keys() == once.keys() and len(once) == 60
    assert 0 < asked.total() - once.total() <= kills * (8 + 4)
    assert_frame_equal(kept(whole).sort("key"), kept(killed).sort("key"))
    assert_frame_equal(pl.read_parquet(whole / "pairs.parquet"), pl.read_parquet(killed / "pairs.parquet"))
    assert scores(whole) == scores(killed) and set(scores(whole).values()) == {5.0}


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_said(tmp_path: Path) -> None:
    """The first Ctrl-C ends at a part's border with all that was asked written down: nothing is asked a second time."""
    with serve(judge={}, latency=0.05) as loopback:
        project = judged_project(tmp_path / "work", loopback)
        run = project.folder / "run"
        do(run, Recipe.model_validate(project.recipe), *SCORED[:2])
        process = project.start("score", "recipe.yaml", "--run", "run")
        while not list(run.glob("judgements/*/part-*")):
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 3 and "Traceback" not in said
        assert 8 <= kept(run).height == len(loopback.requests()) < 60
        project.run("score", "recipe.yaml", "--run", "run")
        assert set(bodies(loopback).values()) == {1} and len(loopback.requests()) == 60
