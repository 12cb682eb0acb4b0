"""From a run folder to the dataset that others load: rows, their order, files, and what the record says of them.

pytest tests/test_dataset.py
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ladder import LADDER, LENGTHS, do, key, numbers, recipe, small_run, write_parts, write_sources

from deltadata import card, dataset, filter, pair, pair_text, rules, store, tables
from deltadata.errors import UserError
from deltadata.job import Job
from deltadata.parquet import Writer
from deltadata.tables import BrokenTable

Row = dict[str, Any]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A finished run; tests only read it."""
    folder = tmp_path_factory.mktemp("done")
    write_sources(folder)
    return do(folder / "run", small_run())


@pytest.fixture
def other(done: Job, tmp_path: Path) -> Path:
    """A copy of the finished run, to change."""
    write_sources(tmp_path)
    return Path(shutil.copytree(done.run.path, tmp_path / "run"))


def load(folder: Path, config: str | None = None, cache: Path | None = None) -> Any:
    """What a user gets of a dataset folder, cached in one place per folder unless told where."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), config, cache_dir=str(cache or folder.parent / "cache"))


def rows_of(*files: Path) -> list[Row]:
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def expected_ladder(folder: Path) -> list[Row]:
    """Every response of every prompt, computed in plain Python: prompts in order, rungs in order, samples in order."""
    prompts = rows_of(folder / "prompts.parquet")
    there = {
        (row["prompt_id"], row["model"], row["sample"]): row
        for rung in ("strong", "middle", "frail")
        for row in rows_of(*sorted((folder / "responses" / rung).iterdir()))
    }
    return [
        {name: prompt[name] for name in ("prompt_id", "prompt", "pool")} | there[found]
        for prompt in prompts
        for rung, sample in product(("strong", "middle", "frail"), range(2))
        if (found := (prompt["prompt_id"], rung, sample)) in there
    ]


def expected_pairs(folder: Path) -> list[Row]:
    """All pairs with their reason, computed in plain Python from the responses."""
    ladder = expected_ladder(folder)
    there = {(row["prompt_id"], row["model"], row["sample"]): row for row in ladder if row["response"] is not None}
    prompts = list(dict.fromkeys(row["prompt_id"] for row in ladder))
    pairs = []
    for stronger, weaker in (("strong", "middle"), ("strong", "frail"), ("middle", "frail")):
        for prompt, sample in product(prompts, range(2)):
            sides = there.get((prompt, stronger, sample)), there.get((prompt, weaker, sample))
            if sides[0] and sides[1]:
                pairs.append(expected_pair(sides[0], sides[1]))
    return pairs


def expected_pair(chosen: Row, rejected: Row) -> Row:
    told = {name: chosen[name] for name in ("prompt_id", "prompt", "pool")}
    for side, row in (("chosen", chosen), ("rejected", rejected)):
        told |= {
            side: [{"role": "assistant", "content": row["response"]}],
            f"{side}_model": row["model"],
            f"{side}_sample": row["sample"],
            f"{side}_tokens": row["response_tokens"],
            f"{side}_finish_reason": row["finish_reason"],
        }
    left, right = len(chosen["response"]), len(rejected["response"])
    known = None not in (told["chosen_tokens"], told["rejected_tokens"])
    told["delta_tokens"] = float(told["chosen_tokens"] - told["rejected_tokens"]) if known else None
    told["delta_characters"] = float(left - right)
    told["delta_response_ratio"] = pytest.approx(float(pl.Series([left / right]).log(2)[0])) if left and right else None
    told["dropped_by"] = expected_reason(chosen, rejected)
    return told


def expected_reason(chosen: Row, rejected: Row) -> str | None:
    """The rules of `small_run`, behind the two that always hold."""
    left, right = chosen["response"].strip(), rejected["response"].strip()
    if not left or not right:
        return "not_empty"
    if chosen["response"] == rejected["response"]:
        return "texts_differ"
    if abs(len(chosen["response"]) - len(rejected["response"])) > 60:
        return "max_length_delta"
    if {chosen["finish_reason"], rejected["finish_reason"]} != {"stop"}:
        return "finished"
    return None if len(chosen["response"]) / len(rejected["response"]) < 1.25 else "where"


def published(pair_row: Row) -> Row:
    return {name: value for name, value in pair_row.items() if not name.endswith("_sample") and name != "dropped_by"}


def test_the_small_run_has_all_there_is(done: Job) -> None:
    """What the tests below rest on: failed, cut-off, empty and missing responses, and every rule that can drop does."""
    ladder = expected_ladder(done.run.path)
    assert Counter(row["model"] for row in ladder) == {"strong": 48, "middle": 48, "frail": 24}
    assert Counter(row["finish_reason"] for row in ladder)["error"] == 4
    assert min(Counter(row["finish_reason"] for row in ladder).values()) > 3
    reasons = Counter(row["dropped_by"] for row in expected_pairs(done.run.path))
    assert set(reasons) == {None, "not_empty", "max_length_delta", "finished", "where"}


def test_pairs_are_those_computed_by_hand(done: Job) -> None:
    """Every pair with its texts, facts, deltas and reason, in the order of pairings, prompts and samples."""
    assert rows_of(done.pairs_file) == expected_pairs(done.run.path)


def test_default_holds_the_kept_pairs(done: Job) -> None:
    """`load_dataset` gives exactly the kept pairs in order, split by prompt; the first columns are TRL's."""
    found = load(done.run.path / "dataset")
    kept = [row for row in expected_pairs(done.run.path) if row["dropped_by"] is None]
    held_out = [int(row["prompt_id"][:8], 16) / 2**32 < 0.3 for row in kept]
    assert list(found) == ["train", "test"]
    assert found["train"].to_list() == [published(row) for row, out in zip(kept, held_out, strict=True) if not out]
    assert found["test"].to_list() == [published(row) for row, out in zip(kept, held_out, strict=True) if out]
    assert 0 < sum(held_out) < len(kept)
    assert not set(found["train"]["prompt_id"]) & set(found["test"]["prompt_id"])


