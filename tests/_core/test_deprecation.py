"""A deprecated name works, and warns at the line that must change."""

import jax.numpy as jnp
import pytest

import dice_jax as dj
from dice_jax._core.deprecation import deprecated


def test_a_deprecated_name_gives_the_value_and_the_line_to_write():
    line = "dice_jax.dice_loss(sums, smooth=0.0)"
    old = deprecated(dj.dice_loss, name="dice_jax.old_loss", line=line, goes_in="0.4")
    sums = dj.region_sums(jnp.array([0.5, 0.5]), jnp.array([1, 0]))
    with pytest.warns(DeprecationWarning, match="dice_jax.old_loss goes in 0.4") as caught:
        value = old(sums, smooth=0.0)
    assert value == dj.dice_loss(sums, smooth=0.0)
    assert str(caught[0].message) == f"dice_jax.old_loss goes in 0.4. Write {line} instead."
    assert caught[0].filename == __file__
    assert old.__doc__ == dj.dice_loss.__doc__
