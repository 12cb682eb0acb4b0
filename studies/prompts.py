"""Prompts with checks that a program can grade: templates x topics x constraints, cut into three splits by topic.

    python studies/prompts.py [--folder runs/study]     # FOLDER/prompts/{train,validation,test}.jsonl

No topic is in two splits, so no test prompt's template and topic are met in training. Which number or word a prompt
asks for follows from its template and topic alone: the files are the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from studies import common

SPLITS = {"train": 32, "validation": 10, "test": 22}  # topics
FOLDER = "prompts"
NAMES = ("Anna", "Peter", "Maria", "Tom", "Julia", "Sam")
OPENINGS = ("First of all,", "To begin with,", "As we all know,", "In short,")
ENDINGS = ("That is all.", "Thank you.", "The end.", "Good luck!")
Check = dict[str, Any]


class Topic(NamedTuple):
    """What a prompt is about, a stem that an answer to the point has, and words that have to do with it."""

    name: str
    stem: str
    words: tuple[str, ...]


class Asked(NamedTuple):
    """A prompt's text and what an answer to it must fulfil."""

    text: str
    checks: list[Check]


class Draw:
    """Choices that follow from template and topic alone."""

    def __init__(self, template: str, topic: str) -> None:
        self._key, self._drawn = f"{template}\n{topic}", 0

    def __call__(self, options: tuple[Any, ...]) -> Any:
        self._drawn += 1
        digest = hashlib.sha256(f"{self._key}\n{self._drawn}".encode()).digest()
        return options[int.from_bytes(digest[:8]) % len(options)]


Template = Callable[[Topic, Draw], Asked]

# Topics, a line each: name | stem | words. Their order decides the split, so new ones go to the end.
_TOPICS = """
bicycles | bicycl | wheel, ride
coffee | coffee | morning, cup
the ocean | ocean | water, deep
cats | cat | fur, play
trains | train | station, travel
gardens | garden | flower, grow
the moon | moon | night, light
bread | bread | oven, bake
libraries | librar | book, quiet
football | football | team, goal
rain | rain | cloud, wet
music | music | song, listen
dogs | dog | friend, walk
mountains | mountain | climb, snow
cheese | cheese | milk, taste
computers | computer | screen, work
winter | winter | cold, warm
schools | school | teacher, learn
honey | honey | bee, sweet
airplanes | plane | fly, sky
tea | tea | hot, leaf
forests | forest | tree, bird
chess | chess | game, think
the sun | sun | day, heat
swimming | swim | pool, body
apples | apple | fruit, red
markets | market | buy, fresh
bridges | bridge | river, cross
dreams | dream | sleep, night
shoes | shoe | foot, wear
clocks | clock | time, hour
museums | museum | art, old
horses | horse | fast, farm
chocolate | chocolate | sweet, brown
hospitals | hospital | doctor, help
photographs | photo | camera, memory
islands | island | sea, sand
newspapers | newspaper | read, news
fire | fire | warm, burn
birthdays | birthday | cake, party
spiders | spider | web, small
kitchens | kitchen | cook, food
deserts | desert | dry, sand
letters | letter | write, post
rivers | river | water, fish
doors | door | open, house
dancing | danc | music, move
potatoes | potato | earth, eat
snow | snow | white, winter
cities | cit | street, people
windows | window | glass, light
rabbits | rabbit | ear, jump
soup | soup | bowl, hot
stars | star | night, shine
farmers | farmer | field, work
umbrellas | umbrella | rain, hand
hats | hat | head, wear
buses | bus | driver, street
butterflies | butterfl | wing, flower
salt | salt | sea, taste
painting | paint | colour, brush
elephants | elephant | big, trunk
beaches | beach | sand, sun
friends | friend | trust, laugh
lemons | lemon | sour, yellow
boats | boat | water, sail
spring | spring | green, flower
robots | robot | machine, work
mirrors | mirror | face, see
pancakes | pancake | sweet, flour
mice | mouse | small, cheese
holidays | holiday | travel, rest
"""
TOPICS = tuple(
    Topic(name.strip(), stem.strip(), tuple(word.strip() for word in words.split(",")))
    for name, stem, words in (line.split("|") for line in _TOPICS.strip().splitlines())
)


def _count(of: str, relation: str, n: int) -> Check:
    return {"kind": "count", "of": of, "relation": relation, "n": n}


def _has(*texts: str) -> Check:
    return {"kind": "include", "all": [*texts]}


def a_word(topic: Topic, draw: Draw) -> Asked:
    word, most = draw(topic.words), draw((12, 15, 20))
    text = f'Write one sentence about {topic.name} with at most {most} words. It must contain the word "{word}".'
    return Asked(text, [_count("sentences", "exactly", 1), _count("words", "at_most", most), _has(word)])


def few_words(topic: Topic, draw: Draw) -> Asked:
    most = draw((15, 20, 25))
    text = f"Describe {topic.name} in at most {most} words."
    return Asked(text, [_count("words", "at_most", most), _has(topic.stem), _count("paragraphs", "exactly", 1)])


