"""Scores of several scorers combined: by hand, whatever the order of rows, better than its parts where it can be.

pytest tests/test_combine.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deltadata import combine, tables
from deltadata.combine import FEWEST, RIDGE, fit
from deltadata.errors import UserError
from deltadata.scorer_sections import Combined

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
KEY = ["prompt_id", "model", "sample"]
Scores = dict[tuple[str, str], float | None]


def frame(name: str, scores: Scores) -> pl.DataFrame:
    """As `score.read` gives them; a prompt of one letter stands for its id."""
    rows = [(prompt * 16 if len(prompt) == 1 else prompt, model, 0, score) for (prompt, model), score in scores.items()]
    kinds = {"prompt_id": pl.String, "model": pl.String, "sample": pl.UInt32, name: pl.Float64}
    return pl.DataFrame(rows, kinds, orient="row")


def asked(**fields: Any) -> Combined:
    return Combined.model_validate({"name": "both", "scorer": "combined", "of": ["a", "b"]} | fields)


def scores_of(found: combine.Found) -> dict[tuple[str, str], float | None]:
    rows = found.scores.select("prompt_id", "model", "score").iter_rows()
    return {(prompt[0] if len(set(prompt)) == 1 else prompt, model): score for prompt, model, score in rows}


def made(prompts: int, noise: tuple[float, ...] = (1.0, 1.0), models: int = 2, seed: int = 0) -> list[pl.DataFrame]:
    """Scorers a, b, ... that see the same true worth through noise, and labels that see it bare."""
    random = np.random.default_rng(seed)
    keys = [(tables.fingerprint(number), f"m{model}") for number in range(prompts) for model in range(models)]
    worth = random.normal(size=len(keys))
    seen = [worth + sd * random.normal(size=len(keys)) for sd in noise] + [worth]
    names = [*"abcdefgh"[: len(noise)], "people"]
    return [frame(name, dict(zip(keys, x.tolist(), strict=True))) for name, x in zip(names, seen, strict=True)]


def test_rank_average_by_hand() -> None:
    """Ties share a rank, ranks run from 0 to 1 among all of a scorer's own, and one that lacks a score has none."""
    a = frame("a", {("p", "x"): 1.0, ("p", "y"): 2.0, ("q", "x"): 2.0, ("q", "y"): 9.0})
    b = frame("b", {("p", "x"): 10.0, ("p", "y"): None, ("q", "x"): 0.0, ("q", "y"): 0.0, ("r", "x"): None})
    found = combine.combine(asked(), [a, b], None, 0)
    assert scores_of(found) == {
        ("p", "x"): pytest.approx((0.5 / 4 + 2.5 / 3) / 2),
        ("p", "y"): None,
        ("q", "x"): pytest.approx((2 / 4 + 1 / 3) / 2),
        ("q", "y"): pytest.approx((3.5 / 4 + 1 / 3) / 2),
        ("r", "x"): None,
    }
    assert found.scores.columns == [*KEY, "score"]
    assert found.facts == {
        "scorer": "combined",
        "rule": "rank_average",
        "of": ["a", "b"],
        "labels": None,
        "nulls": {"no score by b": 1, "no score by a or b": 1},
    }


def test_a_scorer_without_any_score_is_not_called_constant() -> None:
    """It gave every response no score: each of them is counted once as such."""
    keys = [("p", "x"), ("p", "y"), ("q", "x")]
    a, b = frame("a", dict.fromkeys(keys)), frame("b", dict.fromkeys(keys, 1.0) | {("q", "x"): None})
    facts = combine.combine(asked(), [a, b], None, 0).facts
    assert facts["constant"] == ["b"]
    assert facts["nulls"] == {"no score by a": 2, "no score by a or b": 1}


