"""Measures: what is compared between the two sides of a pair. Always delta = chosen - rejected.

    deltadata pair RECIPE           # writes a column `delta_<name>` for each

A measure is one function here. Called without arguments it is an expression over the rows of RESPONSES, one number per
response, null where unknown; its name makes the column. A measure of text takes any other text expression as well. To
add one, write the function and name it in TEXT_MEASURES (or in MEASURES where it needs more than the text).
`similarity` alone is of two texts and has no delta. The meaning of text is read off its surface by patterns for
English; what they miss is missed on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import reduce

import polars as pl

from deltadata.tables import RESPONSE, RESPONSE_TOKENS

# Working columns that `pair` adds to the rows of a response: its rung's place, 0 for the strongest, and parameters.
POSITION, PARAMS = "rung_position", "rung_params"
SIMILARITY = "similarity"

Measure = Callable[..., pl.Expr]
_TEXT = pl.col(RESPONSE)


def tokens() -> pl.Expr:
    """Tokens of the response as its engine counted them; null for imported responses without a count."""
    return pl.col(RESPONSE_TOKENS)


def characters(text: pl.Expr = _TEXT) -> pl.Expr:
    """Unicode characters."""
    return text.str.len_chars()


def response_ratio(text: pl.Expr = _TEXT) -> pl.Expr:
    """log2 of the characters: the delta is log2(chosen / rejected). Null for an empty text."""
    return _log2(text.str.len_chars())


def _log2(number: pl.Expr) -> pl.Expr:
    # On a grid of 2**-40, so that the differences are exact: a response of double the length is 1.0, not a hair less.
    return pl.when(number > 0).then((number.log(2) * 2**40).round() / 2**40)


def _fenced(fence: str) -> str:
    # A fence begins its line, whatever the indentation; the block runs to a bare fence or to the end of the text.
    return rf"(?ms)^[ \t]*{fence}[^{fence[0]}\n]*(?:\n.*?(?:^[ \t]*{fence}+[ \t]*\r?$|\z)|\z)"


_BACKTICKS, _TILDES = _fenced("```"), _fenced("~~~")  # apart: six times as fast
_LIST_NUMBER = r"(?m)^[ \t]*\d{1,3}\.[ \t]+\S"
_ITEM = r"[ \t]*(?:[-*+][ \t]|[0-9]{1,3}[.)][ \t]|•)[ \t]*\S"
_LIST_ITEM = r"(?m)^[ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+|•[ \t]*)\S"


def _prose(text: pl.Expr) -> pl.Expr:
    """The text without its code blocks, where `#` is a comment and `**` a power."""
    return text.str.replace_all(_BACKTICKS, "").str.replace_all(_TILDES, "")


def sentences(text: pl.Expr = _TEXT) -> pl.Expr:
    """Sentence ends outside code blocks: . ! ? … before white space or the end, and 。！？।؟ anywhere.

    The numbers of a list are none; `e.g. ` and `Dr. ` are one each, as no abbreviation is known.
    """
    prose = _prose(text)
    ends = prose.str.count_matches(r"""[.!?…]+["'”’»)\]*_]*(?:\s|$)|[。！？।؟]+""")
    return ends - prose.str.count_matches(_LIST_NUMBER)


def bold(text: pl.Expr = _TEXT) -> pl.Expr:
    """Spans of **bold** or __bold__ outside code blocks, each within one line."""
    prose = _prose(text)
    under = pl.when(prose.str.contains("__", literal=True)).then(prose)  # rare, and slow to look for
    return prose.str.count_matches(r"\*\*[^\s*](?:[^*\n]*[^\s*])?\*\*") + under.str.count_matches(
        r"(?:^|\W)__[^\s_](?:[^_\n]*[^\s_])?__"
    ).fill_null(0)


def bullets(text: pl.Expr = _TEXT) -> pl.Expr:
    """List items outside code blocks, at any depth: lines that begin with -, *, +, •, `1.` or `1)` and have text."""
    prose = _prose(text)  # a literal line feed is found three times as fast as (?m)^
    return prose.str.count_matches(r"\n" + _ITEM) + prose.str.contains(r"\A" + _ITEM).cast(pl.UInt32)


def headings(text: pl.Expr = _TEXT) -> pl.Expr:
    """Headings outside code blocks: lines that begin with one to six # and a space."""
    return _prose(text).str.count_matches(r"(?m)^ {0,3}#{1,6}[ \t]+\S")


def code(text: pl.Expr = _TEXT) -> pl.Expr:
    """Fenced code blocks (``` or ~~~); one that is never closed counts."""
    rest = text.str.replace_all(_BACKTICKS, "")
    return text.str.count_matches(_BACKTICKS) + rest.str.count_matches(_TILDES)


_RUN = 4
# Scripts without spaces between words, and emoji: each of their characters is a word.
_WORD_BY_ITSELF = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Extended_Pictographic}]"