def no_commas(topic: Topic, draw: Draw) -> Asked:
    n = draw((2, 3))
    text = f"Write {'two' if n == 2 else 'three'} short sentences about {topic.name}. Do not use any commas."
    no_comma = {"kind": "ifeval", "id": "punctuation:no_comma"}
    return Asked(text, [_count("sentences", "exactly", n), no_comma, _has(topic.stem)])


def opening(topic: Topic, draw: Draw) -> Asked:
    start = draw(OPENINGS)
    text = f'Say something about {topic.name} in one or two sentences. Begin your answer with "{start}"'
    return Asked(text, [{"kind": "starts_with", "text": start}, _count("sentences", "at_most", 2), _has(topic.stem)])


def ending(topic: Topic, draw: Draw) -> Asked:
    end = draw(ENDINGS)
    text = f'Tell me one thing about {topic.name}. End your answer with the words "{end}"'
    return Asked(text, [{"kind": "ends_with", "text": end}, _count("sentences", "at_most", 3), _has(topic.stem)])


def bullets(topic: Topic, draw: Draw) -> Asked:
    n = draw((2, 3, 4))
    text = f'List exactly {n} things that have to do with {topic.name}, one word each. Start every line with "- ".'
    return Asked(
        text, [_count("bullets", "exactly", n), _count("lines", "exactly", n), _count("words", "at_most", 4 * n)]
    )


def question(topic: Topic, draw: Draw) -> Asked:
    word, most = draw(topic.words), draw((12, 16))
    text = f'Write one question about {topic.name} that has the word "{word}" in it and at most {most} words.'
    return Asked(text, [{"kind": "ends_with", "text": "?"}, _has(word), _count("words", "at_most", most)])


def title(topic: Topic, draw: Draw) -> Asked:
    word, most = draw(topic.words), draw((5, 7, 9))
    text = f'Give me a title of at most {most} words for a story about {topic.name}. Use the word "{word}".'
    return Asked(text, [_count("words", "at_most", most), _has(word), _count("lines", "exactly", 1)])


def because(topic: Topic, draw: Draw) -> Asked:
    text = f'Why do people like {topic.name}? Answer in one sentence that contains the word "because".'
    return Asked(text, [_count("sentences", "exactly", 1), _has("because"), _has(topic.stem)])


def note(topic: Topic, draw: Draw) -> Asked:
    to, sender = draw(NAMES[:3]), draw(NAMES[3:])
    text = f'Write a note of one or two sentences about {topic.name}. Start with "Dear {to}," and end with "{sender}".'
    checks = [{"kind": "starts_with", "text": f"Dear {to},"}, {"kind": "ends_with", "text": sender}]
    return Asked(text, [*checks, _has(topic.stem), _count("words", "at_most", 50)])


def good_and_bad(topic: Topic, draw: Draw) -> Asked:
    text = f'Name one good thing and one bad thing about {topic.name} in two sentences. Use the words "good" and "bad".'
    return Asked(text, [_has("good"), _has("bad"), _count("sentences", "exactly", 2), _has(topic.stem)])


def two_words(topic: Topic, draw: Draw) -> Asked:
    one, other = topic.words
    text = f'Write one sentence that contains the words "{one}" and "{other}" and is about {topic.name}.'
    return Asked(text, [_has(one), _has(other), _count("sentences", "exactly", 1), _has(topic.stem)])


def capitals(topic: Topic, draw: Draw) -> Asked:
    text = f"Write one short sentence about {topic.name} in capital letters only."
    return Asked(text, [{"kind": "case", "of": "upper"}, _count("sentences", "exactly", 1), _has(topic.stem)])


def json_fact(topic: Topic, draw: Draw) -> Asked:
    text = (
        f'Answer with a JSON object and nothing else. It has two keys, "topic" and "fact", and is about {topic.name}.'
    )
    keys = {"kind": "json", "keys": ["topic", "fact"], "type": "object"}
    return Asked(text, [keys, _has('"topic"'), _has('"fact"'), _has(topic.stem)])


TEMPLATES: tuple[Template, ...] = (
    *(a_word, few_words, no_commas, opening, ending, bullets, question),
    *(title, because, note, good_and_bad, two_words, capitals, json_fact),
)


def rows(split: str) -> list[dict[str, Any]]:
    """The prompts of a split: {prompt, check, template, topic}."""
    names = [*SPLITS]
    start = sum(SPLITS[name] for name in names[: names.index(split)])
    found = []
    for topic in TOPICS[start : start + SPLITS[split]]:
        for template in TEMPLATES:
            asked = template(topic, Draw(template.__name__, topic.name))
            told = {"template": template.__name__, "topic": topic.name}
            found.append({"prompt": asked.text, "check": asked.checks} | told)
    return found


def path(folder: Path, split: str) -> Path:
    """Where a split's JSONL lies."""
    return folder / FOLDER / f"{split}.jsonl"


def write(folder: Path) -> dict[str, Path]:
    """Each split as JSONL in <folder>/prompts/; a file that is right is left alone."""
    return {split: common.write_lines(path(folder, split), rows(split)) for split in SPLITS}


def main(folder: Path, quick: bool) -> dict[str, Any]:
    """Write them; how many prompts each split has."""
    del quick
    return {split: len(file.read_text(encoding="utf-8").splitlines()) for split, file in write(folder).items()}


if __name__ == "__main__":
    common.command(main)