def test_rank_average_tells_its_agreement_by_hand() -> None:
    """Over all pairs that have a label and every score; a tie, of labels or of scores, is half."""
    a = frame("a", {("p", "x"): 1.0, ("p", "y"): 2.0, ("p", "z"): 2.0, ("q", "x"): 5.0, ("q", "y"): 4.0, ("r", "x"): 0})
    b = frame("b", {("p", "x"): 3.0, ("p", "y"): 2.0, ("p", "z"): 1.0, ("q", "x"): 6.0, ("q", "y"): 5.0, ("r", "x"): 0})
    labels = {("p", "x"): 1.0, ("p", "y"): 2.0, ("p", "z"): 2.0, ("q", "x"): 7.0, ("q", "y"): None, ("r", "x"): 1.0}
    facts = combine.combine(asked(labels="people"), [a, b], frame("people", labels), 0).facts
    # Pairs of p alone: x < y, x < z, y = z. a is right, right, half. b is wrong, wrong, half.
    assert facts["agreement"]["a"] == {"agreement": pytest.approx(2.5 / 3), "ci95": None, "n": 3}
    assert facts["agreement"]["b"]["agreement"] == pytest.approx(0.5 / 3)
    # a's ranks among its six are x 2, y and z 3.5; b's x 4, y 3, z 2. In sum 6, 6.5 and 5.5: right, wrong, half.
    assert facts["agreement"]["both"]["agreement"] == pytest.approx(1.5 / 3)
    assert facts["gain"] == {"over": "a", "difference": pytest.approx(-1 / 3), "ci95": None}
    assert (facts["labelled_prompts"], facts["labelled_pairs"]) == (1, 3)


def test_labels_of_no_pair_tell_nothing() -> None:
    """rank_average needs none: its scores stand, and the agreement is unknown."""
    a, b, people = made(3)
    found = combine.combine(asked(labels="people"), [a, b], people.clear(), 0)
    assert found.scores["score"].null_count() == 0
    assert found.facts["agreement"]["both"] == {"agreement": None, "ci95": None, "n": 0}
    assert found.facts["gain"] == {"over": "a", "difference": None, "ci95": None}


def test_one_weight_by_hand() -> None:
    """Nine pairs won and one lost by the higher score: where the slope is nought, the ridge taken off."""
    truth = np.array([1] * 8 + [-1, -1])
    features = np.array([[1.0]] * 8 + [[-1.0], [1.0]])  # the ninth is turned round, the tenth lost
    (weight,) = fit(features, truth)
    assert 9 / (1 + np.exp(weight)) - 1 / (1 + np.exp(-weight)) == pytest.approx(RIDGE * weight, abs=1e-9)
    with_ties = fit(np.vstack([features, [[5.0], [-3.0]]]), np.append(truth, [0, 0]))
    assert with_ties == pytest.approx([weight])


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_weights_are_the_most_likely_ones(scale: float) -> None:
    """The slope of the penalised log-likelihood is nought; scikit-learn, where installed, finds the same."""
    random = np.random.default_rng(1)
    features = scale * random.normal(size=(300, 3))
    truth = np.where(random.random(300) < 1 / (1 + np.exp(-features @ [1.0, -0.5, 0.0] / scale)), 1, -1)
    weights = fit(features, truth)

    def likely(at: Any) -> float:
        return float(-np.logaddexp(0, -truth * (features @ at)).sum() - RIDGE / 2 * at @ at)

    for way in np.eye(3) * 1e-4 / scale:
        assert likely(weights) > max(likely(weights + way), likely(weights - way))
    slope = features.T @ (truth / (1 + np.exp(truth * (features @ weights)))) - RIDGE * weights
    assert slope == pytest.approx(np.zeros(3), abs=1e-7 * scale)
    linear = pytest.importorskip("sklearn.linear_model")
    theirs = linear.LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-10, max_iter=10_000)
    assert weights == pytest.approx(theirs.fit(features, truth).coef_[0], rel=1e-4)


def test_scores_that_tell_all_labels_keep_the_weights_finite() -> None:
    """The ridge does that, and scorers that say the same share the weight."""
    features = np.repeat(np.linspace(0.1, 3, 50)[:, None], 2, axis=1)
    weights = fit(features, np.ones(50))
    assert np.isfinite(weights).all() and 0 < weights[0] < 20
    assert weights[0] == pytest.approx(weights[1])