def test_ladder_holds_every_response(done: Job) -> None:
    """The failed ones too, with their reason; in order of prompt, rung (as in the recipe) and sample."""
    found = load(done.run.path / "dataset", "ladder")
    assert list(found) == ["train"]
    assert found["train"].to_list() == expected_ladder(done.run.path)


def test_features_are_the_ordinary_ones(done: Job) -> None:
    """Messages are List of {role, content}, text is string, nothing is large; what TRL reads comes first."""
    from datasets import Features, List, Value

    messages, text = List({"role": Value("string"), "content": Value("string")}), Value("string")
    count, delta = Value("uint32"), Value("float64")
    expected = {
        "prompt": messages,
        "chosen": messages,
        "rejected": messages,
        "prompt_id": text,
        "pool": text,
        "chosen_model": text,
        "rejected_model": text,
        "chosen_tokens": count,
        "rejected_tokens": count,
        "chosen_finish_reason": text,
        "rejected_finish_reason": text,
        "delta_tokens": delta,
        "delta_characters": delta,
        "delta_response_ratio": delta,
    }
    found = load(done.run.path / "dataset")
    for split in ("train", "test"):
        assert found[split].features == Features(expected)
        assert found[split].column_names == list(expected)
    ladder = load(done.run.path / "dataset", "ladder")["train"]
    assert ladder.features == Features(
        {
            "prompt_id": text,
            "prompt": messages,
            "pool": text,
            "model": text,
            "sample": count,
            "response": text,
            "finish_reason": text,
            "error": text,
            "prompt_tokens": count,
            "response_tokens": count,
        }
    )


EVERY_MEASURE = "tokens characters response_ratio sentences bold bullets headings code repetition refusal identity"
EVERY_MEASURE += " date_cutoff non_latin ladder_distance"


