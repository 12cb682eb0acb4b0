"""A process that has loaded the slow clients once and forks for every command: what a user waits for, tests need not.

The clients read the Hub's address when they are imported, so a process belongs to one Hub. Forked children share
nothing that they change.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SERVE = """
import json, os, sys
import datasets, huggingface_hub, polars
from deltadata import cli, pull, push, run, verify

for line in sys.stdin:
    asked = json.loads(line)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        sys.argv = ["deltadata", *asked["arguments"]]
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    """A command's exit code and all that it printed."""

    code: int
    output: str


class Warm:
    """`deltadata ARGUMENTS` in a fork of the loaded process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, folder: Path, *arguments: str, environment: Mapping[str, str]) -> Ended:
        assert self._process.stdin and self._process.stdout
        output = folder / ".output"
        asked = {"folder": str(folder), "arguments": arguments, "environment": environment, "output": str(output)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Ended(int(self._process.stdout.readline()), output.read_text())


@contextmanager
def warm(environment: Mapping[str, str]) -> Iterator[Warm]:
    """The loaded process, gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], env=dict(environment), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        yield Warm(process)
        assert process.stdin
        process.stdin.close()