def test_a_logistic_score_is_the_weighted_sum_of_standard_deviations() -> None:
    """Weights, standardised over all of a scorer's scores; a delta is the log-odds; the facts count what was used."""
    a, b, people = made(100, models=3)
    found = combine.combine(asked(rule="logistic", labels="people", held_out=0.3), [a, b], people, 7)
    facts = found.facts
    units = [frame[name].to_numpy() for frame, name in ((a, "a"), (b, "b"))]
    units = [(x - x.mean()) / x.std() for x in units]
    expected = units[0] * facts["weights"]["a"] + units[1] * facts["weights"]["b"]
    both = a.with_columns(expected=pl.Series(expected)).join(found.scores, on=KEY)
    assert both["score"].to_list() == pytest.approx(both["expected"].to_list())

    held = {p for p in a["prompt_id"].unique() if tables.rank(7, "combine", p) < 0.3 * 2**63}
    assert (facts["held_out_prompts"], facts["fitted_prompts"]) == (len(held), 100 - len(held))
    assert (facts["held_out_pairs"], facts["fitted_pairs"]) == (3 * len(held), 300 - 3 * len(held))
    labels = dict(zip(people.select("prompt_id", "model").iter_rows(), people["people"], strict=True))
    marks = {"a": a, "b": b, "both": found.scores.rename({"score": "both"})}
    for name, scores in marks.items():
        rows = dict(zip(scores.select("prompt_id", "model").iter_rows(), scores[name], strict=True))
        right = [
            (rows[prompt, one] > rows[prompt, other]) == (labels[prompt, one] > labels[prompt, other])
            for prompt in held
            for one, other in combinations(("m0", "m1", "m2"), 2)
        ]
        assert facts["agreement"][name]["agreement"] == pytest.approx(np.mean(right))
        assert facts["agreement"][name]["n"] == len(right)
    features = [
        [unit[3 * row + i] - unit[3 * row + j] for unit in units]
        for row, prompt in enumerate(a["prompt_id"].gather_every(3))
        for i, j in combinations(range(3), 2)
        if prompt not in held
    ]
    truth = [
        1 if labels[prompt, f"m{i}"] > labels[prompt, f"m{j}"] else -1
        for prompt in a["prompt_id"].gather_every(3)
        for i, j in combinations(range(3), 2)
        if prompt not in held
    ]
    assert list(facts["weights"].values()) == pytest.approx(fit(np.array(features), np.array(truth)).tolist())


def test_two_noisy_scorers_are_better_together() -> None:
    """On held-out prompts, beyond chance; the less noisy one weighs more, and one of noise alone next to nothing."""
    a, b, c, people = made(2_000, noise=(1.0, 1.5, 1e6), models=3)
    wanted = asked(rule="logistic", labels="people", of=["a", "b", "c"])
    facts = combine.combine(wanted, [a, b, c], people, 0).facts
    shares = {name: told["agreement"] for name, told in facts["agreement"].items()}
    assert shares["both"] > shares["a"] > shares["b"] > 0.6 and shares["c"] == pytest.approx(0.5, abs=0.05)
    assert facts["gain"]["over"] == "a"
    assert facts["gain"]["difference"] == pytest.approx(shares["both"] - shares["a"])
    assert facts["gain"]["ci95"][0] > 0
    weights = facts["weights"]
    assert weights["a"] > weights["b"] > 10 * abs(weights["c"])
    # By theory the weight of a score goes with 1 / variance of its noise: 2.25 to 1, times their own deviations.
    per_unit = weights["a"] / np.sqrt(2), weights["b"] / np.sqrt(3.25)
    assert per_unit[0] / per_unit[1] == pytest.approx(2.25, rel=0.25)
    ranked = combine.combine(asked(labels="people"), [a, b], people, 0).facts
    assert ranked["gain"]["ci95"][0] > 0 and ranked["labelled_prompts"] == 2_000


