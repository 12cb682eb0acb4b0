"""Every prompt that is left out has a reason, and the right one: the promises of collect.py through the command.

pytest tests/test_left_out.py
"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from project import Project

from deltadata import dedup, overlap, packs, tables
from deltadata.collect import collected
from deltadata.errors import UserError
from deltadata.ngrams import build
from deltadata.recipe import Recipe

Rows = list[Any]
CAKE = (
    "Write a short recipe for a chocolate cake that a beginner can bake at home. List the ingredients first. "
    "Then give numbered steps, and say how long each of them takes. Do not use an electric mixer, as many people "
    "have none. Close with one tip for serving the cake to children at a birthday party."
)
RIVER = "请详细介绍一下长江流域的地理特征和气候条件，并说明它们对当地农业生产和人民生活的影响以及未来可能发生的变化趋势"
LONG = (
    "I am planning a party for my nephew and want to surprise everybody with something home made, although I have "
    "never baked before and my kitchen is tiny, with an oven from the seventies that heats on one side only. A friend "
    "of mine sent me this request, which she once gave to an assistant, and was happy with what came back: "
)


def prompt_id(text: str) -> str:
    return tables.prompt_id([{"role": "user", "content": text}])


def windows(text: str) -> set[bytes]:
    data = pl.select(dedup.normal(pl.lit(text))).item().encode()
    return {data[i : i + 5] for i in range(len(data))}


def jaccard(one: str, other: str) -> float:
    a, b = windows(one), windows(other)
    return len(a & b) / len(a | b)


class Verdict(NamedTuple):
    reason: str | None
    twin: str | None
    alike: float | None


TAKEN = Verdict(None, None, None)


class Found(NamedTuple):
    """What was collected: a verdict for each usable row, in order; both tables; contamination."""

    verdicts: list[Verdict]
    prompts: pa.Table
    left_out: list[dict[str, Any]]
    contamination: Any
    pools: list[dict[str, Any]]


def write(path: Path, rows: Rows) -> str:
    """JSON Lines; a text is a row with that prompt."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row if isinstance(row, dict) else {"prompt": row}) + "\n" for row in rows))
    return str(path)


def recipe(folder: Path, *pools: Rows | dict[str, Any], **section: Any) -> Recipe:
    """A recipe over pools of these rows, named a, b ..., or over pools as they are given."""
    written = []
    for name, pool in zip("abcd", pools, strict=False):
        rows = pool if isinstance(pool, dict) else {"path": write(folder / f"{name}.jsonl", pool)}
        written.append({"name": name} | rows)
    generate = {"rungs": [{"name": "m", "model": "m"}]}
    return Recipe.model_validate({"name": "t", "collect": {"pools": written} | section, "generate": generate})


def collect(folder: Path, *pools: Rows | dict[str, Any], **section: Any) -> Found:
    asked = recipe(folder, *pools, **section)
    with tempfile.TemporaryDirectory() as scratch, collected(asked, folder, Path(scratch)) as found:
        verdicts = [Verdict(*row) for row in found.verdicts.select("dropped_by", "twin", "alike").iter_rows()]
        prompts = pa.concat_tables(found.taken())
        left_out = pa.concat_tables(found.left_out()).to_pylist()
        return Found(verdicts, prompts, left_out, found.contamination, found.pools)


def earlier(folder: Path, rows: Rows) -> str:
    """The folder of a run that has collected these."""
    (folder / "earlier").mkdir(exist_ok=True)
    pq.write_table(collect(folder / "of_earlier", rows).prompts, folder / "earlier" / "prompts.parquet")
    return str(folder / "earlier")


def pack(folder: Path, *texts: str, name: str = "own") -> str:
    packs.write(folder / f"{name}.pack", build(name, texts))
    return name


