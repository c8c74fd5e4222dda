"""`verify_claims`: every statement of the theory, tested against the library's own gradients."""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax.theory.checks import CHECKS
from dice_jax.theory.problems import Check, CheckLog, Problems
from dice_jax.theory.statements import STATEMENTS

__all__ = ["ClaimResult", "verify_claims"]


@dataclasses.dataclass(frozen=True)
class ClaimResult:
    """The result of testing one statement.

    Args:
        id: ``"C1"``, ``"C2"``, ….
        statement: what is said to hold.
        condition: when it holds.
        source: where it comes from.
        verified: whether every comparison stayed within its tolerance.
        worst_error: how far the worst case found was from the closed form, or the worst violation;
            always finite (1e30 stands for NaN and more).
        counterexample: where the statement, the article or a common belief fails outside the
            condition, with its numbers; ``None`` if there is no such place.
        seconds: the time it took.
        title: a few words.
        checks: every comparison that was made, with its error and tolerance.

    Example:
        >>> import dice_jax as dj
        >>> (result,) = dj.analysis.verify_claims(only=["C8"], trials=8)
        >>> print(result.id, result.title, result.counterexample)
        C8 At a perfect prediction None
    """

    id: str
    statement: str
    condition: str
    source: str
    verified: bool
    worst_error: float
    counterexample: dict[str, Any] | None
    seconds: float
    title: str
    checks: tuple[Check, ...]


class _Losses(Mapping[str, Callable[..., Any]]):
    """The library's public functions by name, some of them replaced, looked up when asked for."""

    def __init__(self, replaced: Mapping[str, Callable[..., Any]]) -> None:
        self._library = importlib.import_module("dice_jax")
        self._replaced = dict(replaced)
        for name in self._replaced:
            if not callable(getattr(self._library, name, None)):
                raise ValueError(f"losses names {name!r}, which is no public function of dice_jax")

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._replaced[name] if name in self._replaced else getattr(self._library, name)

    def __iter__(self) -> Any:
        return iter(vars(self._library))

    def __len__(self) -> int:
        return len(vars(self._library))


def _seed(key: jax.Array | None) -> list[int]:
    if key is None:
        key = jax.random.key(0)
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return [int(word) for word in np.asarray(jax.random.key_data(key) if typed else key).ravel()]


def _chosen(only: Iterable[str] | None) -> list[str]:
    if only is None:
        return list(CHECKS)
    wanted = [only] if isinstance(only, str) else list(only)
    for name in wanted:
        if name not in CHECKS:
            raise ValueError(
                f"only: there is no statement {name!r}; the known ones are {', '.join(CHECKS)}"
            )
    return [name for name in CHECKS if name in wanted]


def verify_claims(
    *,
    key: jax.Array | None = None,
    trials: int = 32,
    only: Iterable[str] | None = None,
    losses: Mapping[str, Callable[..., Any]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[ClaimResult, ...]:
    r"""Test the statements about Dice gradients against `jax.grad` of the library's own losses.

    The losses' values and gradients on random problems are compared, in float64, with formulas
    written in NumPy. For C3, C4, C6, C10 and C12 a random search also looks for the worst problem.
    float64 is switched on inside only; no global setting changes.

    Args:
        key: a JAX random key for the problems; ``None`` uses the same problems in every call.
        trials: how many random problems each statement is tried on, at least 8.
        only: ids to test, such as ``["C10"]``; ``None``: all of them.
        losses: functions to test instead of the library's, by public name, such as
            ``{"dice_loss": mine}``. This tests another implementation against the theory.
        progress: called with each id before it is tested.

    Returns:
        One `ClaimResult` per statement, in their order.

    Raises:
        TypeError: if ``trials`` is not an integer.
        ValueError: if ``trials`` is below 8, or ``only`` or ``losses`` name what does not exist.

    Example:
        >>> import dice_jax as dj
        >>> (result,) = dj.analysis.verify_claims(only=["C8"], trials=8)
        >>> print(result.id, result.verified, result.worst_error < 1e-9)
        C8 True True

    References:
        The theory page, which is made from the statements that this verifies.
    """
    if isinstance(trials, bool) or not isinstance(trials, int):
        raise TypeError(f"trials must be an integer, got {trials!r}")
    if trials < 8:
        raise ValueError(f"trials must be at least 8, got {trials}")
    chosen, functions = _chosen(only), _Losses(losses or {})
    seed = _seed(key)
    statements = {s.id: s for s in STATEMENTS}
    results = []
    # One object for all statements: it compiles each loss once.
    problems = Problems(seed, trials, functions)
    for name in chosen:
        if progress is not None:
            progress(name)
        # Each statement has its own random numbers, so ``only`` does not change its problems.
        problems.rng = np.random.default_rng([*seed, int(name[1:])])
        log, start = CheckLog(), time.perf_counter()
        with jax.enable_x64(True), np.errstate(all="ignore"):
            CHECKS[name](problems, log)
        statement = statements[name]
        results.append(
            ClaimResult(
                id=name,
                statement=statement.statement,
                condition=statement.condition,
                source=statement.source,
                verified=all(check.passed for check in log.checks),
                worst_error=max(check.error for check in log.checks),
                counterexample=log.counterexample,
                seconds=time.perf_counter() - start,
                title=statement.title,
                checks=tuple(log.checks),
            )
        )
    return tuple(results)