def test_the_intervals_are_by_prompt() -> None:
    """A plain bootstrap over prompts gives the same, of an agreement and of the difference of two."""
    a, b, people = made(300, noise=(1.0, 1.2), models=4)
    facts = combine.combine(asked(labels="people"), [a, b], people, 0).facts
    found = combine.combine(asked(), [a, b], None, 0).scores
    truth, first, both = (
        np.sign(x[:, left] - x[:, right])
        for left, right in [np.triu_indices(4, 1)]
        for x in (frame.sort(KEY).to_series(3).to_numpy().reshape(300, 4) for frame in (people, a, found))
    )
    right = [((signs * truth + 1) / 2).mean(axis=1) for signs in (both, first)]
    drawn = np.random.default_rng(5).integers(0, 300, (4_000, 300))
    for told, per_prompt in (
        (facts["agreement"]["both"]["ci95"], right[0]),
        (facts["gain"]["ci95"], right[0] - right[1]),
    ):
        assert told == pytest.approx(np.quantile(per_prompt[drawn].mean(axis=1), (0.025, 0.975)).tolist(), abs=0.004)


ROWS = st.dictionaries(
    st.tuples(st.sampled_from("pqrst"), st.sampled_from("xyz")),
    st.tuples(*[st.one_of(st.none(), st.integers(-3, 3), st.floats(-10, 10))] * 3),
    max_size=15,
)


def three(rows: dict[tuple[str, str], tuple[float | None, ...]]) -> list[pl.DataFrame]:
    return [frame(name, {key: of[i] for key, of in rows.items()}) for i, name in enumerate(["a", "b", "people"])]


@settings(deadline=None)
@given(rows=ROWS, data=st.data())
def test_the_order_of_the_rows_changes_no_number(rows: dict[Any, Any], data: st.DataObject) -> None:
    """Not a bit of it, though each scorer's rows are shuffled by themselves."""
    *above, labels = three(rows)
    found = combine.combine(asked(labels="people"), above, labels, 3)
    mixed = [table[data.draw(st.permutations(range(table.height)))] for table in (*above, labels)]
    again = combine.combine(asked(labels="people"), mixed[:2], mixed[2], 3)
    assert again.scores.equals(found.scores) and again.facts == found.facts


def test_the_order_of_the_rows_changes_no_weight() -> None:
    """The same of the logistic rule, to the last bit."""
    wanted, tables_ = asked(rule="logistic", labels="people"), made(60, models=3)
    found = combine.combine(wanted, tables_[:2], tables_[2], 3)
    mixed = [table.sample(fraction=1, shuffle=True, seed=i) for i, table in enumerate(tables_)]
    again = combine.combine(wanted, mixed[:2], mixed[2], 3)
    assert again.scores.equals(found.scores) and again.facts == found.facts


@settings(deadline=None)
@given(rows=ROWS)
def test_only_the_order_of_scores_enters_a_rank_average(rows: dict[Any, Any]) -> None:
    """A scorer in other units, rising with the old ones, gives the same combined scores and agreement."""
    a, b, labels = three(rows)
    found = combine.combine(asked(labels="people"), [a, b], labels, 0)
    other = a.with_columns(pl.when(pl.col("a") > 0).then(pl.col("a") * 16).otherwise(pl.col("a") * 2))
    again = combine.combine(asked(labels="people"), [other, b], labels, 0)
    assert again.scores.equals(found.scores) and again.facts == found.facts


def test_sides_and_labels_turned_round() -> None:
    """Models in another order are the same pairs with other sides; labels turned round are weights turned round."""
    a, b, people = made(80, models=3)
    wanted = asked(rule="logistic", labels="people")
    found = combine.combine(wanted, [a, b], people, 0)
    names = {"m0": "z", "m1": "y", "m2": "x"}
    renamed = [table.with_columns(pl.col("model").replace(names)) for table in (a, b, people)]
    swapped = combine.combine(wanted, renamed[:2], renamed[2], 0)
    assert swapped.facts["weights"] == pytest.approx(found.facts["weights"])
    assert swapped.facts["agreement"] == found.facts["agreement"]
    against = combine.combine(wanted, [a, b], people.with_columns(-pl.col("people")), 0)
    assert against.facts["weights"] == pytest.approx({name: -w for name, w in found.facts["weights"].items()})
    assert against.facts["agreement"]["both"] == found.facts["agreement"]["both"]
    alone, turned = (told["agreement"]["a"]["agreement"] for told in (found.facts, against.facts))
    assert turned == pytest.approx(1 - alone)