# What is caught by which stage: the text, what the first stage is that drops it for CAKE or RIVER before it, and
# whether a pack that has those two finds it in a pool that has neither.
EXACT, NORMALISED, NEAR = "duplicate", "duplicate_normalised", "duplicate_near"
PLANTED = {
    "an exact copy": (CAKE, CAKE, EXACT, True),
    "upper case": (CAKE, CAKE.upper(), NORMALISED, True),
    "white space": (CAKE, "\n " + CAKE.replace(" ", "  ").replace(". ", ".\r\n\t"), NORMALISED, True),
    "Cyrillic look-alikes": (CAKE, CAKE.translate(str.maketrans("aeopcxy", "аеорсху")), NORMALISED, False),
    "full width": (CAKE, "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in CAKE), NORMALISED, True),
    "one word of 53": (CAKE, CAKE.replace("chocolate", "strawberry"), NEAR, True),
    "sentences in another order": (CAKE, " ".join(reversed(CAKE.split(". "))), NEAR, True),
    "a copy inside a longer prompt": (CAKE, LONG + CAKE, None, True),
    "half a copy": (CAKE, LONG + CAKE[:100], None, False),
    "another prompt": (CAKE, LONG, None, False),
    "Chinese: an exact copy": (RIVER, RIVER, EXACT, True),
    "Chinese: other punctuation": (RIVER, RIVER.replace("，", ", ") + "。", NORMALISED, True),
    "Chinese: one character of 54": (RIVER, RIVER.replace("未", "将"), NEAR, True),
    "Chinese: inside a longer prompt": (RIVER, "我正在准备一次关于中国河流的课堂报告。" * 3 + RIVER, None, True),
}
DEPTHS = {"none": [], "exact": [EXACT], "normalised": [EXACT, NORMALISED], "near": [EXACT, NORMALISED, NEAR]}


@pytest.mark.parametrize("case", PLANTED)
def test_which_stage_catches_what(tmp_path: Path, case: str) -> None:
    """A planted duplicate is dropped by its stage, from that depth on, for the first one; a pack finds it without."""
    first, second, stage, contaminated = PLANTED[case]
    for depth, reasons in DEPTHS.items():
        if depth == "none" and stage == EXACT:
            with pytest.raises(UserError, match="stands a second time"):
                collect(tmp_path, [first], [second], dedup=depth)
            continue
        alike = jaccard(first, second) if stage == NEAR else 1.0
        dropped = Verdict(stage, prompt_id(first), pytest.approx(alike))
        assert collect(tmp_path, [first], [second], dedup=depth).verdicts == [
            TAKEN,
            dropped if stage in reasons else TAKEN,
        ], depth
    (alone,) = collect(tmp_path, [second], decontaminate=[pack(tmp_path, CAKE, RIVER)]).verdicts
    assert (alone.reason, alone.twin) == (
        ("contaminated", f"own#{[CAKE, RIVER].index(first)}") if contaminated else (None, None)
    )


def test_each_is_dropped_by_the_first_stage_that_sees_it(tmp_path: Path) -> None:
    """All planted prompts in one pool: rules go before duplicates, duplicates before packs, packs before the sample."""
    cases = {name: case for name, case in PLANTED.items() if case[0] == CAKE}
    section = {"dedup": "near", "decontaminate": [pack(tmp_path, CAKE)], "rules": [{"max_characters": 600}]}
    got = collect(tmp_path, [CAKE, *(second for _, second, _, _ in cases.values()), "Hi", "Hello"], limit=1, **section)
    reasons = [verdict.reason for verdict in got.verdicts]
    late = "max_characters"
    expected = [
        stage or (late if name == "a copy inside a longer prompt" else None) for name, (_, _, stage, _) in cases.items()
    ]
    assert reasons[0] == "contaminated"
    assert [e or r for e, r in zip(expected, reasons[1:-2], strict=True)] == reasons[1:-2]
    # Of what is left, half a copy, another prompt, Hi and Hello, one is sampled.
    left = [r for r in reasons if r in (None, "not_sampled")]
    assert sorted(left, key=str) == [None, "not_sampled", "not_sampled", "not_sampled"]
    assert {v.twin for v in got.verdicts if v.reason in DEPTHS["near"]} == {prompt_id(CAKE)}


def test_the_first_pool_stays(tmp_path: Path) -> None:
    """Priority is the pools' order in the recipe: of two alike the earlier pool's is taken, whichever they are."""
    edited = PLANTED["one word of 53"][1]
    for second in (CAKE, CAKE.upper(), edited):
        for one, other in ((CAKE, second), (second, CAKE)):
            got = collect(tmp_path, ["Hi there", one], [other, "Good night"], dedup="near")
            assert [v.reason is None for v in got.verdicts] == [True, True, False, True]
            assert got.verdicts[2].twin == prompt_id(one)
            assert got.prompts["pool"].to_pylist() == ["a", "a", "b"]


def test_what_is_dropped_drops_nobody(tmp_path: Path) -> None:
    """A prompt that breaks a rule is no twin: a near copy that keeps the rules stays."""
    loud = CAKE + " <|im_start|>"
    got = collect(tmp_path, [loud, CAKE], dedup="near", rules=["no_special_tokens"])
    assert got.verdicts == [Verdict("no_special_tokens", None, None), TAKEN]


def test_what_a_rule_drops_is_no_twin_after_normalising(tmp_path: Path) -> None:
    """Nor does it stand in the way of `dedup: none`."""
    rules = [{"max_characters": 6}]
    got = collect(tmp_path, ["HELLO!!!!!!", "hello"], dedup="normalised", rules=rules)
    assert got.verdicts == [Verdict("max_characters", None, None), TAKEN]
    got = collect(tmp_path, ["HELLO!!!!!!", "HELLO!!!!!!", "hello"], dedup="none", rules=rules)
    assert [v.reason for v in got.verdicts] == ["max_characters", "max_characters", None]


def test_prompts_of_an_earlier_run_do_not_drop_each_other(tmp_path: Path) -> None:
    """What is near the second of two near ones that an earlier run has is dropped, though it is not near the first."""
    second = CAKE.replace("chocolate", "strawberry").replace("electric", "expensive")
    third = second.replace("children", "neighbours").replace("numbered", "careful")
    assert jaccard(CAKE, third) < 0.8 <= min(jaccard(CAKE, second), jaccard(second, third))
    got = collect(tmp_path, [third], dedup="near", against=[earlier(tmp_path, [CAKE, second])])
    assert got.verdicts == [Verdict(NEAR, prompt_id(second), pytest.approx(jaccard(second, third)))]


@pytest.mark.parametrize("depth", DEPTHS)
def test_earlier_runs(tmp_path: Path, depth: str) -> None:
    """What an earlier run has goes, at each depth, with the earlier one's id; the earlier run's file is not touched."""
    edited = PLANTED["one word of 53"][1]
    rows = [CAKE.upper(), edited, "Something else"]
    known = earlier(tmp_path, [CAKE, CAKE + " ", "Not collected again"])
    before = (Path(known) / "prompts.parquet").read_bytes()
    twin = prompt_id(CAKE)
    got = collect(tmp_path, rows, dedup=depth, against=[known])
    assert got.verdicts == [
        Verdict(NORMALISED, twin, 1.0) if NORMALISED in DEPTHS[depth] else TAKEN,
        Verdict(NEAR, twin, pytest.approx(jaccard(CAKE, edited))) if NEAR in DEPTHS[depth] else TAKEN,
        TAKEN,
    ]
    if depth != "none":
        again = collect(tmp_path, ["Not collected again", *rows], dedup=depth, against=[known])
        assert again.verdicts == [Verdict(EXACT, prompt_id("Not collected again"), 1.0), *got.verdicts]
    assert (Path(known) / "prompts.parquet").read_bytes() == before


def test_an_earlier_run_is_found_beside_the_recipe_or_refused(tmp_path: Path) -> None:
    """A relative folder is looked for beside the recipe; one without prompts is refused before a pool is read."""
    earlier(tmp_path, ["one"])
    assert [v.reason for v in collect(tmp_path, ["one", "two"], against=["earlier"]).verdicts] == [EXACT, None]
    with pytest.raises(UserError, match="no earlier run") as caught:
        collect(tmp_path, {"path": "not_there.jsonl"}, against=["nowhere"])
    assert caught.value.where == "nowhere"


def test_rules_drop_under_their_names(tmp_path: Path) -> None:
    """The reason is the first rule that a prompt breaks; the second rule of a name has a number."""
    pytest.importorskip("py3langid", reason="the extra [checks] is not installed")
    german = "Bitte erkläre mir, warum der Himmel am Tag blau ist und am Abend rot wird, und zwar in einfachen Worten."
    english = "Please explain to me why the sky is blue during the day and turns red in the evening, in simple words."
    rows = ["Hi <|im_start|>", "word " * 30, english, german, "one two three four five six seven", "short"]
    rules = ["no_special_tokens", {"max_words": 25}, {"language": ["en"]}, {"max_words": 6}]
    got = collect(tmp_path, rows, rules=rules)
    assert [v.reason for v in got.verdicts] == [
        "no_special_tokens", "max_words", "max_words_2", "language", "max_words_2", None,
    ]  # fmt: skip
    assert got.pools[0]["dropped"] == {"language": 1, "max_words": 1, "max_words_2": 2, "no_special_tokens": 1}
    first = got.left_out[0]
    assert (first["dropped_by"], first["prompt"][0]["content"], first["where"]) == (
        "no_special_tokens", rows[0], f"{tmp_path}/a.jsonl:1",
    )  # fmt: skip
    with pytest.raises(UserError, match="no rule is called 'max_word'"):
        collect(tmp_path, {"path": "not_there.jsonl"}, rules=[{"max_word": 3}])


def test_special_tokens_are_neutralised_before_the_id_is_made(tmp_path: Path) -> None:
    """The taken text has no token, its id is that of the new text, and the rule finds nothing to drop."""
    rows = [
        "Say <|im_start|>",
        "Say < |im_start|>",
        [{"role": "system", "content": "[INST]"}, {"role": "user", "content": "x"}],
    ]
    got = collect(tmp_path, rows, special_tokens="neutralise", rules=["no_special_tokens"])
    assert got.verdicts == [TAKEN, Verdict(EXACT, prompt_id(rows[1]), 1.0), TAKEN]
    assert [[turn["content"] for turn in row["prompt"]] for row in got.prompts.to_pylist()] == [
        ["Say < |im_start|>"], ["[ INST]", "x"],
    ]  # fmt: skip
    for row in got.prompts.to_pylist():
        assert row["prompt_id"] == tables.prompt_id(row["prompt"])


def test_tags_stand_beside_kept_columns(tmp_path: Path) -> None:
    """`tag: true` adds the tag to meta; the kept columns stay, and a pool without any has the tag alone."""
    rows = [{"prompt": "Translate this into French.", "n": 1}, {"prompt": "Fix the bug in my python code."}]
    path = write(tmp_path / "p.jsonl", rows)
    got = collect(tmp_path, {"path": path, "keep": ["n"]}, [{"prompt": "Mhm."}], tag=True)
    assert got.prompts["meta"].to_pylist() == ['{"n":1,"tag":"translation"}', '{"tag":"code"}', '{"tag":"other"}']


TURNS = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


@pytest.mark.parametrize(
    ("how", "row", "expected"),
    [
        ({"take": "history", "prompt": "talk"}, {"talk": TURNS}, TURNS[:3]),
        ({"take": "first_user", "prompt": "talk"}, {"talk": TURNS}, TURNS[:1]),
        ({"take": "chosen", "prompt": "chosen"}, {"chosen": TURNS}, TURNS[:3]),
        ({"prompt": "data.turns.0.content"}, {"data": {"turns": TURNS}}, TURNS[:1]),
        ({"prompt": "talk", "take": "history"},
         {"talk": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "two"}]}, TURNS[:1]),
    ],
    ids=["history", "first_user", "chosen", "path", "sharegpt"],
)  # fmt: skip
def test_what_is_taken_of_a_conversation(
    tmp_path: Path, how: dict[str, Any], row: dict[str, Any], expected: list[dict[str, str]]
) -> None:
    """The pool's `take` and path decide what the prompt is, and so its id."""
    got = collect(tmp_path, how | {"path": write(tmp_path / "p.jsonl", [row])}).prompts.to_pylist()
    assert [(row["prompt"], row["prompt_id"]) for row in got] == [(expected, tables.prompt_id(expected))]


