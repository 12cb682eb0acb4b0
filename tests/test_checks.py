"""A check tells the answers that meet it from those that do not, without a model, and a mistaken one is refused.

pytest tests/test_checks.py
"""

from __future__ import annotations

import json
import time
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltadata.errors import UserError
from deltadata.scorers import Asked, BadCheck, answers, constraints, counting
from deltadata.scorers.checks import Checks

POOL = Path(__file__).parents[1] / "recipes" / "data" / "starter.jsonl"
STARTER = [json.loads(line) for line in POOL.read_text(encoding="utf-8").splitlines()]
CHECKED = [row for row in STARTER if "check" in row]


def scores(carried: Any, *responses: str, form: str = "auto", column: str = "check") -> list[float | None]:
    """The scores of responses to one prompt that carries this in the column `check`."""
    asked = Asked([{"role": "user", "content": "?"}], {"check": carried})
    return list(Checks(form=form, column=column).score([asked] * len(responses), responses))


def refusal(carried: Any, form: str = "auto") -> str:
    """What is said of a prompt that carries this."""
    with pytest.raises(BadCheck) as met:
        Checks(form=form).refuse(Asked([], {"check": carried}))
    return str(met.value)


@pytest.mark.parametrize("row", CHECKED, ids=[row["prompt"][:40] for row in CHECKED])
def test_the_starter_pools_golds_pass_and_its_counters_do_not(row: dict[str, Any]) -> None:
    """Every checked prompt of the starter pool: its own good answer has 1.0, its counter-example less."""
    gold, counter = scores(row["check"], row["gold"], row["counter"])
    assert gold == 1.0
    assert counter is not None
    assert counter < 1.0


SHOUTED = "SQUARE ROOT OF 1,764, PLEASE. JUST THE NUMBER.\n\nTHE LIGHT GOES ROUND ABOVE THE SEA. Bye now."

# constraint, answers that meet it, answers that do not
CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"kind": "number", "value": 408}, ["17 × 24 = 408", "408.", "It is **408**!"], ["398", "none", "408 - 1 = 407"]),
    ({"kind": "number", "value": 0.3}, ["0.3", "3/10", "0.3000001"], ["0.31"]),
    ({"kind": "number", "value": 1.25, "tolerance": 0.01}, ["1.26", "1.24"], ["1.2601", "1.2399"]),
    ({"kind": "exact", "any_of": ["Paris", "the city"]}, ["paris.", '"Paris"', "**The  city**"], ["In Paris", "Pari"]),
    ({"kind": "choice", "letter": "B"}, ["B", "(B)", "B. Lyon", "The answer is **B**"], ["A", "A or B", "", "Bees"]),
    ({"kind": "regex", "pattern": "^####"}, ["1\n#### 2", "####"], ["1 ####"]),
    ({"kind": "json"}, ["[1]", '```json\n{"a": 1}\n```', "3"], ["[1", "Here: [1]", "[NaN]", "[" * 100_000]),
    ({"kind": "json", "type": "object"}, ['{"a": 1}'], ["[1]"]),
    ({"kind": "json", "type": "array", "length": 2}, ["[1, 2]"], ["[1]", '{"a": 1, "b": 2}']),
    ({"kind": "json", "keys": ["a", "b"]}, ['{"b": 1, "a": 2, "c": 3}'], ['{"a": 1}', '["a", "b"]']),
    ({"kind": "json", "length": 0}, ["[]", "{}"], ["[0]", "0"]),
    ({"kind": "count", "of": "words", "relation": "exactly", "n": 2}, ["two words", "it's\nfine"], ["one", "a b c"]),
    ({"kind": "count", "of": "words", "relation": "at_most", "n": 2}, ["two words", "one"], ["a b c"]),
    ({"kind": "count", "of": "words", "relation": "at_least", "n": 2}, ["two words", "a b c"], ["one"]),
    ({"kind": "include", "all": ["tea", "Milk"]}, ["TEA with milk"], ["tea", "milk"]),
    ({"kind": "include", "any": ["tea", "Milk"]}, ["teapot", "milk"], ["water"]),
    ({"kind": "exclude", "any": ["rain", "C++"]}, ["The train.", "C"], ["Rain.", "I use c++ daily", "a-rain-b"]),
    ({"kind": "starts_with", "text": "Dear"}, ["\n Dear Ann"], ["dear Ann", "My Dear"]),
    ({"kind": "ends_with", "text": "?"}, ["Why? \n"], ["Why?!"]),
    ({"kind": "case", "of": "lower"}, ["all of it, 3 times"], ["All of it", "123"]),
    ({"kind": "case", "of": "upper"}, ["WET FLOOR 3"], ["WET fLOOR", "123"]),
    ({"kind": "language", "code": "es"}, ["El perro duerme en la casa."], ["O cão dorme na casa dele.", "123 456"]),
    (
        {"kind": "language", "code": "af"},
        ["Die hond slaap in die huis en wag."],
        ["2 - 6 = -4\n3 * (-4) = -12\n#### 17"],
    ),
    ({"kind": "language", "code": "en"}, [SHOUTED], ["BITTE SCHLIESSEN SIE DIE TÜR HINTER SICH."]),
    ({"kind": "number", "value": 5, "tolerance": None}, ["5"], ["6"]),
    ({"kind": "repetition", "at_most": 0.5}, ["I am. I am. He is.", "I am. I am."], ["I am. I  AM. i am."]),
    ({"kind": "repetition", "at_most": 0}, ["- tea\n- milk", "..."], ["- tea\n- milk\n- tea"]),
    ({"kind": "ifeval", "id": "punctuation:no_comma"}, ["Tea; milk"], ["Tea, milk"]),
]


