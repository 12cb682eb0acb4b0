"""What the studies share: the command as a process, resuming, intervals over seeds.

pytest tests/test_study_common.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studies import common
from studies.common import Failed


def test_a_command_leaves_its_output_in_a_log(tmp_path: Path) -> None:
    """The real command, its line first; a second one is added below."""
    log = tmp_path / "logs" / "one.log"
    common.run("models", log=log)
    common.run("models", log=log)
    told = log.read_text()
    assert told.startswith("$ deltadata models\n") and told.count("$ deltadata models\n") == 2
    assert told.count("smollm2-135m-instruct") >= 2


def test_a_failed_command_tells_the_end_of_its_log(tmp_path: Path) -> None:
    """With exit code and what to cure."""
    with pytest.raises(Failed, match=r"(?s)deltadata run none\.yaml: exit 2.*none\.yaml"):
        common.run("run", "none.yaml", log=tmp_path / "log", cwd=tmp_path)


def test_jobs_return_in_their_order() -> None:
    """Whichever ends first."""

    def late() -> int:
        time.sleep(0.2)
        return 1

    assert common.side_by_side([late, lambda: 2, lambda: 3], 2) == [1, 2, 3]


def test_the_first_error_ends_what_has_not_begun() -> None:
    """The error is raised, and the last jobs are never run."""
    ran = []

    def fails() -> None:
        raise Failed("no")

    def works() -> None:
        time.sleep(0.05)
        ran.append(1)

    with pytest.raises(Failed, match="no"):
        common.side_by_side([fails, *[works] * 50], 1)
    assert len(ran) < 10


def test_what_is_kept_is_made_once(tmp_path: Path) -> None:
    """The second time it is read."""
    made = iter([{"x": 1}])
    for _ in range(2):
        assert common.kept(tmp_path / "a" / "b.json", lambda: next(made)) == {"x": 1}


def test_equal_lines_are_not_written_again(tmp_path: Path) -> None:
    """A file that says the same keeps its time; another one is replaced."""
    path = common.write_lines(tmp_path / "rows.jsonl", [{"a": "é"}, {"a": 2}])
    assert path.read_text(encoding="utf-8") == '{"a": "é"}\n{"a": 2}\n'
    os.utime(path, (1, 1))
    common.write_lines(path, [{"a": "é"}, {"a": 2}])
    assert path.stat().st_mtime == 1
    common.write_lines(path, [{"a": 3}])
    assert path.read_text() == '{"a": 3}\n'


def test_seconds_add_up_and_a_failure_has_none(tmp_path: Path) -> None:
    """By stage, over several beginnings."""
    for _ in range(2):
        with common.timed(tmp_path, "training"):
            time.sleep(0.11)
    with pytest.raises(ValueError), common.timed(tmp_path, "answers"):
        raise ValueError
    assert common.seconds(tmp_path).keys() == {"training"}
    assert 0.2 <= common.seconds(tmp_path)["training"] < 2


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.706), (2, 4.303), (10, 2.228), (11, 2.201), (30, 2.042)])
def test_quantiles_of_t_are_the_tables(freedom: int, expected: float) -> None:
    """To three digits."""
    assert common.t95(freedom) == pytest.approx(expected, abs=1e-3)


def test_an_interval_over_three_seeds_by_hand() -> None:
    """Mean 2, standard deviation 1: 4.3027 / sqrt(3) on both sides. Of one seed there is none."""
    told = common.interval([1.0, 2.0, 3.0])
    assert (told["mean"], told["n"], told["values"]) == (2.0, 3, [1.0, 2.0, 3.0])
    assert told["ci95"] == pytest.approx([2 - 2.48417, 2 + 2.48417], abs=1e-4)
    assert common.interval([5.0]) == {"mean": 5.0, "ci95": None, "n": 1, "values": [5.0]}


def test_the_machine_is_told() -> None:
    """Cores, memory and versions."""
    told = common.machine()
    assert told["cores"] >= 1 and told["memory_gb"] > 0.5 and "polars" in told["versions"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an orphan ends by itself")
def test_a_killed_study_leaves_no_command_behind(tmp_path: Path) -> None:
    """It would hold the lock of the run that is resumed."""
    code = (
        "from pathlib import Path; from studies import common; "
        f"common.side_by_side([lambda: common.run('theory', '--out', '{tmp_path}', log=Path('{tmp_path}/log'))])"
    )
    study = subprocess.Popen([sys.executable, "-c", code], cwd=common.ROOT)
    children = Path(f"/proc/{study.pid}/task")
    try:
        child = _wait_for(lambda: [pid for task in children.glob("*/children") for pid in task.read_text().split()])
        study.send_signal(signal.SIGKILL)
        study.wait()
        _wait_for(lambda: not _alive(int(child[0])))
    finally:
        study.kill()


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_for(found: object, seconds: float = 20.0) -> list[str]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")