@pytest.mark.parametrize(("params", "more"), [(None, []), (2e9, ["delta_params_ratio"])])
def test_a_recipe_that_names_no_measure_has_them_all(tmp_path: Path, params: float | None, more: list[str]) -> None:
    """A column each, in order, in pairs.parquet and in what is published; of parameters where a rung states them."""
    write_sources(tmp_path)
    asked = small_run(pair={"pairings": "all"})
    asked.generate.rungs[0].params = params
    job = do(tmp_path / "run", asked)
    expected = [f"delta_{name}" for name in EVERY_MEASURE.split()] + more
    for path in (job.pairs_file, *(tmp_path / "run/dataset/data/default").iterdir()):
        names = pq.read_schema(path).names
        assert [name for name in names if name.startswith("delta_")] == expected
        assert names[: names.index("delta_tokens")][-1] == "rejected_finish_reason"
    assert list(job.run.record["filter"].facts["pairings"][0]["delta"]) == EVERY_MEASURE.split() + [m[6:] for m in more]


def test_the_header_counts_what_is_there(done: Job) -> None:
    """Rows and bytes that the card states are those of the files, so `load_dataset` verifies against them."""
    found = load(done.run.path / "dataset")
    for split in ("train", "test"):
        stated = found[split].info.splits[split]
        files = sorted((done.run.path / "dataset" / "data" / "default").glob(f"{split}-*.parquet"))
        assert stated.num_examples == sum(pq.read_metadata(path).num_rows for path in files)
    every_file = (done.run.path / "dataset" / "data" / "default").iterdir()
    assert found["train"].info.download_size == sum(path.stat().st_size for path in every_file)


@pytest.mark.parametrize(
    ("prompt_id", "share", "held_out"),
    [
        ("0000000000000000", 0.1, True),
        ("19999998ffffffff", 0.1, True),
        ("1999999900000000", 0.1, False),
        ("ffffffffffffffff", 0.1, False),
        ("7fffffffffffffff", 0.5, True),
        ("8000000000000000", 0.5, False),
        ("0000000000000000", 0.0, False),
        ("ffffffffffffffff", 0.999, False),
    ],
)
def test_the_id_alone_decides_the_split(prompt_id: str, share: float, held_out: bool) -> None:
    """The first 8 hex digits as a fraction of 2**32, below the share: held out."""
    frame = pl.DataFrame({"prompt_id": [prompt_id, "ffffffffffffffff"]})
    assert frame.select(dataset.in_test(share)).to_series()[0] is held_out


PLOTS = [f"plots/{name}.png" for name in ("agreement", "deltas", "funnel", "length")]  # those that need no scorer


def test_holdout_zero_writes_no_test_file(other: Path) -> None:
    """No empty split appears, in the files, the card or what is loaded."""
    do(other, small_run(holdout=0), overwrite=True)
    files = sorted(str(path.relative_to(other)) for path in (other / "dataset").rglob("*") if path.is_file())
    assert files == [
        "dataset/README.md",
        "dataset/data/default/train-00000-of-00001.parquet",
        "dataset/data/ladder/train-00000-of-00001.parquet",
        *(f"dataset/{plot}" for plot in PLOTS),
        "dataset/recipe.yaml",
        "dataset/record.json",
    ]
    assert list(load(other / "dataset")) == ["train"]
    assert "`test`" not in (other / "dataset" / "README.md").read_text()


def test_the_folder_is_what_a_push_uploads(done: Job) -> None:
    """The contract's files and no others; the record inside says what the run's record says."""
    folder = done.run.path / "dataset"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "README.md",
        "data/default/test-00000-of-00001.parquet",
        "data/default/train-00000-of-00001.parquet",
        "data/ladder/train-00000-of-00001.parquet",
        *PLOTS,
        "recipe.yaml",
        "record.json",
    ]
    inside, outside = (json.loads((place / "record.json").read_text()) for place in (folder, folder.parent))
    assert inside == outside


