"""What a second push sends, were it deduplicated by content-defined chunks as the Hub's storage does.

pytest tests/test_chunks.py -s        # prints the shares
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from project import Project

MEAN, LEAST, MOST = 64 << 10, 8 << 10, 128 << 10  # bytes of a chunk, as the Hub's clients cut them
GEAR = np.random.default_rng(0).integers(0, 2**64, 256, dtype=np.uint64)


def chunks(data: bytes) -> dict[str, int]:
    """Hash and size of each chunk; a border depends on the 64 bytes before it alone."""
    rolled = GEAR[np.frombuffer(data, np.uint8)]
    for shift in (1, 2, 4, 8, 16, 32):  # sums over windows that double: the gear hash of 64 bytes
        moved = np.concatenate([np.zeros(shift, np.uint64), rolled[:-shift]])
        rolled = rolled + (moved << np.uint64(shift))
    borders = np.flatnonzero(rolled >> np.uint64(48) == 0) + 1
    found: dict[str, int] = {}
    start = 0
    while start < len(data):
        later = borders[np.searchsorted(borders, start + LEAST) :]
        end = int(min(later[0] if len(later) else len(data), start + MOST, len(data)))
        found[hashlib.sha256(data[start:end]).hexdigest()] = end - start
        start = end
    return found


def of_folder(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in sorted(folder.rglob("*.*")):
        found |= chunks(path.read_bytes()) if path.is_file() else {}
    return found


@pytest.mark.slow
def test_a_tenth_more_rows_sends_a_third_at_most(tmp_path: Path):
    """Prompts added to a pool: under 35 % of the bytes that a full push sends are new."""
    project = Project(tmp_path, 2500, characters=3000)
    project.recipe["generate"]["sampling"] = {"max_tokens": 2000}
    project.run()
    before = of_folder(project.path / "dataset")
    project.write_pool(range(2750))
    project.run()
    after = of_folder(project.path / "dataset")

    whole, new = sum(after.values()), sum(size for key, size in after.items() if key not in before)
    print(f"a full push {whole:,} bytes, of which {new / whole:.1%} are new")
    assert whole > 80 * MEAN
    assert new / whole < 0.35


def test_chunks_survive_an_insertion():
    """The measure itself: bytes put in front move no border but the first ones, and all bytes are in some chunk."""
    data = np.random.default_rng(1).bytes(4 << 20)
    before, after = chunks(data), chunks(b"in front" + data)

    assert sum(before.values()) == len(data)
    assert sum(size for key, size in after.items() if key not in before) < 4 * MOST
    assert 0.5 * MEAN < len(data) / len(before) < 2 * MEAN