def test_a_scorer_that_always_says_the_same_weighs_nothing() -> None:
    """And the facts name it; a response that it did not score has no combined score all the same."""
    a, b, people = made(60)
    flat = b.with_columns(pl.when(pl.int_range(pl.len()) > 0).then(pl.lit(0.7)).alias("b"))
    for rule in ("logistic", "rank_average"):
        found = combine.combine(asked(rule=rule, labels="people"), [a, flat], people, 0)
        assert found.facts["constant"] == ["b"]
        assert found.facts["agreement"]["b"]["agreement"] == 0.5
        assert found.facts["gain"]["difference"] == 0.0
        assert found.scores["score"].null_count() == 1
    assert combine.combine(asked(rule="logistic", labels="people"), [a, flat], people, 0).facts["weights"]["b"] == 0.0


def test_equal_scores_have_one_combined_score() -> None:
    """To the last bit, wherever they stand: a tie must stay a tie."""
    a, b, c, people = made(200, noise=(1.0, 2.0, 3.0), models=3)
    twins = [table.with_columns(pl.col(name).round(0)) for name, table in zip("abc", (a, b, c), strict=True)]
    wanted = asked(rule="logistic", labels="people", of=["a", "b", "c"])
    found = combine.combine(wanted, twins, people, 0).scores
    for table in twins:
        found = found.join(table, on=KEY)
    kinds = found.group_by("a", "b", "c").agg(pl.col("score").n_unique(), pl.len().alias("n"))
    assert kinds["n"].max() > 5 and set(kinds["score"]) == {1}  # type: ignore[operator]


def test_prompts_that_are_added_move_no_other() -> None:
    """Which prompts are held out goes by the seed and the prompt."""
    ids = [tables.fingerprint(number) for number in range(1_000)]
    held = combine._held_out(ids, 0.2, 5)
    assert held.mean() == pytest.approx(0.2, abs=0.03)
    assert (combine._held_out(ids[::-1], 0.2, 5) == held[::-1]).all()
    assert (combine._held_out(ids, 0.2, 6) != held).any()
    assert (combine._held_out(ids, 0.5, 5) >= held).all()