def test_every_kind_is_tried() -> None:
    """No kind of constraint is without its good and bad answers above."""
    assert {case[0]["kind"] for case in CASES} == set(constraints.KINDS)


@pytest.mark.parametrize(("check", "meet", "miss"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_constraint_tells_answers_apart(check: dict[str, Any], meet: list[str], miss: list[str]) -> None:
    """Those that meet it have 1, the others 0."""
    assert scores([check], *meet) == [1.0] * len(meet)
    assert scores([check], *miss) == [0.0] * len(miss)


MARKDOWN = """# Tea

Dr. Lee drinks **tea** at 3.5 degrees. "Why?" asks Ann, e.g. at noon.
It goes on

## Steps
1. Boil it.
2) __Wait__ for **all of it**
- Milk
  * Sugar

```sh
# no heading
- no bullet **nor bold**
```"""
COUNTED = {
    "words": 43,
    "lines": 12,
    "paragraphs": 4,
    "bullets": 2,
    "numbered": 2,
    "bold": 3,
    "headings": 2,
    "sections": 2,
    "characters": 205,
}


@pytest.mark.parametrize(("of", "expected"), COUNTED.items())
def test_what_is_counted(of: str, expected: int) -> None:
    """Counts of a small Markdown text, by hand; code is no Markdown."""
    assert counting.COUNTS[of](MARKDOWN) == expected


SENTENCES = [
    ("One. Two! Three?", 3),
    ("No full stop", 1),
    ("", 0),
    ("... !!! -", 0),
    ("Mr. J. R. Smith paid $3.50 on Main St. Louis.", 1),
    ("We sell fruit, e.g. apples, pears etc. and more. Come!", 2),
    ("We sell pears etc. Come in.", 2),
    ("Come at 5 p.m. sharp. Bring tea.", 2),
    ("“Stop!” he said. “Why?” She went.", 3),
    ('He left ("for good."). She stayed.', 2),
    ("all of it in small letters. two sentences, no more.", 2),
    ("A line\nthat goes on. And\non.", 2),
    ("Two paragraphs\n\nwithout full stops", 2),
    ("1. Boil water\n2. Add tea. Wait.", 3),
    ("# Tea\nIt is hot.", 2),
    ("Wait... what? Yes…", 3),
    ("これは本です。あれは？はい！", 3),
    ("It costs 3.5. That is 1.5 more.", 2),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_sentences_are_counted_as_a_reader_would(text: str, expected: int) -> None:
    """Abbreviations, decimals, quotations and lists do not fool it."""
    assert counting.sentences(text) == expected


def test_the_score_is_the_share_of_constraints_met() -> None:
    """One of two is 0.5; each counts the same; an empty response meets nothing, not even what is forbidden."""
    check = [{"kind": "exclude", "any": ["tea"]}, {"kind": "case", "of": "lower"}]
    assert scores(check, "milk", "Milk", "Tea", "", " \n") == [1.0, 0.5, 0.0, 0.0, 0.0]
    third = [*check, {"kind": "ends_with", "text": "!"}]
    assert scores(third, "Milk!") == [2 / 3]


@pytest.mark.parametrize("form", ["auto", "constraints", "final_answer", "choice", "ifeval"])
def test_nothing_to_grade_has_no_score(form: str) -> None:
    """Without the column, or with null, an empty list or text in it, a response is not graded, and not refused."""
    for carried in (None, [], ""):
        assert scores(carried, "a", form=form) == [None]
    assert list(Checks(form=form).score([Asked([], {})], ["a"])) == [None]


def test_graded_and_ungraded_prompts_mix() -> None:
    """One number per response in the order of the prompts, from lazy inputs, and from another column."""
    asked = [Asked([], meta) for meta in ({"answer": 4}, {}, {"answer": [{"kind": "case", "of": "upper"}]})]
    scorer = Checks(column="answer")
    assert list(scorer.score(iter(asked), iter(["4", "5", "A"]))) == [1.0, None, 1.0]
    assert scorer.facts == {"scorer": "checks", "form": "auto", "column": "answer", "py3langid": version("py3langid")}


def test_every_prompt_has_its_response() -> None:
    """More prompts than responses, or fewer, are an error and not lost."""
    for prompts, responses in ((1, 2), (2, 1)):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            list(Checks().score([Asked([], {})] * prompts, ["a"] * responses))


# reference, answers that are it, answers that are not
FINALS: list[tuple[Any, list[str], list[str]]] = [
    (
        "She has 9 eggs.\n9 * 2 = 18\n#### 18",
        ["18", "#### 18\n", "\\boxed{18}", "so 18 eggs"],
        ["9", "#### 19", "none"],
    ),
    (18, ["The answer is $18.00.", "It is 3, no: the answer is 18, not 19."], ["The answer is 19, not 18."]),
    ("1,234.50", ["1234.5", "$1,234.50", "1,234.50 euros", "1{,}234.5"], ["1,234", "234.50", "1.2345"]),
    ("-3", ["-3", "−3", "x = -3.", "$-3$", "$-3 lost", "is –3"], ["3", "5-3", "5 - 3"]),
    ("$-3", ["-3", "-$3", "$-3.00"], ["3"]),
    ("3.", ["3", "3.0", "Total: 3."], ["30", "0.3"]),
    ("$42$", ["42", "$$42$$", "\\$42", "\\(42\\)"], ["4", "2"]),
    ("\\frac{1}{2}", ["0.5", "1/2", "\\dfrac12", "½", ".5"], ["1", "2", "1/3", "12"]),
    ("1/3", ["0.3333333", "2/6"], ["0.333", "0.33334"]),
    ("2 1/2", ["2.5", "2½", "5/2", "2 1/2 cups"], ["2", "1/2"]),
    ("\\boxed{\\frac{3}{4}}", ["It is \\boxed{\\frac{3}{4}}$.", "The answer is 3/4"], ["\\boxed{\\frac{4}{3}}"]),
    ("50%", ["50%", "50", "50 \\%", "0.5"], ["5%", "0.05"]),
    (0.1, ["0.1", "1/10", "10^{-1} = 0.1"], ["0.2"]),
    ("6e3", ["6000", "6,000"], ["63", "6"]),
    ("1/0", ["1/0"], ["1", "0"]),
    (7, ["\\boxed{x = 7}", "The answer is 3 + 4 = 7.", "**Answer:** 7", "**Answer**: 7 (not 8)"], ["\\boxed{8} 7"]),
    (7, ["The answer is below.\n\n7", "answer to the last question is: 7, I think 8 is wrong"], ["The answer is 8. 7"]),
    (10, ["10", "1.0e1", "9 + 1 = 10"], ["9" * 5000, "1e99", "100"]),
    (
        "Paris",
        ["paris", "**Paris**.", "The answer is Paris.", "Hm.\nParis", "\\boxed{\\text{Paris}}"],
        ["Lyon", "Not Paris"],
    ),
    ("x^2 + 1", ["\\boxed{x^2+1}", "$x^2 + 1$"], ["\\boxed{x^2-1}", "x^2"]),
    ("\\boxed{\\sqrt{2}}", ["\\boxed{1}, no: \\boxed{\\sqrt{2}}"], ["\\boxed{\\sqrt{3}}", "\\boxed{\\sqrt{2}"]),
    ("90^\\circ", ["90", "90^{\\circ}"], ["9"]),
    ("(3, 4)", ["\\boxed{(3,4)}", "The answer is (3, 4)."], ["\\boxed{(4,3)}", "4"]),
]


@pytest.mark.parametrize(("reference", "same", "other"), FINALS, ids=[str(final[0])[:30] for final in FINALS])
@pytest.mark.parametrize("form", ["auto", "final_answer"])
def test_a_final_answer_is_found_and_compared(form: str, reference: Any, same: list[str], other: list[str]) -> None:
    """As a number where the reference is one, else as text, wherever the response puts it."""
    assert scores(reference, *same, form=form) == [1.0] * len(same)
    assert scores(reference, *other, form=form) == [0.0] * len(other)


@given(st.integers(-(10**9), 10**9), st.integers(0, 99))
def test_a_number_is_itself_however_it_is_written(whole: int, hundredths: int) -> None:
    """With separators, a currency, a Unicode minus, in a box or in a sentence."""
    sign = "-" if whole < 0 else ""
    wanted = Fraction(f"{whole}.{hundredths:02}")
    grouped = f"{sign}{abs(whole):,}.{hundredths:02}"
    minus = grouped.replace("-", "−")
    for written in (grouped, minus, f"{sign}${grouped.lstrip('-')}", f"\\boxed{{{grouped}}}", f"It is {minus}, yes."):
        assert answers.final_number(written) == wanted
    assert answers.number(grouped) == wanted


@given(
    st.text(min_size=1).filter(lambda text: answers.normal(text) != ""),
    st.sampled_from(['"{}"', "{}", " {}\n", "**{}**"]),
)
def test_an_exact_answer_is_itself(text: str, dress: str) -> None:
    """Any text is met by itself, in quotes, in bold and among white space, and not by itself with a word more."""
    check = [{"kind": "exact", "any_of": [text]}]
    if text.strip():
        assert scores(check, dress.format(text), f"{text} indeed") == [1.0, 0.0]


@given(st.text(alphabet="ab1.,-$%/\\{}*#:()[]<> \n\"'_=−½", max_size=60))
def test_no_text_breaks_a_check(text: str) -> None:
    """Whatever a model says, every kind of constraint and every form says met or not."""
    checks = [case[0] for case in CASES]
    for carried, form in ((checks, "auto"), ("42", "auto"), ("Paris", "auto"), ("B", "choice")):
        (score,) = scores(carried, text, form=form)
        assert score is not None
        assert 0 <= score <= 1


CHOICES = [
    ("B", "B"),
    ("b", "B"),
    ("(b)", "B"),
    ("B.", "B"),
    ("**B**", "B"),
    ("(B) Paris", "B"),
    ("B) Paris", "B"),
    ("B: Paris", "B"),
    ("B - Paris", "B"),
    ("Answer: B", "B"),
    ("**Answer: B**", "B"),
    ("The answer is **B**.", "B"),
    ("The correct answer is (b).", "B"),
    ("The best answer is option B, as A is wrong.", "B"),
    ("The answer is B because a bee stings.", "B"),
    ("The answer to the question is: B", "B"),
    ("A is too small and C too large.\n\nB", "B"),
    ("A. is wrong\nB. is right\n\nThe answer is B", "B"),
    ("A. It is too small.\n\nB", "B"),
    ("I pick option B here.", "B"),
    ("It must be (B), I am sure.", "B"),
    ("so \\boxed{\\text{B}}", "B"),
    ("\\boxed{(B)} is the answer: A", "B"),
    ("The answer is A or B", None),
    ("The answer is A. No, the answer is B.", None),
    ("A. Lyon\nB. Paris", None),
    ("Option A beats option B.", None),
    ("Either (A) or (B)", None),
    ("A cat sleeps.", None),
    ("The answer is A cat.", None),
    ("The answer is unclear.", None),
    ("I'd say it is Bordeaux.", None),
    ("\\boxed{A, B}", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), CHOICES)
def test_a_choice_is_read_and_an_ambiguous_one_is_none(text: str, expected: str | None) -> None:
    """The ways in which models name an option."""
    assert answers.letter(text) == expected


def test_a_choice_is_given_by_letter_index_or_label() -> None:
    """A letter in either case, an index from 0 as in MMLU, or a digit in quotes as ARC labels some options."""
    for carried in ("B", "b", "(B)", " B. ", 1):
        assert scores(carried, "B", "A", "A or B", form="choice") == [1.0, 0.0, 0.0]
    assert scores("2", "The answer is 2", "The answer is 22", "B", form="choice") == [1.0, 0.0, 0.0]
    assert scores(0, "A", "B", form="choice") == [1.0, 0.0]


BAD: list[tuple[Any, str]] = [
    ([{"kind": "counts"}], "no constraint is called 'counts'; did you mean 'count'?"),
    ([{"kind": ["count"]}], "no constraint is called ['count']; did you mean 'count'?"),
    ([{"of": "words"}], "{'of': 'words'} has no kind; known are: number, exact"),
    (["no commas"], "'no commas' is no constraint; write {kind: …}"),
    ([{"kind": "count", "of": "words", "relation": "exactly"}], "count: needs 'n'"),
    ([{"kind": "case", "off": "lower"}], "case: takes no 'off'; did you mean 'of'?"),
    ([{"kind": "case", "of": "title"}], "case: of should be 'lower' or 'upper', not 'title'"),
    ([{"kind": "count", "of": "word", "relation": "exactly", "n": 1}], "count: of should be 'words', 'sentences'"),
    (
        [{"kind": "count", "of": "words", "relation": "exactly", "n": "1"}],
        "count: n should be a valid integer, not '1'",
    ),
    (
        [{"kind": "count", "of": "words", "relation": "exactly", "n": -1}],
        "count: n should be greater than or equal to 0",
    ),
    ([{"kind": "number", "value": True}], "number: value should be a valid number, not True"),
    (
        [{"kind": "number", "value": 1, "tolerance": -1}],
        "number: tolerance should be greater than or equal to 0, not -1",
    ),
    ([{"kind": "exact", "any_of": "Paris"}], "exact: any_of should be a valid list, not 'Paris'"),
    ([{"kind": "exact", "any_of": []}], "exact: List should have at least 1 item"),
    ([{"kind": "exact", "any_of": ["a", 3]}], "exact: any_of.1 should be a valid string, not 3"),
    ([{"kind": "choice", "letter": "BC"}], "choice: String should match pattern"),
    ([{"kind": "regex", "pattern": "(a"}], "regex: '(a' is no regular expression: missing )"),
    ([{"kind": "include"}], "include: takes `all` or `any`, one of the two"),
    ([{"kind": "include", "all": ["a"], "any": ["b"]}], "include: takes `all` or `any`, one of the two"),
    ([{"kind": "language", "code": "english"}], "language: 'english' is no ISO 639-1 code that can be detected"),
    ([{"kind": "repetition", "at_most": 2}], "repetition: at_most should be less than or equal to 1, not 2"),
    ([{"kind": "ifeval", "id": "no_comma"}], "IFEval has no instruction 'no_comma'; known are: keywords:existence,"),
    ([{"kind": "starts_with", "text": "a"}, {"kind": "starts_with", "text": ""}], "starts_with: String should have"),
    (
        {"kind": "json"},
        "'check' is no reference (a number or a text) but an object; constraints stand in a list: [{kind",
    ),
    (True, "'check' is no reference (a number or a text) but yes or no"),
    ("so\n#### ", "'check' holds no answer"),
    ("number", "'check' is the name of a constraint alone, 'number'; write [{kind: number}], or say `form: final_ans"),
    ("\\boxed{}", "'check' holds no answer behind its #### or in its \\boxed{}"),
]


@pytest.mark.parametrize(("carried", "said"), BAD, ids=[str(bad[0])[:50] for bad in BAD])
def test_a_mistaken_check_is_refused_before_any_response(carried: Any, said: str) -> None:
    """Unknown kinds, wrong parameters and what is no check say what is wrong."""
    assert refusal(carried).startswith(said)


@pytest.mark.parametrize(
    ("carried", "form", "said"),
    [
        ("42", "constraints", "'check' is no list of constraints but a text"),
        ({"kind": "json"}, "constraints", "'check' is no list of constraints but an object"),
        ([1], "final_answer", "'check' is no reference (a number or a text) but a list"),
        ("BC", "choice", "'check' is no option (a letter, or an index from 0 to 25) but 'BC'"),
        (26, "choice", "'check' is no option (a letter, or an index from 0 to 25) but 26"),
        (True, "choice", "'check' is no option (a letter, or an index from 0 to 25) but True"),
    ],
)
def test_a_check_that_does_not_fit_its_form_is_refused(carried: Any, form: str, said: str) -> None:
    """The form is named by the recipe, the column's value by its kind."""
    assert refusal(carried, form) == said


def test_a_reference_may_be_the_name_of_a_constraint_where_the_form_says_so() -> None:
    """`number` is an answer like any other under `form: final_answer`."""
    (score,) = Checks(form="final_answer").score([Asked([], {"check": "number"})], ["A number."])
    assert score == 0.0
    (score,) = Checks(form="final_answer").score([Asked([], {"check": "number"})], ["number"])
    assert score == 1.0


def test_a_good_check_is_not_refused() -> None:
    """Nothing is said of the starter pool's prompts, checked or not."""
    scorer = Checks()
    for row in STARTER:
        scorer.refuse(Asked([], row))


def test_a_form_that_does_not_exist_is_refused() -> None:
    """With the name that was meant."""
    with pytest.raises(UserError) as met:
        Checks(form="choices")
    assert (met.value.what, met.value.cure) == ("no form is called 'choices'", "did you mean 'choice'?")


def test_many_gradings_take_seconds() -> None:
    """20,000 gradings of the starter pool's checks; a laptop does them in about a second."""
    asked = [Asked([], row) for row in CHECKED if all(one["kind"] != "language" for one in row["check"])]
    rounds = 20_000 // len(asked) + 1
    start = time.perf_counter()
    done = list(Checks().score(asked * rounds, [row["check"][0]["kind"] for row in CHECKED[: len(asked)]] * rounds))
    assert len(done) >= 20_000
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    "long", ["9" * 50_000, "[" * 50_000, "\n" * 50_000 + "a", "* " * 25_000, "\\boxed{" * 8000, "#### " * 9000]
)
def test_a_response_that_runs_wild_is_graded_in_time(long: str) -> None:
    """Texts of 50,000 equal signs, as a model that loops writes them, take no more than seconds in all checks."""
    checks = [case[0] for case in CASES] + [
        {"kind": "count", "of": of, "relation": "at_least", "n": 1} for of in counting.COUNTS
    ]
    start = time.perf_counter()
    scores(checks, long)
    for reference, form in (("42", "auto"), ("Paris", "auto"), ("B", "choice")):
        scores(reference, long, form=form)
    assert time.perf_counter() - start < 20
