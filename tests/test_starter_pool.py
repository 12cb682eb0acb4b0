"""The hand-written prompts in recipes/data/starter.jsonl keep the form the recipes rely on."""

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

POOL = Path(__file__).resolve().parents[1] / "recipes" / "data" / "starter.jsonl"

KINDS = {
    "constraints",
    "arithmetic",
    "word_problem",
    "extraction",
    "rewriting",
    "classification",
    "short_writing",
    "formats",
    "everyday",
}

LANGUAGES = {"en", "es", "fr", "de", "it", "pt"}
RELATIONS = {"at_least", "at_most", "exactly"}
COUNTED = {
    "words",
    "sentences",
    "lines",
    "paragraphs",
    "bullets",
    "numbered",
    "bold",
    "sections",
    "characters",
}


def _text(value):
    return isinstance(value, str) and value != ""


def _texts(value):
    return isinstance(value, list) and bool(value) and all(_text(item) for item in value)


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _letter(value):
    return isinstance(value, str) and re.fullmatch("[A-Z]", value) is not None


def _pattern(value):
    if not _text(value):
        return False
    try:
        re.compile(value, re.MULTILINE)
    except re.error:
        return False
    return True


def _one_of(options):
    return lambda value: isinstance(value, str) and value in options


# For each constraint kind: the parameter sets it may come with, and what each value must be.
FORMS = {
    "number": ([{"value"}, {"value", "tolerance"}], {"value": _number, "tolerance": _number}),
    "exact": ([{"any_of"}], {"any_of": _texts}),
    "choice": ([{"letter"}], {"letter": _letter}),
    "regex": ([{"pattern"}], {"pattern": _pattern}),
    "json": (
        [
            set(),
            {"keys"},
            {"type"},
            {"length"},
            {"keys", "type"},
            {"type", "length"},
        ],
        {"keys": _texts, "type": _one_of({"object", "array"}), "length": _whole},
    ),
    "count": (
        [{"of", "relation", "n"}],
        {"of": _one_of(COUNTED), "relation": _one_of(RELATIONS), "n": _whole},
    ),
    "include": ([{"all"}, {"any"}], {"all": _texts, "any": _texts}),
    "exclude": ([{"any"}], {"any": _texts}),
    "starts_with": ([{"text"}], {"text": _text}),
    "ends_with": ([{"text"}], {"text": _text}),
    "case": ([{"of"}], {"of": _one_of({"lower", "upper"})}),
    "language": ([{"code"}], {"code": _one_of(LANGUAGES)}),
}


def _rows():
    return [json.loads(line) for line in POOL.read_text(encoding="utf-8").split("\n") if line]


def _checked():
    return [row for row in _rows() if "check" in row]


def _fault(constraint):
    if constraint.get("kind") not in FORMS:
        return "unknown kind"
    allowed, tests = FORMS[constraint["kind"]]
    given = {name: value for name, value in constraint.items() if name != "kind"}
    if set(given) not in allowed:
        return f"parameters {sorted(given)}"
    for name, value in given.items():
        if not tests[name](value):
            return f"value of {name}"
    return None


def test_pool_has_at_least_240_distinct_prompts():
    """The pool holds at least 240 prompts, and no prompt occurs twice."""
    prompts = [row["prompt"] for row in _rows()]
    assert len(prompts) >= 240
    assert len({prompt.strip() for prompt in prompts}) == len(prompts)


def test_each_of_the_nine_kinds_has_at_least_20_rows():
    """Every row belongs to one of the nine kinds, and each kind has at least 20 rows."""
    counts = Counter(row["kind"] for row in _rows())
    assert set(counts) == KINDS
    assert min(counts.values()) >= 20, counts


def test_at_least_two_thirds_of_the_rows_carry_a_check():
    """At least two thirds of the rows can be graded by machine."""
    assert 3 * len(_checked()) >= 2 * len(_rows())


def test_rows_have_only_the_known_fields():
    """A row has prompt and kind, and check, gold and counter either all together or not at all."""
    bare = {"prompt", "kind"}
    full = bare | {"check", "gold", "counter"}
    assert [row for row in _rows() if set(row) not in (bare, full)] == []


def test_every_constraint_has_a_known_kind_and_its_parameters():
    """Every check is a non-empty list of constraints of known kinds with exactly the allowed parameters."""
    for row in _checked():
        assert isinstance(row["check"], list) and row["check"], row["prompt"]
        for constraint in row["check"]:
            fault = _fault(constraint)
            assert fault is None, f"{fault}: {constraint} in {row['prompt']!r}"


def test_checked_rows_have_a_gold_and_a_different_counter():
    """Every row with a check has a gold answer and a counter-example, and the two differ."""
    for row in _checked():
        assert _text(row.get("gold")), row["prompt"]
        assert _text(row.get("counter")), row["prompt"]
        assert row["gold"].strip() != row["counter"].strip(), row["prompt"]


def test_prompt_lengths_stay_within_bounds():
    """No prompt is shorter than 12 or longer than 1,200 characters."""
    lengths = {row["prompt"]: len(row["prompt"]) for row in _rows()}
    assert [prompt for prompt, size in lengths.items() if not 12 <= size <= 1200] == []


def test_no_two_prompts_are_near_copies():
    """No two prompts share more than 0.7 of their lowercase words by Jaccard similarity."""
    bags = [(row["prompt"], set(re.findall(r"\w+", row["prompt"].lower()))) for row in _rows()]
    for (first, a), (second, b) in combinations(bags, 2):
        assert len(a & b) <= 0.7 * len(a | b), (first, second)
