"""Delta learning in logistic regression: what two teachers weaker than the student can teach it, in closed form.

The setting. x is standard normal in d dimensions, the truth is sign(truth . x). The student and both teachers are unit
vectors, known by their cosines with the truth; the teachers are worse than the student. Each x gets a label from either
teacher; the better teacher's is chosen, the other's rejected; p(y | x) = sigmoid(y student . x), the loss is DPO's with
beta 1 against the student at its start.

Of the paper (arXiv 2507.06187) only the claim is known to us: the gap between two weaker teachers improves the student,
with high probability, and one has to stop early. Its theorem, assumptions and constants are not. EVERY FORMULA HERE IS
OUR OWN DERIVATION of the same claim; `FORMULAS` lists them, `deltadata theory` checks them by simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PULL = math.sqrt(2 / math.pi)  # E[x sign(u . x)] is PULL u, for a unit vector u
FORMULAS = {
    "path": "DPO's mean gradient is along D = chosen - rejected at every step: the student moves on start + s D",
    "slope": "first slope of the cosine: delta (1 - a0^2), where errors are not shared; > 0 iff delta > 0",
    "slope_shared": "first slope of the cosine: delta (1 - a0^2) - a0 n0 shared (nc - nr)",
    "best_step": "s* = delta (1 - a0^2) / (v a0), where errors are not shared",
    "best_cosine": "cot^2(best angle) = cot^2(first angle) + delta^2 / v, where errors are not shared",
    "limit": "training on ends at delta / |D|, = delta / sqrt(delta^2 + v) where errors are not shared",
    "sft": "SFT stays in the plane of start and chosen and ends at the chosen teacher's own cosine",
    "sft_hurts": "SFT on chosen loses from the first step iff shared > tan(first angle) / tan(chosen's angle)",
    "first_step": "P(first step helps) = Phi(delta n0 sqrt(d - 1) / (a0 sqrt v)), teachers' errors drawn at random",
}
LEGEND = (
    "a: cosine with the truth, n = sqrt(1 - a^2), of student 0, chosen c, rejected r; delta = ac - ar; v = nc^2 + nr^2"
)


@dataclass(frozen=True)
class Setting:
    """Cosines with the truth, in (-1, 1), and `shared`: the cosine of each teacher's error with the student's own."""

    student: float
    chosen: float
    rejected: float
    shared: float = 0.0

    @property
    def delta(self) -> float:
        """chosen - rejected, of cosines."""
        return self.chosen - self.rejected

    @property
    def noise(self) -> float:
        """v: what the teachers' difference carries beside the truth, if their errors are independent."""
        return (1 - self.chosen**2) + (1 - self.rejected**2)


def error(cosine: float) -> float:
    """The length of a unit vector's part beside the truth."""
    return math.sqrt(1 - cosine**2)


def accuracy(cosine: float) -> float:
    """The share of x that a direction labels as the truth does."""
    return 1 - math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def vectors(setting: Setting) -> Array:
    """Student, chosen and rejected (3, 4) over four orthonormal directions: truth, the student's error, two more.

    The teachers' own errors are orthogonal, as those of random vectors are up to O(1 / sqrt d).
    """
    own = math.sqrt(1 - setting.shared**2)
    nc, nr = error(setting.chosen), error(setting.rejected)
    return np.array(
        [
            [setting.student, error(setting.student), 0, 0],
            [setting.chosen, nc * setting.shared, nc * own, 0],
            [setting.rejected, nr * setting.shared, 0, nr * own],
        ]
    )


def drift(setting: Setting, loss: str) -> Array:
    """Where the first mean gradient pulls: `dpo` to chosen - rejected, `sft` to chosen (and back to the origin)."""
    _, chosen, rejected = vectors(setting)
    return np.asarray(chosen - rejected if loss == "dpo" else chosen)


def slope(setting: Setting, loss: str = "dpo") -> float:
    """The derivative of the cosine by s at s = 0, on start + s drift."""
    start, pull = vectors(setting)[0], drift(setting, loss)
    return float(pull[0] - start[0] * (start @ pull))


