"""Rungs, pools, licences, columns and figures of a card are told as the run has them, and no folder of this machine is.

pytest tests/test_provenance.py
"""

from __future__ import annotations

from typing import Any

import pytest
from card_facts import KEPT, MESSAGES, NO_STATS, TOLD, told

from deltadata import card, columns, figures, measure, provenance, tables
from deltadata.dataset import feature
from deltadata.licences import Found, Part
from deltadata.recipe import Recipe
from deltadata.store import Entry


def entry(spec: dict[str, Any] | None = None, **facts: Any) -> Entry:
    known = {"engine": "vllm", "engine_version": "0.30", "errors": 0, "cut_off": 20, "tokens": 55}
    return Entry(110, 1.0, spec or {}, {}, known | facts, {}, "2026-01-01T00:00:00Z", {})


def rung_of(of_rung: dict[str, Any], made: Entry) -> dict[str, Any]:
    recipe = recipe_of([{"name": "strong"} | of_rung])
    return provenance.rung_facts(recipe, recipe.generate.rungs[0], made, TOLD, "mit")


def recipe_of(rungs: list[dict[str, Any]], pools: list[dict[str, Any]] | None = None, **sections: Any) -> Recipe:
    tree = {
        "name": "by-hand",
        "collect": {"pools": pools or [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {"engine": "vllm", "rungs": rungs, "sampling": {"max_tokens": 9}},
    }
    return Recipe.model_validate(tree | sections)


def test_a_rung_of_a_hub_model_is_told_whole() -> None:
    """Linked, with its commit, engine and its number format, template, system turn, counts and shares."""
    asked = {"model": "org/m", "system": "Be brief.", "chat_template_kwargs": {"think": False}, "params": 3e6}
    made = entry(dtype="bfloat16", device="cuda", revision="abc", chat_template="1234", parameters=7)
    found = rung_of(asked | {"sampling": {"temperature": 0.5}}, made)
    assert found == {
        "name": "strong",
        "model": "org/m",
        "link": "https://huggingface.co/org/m",
        "revision": "abc",
        "params": 3e6,
        "engine": "vllm 0.30 bfloat16 cuda",
        "sampling": "temperature 0.5, max_tokens 9, samples 1",
        "template": 'template 1234, think False, system "Be brief."',
        "rows": 110,
        "errors": 0,
        "tokens": 55,
        "mean_tokens": 50.4,
        "mean_characters": 1234.5,
        "cut_off": 20,
        "share_cut_off": 0.18,
        "license": "mit",
    }


def test_a_local_model_is_no_link_and_tells_no_folder() -> None:
    """The digest of its files stands for a revision; folders of this machine are left out."""
    found = rung_of({"model": "models/small"}, entry({"model_files": "0123456789abcdef"}, parameters=7))
    assert (found["model"], found["link"], found["params"]) == ("models/small", None, 7)
    assert found["revision"] == "files 0123456789ab"
    assert rung_of({"model": "/home/me/secret/m-3b"}, entry())["model"] == "m-3b"
    assert rung_of({"model": "org/m"}, entry(engine="server"))["link"] is None
    assert rung_of({"model": 'org/m"><b>'}, entry())["link"] is None
    assert rung_of({"model": "org/m", "revision": "main"}, entry())["revision"] == "main"
    assert rung_of({"model": "org/m"}, entry())["revision"] == "not stated"


def test_a_rung_that_was_continued_names_every_engine() -> None:
    """Parts of several sessions: each version once."""
    sessions = [{"engine": "vllm", "engine_version": version} for version in ("0.29", "0.30", "0.30")]
    assert rung_of({"model": "org/m"}, entry(made_by=sessions))["engine"] == "vllm 0.29; vllm 0.30"


def test_a_long_system_turn_is_cut_and_says_so() -> None:
    """The whole of it is in the recipe."""
    found = rung_of({"model": "org/m", "system": "x" * 1300}, entry())["template"]
    assert found.endswith(f'system "{"x" * 200} … (1,100 more characters in recipe.yaml)"')


def test_an_imported_rung_is_told_as_such() -> None:
    """The file's name and digest; nothing that nobody knows."""
    found = rung_of({"responses": "/home/me/a.json"}, entry({"file": "fedcba9876543210"}, engine="imported"))
    assert (found["model"], found["revision"]) == ("responses from a.json", "files fedcba987654")
    assert (found["sampling"], found["template"]) == ("as imported", "as imported")
    weak = recipe_of([{"name": "weak", "responses": "a.json"}])
    found = provenance.rung_facts(weak, weak.generate.rungs[0], entry(), TOLD, "mit")
    assert (found["tokens"], found["cut_off"], found["share_cut_off"]) == (None, "unknown", None)


def test_sources_and_extras_follow_the_recipe() -> None:
    """Hub pools by id, each once; what pip has to install to make the dataset again."""
    pools = [{"name": f"p{at}", "path": path} for at, path in enumerate(("hf:o/a@v1:c", "hf:o/a", "b.jsonl", "hf:o/b"))]
    recipe = recipe_of([{"name": "s", "model": "m"}], pools, score=[{"name": "checks"}])
    assert provenance.sources(recipe) == ["o/a", "o/b"]
    assert provenance.extras(recipe) == "vllm,hub,checks,report"
    imported = recipe_of([{"name": "s", "responses": "a.json"}], score=[{"name": "j", "scores": "j.csv"}])
    assert provenance.sources(imported) == []
    assert provenance.extras(imported) == "report"


def test_a_scorer_that_is_a_model_brings_its_engine() -> None:
    """The scorer's own, else that of the rungs; engines stand in one order, each once."""
    judge = {"name": "j", "scorer": "judge", "model": "m"}
    imported = [{"name": "s", "responses": "a.json"}]
    assert provenance.extras(recipe_of(imported, score=[judge])) == "vllm,report"
    assert provenance.extras(recipe_of(imported, score=[judge | {"engine": "server"}])) == "server,report"
    forward = {"name": "l", "scorer": "logprob", "model": "m"}
    mixed = {"name": "both", "scorer": "combined", "of": ["j", "l"]}
    three = recipe_of(imported, score=[judge | {"engine": "server"}, forward, mixed])
    assert provenance.extras(three) == "transformers,server,report"


def scorer_of(asked: dict[str, Any], made: Entry, told: dict[str, Any], licence: str | None) -> dict[str, Any]:
    recipe = recipe_of([{"name": "s", "model": "m"}], score=[{"name": "j"} | asked])
    return provenance.scorer_facts(recipe.score[0], made, told, licence)


def test_a_scorer_is_told_with_its_model() -> None:
    """What it is and what is said of it as the report has it; its model as a rung's is told, with the licence."""
    told = {"scored_by": {"j": {"what": "a judge's ratings", "said": ["It read 3 tokens."]}}}
    made = entry(rungs=[{"model": "s", "mean": 0.5}], responses=120, revision="abc", dtype="bfloat16")
    asked = {"scorer": "judge", "model": "org/m"}
    assert scorer_of(asked, made, told, "mit") == {
        "name": "j",
        "source": "a judge's ratings",
        "graded": 110,
        "of": 120,
        "means": {"s": 0.5},
        "model": {
            "model": "org/m",
            "link": "https://huggingface.co/org/m",
            "revision": "abc",
            "engine": "vllm 0.30 bfloat16",
            "license": "mit",
        },
        "said": ["It read 3 tokens."],
    }
    local = made._replace(inputs={"model_files": "0123456789abcdef"}, facts=made.facts | {"revision": None})
    found = scorer_of(asked | {"model": "/home/me/secret/m-3b"}, local, told, None)["model"]
    assert found == {
        "model": "m-3b",
        "link": None,
        "revision": "files 0123456789ab",
        "engine": "vllm 0.30 bfloat16",
        "license": "not known",
    }
    served = made._replace(facts=made.facts | {"engine": "server", "revision": None})
    found = scorer_of(asked | {"revision": "v2"}, served, told, "mit")["model"]
    assert (found["link"], found["revision"]) == (None, "v2")


def test_checks_files_and_mixtures_have_no_model() -> None:
    """Told as they were before there were models; a report from then has nothing to say of any."""
    made = entry(rungs=[], responses=120)
    checks = scorer_of({"scorer": "checks"}, made, {}, None)
    assert (checks["source"], checks["model"], checks["said"]) == ("verifiable checks that the prompts carry", None, [])
    assert scorer_of({"scores": "/home/me/j.csv"}, made, {"scored_by": {}}, "mit")["source"] == "scores from j.csv"
    told = {"scored_by": {"both": {"what": "rank average of a, b", "said": []}}}
    files = [{"name": name, "scores": f"{name}.csv"} for name in "ab"]
    both = {"name": "both", "scorer": "combined", "of": ["a", "b"]}
    recipe = recipe_of([{"name": "s", "model": "m"}], score=[*files, both])
    found = provenance.scorer_facts(recipe.score[2], made, told, None)
    assert (found["source"], found["model"]) == ("rank average of a, b", None)


def test_every_part_is_asked_for_its_licence() -> None:
    """Pools, rungs, files of scores and models that score, with what the recipe states and the run knows of them.

    Checks and combined scores are no parts.
    """
    recipe = recipe_of(
        [{"name": "s", "model": "me/own", "license": "mit"}, {"name": "w", "model": "me/other"}],
        [{"name": "own", "path": "pool.jsonl", "license": "cc0-1.0"}, {"name": "hub", "path": "hf:me/prompts"}],
        score=[
            {"name": "j", "scores": "j.csv", "license": "cc-by-4.0"},
            {"name": "checks"},
            {"name": "rm", "scorer": "reward_model", "model": "me/rm", "license": "mit"},
            {"name": "both", "scorer": "combined", "of": ["j", "rm"]},
        ],
    )
    record = {
        "prompts": entry(pools=[{"name": "own"}, {"name": "hub", "license": "odc-by"}]),
        "responses/s": entry(),
        "responses/w": entry(license="Apache-2.0"),
        "scores/rm": entry(license="gemma"),
    }
    found = card.licences(recipe, record)
    assert [one.part for one in found] == [
        Part("prompts/own", "source", "pool.jsonl", "cc0-1.0", None),
        Part("prompts/hub", "source", "hf:me/prompts", None, "odc-by"),
        Part("responses/s", "generator", "me/own", "mit", None),
        Part("responses/w", "generator", "me/other", None, "Apache-2.0"),
        Part("scores/j", "judge", "j.csv", "cc-by-4.0", None),
        Part("scores/rm", "judge", "me/rm", "mit", "gemma"),
    ]
    assert [one.licence for one in found] == ["cc0-1.0", "odc-by", "mit", "apache-2.0", "cc-by-4.0", "gemma"]
    assert all(isinstance(one, Found) for one in found)


def test_every_column_is_explained() -> None:
    """Every column that may be published has a meaning: those of the tables, of all measures, of scores."""
    made = [*measure.NAMES, measure.SIMILARITY, "judge"]
    for field in [*tables.pairs(made, []).schema, *tables.RESPONSES.schema, *tables.PROMPTS.schema]:
        if field.name not in (tables.DROPPED_BY, tables.META, "chosen_sample", "rejected_sample"):
            assert columns.meaning(field.name, ["judge"])
            assert columns.kind(feature(field))
    assert columns.meaning("delta_judge", ["judge"]) == "score by `judge`; null where a side has none"
    assert columns.meaning("score_judge", ["judge"]) == "what `judge` gave the answer; null where it gave nothing"
    assert columns.meaning("rejected_model", []) == "the rung whose answer is `rejected`"
    with pytest.raises(KeyError, match="delta_nothing"):
        columns.meaning("delta_nothing", ["judge"])
    assert columns.kind({"name": "x", "list": "string"}) == "list of string"
    assert columns.kind({"name": "x"} | MESSAGES) == "list of {role, content}"


def test_magnitudes_are_of_scores_and_the_length() -> None:
    """By measure, over the kept and over all pairs, a row for each pairing."""
    found = figures.magnitudes(TOLD)
    assert {over: list(rows) for over, rows in found.items()} == {
        "kept": ["judge", "tokens"],
        "all": ["judge", "tokens"],
    }
    assert found["kept"]["tokens"] == [{"chosen": "strong", "rejected": "weak"} | KEPT["tokens"]]
    assert found["all"]["judge"][0]["n"] == 90


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (
            "deltas",
            "Histograms of the delta of judge and of tokens for each pairing. strong over weak: the delta of judge",
        ),
        ("agreement", "strong over weak: 62\xa0% (57–68\xa0%)."),
        ("ladder", "Strength of each rung by judge, strongest in the recipe first: strong +0.30, weak −0.30."),
        (
            "length",
            "The delta of judge against the delta of tokens, a panel for each pairing. strong over weak: chosen is",
        ),
        ("quality", "The delta of judge against the chosen side's own judge"),
        ("funnel", "100 pairs, 100 after not_empty, 70 after finished."),
        ("unheard", "Picture unheard."),
    ],
)
def test_pictures_have_words(picture: str, said: str) -> None:
    """Who cannot see a picture reads what it says."""
    assert said in figures.seen(picture, TOLD)


def test_a_picture_of_lengths_alone_has_words() -> None:
    """Where no scorer leads, nothing is said twice, and what is not known is left out."""
    bare = told(lead="tokens", scorers=[])
    bare["pairings"][0]["measures"]["tokens"] = NO_STATS
    assert figures.seen("deltas", bare) == "Histograms of the delta of tokens for each pairing. "
    assert "against the tokens of the rejected side" in figures.seen("length", bare)
