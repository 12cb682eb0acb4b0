"""What can be counted in a response: words, sentences, bullets and so on, each a function of its text.

The Markdown of fenced code does not count: a comment in Python is no heading.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Relation = Literal["at_least", "at_most", "exactly"]

_FENCED = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_BULLET = re.compile(r"^[ \t]*[-*+•][ \t]+(?=\S)", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*\d{1,9}[.)][ \t]+(?=\S)", re.MULTILINE)
_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]+(?=\S)", re.MULTILINE)
_BOLD = re.compile(r"\*\*(?=\S)[^*\n]+\*\*|(?<!\w)__(?=\S)[^_\n]+__(?!\w)")
# A sentence ends at its mark and the closing quotes; these words keep their full stop.
_END = re.compile(r"""(?:(?P<mark>[.!?…]+)(?P<close>["'”’»)\]*_]*)(?=\s|$)|[。！？]+[」』”]?)""")
_NEVER_LAST = re.compile(r"(?:^|[\s(\"“])(?:Mr|Mrs|Ms|Dr|Prof|St|Sgt|Capt|Gen|[A-Z])$")
_SELDOM_LAST = re.compile(r"(?:^|[\s(\"“])(?:e\.?g|i\.?e|etc|vs|cf|approx|ca|no|[ap]\.m|z\.B|p\. ?ex)$", re.IGNORECASE)


def words(text: str) -> int:
    """Runs of characters between white space, as a word processor counts them."""
    return len(text.split())


def sentences(text: str) -> int:
    """Sentences; a list item, a heading and a paragraph end theirs, with or without a full stop."""
    return len(split_sentences(text))


def lines(text: str) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in text.splitlines())


def paragraphs(text: str) -> int:
    """Blocks of text between blank lines."""
    return len(split_paragraphs(text))


def bullets(text: str) -> int:
    """Lines that start with -, *, + or • and a space."""
    return len(_BULLET.findall(_without_code(text)))


def numbered(text: str) -> int:
    """Lines that start with `1.` or `1)`, whatever the number."""
    return len(_NUMBERED.findall(_without_code(text)))


def bold(text: str) -> int:
    """Spans in double asterisks or double underscores."""
    return len(_BOLD.findall(_without_code(text)))


def headings(text: str) -> int:
    """Lines that start with one to six #, and a space."""
    return len(_HEADING.findall(_without_code(text)))


def sections(text: str) -> int:
    """Sections of a Markdown text: as many as it has headings."""
    return headings(text)


def characters(text: str) -> int:
    """Unicode characters."""
    return len(text)


Counted = Literal[
    "words", "sentences", "lines", "paragraphs", "bullets", "numbered", "bold", "headings", "sections", "characters"
]
COUNTS: dict[str, Callable[[str], int]] = {
    count.__name__: count
    for count in (words, sentences, lines, paragraphs, bullets, numbered, bold, headings, sections, characters)
}


def related(count: int, relation: Relation, n: int) -> bool:
    """Whether a count stands in the relation to `n`."""
    match relation:
        case "at_least":
            return count >= n
        case "at_most":
            return count <= n
        case "exactly":
            return count == n


def split_paragraphs(text: str) -> list[str]:
    """The blocks between blank lines, stripped, without empty ones."""
    return [block.strip() for block in _PARAGRAPH.split(text) if block.strip()]


def split_sentences(text: str) -> list[str]:
    """The sentences in their order, stripped, each with a letter or a digit in it."""
    found = [sentence for block in _blocks(text) for sentence in _cut(block)]
    return [sentence for sentence in found if any(letter.isalnum() for letter in sentence)]


def _without_code(text: str) -> str:
    return _FENCED.sub("", text) if "```" in text or "~~~" in text else text


def _blocks(text: str) -> list[str]:
    """Stretches within which a line break is only white space. Marks of lists and headings are left out."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        bare = _HEADING.sub("", _NUMBERED.sub("", _BULLET.sub("", line)))
        if bare != line or not line.strip():
            blocks.append([])
        blocks[-1].append(bare.strip())
        if _HEADING.match(line):
            blocks.append([])
    return [" ".join(block) for block in blocks]


def _cut(block: str) -> list[str]:
    pieces, start = [], 0
    for end in _END.finditer(block):
        if end["mark"] and not _ends(block, end):
            continue
        pieces.append(block[start : end.end()].strip())
        start = end.end()
    return [*pieces, block[start:].strip()]


def _ends(block: str, end: re.Match[str]) -> bool:
    """Not after `Dr.` or an initial, nor where small letters go on after `e.g.` or a quotation."""
    before = block[max(0, end.start() - 12) : end.start()]
    after = block[end.end() : end.end() + 2].strip()
    goes_on = after.islower() or after.isdigit()
    if end["mark"] != ".":
        return not (goes_on and end["close"])
    return not (_NEVER_LAST.search(before) or (goes_on and (_SELDOM_LAST.search(before) or end["close"])))
