"""Delta learning in logistic regression: formulas against figures by hand, and against simulation.

pytest tests/test_theory.py
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from project import Project

from deltadata import theory, theory_picture, theory_simulation, theory_study
from deltadata.theory import Setting

# Of an independent script: (student, chosen, rejected, shared): s*, best cosine, limit; DPO's step of the best and
# cosine after 300 steps; SFT after 20, at its best, after 1,500.
TABLE = {
    (0.8, 0.6, 0.3, 0.0): (0.0871, 0.8046, 0.2343, 23, 0.6756, 0.8260, 0.8364, 0.6022),
    (0.8, 0.7, 0.2, 0.0): (0.1531, 0.8129, 0.3812, 44, 0.7320, 0.8317, 0.8555, 0.7018),
    (0.7, 0.5, 0.0, 0.0): (0.2082, 0.7243, 0.3536, 60, 0.6617, 0.7325, 0.7501, 0.5017),
    (0.8, 0.5, 0.5, 0.0): (0.0, 0.8, 0.0, 0, 0.5818, 0.8200, 0.8238, 0.5021),
    (0.8, 0.3, 0.6, 0.0): (0.0, 0.8, -0.2343, 0, 0.4540, 0.8079, 0.8082, 0.3030),
    (0.8, 0.6, 0.3, 0.8): (0.3476, 0.8270, 0.3684, 99, 0.7932, 0.7846, 0.8, 0.6015),
}
cosine = st.floats(0.02, 0.98)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Project]:
    """What `deltadata theory --quick --json` prints and leaves behind."""
    project = Project(tmp_path_factory.mktemp("theory"))
    project.run("theory", "--quick", "--json", "--out", "told")
    return json.loads(project.stdout), project


@pytest.mark.parametrize("given", TABLE)
def test_formulas_and_curves_are_those_of_an_independent_script(given: tuple[float, ...]) -> None:
    """Best point, best cosine and limit to four places; curves of infinite batches as near as that script's noise."""
    step, top, end, at, late, sft_early, sft_top, sft_end = TABLE[given]
    setting = Setting(*given)
    assert theory.best(setting) == (pytest.approx(step, abs=6e-5), pytest.approx(top, abs=6e-5))
    assert theory.limit(setting) == pytest.approx(end, abs=6e-5)
    dpo, sft = (theory.path(setting, loss, 0.02, steps) for loss, steps in (("dpo", 300), ("sft", 1500)))
    assert dpo.max() == pytest.approx(top, abs=1e-4) and abs(int(dpo.argmax()) - at) <= 3
    assert dpo[300] == pytest.approx(late, abs=1e-3)
    assert [sft[20], sft.max(), sft[1500]] == pytest.approx([sft_early, sft_top, sft_end], abs=1.2e-3)


def test_numbers_by_hand() -> None:
    """Accuracies, what SFT needs to hurt (3/4 over 4/3), Phi(1.798), and the noise that a batch adds."""
    assert [round(theory.accuracy(a), 4) for a in (0.8, 0.8270, 0.0, 1.0)] == [0.7952, 0.8100, 0.5, 1.0]
    setting = Setting(0.8, 0.6, 0.3)
    assert theory.hurts_above(setting) == pytest.approx(0.5625)
    assert (setting.delta, setting.noise) == (pytest.approx(0.3), pytest.approx(0.64 + 0.91))
    assert theory.first_step(setting, 100) == pytest.approx(0.964, abs=5e-4)
    assert theory.first_step(setting, 100, 2000) < theory.first_step(setting, 100, 10**6) < 0.964
    assert theory.best(setting, "sft")[1] == pytest.approx(1 / math.sqrt(1 + 1 / (0.64 / 0.36 + 0.36 / 0.64)))