CHUNKING = {"min_chunk_size": 262144, "max_chunk_size": 1048576, "norm_level": 0}


def test_files_are_written_as_the_hub_likes_them(done: Job) -> None:
    """zstd, a page index for every column, and the key under which `datasets` notes content-defined chunks."""
    files = [done.pairs_file, *(done.run.path / "dataset").rglob("*.parquet")]
    assert len(files) == 4
    for path in files:
        told = pq.read_metadata(path)
        assert json.loads(told.metadata[b"content_defined_chunking"]) == CHUNKING
        for group in range(told.num_row_groups):
            columns = [told.row_group(group).column(i) for i in range(told.num_columns)]
            assert {column.compression for column in columns} == {"ZSTD"}
            assert all(column.has_column_index and column.has_offset_index for column in columns)


def test_chunks_are_cut_as_datasets_cuts_them() -> None:
    """The chunking is the default of the installed `datasets`, so that a later push by either shares its chunks."""
    from datasets import config

    assert config.DEFAULT_CDC_OPTIONS == CHUNKING


def test_row_groups_stay_far_below_100_mb(tmp_path: Path) -> None:
    """Three rows of 20 MB come as three row groups, whether they are written at once or one by one."""
    text = pa.table({"text": [letter * (20 << 20) for letter in "abc"]})
    for name, tables_ in (("once", [text]), ("by one", [text.slice(i, 1) for i in range(3)])):
        writer = Writer(tmp_path / name, text.schema)
        for table in tables_:
            writer.write(table)
        writer.close()
        told = pq.read_metadata(tmp_path / name)
        groups = [told.row_group(i) for i in range(told.num_row_groups)]
        assert [group.num_rows for group in groups] == [1, 1, 1]
        assert all(group.total_byte_size < 100_000_000 for group in groups)
        assert pq.read_table(tmp_path / name, columns=["text"])["text"].equals(text["text"])


def test_small_rows_share_a_row_group(done: Job) -> None:
    """A few rows are one group, however they came."""
    assert [pq.read_metadata(path).num_row_groups for path in (done.run.path / "dataset").rglob("*.parquet")] == [1] * 3


def test_nothing_kept_is_refused_with_the_funnel(other: Path) -> None:
    """A filter that drops all pairs is the user's to loosen: the message counts the drops; what was there stays."""
    before = (other / "dataset" / "README.md").read_text()
    with pytest.raises(UserError, match=r"every pair was dropped \(not_empty.* where.*[1-9]") as met:
        do(other, small_run(filter={"rules": [], "where": "chosen_tokens > 1000"}), overwrite=True)
    assert (met.value.where, met.value.exit_code, bool(met.value.cure)) == ("filter.rules", 2, True)
    assert (other / "dataset" / "README.md").read_text() == before


def test_equal_headers_do_not_share_a_cache(done: Job, other: Path, tmp_path: Path) -> None:
    """Two datasets of equal name and counts, loaded through one cache, give each their own rows."""
    two_rungs = {"pair": {"pairings": [["strong", "middle"]]}, "filter": {"rules": []}}
    do(other, small_run(**two_rungs), overwrite=True)
    reversed_ = Path(shutil.copytree(other, tmp_path / "again" / "run"))
    write_sources(reversed_.parent)
    do(reversed_, small_run(**two_rungs | {"pair": two_rungs["pair"] | {"control": "reversed"}}), overwrite=True)
    plain, turned = (load(path / "dataset", cache=tmp_path / "cache") for path in (other, reversed_))
    assert plain["train"].num_rows == turned["train"].num_rows > 0
    assert (set(plain["train"]["chosen_model"]), set(turned["train"]["chosen_model"])) == ({"strong"}, {"middle"})
    assert plain["train"]["chosen"][:] == turned["train"]["rejected"][:]
    do(other, small_run(**two_rungs | {"filter": {"rules": [], "where": "chosen_sample = 0"}}), overwrite=True)
    first = load(other / "dataset", cache=tmp_path / "cache")["train"]
    do(other, small_run(**two_rungs | {"filter": {"rules": [], "where": "chosen_sample = 1"}}), overwrite=True)
    second = load(other / "dataset", cache=tmp_path / "cache")["train"]
    assert first.num_rows == second.num_rows
    assert first["prompt_id"][:] == second["prompt_id"][:]
    assert first["rejected"][:] != second["rejected"][:]


