"""A user's folder: a pool, a recipe over the scripted engine, and the command run as a user would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from deltadata import cli, tables

ENVIRONMENT = {"COLUMNS": "100", "NO_COLOR": "1"}
IN_PLACE = (0, 2)


def in_place(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `deltadata ARGUMENTS` there, in this process: in one of its own most of the time
    would go into imports. Exit 3 leaves at once and would take this process along."""
    said, told = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(told):
        patch.chdir(folder)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["deltadata", *arguments])
        try:
            cli.main()
        except SystemExit as left:
            return left.code if isinstance(left.code, int) else 1, said.getvalue(), told.getvalue()
    raise AssertionError("a command always exits")


class Project:
    """`recipe` is a plain dict to edit; `run` is `deltadata ...` here, `start` in a process of its own."""

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

    def write_recipe(self) -> None:
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(self.recipe))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, in its own process group, with its output captured."""
        self.write_recipe()
        command = [sys.executable, "-m", "deltadata", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """`deltadata ARGUMENTS` (default: run recipe.yaml); its stderr. Fails on another exit code than `code`."""
        arguments = arguments or ("run", "recipe.yaml")
        if code in IN_PLACE:
            self.write_recipe()
            ended, self.stdout, stderr = in_place(self.folder, *arguments)
        else:
            process = self.start(*arguments)
            self.stdout, stderr = process.communicate(timeout=120)
            ended = process.returncode
        assert ended == code, f"exit {ended}, not {code}:\n{stderr}"
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