@given(st.floats(0.05, 0.98), cosine, cosine, st.floats(0, 0.95))
def test_the_closed_form_is_the_best_of_a_grid(student: float, chosen: float, rejected: float, shared: float) -> None:
    """No point of the line that the student moves on is better, and the predicted one is as good as it says."""
    setting = Setting(student, chosen, rejected, shared)
    for loss in ("dpo", "sft"):
        pull, (step, top) = theory.drift(setting, loss), theory.best(setting, loss)
        grid = np.concatenate([np.linspace(0, 3, 301), np.geomspace(3, 1e4, 60)])
        assert theory.cosines(theory.vectors(setting)[0] + grid[:, None] * pull).max() <= top + 1e-9
        if math.isfinite(step):
            assert theory.cosines(theory.vectors(setting)[0] + step * pull) == pytest.approx(top)


@given(st.floats(0.1, 0.95), st.floats(0.05, 1.9), st.floats(0, 1), st.floats(0, 1))
def test_the_best_cosine_rises_with_delta_at_equal_noise(
    student: float, noise: float, first: float, more: float
) -> None:
    """Teachers on a circle ac^2 + ar^2 = 2 - v carry equal noise: the farther apart, the better; cot^2 as derived."""
    radius = math.sqrt(2 - noise)
    angles = [math.pi / 4 * (1 - part) for part in (first * more, first)]
    pairs = [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]
    assume(all(max(pair) < 0.999 for pair in pairs))
    less, much = (Setting(student, *pair) for pair in pairs)
    assert less.noise == pytest.approx(noise) and much.noise == pytest.approx(noise)
    tops = [theory.best(setting)[1] for setting in (less, much)]
    assert tops[0] <= tops[1] + 1e-12
    squared = student**2 / (1 - student**2) + much.delta**2 / noise
    assert tops[1] == pytest.approx(math.sqrt(squared / (1 + squared)))


@given(cosine, cosine, cosine, st.floats(0, 0.95))
def test_swapped_teachers_mirror_the_first_step(student: float, chosen: float, rejected: float, shared: float) -> None:
    """The slope changes its sign alone, so at most one order gains; without shared errors it has delta's sign."""
    one, other = Setting(student, chosen, rejected, shared), Setting(student, rejected, chosen, shared)
    assert theory.slope(one) == pytest.approx(-theory.slope(other))
    assert min(theory.best(setting)[1] for setting in (one, other)) == student
    assert theory.slope(Setting(student, chosen, rejected)) == pytest.approx((chosen - rejected) * (1 - student**2))


@given(cosine, cosine, st.floats(0, 0.95))
def test_equal_teachers_give_no_gain(student: float, teacher: float, shared: float) -> None:
    """As good as each other, whatever their quality: the best is the start, and the curve never rises above it."""
    setting = Setting(student, teacher, teacher, shared)
    assert theory.best(setting)[1] == pytest.approx(student)
    assert theory.path(setting, "dpo", 0.05, 20).max() <= student + 1e-9


@given(cosine, st.floats(0.05, 0.98), st.floats(0, 0.95))
def test_sft_loses_from_its_first_step_above_the_threshold_alone(student: float, chosen: float, shared: float) -> None:
    """The slope of SFT on chosen is negative exactly where `shared` is above tan / tan."""
    setting = Setting(student, chosen, 0.0, shared)
    assume(abs(shared - theory.hurts_above(setting)) > 1e-6)
    assert (theory.slope(setting, "sft") < 0) == (shared > theory.hurts_above(setting))


def test_swapped_teachers_mirror_the_simulated_first_step() -> None:
    """On the same draws the first DPO step is the same step backwards; with one teacher twice nothing ever moves."""
    one = theory_simulation.repeated(Setting(0.8, 0.6, 0.3), 3)
    other = one[:, [0, 2, 1]]
    steps = [
        theory_simulation.simulate(teams, "dpo", 30, 500, 1e-5, 1, np.random.default_rng(7)) for teams in (one, other)
    ]
    up, down = (trace[:, 1] - trace[:, 0] for trace in steps)
    assert (up > 0).all() and up == pytest.approx(-down, rel=1e-3)
    one[:, 2] = one[:, 1]
    still = theory_simulation.simulate(one, "dpo", 30, 500, 0.1, 5, np.random.default_rng(7))
    assert still == pytest.approx(np.full((3, 6), 0.8))