def test_filter_alone_does_what_run_does_at_once(done: Job, tmp_path: Path) -> None:
    """`collect`, `generate`, `score`, `pair` and `filter` one after the other give the pairs and the facts of `run`."""
    write_sources(tmp_path)
    for stage in ("collect", "generate", "score", "pair", "filter"):
        job = do(tmp_path / "run", small_run(), stage)
    assert pq.read_table(job.pairs_file).equals(pq.read_table(done.pairs_file))
    assert job.run.record["filter"].facts == done.run.record["filter"].facts
    assert job.run.record["filter"].rows == done.run.record["filter"].rows


def test_more_pairs_than_are_in_memory_at_once_keep_their_rows(tmp_path: Path) -> None:
    """Over several batches, parts and row groups every pair, reason and response is still the one computed by hand."""
    write_sources(tmp_path, prompts=400)
    job = do(tmp_path / "run", small_run(part_rows=300))
    pairs = expected_pairs(job.run.path)
    assert len(pairs) > 1500
    assert rows_of(job.pairs_file) == pairs
    assert rows_of(tmp_path / "run/dataset/data/ladder/train-00000-of-00001.parquet") == expected_ladder(job.run.path)
    pq.write_table(pq.read_table(job.pairs_file), job.pairs_file, row_group_size=100)
    do(tmp_path / "run", small_run(part_rows=300, filter={"rules": [], "where": "chosen_sample = 1"}), overwrite=True)
    kept = [published(pair) for pair in pairs if pair["chosen_sample"] == 1 and pair["dropped_by"] != "not_empty"]
    splits = [tmp_path / f"run/dataset/data/default/{split}-00000-of-00001.parquet" for split in ("train", "test")]
    held_out = [int(row["prompt_id"][:8], 16) / 2**32 < 0.3 for row in kept]
    assert rows_of(splits[0]) == [row for row, out in zip(kept, held_out, strict=True) if not out]
    assert rows_of(splits[1]) == [row for row, out in zip(kept, held_out, strict=True) if out]


def test_pair_alone_drops_only_what_can_never_be_kept(tmp_path: Path) -> None:
    """Before `filter`, pairs of equal or empty texts have their reason and all others none."""
    write_sources(tmp_path)
    for stage in ("collect", "generate", "pair"):
        job = do(tmp_path / "run", small_run(), stage)
    always = [row["dropped_by"] in ("not_empty", "texts_differ") for row in expected_pairs(job.run.path)]
    assert [row["dropped_by"] is not None for row in rows_of(job.pairs_file)] == always


def test_another_filter_touches_no_text(done: Job, other: Path) -> None:
    """With other rules and --overwrite only `dropped_by` differs, and every column of text and delta is as it was."""
    looser = small_run(filter={"rules": ["finished"]})
    job = do(other, looser, overwrite=True)
    before, after = pq.read_table(done.pairs_file), pq.read_table(job.pairs_file)
    assert before.schema.equals(after.schema)
    assert before.drop_columns("dropped_by").equals(after.drop_columns("dropped_by"))
    assert set(after["dropped_by"].to_pylist()) == {None, "not_empty", "finished"}
    assert job.run.record["filter"].rows > done.run.record["filter"].rows


