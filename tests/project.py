"""A user's folder: a pool, a recipe over the scripted engine, and the command run as a user would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from deltadata import tables


class Project:
    """`recipe` is a plain dict to edit; `run` is `deltadata ...` in a process of its own."""

    def __init__(self, folder: Path, prompts: int = 40, **scripted: Any) -> None:
        self.folder = folder
        self.log = folder / "requests.log"
        self.write_pool(range(prompts))
        self.recipe: dict[str, Any] = {
            "name": "tiny",
            "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
            "generate": {
                "engine": "scripted",
                "rungs": [
                    {"name": "strong", "model": "a"},
                    {"name": "weak", "model": "b", "sampling": {"temperature": 1.0}},
                ],
                "part_rows": 16,
            },
            "filter": {"rules": ["finished"]},
            "runtime": {"scripted": {"log": str(self.log), **scripted}},
        }

    def write_pool(self, numbers: range) -> None:
        lines = [json.dumps({"prompt": f"Tell me about number {i}."}) for i in numbers]
        (self.folder / "pool.jsonl").write_text("\n".join(lines) + "\n")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, in its own process group, with its output captured."""
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(self.recipe))
        command = [sys.executable, "-m", "deltadata", *arguments]
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """`deltadata ARGUMENTS` (default: run recipe.yaml); its stderr. Fails on another exit code than `code`."""
        process = self.start(*(arguments or ("run", "recipe.yaml")))
        self.stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == code, f"exit {process.returncode}, not {code}:\n{stderr}"
        assert "Traceback" not in stderr
        return stderr

    def requests(self) -> Counter[str]:
        """How often each model was asked."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(line.split()[0] for line in lines)

    @property
    def path(self) -> Path:
        return self.folder / "runs" / "tiny"

    def responses(self) -> pl.DataFrame:
        """All responses, in order of their key."""
        return pl.read_parquet(self.path / "responses" / "*" / "part-*.parquet").sort(tables.RESPONSES.key)

    def pairs(self) -> pl.DataFrame:
        return pl.read_parquet(self.path / "pairs.parquet")

    def record(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.path / "record.json").read_text())
        return told