@pytest.mark.parametrize("loss", ["dpo", "sft"])
@pytest.mark.parametrize(("dimension", "draws"), [(6, 6000), (40, 1000)])
def test_drawing_projections_is_drawing_all_of_x(loss: str, dimension: int, draws: int) -> None:
    """Batches of two, where noise is all: mean and spread of both ways agree, at 6 dimensions to less than one more."""
    setting, size = Setting(0.8, 0.6, 0.3, 0.5), (dimension, 2, 1.0, 4)
    rng = np.random.default_rng(3)
    short = theory_simulation.simulate(theory_simulation.repeated(setting, draws), loss, *size, rng)
    long = np.array([theory_simulation.whole(setting, loss, *size, rng) for _ in range(draws)])
    for step in (1, 2, 4):
        a, b = short[:, step], long[:, step]
        assert abs(a.mean() - b.mean()) < 3.7 * math.sqrt((a.var() + b.var()) / draws)
        assert a.std() == pytest.approx(b.std(), rel=0.1)


def test_random_teachers_have_their_cosines_and_overlap_by_chance() -> None:
    """Unit vectors with the given cosines; the errors' overlaps have mean 0 and variance 1 / (d - 1)."""
    teams = theory_simulation.at_random(Setting(0.8, 0.6, 0.3), 26, 4000, np.random.default_rng(1))
    assert np.linalg.norm(teams, axis=2) == pytest.approx(np.ones((4000, 3)))
    assert teams[:, :, 0] == pytest.approx(np.tile([0.8, 0.6, 0.3], (4000, 1)))
    errors = teams[:, :, 1:] / np.sqrt(1 - teams[:, :, :1] ** 2)
    overlap = (errors[:, 0] * errors[:, 1]).sum(axis=1)
    assert abs(overlap.mean()) < 4 * 0.2 / math.sqrt(4000) and overlap.std() == pytest.approx(0.2, rel=0.06)


def test_weights_are_the_gradients_of_the_losses() -> None:
    """By finite differences of log sigmoid; nothing where the teachers agree, whatever the student."""
    moved = np.array([0.3, -1.2, 2.0, 0.5])
    chosen, rejected = np.array([1.0, -2.0, 1.0, -1.0]), np.array([-1.0, 1.0, 2.0, -3.0])
    label = np.sign(chosen)

    def log_sigmoid(x: Any) -> Any:
        return -np.log1p(np.exp(-x))

    slopes = (log_sigmoid(label * (moved + 1e-6)) - log_sigmoid(label * (moved - 1e-6))) / 2e-6
    assert theory_simulation.weights(chosen, rejected, moved, "sft") == pytest.approx(slopes, abs=1e-8)
    assert theory_simulation.weights(chosen, rejected, moved, "dpo") == pytest.approx(slopes * [1, 1, 0, 0], abs=1e-8)


def accepted(told: dict[str, Any]) -> None:
    """Every acceptance line, read off the figures themselves rather than off the verdicts."""
    for row in told["settings"]:
        setting, dpo, sft = row["setting"], row["dpo"], row["sft"]
        assert abs(dpo["simulated"]["best"] - dpo["predicted"]["best"]) < 0.002, row["name"]
        assert abs(sft["simulated"]["end"] - setting["chosen"]) < 0.005, row["name"]
        if setting["delta"] <= 0:
            assert dpo["simulated"]["best"] - setting["student"] < 0.0005, row["name"]
        if setting["shared"] > setting["sft_hurts_above"]:
            assert sft["simulated"]["best"] - setting["student"] < 0.0005, row["name"]
        assert max(dpo["farthest"], sft["farthest"]) < 0.006, row["name"]
    assert abs(told["whole"]["best"] - 0.8270) < 0.002
    for point in told["first_step"]:
        assert abs(point["simulated"] - point["predicted"]) < 0.03
    for point in told["sweep"]:
        assert abs(point["simulated"] - point["predicted"]) < 0.002
    assert told["failed"] == []


