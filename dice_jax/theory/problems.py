"""What a check works with: random problems, the losses' gradients, an adversary, a log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax.sums.region import region_sums, sigmoid_region_sums

__all__ = ["Check", "CheckLog", "Problems"]

Array = np.ndarray[Any, Any]

# Every call is padded to this shape, so each loss is compiled once. A pass over fewer than 4,096
# pixels is one fused expression, which compiles faster than tiles.
ROWS, COLUMNS = 32, 64

# Errors are reported as finite numbers, NaN included.
_LARGEST = 1e30


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison made for a statement.

    Args:
        what: what was compared.
        error: the worst error or violation found.
        tolerance: the largest one allowed.
    """

    what: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


class CheckLog:
    """Collects the comparisons and the counterexample of one statement."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.counterexample: dict[str, Any] | None = None

    def near(
        self,
        what: str,
        actual: Any,
        expected: Any,
        *,
        scale: Any = None,
        tolerance: float = 1e-9,
    ) -> None:
        """Compare numbers with what is claimed, relative to ``scale`` (default: their size)."""
        actual, expected = np.asarray(actual, float), np.asarray(expected, float)
        scale = np.abs(expected) if scale is None else np.asarray(scale, float)
        # A claimed 0 is compared absolutely.
        error = np.abs(actual - expected) / np.where(scale == 0, 1.0, scale)
        self.holds(what, error, tolerance=tolerance)

    def holds(self, what: str, violation: Any, *, tolerance: float = 1e-9) -> None:
        """Note a violation: positive numbers say by how much a claim fails."""
        worst = np.max(np.asarray(violation, float), initial=0.0)
        finite = _LARGEST if np.isnan(worst) else float(np.clip(worst, 0.0, _LARGEST))
        self.checks.append(Check(what, finite, tolerance))

    def fails_at(self, what: str, **values: Any) -> None:
        """Keep the counterexample: where the statement, the article or a common belief fails."""
        plain = {k: np.asarray(v).tolist() for k, v in values.items()}
        self.counterexample = {"what": what, **plain}


class Problems:
    """Random problems, and the losses' own gradients on them in float64.

    Args:
        seed: for the random inputs.
        trials: how many random problems each statement is tried on.
        losses: the losses under test, by their public names.
    """

    def __init__(
        self, seed: list[int], trials: int, losses: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.trials = trials
        self.losses = losses
        # Kept for one verification only: afterwards a user may have replaced a loss.
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def draw(self, pixels: int = 48, *, low: float = 1e-4) -> tuple[Array, Array]:
        """Random probabilities and hard targets [trials, pixels], both classes present."""
        rng, n = self.rng, self.trials
        share = 10 ** rng.uniform(-2, -0.05, (n, 1))
        targets = (rng.random((n, pixels)) < share).astype(float)
        targets[:, 0], targets[:, 1] = 1, 0
        shape = rng.uniform(0.2, 4, (4, n, 1))
        size = (n, pixels)
        foreground = rng.beta(shape[0], shape[1], size)
        background = rng.beta(shape[2], shape[3], size)
        p = np.where(targets == 1, foreground, background)
        return np.clip(p, low, 1 - low), targets

    def value_and_gradient(
        self,
        loss: str | Callable[..., Any],
        x: Any,
        y: Any,
        *,
        sums: Callable[..., Any] | None = region_sums,
        where: Any = None,
        **options: Any,
    ) -> tuple[Array, Array]:
        """Value [B] and gradient [B, N, ...] of a loss on B problems of up to 64 pixels.

        ``sums=None`` is for losses that take arrays. Options are numbers or one number per problem.
        """
        x, y = np.asarray(x, float), np.asarray(y)
        rows, columns = x.shape[:2]
        y = np.broadcast_to(y, (rows, *y.shape[1:])) if y.shape[0] != rows else y
        weight = np.ones((rows, columns)) if where is None else np.asarray(where, float)
        weight = np.broadcast_to(weight, (rows, columns))
        options = {k: np.asarray(v, float) for k, v in options.items()}
        values, gradients = [], []
        for start in range(0, rows, ROWS):
            cut = slice(start, start + ROWS)
            here = {k: _padded(v[cut], 0.5) if v.ndim else v for k, v in options.items()}
            value, gradient = self._block(loss, sums, tuple(sorted(options)))(
                _padded(x[cut], 0.5, columns=True),
                _padded(y[cut], 0, columns=True),
                _padded(weight[cut], 0.0, columns=True),
                here,
            )
            size = min(ROWS, rows - start)
            values.append(np.asarray(value)[:size])
            gradients.append(np.asarray(gradient)[:size, :columns])
        return np.concatenate(values), np.concatenate(gradients)

    def gradient(self, loss: str | Callable[..., Any], x: Any, y: Any, **rest: Any) -> Array:
        """The gradient alone: see `value_and_gradient`."""
        return self.value_and_gradient(loss, x, y, **rest)[1]

    def value(self, loss: str | Callable[..., Any], x: Any, y: Any, **rest: Any) -> Array:
        """The value alone: see `value_and_gradient`."""
        return self.value_and_gradient(loss, x, y, **rest)[0]

    def _block(
        self, loss: str | Callable[..., Any], sums: Callable[..., Any] | None, options: Any
    ) -> Callable[..., Any]:
        function = self.losses[loss] if isinstance(loss, str) else loss
        key = (function, sums, options)
        if key not in self._compiled:

            def total(x: Any, y: Any, w: Any, options: Any) -> tuple[Any, Any]:
                if sums is None:
                    value = function(x, y, axis=1, where=w, **options)
                else:
                    value = function(sums(x, y, axis=1, where=w), **options)
                return value.sum(), value

            def value_and_gradient(x: Any, y: Any, w: Any, options: Any) -> tuple[Any, Any]:
                gradient, value = jax.grad(total, has_aux=True)(x, y, w, options)
                return value, gradient

            self._compiled[key] = jax.jit(value_and_gradient)
        return self._compiled[key]

    def hessian(self, loss: str, p: Any, y: Any, **options: float) -> Array:
        """Hessians [B, N, N] of a loss in probability space."""
        function = self.losses[loss]
        key = ("hessian", function, tuple(sorted(options)))
        if key not in self._compiled:

            def value(p: Any, y: Any, options: Any) -> Any:
                return function(region_sums(p, y), **options)

            self._compiled[key] = jax.jit(jax.vmap(jax.hessian(value), in_axes=(0, 0, None)))
        return np.asarray(self._compiled[key](jnp.asarray(p), jnp.asarray(y), options))

    def parameter_gradient(self, loss: str, y: Array, seed: int, **options: float) -> Array:
        """Gradient at the parameters of a small network (inputs 3, hidden 4, one logit a pixel)."""
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(y.shape[0], 3)) + y[:, None]
        parameters = [rng.normal(size=s) for s in ((3, 4), (4,), (4,), ())]
        function = self.losses[loss]

        def value(parameters: Any) -> Any:
            w, b, v, c = parameters
            logits = jnp.tanh(inputs @ w + b) @ v + c
            return function(sigmoid_region_sums(logits, y), **options)

        gradient = jax.jit(jax.grad(value))([jnp.asarray(x) for x in parameters])
        return np.concatenate([np.asarray(g).reshape(-1) for g in gradient])

    def closed(self, function: Callable[..., Any], p: Any, y: Any, **options: Any) -> Any:
        """Apply a public closed form to the sums of each problem; NumPy arrays [B]."""
        key = (function, tuple(sorted(options)))
        if key not in self._compiled:

            def of_arrays(p: Any, y: Any, options: Any) -> Any:
                return function(region_sums(p, y, axis=1), **options)

            self._compiled[key] = jax.jit(of_arrays)
        options = {k: np.asarray(v, float) for k, v in options.items()}
        result = self._compiled[key](jnp.asarray(p), jnp.asarray(y), options)
        return jax.tree.map(np.asarray, result)

    def worst_case(
        self, score: Callable[[Array], Array], dimensions: int, *, steps: int | None = None
    ) -> Array:
        """Search the unit cube for points where ``score`` is largest, and return 32 candidates.

        Where a claim holds, the score is constant or rounding noise and has no useful gradient.
        The search therefore takes random steps of many sizes, and jumps to the cube's faces.
        """
        rng = self.rng
        best = rng.random((ROWS, dimensions))
        best[: ROWS // 4] = np.round(best[: ROWS // 4])
        height = _as_score(score(best))
        for _ in range(4 * self.trials if steps is None else steps):
            scale = 10 ** rng.uniform(-7, 0, (ROWS, 1))
            chosen = rng.random((ROWS, dimensions)) < 10 ** rng.uniform(-1.7, 0, (ROWS, 1))
            moved = best + scale * rng.normal(size=best.shape)
            faces = rng.random((ROWS, 1)) < 0.2
            moved = np.where(faces, rng.integers(0, 2, best.shape), moved)
            # Sometimes start from the best candidate instead.
            source = np.where(rng.random(ROWS) < 0.1, np.argmax(height), np.arange(ROWS))
            candidate = np.clip(np.where(chosen, moved, best[source]), 0, 1)
            reached = _as_score(score(candidate))
            better = reached > height
            best, height = np.where(better[:, None], candidate, best), np.fmax(reached, height)
        return best


def _as_score(score: Array) -> Array:
    return np.where(np.isnan(score), np.inf, score)


def _padded(x: Array, fill: float, *, columns: bool = False) -> Array:
    widths = [(0, ROWS - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
    if columns:
        widths[1] = (0, COLUMNS - x.shape[1])
    return np.pad(x, widths, constant_values=fill)