def test_the_closing_numbers_are_those_computed_by_hand(done: Job) -> None:
    """Per pairing: pairs, kept, and the mean of each delta over all and over the kept; the funnel; the two totals."""
    pairs = expected_pairs(done.run.path)
    facts = card.closing(done.recipe, done.run.record)
    assert [(told["chosen"], told["rejected"]) for told in facts["pairings"]] == [
        ("strong", "middle"),
        ("strong", "frail"),
        ("middle", "frail"),
    ]
    columns = {name: f"delta_{name}" for name in ("tokens", "characters")}
    for told in facts["pairings"]:
        mine = [
            pair
            for pair in pairs
            if (pair["chosen_model"], pair["rejected_model"]) == (told["chosen"], told["rejected"])
        ]
        kept = [pair for pair in mine if pair["dropped_by"] is None]
        assert (told["pairs"], told["kept"]) == (len(mine), len(kept))
        for means, rows in ((told["delta"], mine), (told["delta_kept"], kept)):
            assert list(means) == LENGTHS
            for name, column in columns.items():
                known = [row[column] for row in rows if row[column] is not None]
                assert means[name] == (pytest.approx(fmean(known)) if known else None)
    reasons = Counter(pair["dropped_by"] for pair in pairs)
    order = ["not_empty", "texts_differ", "max_length_delta", "finished", "where"]
    assert list(facts["funnel"].items()) == [(rule, reasons[rule]) for rule in order]
    assert (facts["name"], facts["kept"], facts["pairs"]) == ("small", reasons[None], len(pairs))
    assert facts["kept"] + sum(facts["funnel"].values()) == facts["pairs"]


def test_a_summary_of_hand_written_pairs() -> None:
    """Means leave unknown deltas out; a pairing whose pairs are all dropped has no mean over the kept."""
    deltas = {"delta_characters": [2.0, 4.0, None, 6.0], "delta_response_ratio": [0.0] * 4}
    frame = pl.DataFrame(
        {
            "chosen_model": ["strong", "strong", "strong", "middle"],
            "rejected_model": ["frail", "frail", "frail", "frail"],
            "delta_tokens": [1.0, None, None, 3.0],
            "dropped_by": [None, "finished", None, "where"],
        }
        | deltas
    )
    assert card.pairings(frame, LENGTHS) == [
        {
            "chosen": "strong",
            "rejected": "frail",
            "pairs": 3,
            "kept": 2,
            "delta": {"tokens": 1.0, "characters": 3.0, "response_ratio": 0.0},
            "delta_kept": {"tokens": 1.0, "characters": 2.0, "response_ratio": 0.0},
        },
        {
            "chosen": "middle",
            "rejected": "frail",
            "pairs": 1,
            "kept": 0,
            "delta": {"tokens": 3.0, "characters": 6.0, "response_ratio": 0.0},
            "delta_kept": {"tokens": None, "characters": None, "response_ratio": None},
        },
    ]


def hand_written(folder: Path) -> tuple[pl.DataFrame, Path, dict[str, list[Path]]]:
    """The numbers of the hand-written ladder's pairs, its prompts and its parts of two rows."""
    files = write_parts(folder, LADDER, part_rows=2)
    prompts = folder / "prompts.parquet"
    asked = [[{"role": "user", "content": f"{letter}?"}] for letter in "bacd"]
    ids = [key(letter) for letter in "bacd"]
    pq.write_table(tables.as_rows(tables.PROMPTS, {"prompt_id": ids, "prompt": asked, "pool": ["own"] * 4}), prompts)
    by_hand = recipe(pair={"pairings": "all", "control": "random"})
    found = pair.pair(numbers(files), by_hand)
    return found.with_columns(filter.dropped_by(found, filter.rules(by_hand))), prompts, files


CONTRACT = tables.pairs(pair.measures(recipe()), [*rules.RULES, filter.WHERE])