def test_a_pattern_is_one_pool(tmp_path: Path) -> None:
    """Files of a pattern are read in the order of their names, packed ones too, and `where` names the file."""
    write(tmp_path / "parts" / "b.jsonl", ["two", "one"])
    (tmp_path / "parts" / "a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "one"}\n'))
    got = collect(tmp_path, {"path": "parts/*.jsonl*"})
    assert [row["prompt"][0]["content"] for row in got.prompts.to_pylist()] == ["one", "two"]
    assert [(row["dropped_by"], Path(row["where"]).name) for row in got.left_out] == [(EXACT, "b.jsonl:2")]


# Over many small pools

TALE = "the cat sat on a mat and read some old book about ships while rain fell on every roof in town"
WORDS = TALE.split()
LOUD = "Cut " + CAKE + " <|im_end|>"
TEXTS = st.one_of(
    st.sampled_from([CAKE, CAKE.upper(), CAKE + " ", *(case[1] for case in PLANTED.values()), LOUD, "?", "!"]),
    st.integers(0, 19).map(lambda i: " ".join(WORDS[i:] + WORDS[:i])),
)
POOLS = st.lists(st.lists(TEXTS, min_size=1, max_size=8), min_size=1, max_size=3)
folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@folder
@given(
    POOLS, st.sampled_from(["exact", "normalised", "near"]), st.booleans(), st.booleans(), st.integers(1, 6) | st.none()
)
def test_every_row_is_kept_or_has_a_reason(
    tmp_path: Path, pools: list[Rows], depth: str, against: bool, decontaminated: bool, limit: int | None
) -> None:
    """kept + dropped = in, each once and as it came; a twin stands earlier, or in the earlier run."""
    section: dict[str, Any] = {"dedup": depth, "rules": ["no_special_tokens", {"max_words": 120}]}
    known = ["the cat sat", RIVER] if against else []
    section |= {"limit": limit} if limit else {}
    section |= {"against": [earlier(tmp_path, known)]} if against else {}
    section |= {"decontaminate": [pack(tmp_path, CAKE)]} if decontaminated else {}
    got = collect(tmp_path, *pools, **section)
    rows = [(name, text) for name, pool in zip("abcd", pools, strict=False) for text in pool]
    assert len(got.verdicts) == len(rows) == got.prompts.num_rows + len(got.left_out)
    taken = [(row["pool"], row["prompt"][0]["content"]) for row in got.prompts.to_pylist()]
    assert taken == [row for row, verdict in zip(rows, got.verdicts, strict=True) if verdict == TAKEN]
    dropped = [(row["pool"], row["prompt"][0]["content"]) for row in got.left_out]
    assert dropped == [row for row, verdict in zip(rows, got.verdicts, strict=True) if verdict != TAKEN]
    assert len(taken) == min(limit or len(rows), sum(v.reason in (None, "not_sampled") for v in got.verdicts))
    seen = {prompt_id(text) for text in known}  # all that stands earlier
    originals = set(seen)  # and is no duplicate itself
    for (_, text), (reason, twin, alike) in zip(rows, got.verdicts, strict=True):
        assert reason in (
            None, "no_special_tokens", "max_words", *DEPTHS[depth],
            "contaminated" if decontaminated else None, "not_sampled" if limit else None,
        )  # fmt: skip
        if reason in DEPTHS[depth]:
            assert twin in (originals if reason == NEAR else seen)
            assert (twin == prompt_id(text)) == (reason == EXACT)
            assert alike == 1 if reason != NEAR else alike is not None and alike >= 0.8
        elif reason == "contaminated":
            assert twin == "own#0"
            assert alike is not None and alike >= 0.5
        else:
            assert (twin, alike) == (None, None)
        if reason not in ("no_special_tokens", "max_words"):
            seen.add(prompt_id(text))
        if reason in (None, "not_sampled", "contaminated"):
            originals.add(prompt_id(text))


# Through the command


def project(folder: Path, *rows: Any, **section: Any) -> Project:
    """A project whose pool has these rows."""
    made = Project(folder)
    write(folder / "pool.jsonl", list(rows))
    made.recipe["collect"] |= section
    return made


def left_over(path: Path) -> list[str]:
    return [file.name for file in path.rglob("*") if file.name.startswith(".tmp")]


def test_contamination_stands_in_the_record(tmp_path: Path) -> None:
    """The record's contamination is what overlap.report says of these prompts and packs."""
    texts = [CAKE, LONG + CAKE, "Hello", LONG + RIVER, CAKE.replace("chocolate", "strawberry"), LONG + CAKE[:140]]
    names = [pack(tmp_path, CAKE, RIVER), pack(tmp_path, LONG, name="other")]
    made = project(tmp_path, *texts, decontaminate=names)
    made.run("collect", "recipe.yaml")
    opened = packs.open_packs(names, tmp_path)
    hits = pl.concat(overlap.overlap([pl.Series(texts)], opened))
    ids = [prompt_id(text) for text in texts]
    rows = pl.DataFrame(
        {"row": range(len(texts)), "prompt_id": ids, "pool": "own"}, schema_overrides={"row": pl.UInt32}
    )
    told = made.record()["tables"]["prompts"]["facts"]
    assert told["contamination"] == json.loads(json.dumps(overlap.report(hits, rows, opened)))
    assert told["contamination"]["table"] == {
        "own": {"other": {"prompts": 3, "items": 1}, "own": {"prompts": 4, "items": 2}}
    }
    assert told["pools"][0]["dropped"] == {"contaminated": 5}
    left = pl.read_parquet(made.path / "left_out.parquet")
    assert left["twin"].to_list() == ["own#0", "other#0", "other#0", "own#0", "other#0"]


def test_a_pack_that_was_built_anew_is_looked_at(tmp_path: Path) -> None:
    """A pack, and an earlier run, are what the prompts were made from: where one changed, they are collected again."""
    made = project(tmp_path, CAKE, "Hello", "Bye", decontaminate=[pack(tmp_path, RIVER)], against=["earlier"])
    earlier(tmp_path, ["Bye"])
    made.run("collect", "recipe.yaml")
    assert made.record()["tables"]["prompts"]["rows"] == 2
    assert "nothing to do" in made.run("collect", "recipe.yaml")
    pack(tmp_path, CAKE)
    made.run("collect", "recipe.yaml")
    assert made.record()["tables"]["prompts"]["rows"] == 1
    earlier(tmp_path, ["Bye", "see you"])
    assert "pool own: " in made.run("collect", "recipe.yaml")


def test_the_same_bytes_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tables are the same bytes on one thread, on two, and again."""
    words = random.Random(0)
    rows = [" ".join(words.choices(WORDS, k=30)) for _ in range(300)]
    rows += [row.replace("rain", "snow", 1) for row in rows]
    made = project(tmp_path, *rows, dedup="near", limit=100, decontaminate=[pack(tmp_path, rows[7])], tag=True)
    made_bytes = []
    for run, threads in (("one", "1"), ("two", "2"), ("again", "2")):
        monkeypatch.setenv("POLARS_MAX_THREADS", threads)
        made.run("collect", "recipe.yaml", "--run", run)
        made_bytes.append([(tmp_path / run / f"{name}.parquet").read_bytes() for name in ("prompts", "left_out")])
    assert made_bytes[0] == made_bytes[1] == made_bytes[2]
    reasons = pl.read_parquet(tmp_path / "one" / "left_out.parquet")["dropped_by"].unique()
    assert {NEAR, "contaminated", "not_sampled"} <= set(reasons)


def test_one_malformed_line_of_a_hundred_thousand(tmp_path: Path) -> None:
    """It is named with its number, written aside, and the 99,999 others are collected."""
    made = Project(tmp_path)
    lines = [f'{{"prompt": "number {i}"}}\n' for i in range(100_000)]
    lines[73_123] = '{"prompt": "number\n'
    (tmp_path / "pool.jsonl").write_text("".join(lines))
    said = made.run("collect", "recipe.yaml")
    assert "1 bad row(s)" in said
    assert "pool.jsonl:73124" in said.replace("\n", "")
    assert made.record()["tables"]["prompts"]["rows"] == 99_999
    (bad,) = json.loads((made.path / "bad" / "prompts.json").read_text())
    assert bad["where"].endswith("pool.jsonl:73124")
    assert pl.scan_parquet(made.path / "prompts.parquet").select(pl.len()).collect().item() == 99_999


def test_a_gzip_cut_short_leaves_nothing(tmp_path: Path) -> None:
    """It is the user's mistake with the file's name, and nothing half-written stays."""
    made = Project(tmp_path)
    whole = gzip.compress(os.urandom(3000).hex().join(f'{{"prompt": "{i}"}}\n' for i in range(9)).encode())
    (tmp_path / "pool.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    made.recipe["collect"]["pools"][0]["path"] = "pool.jsonl.gz"
    assert "pool.jsonl.gz" in made.run("collect", "recipe.yaml", code=2)
    assert not (made.path / "prompts.parquet").exists()
    assert left_over(made.path) == []


def test_a_killed_collect_is_begun_again(tmp_path: Path) -> None:
    """kill -9 leaves no prompts, and the next run makes them and clears what was left over."""
    made = project(tmp_path, *(f"number {i}" for i in range(60_000)))
    process = made.start("collect", "recipe.yaml")
    for _ in range(2000):
        if any("spool" in name for name in left_over(made.path)):
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert left_over(made.path)
    assert not (made.path / "prompts.parquet").exists()
    made.run("collect", "recipe.yaml")
    assert made.record()["tables"]["prompts"]["rows"] == 60_000
    assert left_over(made.path) == []


def test_a_run_killed_at_its_first_step_is_begun_again(tmp_path: Path) -> None:
    """A folder with no more than a lock and half a record in it is no folder of other things."""
    made = project(tmp_path, "one")
    made.path.mkdir(parents=True)
    for name in (".lock", ".lock-holder", ".tmp-record.json"):
        (made.path / name).write_text("")
    made.run("collect", "recipe.yaml")
    assert made.record()["tables"]["prompts"]["rows"] == 1
    assert left_over(made.path) == []


def ids_of(made: Project, table: str = "prompts") -> list[str]:
    return pl.read_parquet(made.path / f"{table}.parquet")["prompt_id"].to_list()


def test_more_prompts_are_no_drift_and_fewer_are(tmp_path: Path) -> None:
    """Another pool adds rows behind those that were there; a depth that drops prompts is refused without a word."""
    made = project(tmp_path, "one", "two", "ONE")
    made.run("collect", "recipe.yaml")
    before = ids_of(made)
    write(tmp_path / "more.jsonl", ["two", "three"])
    made.recipe["collect"]["pools"].append({"name": "more", "path": "more.jsonl"})
    made.run("collect", "recipe.yaml")
    assert ids_of(made) == [*before, prompt_id("three")]
    kept = (made.path / "prompts.parquet").read_bytes()
    made.recipe["collect"]["dedup"] = "normalised"
    said = made.run("collect", "recipe.yaml", code=2)
    assert 'collect.dedup: "exact" -> "normalised"' in said
    assert (made.path / "prompts.parquet").read_bytes() == kept
    assert left_over(made.path) == []
    made.run("collect", "recipe.yaml", "--overwrite")
    assert ids_of(made) == [prompt_id(text) for text in ("one", "two", "three")]
    left = pl.read_parquet(made.path / "left_out.parquet").select("pool", "dropped_by", "twin").rows()
    assert left == [("own", NORMALISED, prompt_id("one")), ("more", EXACT, prompt_id("two"))]


def test_a_recipe_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    """Where every prompt is left out the user is told by what, and there is no table to go on from."""
    made = project(tmp_path, "one two", "three four", rules=[{"max_words": 1}])
    for command in (["collect", "recipe.yaml"], ["run", "recipe.yaml"]):
        assert "no prompt is left (2 max_words)" in made.run(*command, code=2)
        assert not (made.path / "prompts.parquet").exists()
        assert left_over(made.path) == []


def test_explain(tmp_path: Path) -> None:
    """A taken prompt has its responses, scores and pairs; a dropped one its reason and twin; else exit 2."""
    made = project(tmp_path, "Say a word.", "SAY A WORD", "Tell me more", dedup="normalised")
    made.recipe["score"] = [{"name": "known", "scores": "scores.jsonl"}]
    scores = [{"prompt": "Say a word.", "model": rung, "score": n} for rung, n in (("strong", 7.5), ("weak", 2.25))]
    write(tmp_path / "scores.jsonl", scores)
    made.run()
    said = made.run("explain", "runs/tiny", prompt_id("Say a word."))
    assert [line for line in said.splitlines() if not line.startswith(" ")] == [
        "collect: taken",
        *("responses: strong", "responses: weak"),
        *("scores: known", "scores: known"),
        "pair: kept",
    ]
    for part in ("'Say a word.'", "pool: own", "score: 7.5", "score: 2.25", "delta_known: 5.25"):
        assert part in said, part
    said = made.run("explain", "runs/tiny", prompt_id("SAY A WORD")[:12])
    assert said.startswith("collect: left out\n")
    for part in (f"dropped_by: {NORMALISED}", f"twin: {prompt_id('Say a word.')}", "where: pool.jsonl:2"):
        assert part in said, part
    assert "responses" not in said
    for asked, why in (("0000000000000000", "no prompt has this id"), ("", "3 prompts have ids that begin so")):
        assert why in made.run("explain", "runs/tiny", asked, code=2)
