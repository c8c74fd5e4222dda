"""Results show themselves shortly in a terminal, and as a table in a notebook."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj

KINDS = [k for k in vars(dj).values() if inspect.isclass(k) and issubclass(k, dj.AdditiveSums)]


def test_few_regions_show_their_sums_and_many_their_shape():
    pixels = jnp.array([[0.5, 0.25], [1.0, 0.0]])
    one = repr(dj.region_sums(pixels, pixels > 0.3))
    assert one.startswith("RegionSums(intersection=1.5, prediction=1.75, target=2.,")
    many = dj.region_sums(jnp.ones((5, 2)), jnp.ones((5, 2)), axis=1)
    assert repr(many) == "RegionSums(shape=(5,), dtype=float32)"
    assert len(many._repr_html_().split("<tr>")) == 1 + 1 + 5
    assert "<td>2</td>" in many._repr_html_()


def test_a_long_table_says_how_many_regions_it_leaves_out():
    many = dj.region_sums(jnp.ones((20, 2)), jnp.ones((20, 2)), axis=1)
    assert "8 more regions; the shape is (20,)" in many._repr_html_()


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not dj.AdditiveSums])
def test_every_kind_of_sums_has_the_short_text(kind):
    fields = inspect.signature(kind).parameters
    short = repr(kind(**dict.fromkeys(fields, np.ones(9, np.float32))))
    assert short == f"{kind.__name__}(shape=(9,), dtype=float32)"
    # Trees of something else than arrays, of shardings say, show it.
    assert "count=None" in repr(kind(**dict.fromkeys(fields)))


def test_traced_sums_and_scores_can_be_printed():
    shown = []

    @jax.jit
    def printed(sums, scores):
        shown.extend([repr(sums), sums._repr_html_(), repr(scores), scores._repr_html_()])
        return sums

    sums = dj.region_sums(jnp.ones((3, 2)), jnp.ones((3, 2)), axis=1)
    printed(sums, dj.metrics.of_regions(dj.dice_index(sums), sums))
    assert shown[0] == "RegionSums(shape=(3,), dtype=float32)"
    assert shown[1] is shown[3] is None
    assert shown[2].startswith("Scores(")


def test_scores_are_a_table():
    scores = dj.metrics.Scores(jnp.array([0.5, jnp.nan]), jnp.array([True, False]))
    assert "<tr><th>0</th><td>0.5</td><td>True</td></tr>" in scores._repr_html_()
    assert "<td>nan</td><td>False</td>" in scores._repr_html_()