def test_every_pair_gets_the_text_of_its_own_sides(tmp_path: Path) -> None:
    """Sides that change rung from row to row, over parts of two rows, hold the responses that their keys name."""
    found, prompts, files = hand_written(tmp_path)
    pair_text.write_pairs(tmp_path / "pairs.parquet", CONTRACT, found, prompts, files)
    texts = {(row.prompt, row.model, row.sample): row.text for row in LADDER}
    rows = rows_of(tmp_path / "pairs.parquet")
    assert len(rows) == 9
    assert {row["chosen_model"] for row in rows} == {"strong", "middle", "frail"}
    for row in rows:
        letter = row["prompt_id"][0]
        assert row["prompt"] == [{"role": "user", "content": f"{letter}?"}]
        for side in ("chosen", "rejected"):
            text = texts[letter, row[f"{side}_model"], row[f"{side}_sample"]]
            assert row[side] == [{"role": "assistant", "content": text}]


def test_pairs_that_break_the_contract_leave_the_file_as_it_was(tmp_path: Path) -> None:
    """A key that stands twice, and a kept pair of equal texts, are refused before anything is replaced."""
    found, prompts, files = hand_written(tmp_path)
    path = tmp_path / "pairs.parquet"
    pair_text.write_pairs(path, CONTRACT, found, prompts, files)
    before = path.read_bytes()
    with pytest.raises(BrokenTable, match="is unique"):
        pair_text.write_pairs(path, CONTRACT, pl.concat([found, found[:1]]), prompts, files)
    with pytest.raises(BrokenTable, match="kept texts differ"):
        pair_text.write_pairs(path, CONTRACT, found.with_columns(dropped_by=pl.lit(None, pl.String)), prompts, files)
    assert path.read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")} == set()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """What fails half way leaves the old folder; what ends well leaves only the new one."""
    folder = tmp_path / "dataset"
    with store.replacing(folder) as new:
        (new / "one").write_text("1")
    with pytest.raises(ZeroDivisionError), store.replacing(folder) as new:
        (new / "two").write_text("2")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["dataset", "one"]
    with store.replacing(folder) as new:
        (new / "three").write_text("3")
    assert [path.name for path in tmp_path.rglob("*")] == ["dataset", "three"]


def test_trl_takes_the_rows_as_they_are(done: Job) -> None:
    """TRL's own checks see conversational preference examples with an explicit prompt, ready for DPOTrainer."""
    trl = pytest.importorskip("trl.data_utils")
    found = load(done.run.path / "dataset")["train"]
    assert {"prompt", "chosen", "rejected"} <= set(trl.get_dataset_column_names(found))
    for row in found:
        example = {name: row[name] for name in ("prompt", "chosen", "rejected")}
        assert trl.is_conversational(example)
        assert trl.maybe_extract_prompt(example) == example  # the prompt is explicit: nothing is cut off the sides
        for side in ("chosen", "rejected"):
            assert [turn["role"] for turn in example["prompt"] + example[side]] == ["user", "assistant"]


def test_filter_after_no_pairs_is_no_bug(tmp_path: Path) -> None:
    """A ladder whose responses all failed has no pairs, and `filter` has nothing to drop."""
    write_sources(tmp_path)
    failing = small_run(pair={"pairings": [["strong", "middle"]]}, runtime={"scripted": {"fail_on": "number"}})
    for stage in ("collect", "generate", "pair", "filter"):
        job = do(tmp_path / "run", failing, stage)
    assert (job.run.record["filter"].rows, job.run.record["pairs"].rows) == (0, 0)


def test_what_the_card_says_follows_the_recipe(other: Path) -> None:
    """A licence stated later reaches the card and the recipe in dataset/ though no row changes."""
    licensed = small_run()
    licensed.generate.rungs[0].license = "apache-2.0"
    do(other, licensed, overwrite=True)
    for name in ("README.md", "recipe.yaml"):
        assert "apache-2.0" in (other / "dataset" / name).read_text()