def repetition(text: pl.Expr = _TEXT) -> pl.Expr:
    """Share of the runs of four words that occurred before in the text: 1 - distinct / all; 0 below four words.

    Words stand between white space; a character of a script without spaces, or an emoji, is a word. A text that is
    said n times is near 1 - 1/n, a loop of few words near 1. A loop within one word ("hahaha…") is not seen.
    """
    spaced = text.str.replace_all(r"[\t\r\n]", " ").str.replace_all(_WORD_BY_ITSELF, " $0 ")
    word = pl.element()
    words = spaced.str.split(" ").list.eval(word.filter(word != "").hash())
    # A run is one number, its words' hashes with place values, wrapping at 2**64: joined words take five times as long.
    run = reduce(lambda ahead, k: ahead * pl.lit(1_000_003, pl.UInt64) + word.shift(-k), range(1, _RUN), word)
    share = 1 - word.n_unique() / word.len()
    return words.list.eval(run.drop_nulls()).list.agg(share.fill_nan(0.0))


def _pattern(*alternatives: str) -> str:
    """One pattern for all, blind to case. ASCII word boundaries: those of Unicode cost ten times as much."""
    return "(?i)" + "|".join(alternatives).replace(r"\b", r"(?-u:\b)").replace("'", "['’]")


_OPENING = 200  # characters
_BE = r"\bi(?:'m| am)"
_CANNOT = (
    rf"(?:\bi (?:can'?t|cannot|can not|won't|will not|must (?:[a-z]+ )?decline to)"
    rf"|{_BE} (?:[a-z]+ )?(?:unable to|not (?:[a-z]+ )?(?:able to|capable of|allowed to|authorized to|comfortable)))"
)
_REFUSED = (  # what a refusal refuses: "I can't make it tonight" is no refusal
    "assist|help (?:you|with)|help[.,;!]|provid|fulfil|comply|answer|creat|generat|writ|offer|giv(?:e|ing) (?:you|a)"
    "|do (?:that|this|so)|complet|continu|respond|produc|promot|recommend|access|perform|discuss|engag|participat"
    "|support|shar(?:e|ing)|address|determin|speculat|process|brows|display|translat|summari[sz]|execut|design|proceed"
)
_REFUSAL = _pattern(
    rf"{_CANNOT} (?:[a-z]+ ){{0,2}}(?:{_REFUSED})",
    rf"\bas an? (?:[a-z-]+ ){{0,4}}(?:ai|language model|artificial intelligence|chatbot)\b[^.!?\n]{{0,60}}{_CANNOT}\b",
)


def refusal(text: pl.Expr = _TEXT) -> pl.Expr:
    """1.0 where the first 200 characters say "I cannot assist …" or "as an AI, I cannot …"; otherwise 0.0."""
    return text.str.head(_OPENING).str.contains(_REFUSAL)


_MODELS = "chatgpt|gpt-?[0-9][a-z]?|qwen|tongyi|llama|vicuna|mixtral|olmo|t[uü]lu|deepseek|open assistant"
_ALSO_NAMES = "(?-i:Claude|Gemini|Gemma|Bard|Mistral|Falcon|Phi|Grok|Copilot)"  # of models, and of others
_MAKERS = (
    r"(?:openai|anthropic|alibaba|google|deepmind|meta\b|facebook|mistral|microsoft|deepseek|cohere|nvidia|ibm\b|xai\b"
    r"|lmsys|large model systems|hugging ?face|technology innovation institute|allen institute|ai2\b|baidu|tencent)"
)
_MADE = "(?:developed|created|trained|made|built|designed)"
_KIND = (
    "(?:(?:large|small|ai|artificial|intelligence|machine|learning|text-based|powerful|helpful|virtual|digital|trained"
    "|conversational|multilingual|open|advanced|computer|neural)[ -]){0,4}"
    r"(?:language model(?: ai)?\b|ai(?:[- ][a-z]+)? (?:model|assistant|chatbot|system|program)"
    r"|(?:ai|artificial intelligence|chatbot|virtual assistant)(?: (?:and|that|who|so|which)\b|[.,;:!?)\n]|$))"
)
_BY = rf"{_MADE}(?: and [a-z]+)? by (?:(?:an?|the) (?:[a-z-]+ ){{1,5}})?{_MAKERS}"
_IDENTITY = (  # apart: each is a fast automaton, all as one are not
    _pattern(rf"\bas an? {_KIND},? ?(?:but )?(?:i|my)\b", r"\bas an ai language model\b"),
    _pattern(rf"{_BE} (?:just |only |actually |simply )?(?:an?|the|your) {_KIND}"),
    _pattern(rf"(?:{_BE}|\bmy name is) (?:called |named )?(?:(?:{_MODELS})\b|{_ALSO_NAMES}, (?:an?|the|your) {_KIND})"),
    _pattern(rf"\bi(?:'m| am| was|'ve been| have been) (?:an ai )?(?:[a-z]+ly )?{_BY}", rf"\bas an ai {_BY}"),
    _pattern(rf"\b{_MAKERS}(?: [a-z]+)? {_MADE} me\b"),
)


