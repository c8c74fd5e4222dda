"""Names and keywords of other libraries: the error spells a line, and the line runs."""

import jax
import jax.numpy as jnp
import pytest

import dice_jax as dj
from dice_jax._core import hints


def setting():
    """What the lines of the hints use."""
    labels = jnp.array([[0, 1, 2], [2, 1, 0]])
    targets = jnp.array([[0, 1, 1], [0, 0, 1]])
    return {
        "dj": dj,
        "jax": jax,
        "labels": labels,
        "targets": targets,
        "mask": targets.astype(bool),
    }


@pytest.mark.parametrize("name", sorted(hints._NAMES))
def test_the_line_for_another_librarys_name_runs(name):
    line, _, given = hints._NAMES[name].partition(", with ")
    names = setting()
    # A line about labels means logits of three classes, one about targets logits of one.
    classes = "labels" in hints._NAMES[name]
    names["logits"] = jnp.ones((2, 3, 3)) if classes else jnp.ones((2, 3))
    if "axis=(1, 2)" in line:
        names |= {"logits": jnp.ones((1, 2, 3)), "targets": names["targets"][None]}
    if given:
        exec(given, names)
    result = eval(line, names)
    assert isinstance(result, (jax.Array, dj.metrics.Scores))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DiceLoss", "write dj.dice_loss(dj.sigmoid_region_sums(logits, targets))"),
        ("iou_loss", "write dj.jaccard_loss("),
        ("TverskyLoss", "write dice_jax.tversky_loss"),
        ("dice_los", "did you mean dice_loss"),
    ],
)
def test_a_missing_name_says_what_to_write(name, expected):
    with pytest.raises(AttributeError, match=name) as raised:
        getattr(dj, name)
    assert expected in str(raised.value)


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(AttributeError, match=r"has no attribute 'optax'$"):
        _ = dj.optax
    assert not hasattr(dj, "__nothing__")
    with pytest.raises(AttributeError, match="surface_dice"):
        _ = dj.metrics.SurfaceDice


@pytest.mark.parametrize("keyword", sorted(hints._KEYWORDS))
def test_another_librarys_keyword_is_explained(keyword):
    sums = dj.region_sums(jnp.ones(2), jnp.ones(2))
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'; ") as raised:
        dj.dice_loss(sums, **{keyword: 1})
    assert "{" not in str(raised.value)


def test_a_misspelt_keyword_names_the_nearest():
    with pytest.raises(TypeError, match="'smoth'; did you mean smooth"):
        dj.dice_loss(dj.region_sums(jnp.ones(2), jnp.ones(2)), smoth=1.0)
    with pytest.raises(TypeError, match=r"'ignore_index'; write where=labels != 255"):
        dj.softmax_region_sums(jnp.ones((2, 3)), jnp.array([0, 1]), ignore_index=255)
    with pytest.raises(TypeError, match=r"'include_background'; write .*\[\.\.\., 1:\]"):
        dj.dice_plus_plus_loss(jnp.ones(2), jnp.ones(2), include_background=False)