def test_the_quick_study_is_accepted(quick: tuple[dict[str, Any], Project]) -> None:
    """Best cosines, controls without gain, SFT's end, first steps: all within what was set beforehand."""
    told, _ = quick
    rows = {row["name"]: row for row in told["settings"]}
    assert len(rows) == 8 and set(TABLE) < {
        tuple(row["setting"][key] for key in ("student", "chosen", "rejected", "shared")) for row in rows.values()
    }
    accepted(told)
    story = rows["shared error"]
    assert story["dpo"]["simulated"]["best"] > 0.82 and story["sft"]["simulated"]["early"] < 0.79
    assert story["dpo"]["simulated"]["late"] < 0.8 < story["dpo"]["simulated"]["accuracy"][1]
    assert story["dpo"]["predicted"]["until"] == pytest.approx(story["dpo"]["simulated"]["until"], abs=4)


def test_a_check_that_fails_is_told() -> None:
    """A figure outside its bound does not hold, one inside does, and the screen names what failed."""
    from deltadata.cli_theory import cells, lines

    assert not theory_study._check("far", 0.81, 0.80, 0.002)["holds"]
    assert theory_study._check("near", 0.8019, 0.80, 0.002)["holds"]
    tiny = theory_study.Plan(20, 50, 0.4, 20, 40, 1, 15, 2, 2, 5, 2, 1, 20, 50, (10,))
    told = theory_study.study(tiny, 0)
    assert told["failed"] and len(told["failed"]) < told["checks"]
    said = "\n".join(lines(told))
    assert f"{told['checks'] - len(told['failed'])} of {told['checks']} checks hold" in said
    assert all(f"! {what}" in said for what in told["failed"])
    off = {row["name"] for row in told["settings"] if cells(row, told["plan"])["ok"] == "NO"}
    assert off == {what.partition(":")[0] for what in told["failed"]} & {row["name"] for row in told["settings"]}
    assert told == theory_study.study(tiny, 0) != theory_study.study(tiny, 1)


def test_the_command_leaves_numbers_and_a_picture(quick: tuple[dict[str, Any], Project]) -> None:
    """theory.json is what --json prints; it says whose formulas these are; theory.png is a picture, and drawn again the
    same."""
    told, project = quick
    folder = project.folder / "told"
    assert sorted(path.name for path in folder.iterdir()) == ["theory.json", "theory.png"]
    assert json.loads((folder / "theory.json").read_text()) == told
    assert "our own derivation" in told["source"] and all(each["ours"] for each in told["formulas"].values())
    first = (folder / "theory.png").read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n" and theory_picture.draw(told, folder / "theory.png")
    assert (folder / "theory.png").read_bytes() == first


def test_the_picture_tells_lines_apart_without_colour() -> None:
    """Every curve of a panel has dashes and a mark of its own."""
    arms = [(str(look[3]), look[4]) for look in theory_picture.ARMS.values()]
    for looks in (arms, [(str(dashes), mark) for _, dashes, mark in theory_picture.SWEEP]):
        assert all(len(set(side)) == len(looks) for side in zip(*looks, strict=True))


def test_the_table_fits_a_terminal(quick: tuple[dict[str, Any], Project]) -> None:
    """80 columns show every cell in full."""
    import io

    from rich.console import Console

    from deltadata.cli_theory import cells, table

    told, _ = quick
    text = io.StringIO()
    Console(file=text, width=80).print(table(told))
    shown = text.getvalue()
    assert "…" not in shown and max(map(len, shown.splitlines())) <= 80
    for row in told["settings"]:
        assert all(line in shown for cell in cells(row, told["plan"]).values() for line in cell.split("\n"))


def test_a_place_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    """A file where the folder should be: exit 2 with a cure, before anything is simulated."""
    project = Project(tmp_path)
    (tmp_path / "taken").write_text("")
    said = project.run("theory", "--out", "taken", code=2)
    assert "taken" in said and "cure: " in said and "1/8" not in said


@pytest.mark.slow
def test_the_full_study_is_accepted() -> None:
    """The same in 200 dimensions (about half a minute of processor time), and as near as its smaller noise."""
    told = theory_study.study(theory_study.Plan(), 0)
    accepted(told)
    assert max(row["dpo"]["farthest"] for row in told["settings"]) < 0.003