def identity(text: pl.Expr = _TEXT) -> pl.Expr:
    """1.0 where the text says in the first person that it is a model, which, or by whom it was made; otherwise 0.0."""
    return pl.any_horizontal(text.str.contains(pattern) for pattern in _IDENTITY)


_CUTOFF = r"cut-?\s?off"
_LEARNT = "(?:knowledge|training|information|data)(?: data| base)?"
_LATEST = rf"(?:last|latest|most recent) (?:{_LEARNT} )?(?:update|training)\b"
_DATE_CUTOFF = _pattern(
    rf"\bmy (?:[a-z]+ )?{_LEARNT} {_CUTOFF}",
    rf"\bknowledge {_CUTOFF} (?:date )?(?:of|is|was|in)\b",
    rf"\b(?:as of|up to|until|since|after|before|beyond) my {_LATEST}",
    rf"\bmy {_LATEST} (?:was|is|in)\b",
    rf"\bmy {_LEARNT} (?:(?:only|currently|was|is) ){{0,2}}"
    r"(?:goes|extends?|ends?|ended|stops?|reaches|cuts? off|current|limited|last updated|updated|up)"
    r"[^.!?\n]{0,40}\b(?:19|20)[0-9]{2}\b",
    r"\bi (?:was|am|have been) (?:last |only )?(?:trained|updated)[^.!?\n]{0,40} (?:up to|until|before|through|in) "
    r"(?:[a-z]+ )?20[0-9]{2}\b",
)


def date_cutoff(text: pl.Expr = _TEXT) -> pl.Expr:
    """1.0 where the text says until when its writer's knowledge goes ("as of my last update"); otherwise 0.0."""
    return text.str.contains(_DATE_CUTOFF)


def non_latin(text: pl.Expr = _TEXT) -> pl.Expr:
    """Share of the letters that are not of the Latin script; 0.0 where there are no letters."""
    others = text.str.count_matches(r"[\p{L}--\p{Latin}]")
    letters = pl.when(others > 0).then(text).str.count_matches(r"\p{L}")  # costly, and mostly not needed
    return pl.when(others > 0).then(others / letters).when(others == 0).then(0.0)


def ladder_distance() -> pl.Expr:
    """Place of the rung, upwards: the delta is the rungs between the sides, positive where the chosen is stronger."""
    return 0 - pl.col(POSITION).cast(pl.Int64)


def params_ratio() -> pl.Expr:
    """log2 of the rung's parameters: the delta is log2(chosen / rejected). Null where they are not stated."""
    return _log2(pl.col(PARAMS))


TEXT_MEASURES: tuple[Measure, ...] = (
    characters,
    response_ratio,
    sentences,
    bold,
    bullets,
    headings,
    code,
    repetition,
    refusal,
    identity,
    date_cutoff,
    non_latin,
)
MEASURES: tuple[Measure, ...] = (tokens, *TEXT_MEASURES, ladder_distance, params_ratio)
_BY_NAME = {measure.__name__: measure for measure in MEASURES}
NAMES = list(_BY_NAME)
LENGTHS = [measure.__name__ for measure in (tokens, characters, response_ratio)]  # a report cannot do without
OF_TEXT = [measure.__name__ for measure in TEXT_MEASURES]


def per_response(names: Collection[str] = NAMES) -> dict[str, pl.Expr]:
    """Each measure's expression over RESPONSES (with POSITION and PARAMS for those of the rung), by name, Float64."""
    return {name: _BY_NAME[name]().cast(pl.Float64) for name in names}


def of_text(name: str, text: pl.Expr) -> pl.Expr:
    """The measure of this name, one of OF_TEXT, over any text expression, Float64."""
    if name not in OF_TEXT:
        raise ValueError(f"{name} is no measure of text")
    return _BY_NAME[name](text).cast(pl.Float64)


_COMPARED = 10_000  # characters


def similarity(chosen: pl.Series, rejected: pl.Series) -> pl.Series:
    """How alike two texts are, row by row: twice their longest common subsequence over their lengths, in characters.

    Float64 in [0, 1]: 1.0 for equal texts, unrelated English is near 0.4; symmetric; null where a text is null. Only
    the first 10,000 characters of each are compared: the time grows with the product of the lengths, tens of
    microseconds for two answers of usual length and a few milliseconds at the bound. All texts given are held at once.
    """
    from numpy import float64
    from rapidfuzz.distance import Indel
    from rapidfuzz.process import cpdist

    sides = [side.str.head(_COMPARED).fill_null("").to_list() for side in (chosen, rejected)]
    found = pl.Series(SIMILARITY, cpdist(*sides, scorer=Indel.normalized_similarity, dtype=float64, workers=-1))
    return pl.select(pl.when(chosen.is_not_null() & rejected.is_not_null()).then(found)).to_series()