def best(setting: Setting, loss: str = "dpo") -> tuple[float, float]:
    """The best point s* >= 0 of start + s drift, and the cosine there. Infinite where the cosine only rises."""
    start, pull = vectors(setting)[0], drift(setting, loss)
    rise = slope(setting, loss)
    if rise <= 0:
        return 0.0, setting.student
    brake = float(start[0] * (pull @ pull) - pull[0] * (start @ pull))
    if brake <= 0:
        return math.inf, limit(setting, loss)
    step = rise / brake
    return step, float(cosines(start + step * pull))


def limit(setting: Setting, loss: str = "dpo") -> float:
    """The cosine that training without end comes to. With equal teachers nothing moves."""
    pull = drift(setting, loss)
    return float(cosines(pull)) if pull.any() else setting.student


def cosines(directions: Array) -> Array:
    """Of the last axis with its first entry, the truth."""
    return np.asarray(directions[..., 0] / np.linalg.norm(directions, axis=-1))


def hurts_above(setting: Setting) -> float:
    """SFT on chosen loses from its first step where `shared` is above this."""
    angles = [math.acos(cosine) for cosine in (setting.student, setting.chosen)]
    return math.tan(angles[0]) / math.tan(angles[1])


def disagreement(setting: Setting) -> float:
    """The share of x to which the teachers give different labels: only these have a gradient."""
    _, chosen, rejected = vectors(setting)
    return math.acos(max(-1.0, min(1.0, float(chosen @ rejected)))) / math.pi


def first_step(setting: Setting, dimension: int, batch: float = math.inf) -> float:
    """P(the first step raises the cosine) over teachers whose errors are drawn at random in `dimension`.

    A finite `batch` adds its sampling noise, to first order in the rate. Unshared errors only.
    """
    outside = error(setting.student)
    rise = setting.delta * outside**2
    teachers = (setting.student * outside) ** 2 * setting.noise / (dimension - 1)
    # Each disagreeing row weighs 1/2, the mean gradient is PULL/4 times the drift.
    sampling = (outside * 2 / PULL) ** 2 * disagreement(setting) / batch
    spread = math.sqrt(teachers + sampling)
    return 0.5 * (1 + math.erf(rise / spread / math.sqrt(2)))


GRID = np.linspace(0, 9, 601)  # |z| of a standard normal z, for means by the trapezoid rule
WEIGHT = 2 * np.exp(-(GRID**2) / 2) / math.sqrt(2 * math.pi) * (GRID[1] - GRID[0])
WEIGHT[[0, -1]] /= 2


def path(setting: Setting, loss: str, rate: float, steps: int) -> Array:
    """The cosine before the first and after each of `steps` steps (steps + 1,), for infinite batches.

    Exact: the mean gradient is along chosen - rejected (DPO) or in the plane of student and chosen (SFT), and its
    length is a mean over one normal variable.
    """
    start, pull = vectors(setting)[0], drift(setting, loss)
    along = _dpo_places(setting, rate, steps) if loss == "dpo" else _sft_places(setting, rate, steps)
    return cosines(along @ np.stack([start, pull]))


def _dpo_places(setting: Setting, rate: float, steps: int) -> Array:
    """Coordinates on (start, drift) after each step: (1, s)."""
    places = np.ones((steps + 1, 2))
    places[0, 1] = 0
    size = float(np.linalg.norm(drift(setting, "dpo")))
    if not size:
        places[:, 1] = 0
        return places
    # Given drift . x = size z the teachers disagree iff their mean's projection is below half of it.
    inner = math.sqrt(max(1 - size**2 / 4, 1e-300))
    disagree = np.array([math.erf(size * z / (2 * math.sqrt(2) * inner)) for z in GRID])
    for step in range(steps):
        s = places[step, 1]
        places[step + 1, 1] = s + rate / size * float(WEIGHT @ (GRID * disagree / (1 + np.exp(s * size * GRID))))
    return places


def _sft_places(setting: Setting, rate: float, steps: int) -> Array:
    """Coordinates on (student, chosen) after each step: (alpha, beta)."""
    start, chosen, _ = vectors(setting)
    places = np.zeros((steps + 1, 2))
    places[0] = 1, 0
    for step in range(steps):
        norm = float(np.linalg.norm(places[step] @ np.stack([start, chosen])))
        back = float(WEIGHT @ (0.25 / np.cosh(norm * GRID / 2) ** 2))  # E[sigmoid'(theta . x)], by Stein's lemma
        places[step + 1] = places[step] * (1 - rate * back) + np.array([0, rate * PULL / 2])
    return places
