"""The logistic-regression study by simulation: gradient descent on labels of two teachers, many draws at once.

x enters a step only through its projections on truth, student and teachers, and through a sum over the batch whose part
beside these is normal with known length: drawing just these numbers gives the same distribution as drawing all of x, at
any dimension. `whole` draws all of x, as the check of that.
"""

from __future__ import annotations

import numpy as np

from deltadata.theory import Array, Setting, cosines, error, vectors

BLOCK = 16  # draws that are simulated side by side


def weights(chosen: Array, rejected: Array, moved: Array, loss: str) -> Array:
    """d(log-likelihood) / d(theta . x) of each x, from the projections of the teachers and of the student.

    `dpo`: log sigmoid of the margin, nothing where the teachers agree; `moved` is the projection of theta - start.
    `sft`: log sigmoid of the chosen label's logit; `moved` is the projection of theta.
    """
    label = np.sign(chosen)
    pull = label / (1 + np.exp(label * moved))
    return np.where(chosen * rejected < 0, pull, 0.0) if loss == "dpo" else pull


def simulate(
    teams: Array, loss: str, dimension: int, batch: int, rate: float, steps: int, rng: np.random.Generator
) -> Array:
    """The cosine with the truth before the first and after each step (draws, steps + 1), a fresh batch every step.

    `teams` (draws, 3, 4): student, chosen, rejected over four orthonormal directions, the truth first; `dimension` at
    least 6.
    """
    blocks = [teams[i : i + BLOCK] for i in range(0, len(teams), BLOCK)]
    return np.concatenate([_block(block, loss, dimension, batch, rate, steps, rng) for block in blocks])


def _block(
    teams: Array, loss: str, dimension: int, batch: int, rate: float, steps: int, rng: np.random.Generator
) -> Array:
    # A fifth direction is that in which the student has wandered off the other four: only its length matters.
    places = np.zeros((len(teams), 3, 5))
    places[..., :4] = teams
    origin = places[:, 0].copy() if loss == "dpo" else np.zeros_like(places[:, 0])
    at = places[:, 0].copy()
    trace = np.empty((len(teams), steps + 1))
    trace[:, 0] = cosines(at)
    for step in range(steps):
        places[:, 0] = at - origin
        x = rng.standard_normal((len(teams), 5, batch))
        moved, chosen, rejected = np.moveaxis(places @ x, 1, 0)
        pull = weights(chosen, rejected, moved, loss)
        at += rate / batch * (x @ pull[:, :, None])[:, :, 0]
        length = np.sqrt((pull**2).sum(axis=1) * rng.chisquare(dimension - 5, len(teams)))
        at[:, 4] = np.hypot(at[:, 4], rate / batch * length)
        trace[:, step + 1] = cosines(at)
    return trace


def whole(
    setting: Setting, loss: str, dimension: int, batch: int, rate: float, steps: int, rng: np.random.Generator
) -> Array:
    """The same as `simulate` for one draw (steps + 1,), with all of theta and of every x."""
    errors, _ = np.linalg.qr(rng.standard_normal((dimension - 1, 3)))
    student, chosen, rejected = vectors(setting) @ np.vstack([np.eye(1, dimension), np.pad(errors.T, ((0, 0), (1, 0)))])
    theta, origin = student.copy(), student if loss == "dpo" else np.zeros(dimension)
    trace = [setting.student]
    for _ in range(steps):
        x = rng.standard_normal((batch, dimension))
        theta += rate / batch * (weights(x @ chosen, x @ rejected, x @ (theta - origin), loss) @ x)
        trace.append(float(cosines(theta)))
    return np.array(trace)


def repeated(setting: Setting, draws: int) -> Array:
    """The setting's own vectors (draws, 3, 4): the draws differ in their batches alone."""
    return np.repeat(vectors(setting)[None], draws, axis=0)


def at_random(setting: Setting, dimension: int, draws: int, rng: np.random.Generator) -> Array:
    """Vectors (draws, 3, 4) whose errors are drawn at random, so that they overlap by chance. `shared` is not used."""
    errors = rng.standard_normal((draws, dimension - 1, 3))
    errors /= np.linalg.norm(errors, axis=1, keepdims=True)
    along = np.array([setting.student, setting.chosen, setting.rejected])
    beside = np.array([error(cosine) for cosine in along])
    # The columns of R are the errors over an orthonormal basis of the space that they span.
    within = np.swapaxes(np.linalg.qr(errors, mode="r"), 1, 2) * beside[:, None]
    return np.concatenate([np.broadcast_to(along[:, None], (draws, 3, 1)), within], axis=2)
