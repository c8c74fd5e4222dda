"""Studies of several classes: losses of softmax outputs, scores of each class, a report of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from experiments.api import run
from experiments.config import ConfigError
from experiments.learning.class_arms import CLASS_ARMS, diagnose_classes, parse_class
from experiments.learning.class_evaluation import evaluate_classes
from experiments.learning.models import MODELS, initialise
from experiments.presets import resolve
from experiments.runs.directory import load_runs
from experiments.runs.progress import Progress
from tests.experiments.images.folders import arrays, save

VALUES = (0.0, 191.0, 255.0)


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    labels = generator.choice(3, p=(0.7, 0.25, 0.05), size=(2, 6, 6))
    return jnp.asarray(generator.normal(size=(2, 6, 6, 3)), jnp.float32), labels


def _losses(logits, labels):
    """The losses in float64, from their papers."""
    z = np.asarray(logits, np.float64).reshape(-1, 3)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    y = np.eye(3)[labels.ravel()]
    true = (p * y).sum(axis=1)
    ce, focal = -np.log(true).mean(), -((1 - true) ** 2 * np.log(true)).mean()
    dice = 1 - 2 * (p * y).sum(axis=0) / (p + y).sum(axis=0)
    weights = 1 / y.sum(axis=0) ** 2
    generalized = 1 - 2 * (weights * p * y).sum() / (weights * (p + y)).sum()
    return {
        "ce": ce, "dice+ce": dice.mean() + ce, "foreground_dice+ce": dice[1:].mean() + ce,
        "generalized_dice": generalized, "focal": focal,
    }  # fmt: skip


def test_losses_are_those_of_their_papers(problem):
    expected = _losses(*problem)
    assert set(expected) == set(CLASS_ARMS)
    for name, value in expected.items():
        gradient, numbers = diagnose_classes(parse_class(name, 1e-5), *problem)
        assert float(numbers["loss"]) == pytest.approx(value, rel=1e-4), name
        step = np.asarray(gradient, np.float64)
        moved = problem[0] - 1e-2 * step / np.linalg.norm(step)
        slope = (_losses(moved, problem[1])[name] - value) / -1e-2
        assert slope == pytest.approx(np.linalg.norm(step), rel=0.05), name
    assert float(numbers["foreground_fraction"]) == pytest.approx((problem[1] > 0).mean())


def test_a_class_that_a_batch_lacks_does_not_count(problem):
    logits, labels = problem
    without = np.where(labels == 2, 0, labels)
    arm = parse_class("foreground_dice", 1e-5)
    both = arm(arm.sums(logits, jnp.asarray(without)))
    one = arm(arm.sums(logits, jnp.asarray(without))._replace(
        regions=jax.tree.map(lambda x: x[:2], arm.sums(logits, jnp.asarray(without)).regions)
    ))  # fmt: skip
    assert float(both) == pytest.approx(float(one))


def test_scores_are_those_of_scikit_learn(problem):
    logits, labels = (np.asarray(x) for x in problem)
    inside = np.ones(labels.shape, bool)
    inside[1, 4:] = False
    marked = np.where(inside, labels, -1)
    found = evaluate_classes(logits, marked, logits, marked, VALUES)
    chosen = logits.argmax(-1)
    names = [f"{value:g}" for value in VALUES]
    images = np.array(
        [
            metrics.f1_score(y[i], p[i], labels=[0, 1, 2], average=None, zero_division=np.nan)
            for y, p, i in zip(labels, chosen, inside, strict=True)
        ]
    )
    present = np.array(
        [[(y[i] == k).any() for k in range(3)] for y, i in zip(labels, inside, strict=True)]
    )
    images = np.where(present, images, np.nan)
    for k, name in enumerate(names):
        assert found.metrics[f"dice_{name}"] == pytest.approx(np.nanmean(images[:, k]))
        assert found.metrics[f"share_{name}"] == pytest.approx((labels[inside] == k).mean())
    by_class = np.nanmean(images, axis=0)
    assert found.metrics["dice"] == pytest.approx(by_class[1:].mean())
    assert found.metrics["dice_with_background"] == pytest.approx(by_class.mean())
    assert found.metrics["validation_dice_tuned"] == found.metrics["dice"]
    pooled = metrics.f1_score(labels[inside], chosen[inside], labels=[1, 2], average="macro")
    assert found.metrics["dice_pooled"] == pytest.approx(pooled)
    assert found.metrics["accuracy"] == (labels == chosen)[inside].mean()
    assert found.status == "finished"


def test_one_class_everywhere_is_a_collapse_and_nan_is_divergence(problem):
    logits, labels = (np.asarray(x) for x in problem)
    flat = np.zeros_like(logits) + np.array([0.0, 1.0, 0.0])
    assert evaluate_classes(flat, labels, flat, labels, VALUES).status == "collapsed"
    broken = evaluate_classes(flat, labels, flat * np.nan, labels, VALUES)
    assert broken.status == "diverged"
    assert np.isnan(broken.metrics["dice"])
    assert broken.metrics["share_0"] == (labels == 0).mean()


def test_models_have_a_logit_for_each_class():
    for name in MODELS:
        graph, parameters = initialise(name, 0, channels=2, outputs=3)
        model = jax.eval_shape(lambda g=graph, p=parameters: _apply(g, p))
        assert model.shape == (1, 8, 8, 3)


def _apply(graph, parameters):
    from flax import nnx

    return nnx.merge(graph, parameters)(jnp.zeros((1, 8, 8, 2)))


@pytest.fixture
def labelled(tmp_path):
    for row in range(9):
        image, mask = arrays(row)
        labels = np.where(mask, 191, 0).astype(np.uint8)
        labels[:2, -3:] = 255
        save(tmp_path / "data" / "images" / f"{row}.png", image)
        save(tmp_path / "data" / "masks" / f"{row}.png", labels)
    return tmp_path / "data"


def test_a_study_of_classes_runs_and_reports_each(labelled, tmp_path, unrendered):
    asked = {
        "model": "linear", "optimiser": "adam", "batch_size": 2, "steps": 2, "seeds": 1,
        "learning_rates": (1.0,),
    }  # fmt: skip
    config = resolve(data=labelled, classes=True, **asked)
    assert config.losses == CLASS_ARMS
    assert config.class_values == VALUES
    config = resolve(data=labelled, classes=True, losses=("BCE",), tile=16, **asked)
    assert config.losses == ("ce",)
    out = tmp_path / "out"
    assert run((config,), out, Progress()) == 1
    (result,) = load_runs(out)
    assert {"dice", "dice_0", "dice_191", "dice_255"} <= set(result["metrics"])
    page = (out / "report.html").read_text()
    for words in ('id="strip"', 'id="class_scores"', "Dice, class 191", "each class has its own"):
        assert words in page
    assert 'id="volume_bias"' not in page
    assert "--classes" in page
    assert "dice_255_mean" in (out / "summary.csv").read_text()
    assert run((config,), out, Progress()) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"foreground": (191.0,)}, "leave out mask_threshold and foreground"),
        ({"annotator_bias": 1.0}, "leave them out beside classes"),
        ({"losses": ("tversky",)}, "unknown loss 'tversky'"),
        ({"model": "linear"}, "write --optimiser adam beside --classes"),
    ],
)
def test_what_is_for_one_foreground_is_refused(labelled, changes, says):
    with pytest.raises(ConfigError, match=says):
        resolve(data=labelled, classes=True, **changes)
    config = resolve(data=labelled, classes=True)
    assert dataclasses.replace(config, seeds=1).outputs == 3