@pytest.mark.parametrize(
    ("labels", "said", "cure"),
    [
        (pl.lit(None, pl.Float64), "no prompt has two responses that people labels and a and b score", "rank_average"),
        (pl.lit(1.0), "people gives both responses the same label in all 60 pairs", "label which of a prompt"),
        (
            pl.when(pl.int_range(pl.len()) < 36).then("people"),
            f"9 labelled prompts to fit on and 9 held out; {FEWEST} of each are the least",
            "label more prompts",
        ),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: pl.Expr, said: str, cure: str) -> None:
    """Too few, none, or all equal: what there is, and what would help."""
    a, b, people = made(60)
    with pytest.raises(UserError) as refused:
        combine.combine(asked(rule="logistic", labels="people"), [a, b], people.with_columns(labels.alias("people")), 0)
    assert refused.value.where == "scorer 'both'"
    assert said in refused.value.what and cure in str(refused.value.cure)


def test_complete_labels_are_not_asked_for_where_a_scorer_has_no_scores() -> None:
    """What is lacking is named: scores of what has a label, or scorers that see the same responses."""
    a, b, people = made(60)
    wanted = asked(rule="logistic", labels="people")
    no_b = b.with_columns(pl.lit(None, pl.Float64).alias("b"))
    first = pl.col("model") == "m0"
    ours, theirs = (
        a.with_columns(pl.when(first).then("a").alias("a")),
        b.with_columns(pl.when(~first).then("b").alias("b")),
    )
    with pytest.raises(UserError) as refused:
        combine.combine(wanted, [a, no_b], people, 0)
    assert refused.value.what.endswith("a and b score: no two of the labelled have a score by b")
    assert refused.value.cure == "see why responses have no score by b, or leave it out of `of`"
    with pytest.raises(UserError, match="no two of the labelled have a score by a or by b"):
        combine.combine(wanted, [ours, theirs], people, 0)


def test_ten_prompts_on_each_side_are_enough() -> None:
    """One less on either is not."""
    a, b, people = made(60)
    ids = people["prompt_id"].unique(maintain_order=True).to_list()
    held = combine._held_out(ids, 0.5, 0)
    sides = [[prompt for prompt, out in zip(ids, held, strict=True) if out is side] for side in (np.False_, np.True_)]
    for some in ((FEWEST, FEWEST), (FEWEST - 1, FEWEST), (FEWEST, FEWEST - 1)):
        kept = [prompt for side, n in zip(sides, some, strict=True) for prompt in side[:n]]
        labels = people.filter(pl.col("prompt_id").is_in(kept))
        if min(some) == FEWEST:
            facts = combine.combine(asked(rule="logistic", labels="people"), [a, b], labels, 0).facts
            assert (facts["fitted_prompts"], facts["held_out_prompts"]) == some
            continue
        with pytest.raises(UserError, match=f"{some[0]} labelled prompts to fit on and {some[1]} held out"):
            combine.combine(asked(rule="logistic", labels="people"), [a, b], labels, 0)


def words(text: str) -> int:
    return len({*text.lower().split()})


@pytest.mark.skipif(not (DATA / "alpaca_eval").is_dir(), reason="needs the published answers beside the checkout")
def test_a_real_run_combines_and_tells(tmp_path: Path) -> None:
    """Six models' answers, GPT-4-turbo's scores as labels; length, list items and words of the prompt as scorers."""
    recipe = yaml.safe_load(
        (ROOT / "recipes" / "alpaca_eval.yaml").read_text().replace("alpaca_eval/", f"{DATA}/alpaca_eval/")
    )
    rungs = [rung for rung in recipe["generate"]["rungs"] if not rung["name"].startswith("Qwen")]
    answers = {
        (row["instruction"], rung["name"]): row["output"]
        for rung in rungs
        for row in json.loads(Path(rung["responses"]).read_text(encoding="utf-8"))
    }
    cheap = {
        "length": {key: np.log1p(len(text)) for key, text in answers.items()},
        "items": {key: text.count("\n*") + text.count("\n1") for key, text in answers.items()},
        "own_words": {key: -words(key[0]) / max(words(text), 1) for key, text in answers.items()},
    }
    for name, scores in cheap.items():
        rows = [{"prompt": prompt, "model": model, "score": x} for (prompt, model), x in scores.items()]
        pl.DataFrame(rows).cast({"score": pl.Float64}).write_csv(tmp_path / f"{name}.csv")
    recipe["generate"]["rungs"] = rungs
    recipe["pair"]["pairings"] = recipe["pair"]["pairings"][:3]
    mixed = {"scorer": "combined", "of": list(cheap), "labels": "gpt4_turbo"}
    recipe["score"] += [{"name": name, "scores": f"{name}.csv"} for name in cheap]
    recipe["score"] += [{"name": "learnt", "rule": "logistic"} | mixed, {"name": "ranked"} | mixed]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "deltadata", "run", "recipe.yaml", "--run", "run"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "run" / "record.json").read_text())["tables"]
    learnt, ranked = (record[f"scores/{name}"]["facts"] for name in ("learnt", "ranked"))
    assert learnt["fitted_prompts"] + learnt["held_out_prompts"] == ranked["labelled_prompts"] == 805
    assert ranked["labelled_pairs"] == 805 * 15
    for name, told in learnt["agreement"].items():
        assert 0.4 < told["ci95"][0] < told["agreement"] < told["ci95"][1] < 0.8, name
    assert learnt["gain"]["ci95"][0] <= learnt["gain"]["difference"] <= learnt["gain"]["ci95"][1]
    assert learnt["agreement"]["learnt"]["agreement"] > 0.5
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {name: one["gain"] for name, one in report["scored_by"].items()} == {
        "learnt": learnt["gain"],
        "ranked": ranked["gain"],
    }
    assert [one["text"].split(",")[0] for one in report["findings"] if one["kind"] == "combined"] == [
        "learnt is not shown to be better than own_words",
        "ranked is better than own_words",
    ]
    pairs = pl.read_parquet(tmp_path / "run" / "pairs.parquet")
    assert pairs["delta_learnt"].null_count() == 0 and pairs["delta_ranked"].is_between(-1, 1).all()
