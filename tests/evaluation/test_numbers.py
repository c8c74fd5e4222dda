"""The numbers of `evaluate`: those of MONAI, SciPy and scikit-learn, on random folders."""

import csv
import json
import warnings

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree
from sklearn import metrics as sklearn_metrics

from dice_jax.__main__ import main
from tests.evaluation.random_masks import SETS, TOLERANCE, cases
from tests.evaluation.record_monai import RECORDED

MONAI = json.loads(RECORDED.read_text())


def save(path, array, kind, spacing=None):
    """Write a file in one of the formats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array if array.dtype.kind == "f" else array.astype(np.uint8)
    if kind == ".npy":
        np.save(f"{path}.npy", array)
    elif kind == ".nii.gz":
        affine = np.diag([*(spacing or (1.0,) * array.ndim), 1.0])
        nibabel.Nifti1Image(array, affine).to_filename(f"{path}.nii.gz")
    elif kind == ".tif":
        tifffile.imwrite(f"{path}.tif", array)
    else:
        Image.fromarray(array).save(f"{path}.png")


def rows(folder, *options):
    """Evaluate the two folders in a folder; return the rows of the CSV by case and class."""
    arguments = [str(folder / "predictions"), str(folder / "truth"), "--csv", str(folder / "s.csv")]
    assert main(["evaluate", *arguments, *map(str, options)]) == 0
    with (folder / "s.csv").open() as file:
        return {(row["case"], row["class"]): row for row in csv.DictReader(file)}


def numbers(row):
    return {k: float(v) for k, v in row.items() if k not in ("case", "class", "outcome")}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Every case of both sets: 2-D in three formats, masks and probabilities; 3-D as NIfTI."""
    found = {}
    for name, (_, spacing, _) in SETS.items():
        folder = tmp_path_factory.mktemp(name)
        for k, (case, (prediction, truth)) in enumerate(cases(name).items()):
            kind = (".png", ".tif", ".npy")[k % 3] if name == "planes" else ".nii.gz"
            claimed = np.where(prediction, 0.9, 0.2) if kind == ".npy" else prediction
            save(folder / "predictions" / case, claimed, kind, spacing)
            save(folder / "truth" / case, truth, ".png" if name == "planes" else kind, spacing)
        for (case, _), row in rows(folder, "--tolerance", TOLERANCE).items():
            found[case] = numbers(row)
    return found


EVERY = [case for name in SETS for case in cases(name)]


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY)
def test_the_numbers_are_monais(scored, case):
    assert MONAI["tolerance"] == TOLERANCE
    for name, value in MONAI["cases"][case].items():
        np.testing.assert_allclose(scored[case][name], value, rtol=2e-5, err_msg=name)


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask)


@pytest.mark.parametrize("case", EVERY)
def test_the_numbers_are_those_of_scipy_and_scikit_learn(scored, case):
    name = case.split("_")[0]
    spacing = SETS[name][1]
    prediction, truth = cases(name)[case]
    flat = truth.ravel(), prediction.ravel()
    pixel = np.prod(spacing)
    first, second = (np.argwhere(surface(m)) * spacing for m in (prediction, truth))
    there, back = cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]
    both = np.concatenate([there, back])
    labels = [ndimage.label(m, np.ones((3,) * m.ndim))[0] for m in (prediction, truth)]
    overlaps = []
    for k in range(1, labels[0].max() + 1):
        for j in range(1, labels[1].max() + 1):
            a, b = labels[0] == k, labels[1] == j
            overlaps.append((a & b).sum() / (a | b).sum())
    found = [iou for iou in overlaps if iou > 0.5]
    halves = (labels[0].max() + labels[1].max()) / 2
    expected = {
        "dice": sklearn_metrics.f1_score(*flat),
        "iou": sklearn_metrics.jaccard_score(*flat),
        "precision": sklearn_metrics.precision_score(*flat),
        "recall": sklearn_metrics.recall_score(*flat),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd": both.mean(),
        "surface_dice": (both <= TOLERANCE).mean(),
        "volume_bias": prediction.sum() / truth.sum() - 1,
        "volume_difference": abs(int(prediction.sum()) - int(truth.sum())) * pixel,
        "instance_f1": len(found) / halves,
        "panoptic_quality": sum(found) / halves,
        "volume_truth": truth.sum() * pixel,
        "volume_prediction": prediction.sum() * pixel,
        "objects_found": len(found),
        "objects_missed": labels[1].max() - len(found),
        "objects_invented": labels[0].max() - len(found),
    }
    assert expected.keys() == scored[case].keys()
    for key, value in expected.items():
        np.testing.assert_allclose(scored[case][key], value, rtol=1e-5, atol=1e-6, err_msg=key)


def test_several_classes_regions_and_an_ignored_label(tmp_path, capsys):
    rng = np.random.default_rng(0)
    truth, prediction = (rng.integers(0, 4, (2, 24, 32)) for _ in range(2))
    truth[:, :3] = 9
    for k in range(2):
        save(tmp_path / "truth" / f"{k}", truth[k], ".png")
        save(tmp_path / "predictions" / f"{k}", prediction[k], ".png")
    kept = truth != 9
    table = rows(tmp_path, "--ignore-label", 9)
    assert {name for _, name in table} == {"1", "2", "3"}
    regions = rows(tmp_path, "--ignore-label", 9, "--classes", "whole=1,2,3", "core=1,3")
    printed = capsys.readouterr().out
    assert "2 cases, mean of 3 classes" in printed
    mean = np.mean([float(regions[k, "core"]["dice"]) for k in "01"])
    (row,) = (line.split() for line in printed.splitlines() if line.startswith(" core"))
    assert row[:5] == ["core", "2", "0", "0", f"{mean:.3f}"]
    for k in range(2):
        y, p = truth[k][kept[k]], prediction[k][kept[k]]
        for name in "123":
            expected = sklearn_metrics.f1_score(y == int(name), p == int(name))
            np.testing.assert_allclose(float(table[f"{k}", name]["dice"]), expected, rtol=1e-6)
        expected = sklearn_metrics.jaccard_score(np.isin(y, [1, 3]), np.isin(p, [1, 3]))
        np.testing.assert_allclose(float(regions[f"{k}", "core"]["iou"]), expected, rtol=1e-6)


def test_probabilities_of_classes_scaled_probabilities_and_soft_truth(tmp_path):
    prediction, truth = cases("planes")["planes_0"]
    classes = np.stack([~prediction, prediction], -1).astype(np.float32)
    soft = np.where(truth, 200, 40)
    ways = {
        "last": (classes, ".npy", truth, ()),
        "first": (np.moveaxis(classes, -1, 0), ".npy", truth, ()),
        "scaled": (np.arange(768).reshape(24, 32) % 7 + 200 * prediction, ".png", truth,
                   ("--probabilities",)),
        "soft": (prediction, ".png", soft, ("--truth-threshold", 127)),
        "float_labels": (prediction * 255.0, ".npy", truth, ()),
    }  # fmt: skip
    expected = sklearn_metrics.f1_score(truth.ravel(), prediction.ravel())
    for name, (claimed, kind, there, options) in ways.items():
        save(tmp_path / name / "predictions" / "a", claimed, kind)
        save(tmp_path / name / "truth" / "a", there, ".png")
        (row,) = rows(tmp_path / name, *options).values()
        np.testing.assert_allclose(float(row["dice"]), expected, rtol=1e-6, err_msg=name)


def test_numbered_objects_are_matched_by_number_and_masks_by_component(tmp_path):
    truth = np.zeros((24, 32), int)
    truth[2:8, 2:8], truth[2:8, 8:14], truth[2:8, 18:22] = 1, 2, 3  # the first two touch
    masks, numbers_ = tmp_path / "masks", tmp_path / "numbers"
    for folder, prediction in ((masks, (truth > 0) * 255), (numbers_, truth + (truth > 0))):
        save(folder / "truth" / "a", truth, ".png")
        save(folder / "predictions" / "a", prediction, ".png")
    (row,) = rows(numbers_, "--instances").values()
    assert (row["objects_found"], row["objects_missed"], row["dice"]) == ("3", "0", "1")
    # One component covers two objects: its IoU with either is ½, which is no match.
    (row,) = rows(masks, "--instances").values()
    assert (row["objects_found"], row["objects_missed"], row["objects_invented"]) == ("1", "2", "1")
    assert float(row["dice"]) == 1


def test_what_was_missed_and_invented_is_said_and_counted(tmp_path, capsys):
    empty, full = np.zeros((24, 32), int), np.zeros((24, 32), int)
    full[3:9, 3:9] = 1
    pairs = {"found": (full, full), "missed": (empty, full), "invented": (full, empty),
             "absent": (empty, empty)}  # fmt: skip
    for name, (prediction, truth) in pairs.items():
        save(tmp_path / "predictions" / name, prediction, ".png")
        save(tmp_path / "truth" / name, truth, ".png")
    summary = tmp_path / "s.json"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = rows(tmp_path, "--json", summary)
    assert {case: row["outcome"] for (case, _), row in table.items()} == {n: n for n in pairs}
    assert [table[n, "foreground"]["hd95"] for n in pairs] == ["0", "inf", "inf", "0"]
    found = json.loads(summary.read_text())["summary"]["classes"][0]
    counts = (found["present"], found["missed"], found["invented"])
    assert counts == (2, 1, 1)
    assert found["measures"]["dice"]["mean"] == 0.5
    # Half of the diagonal of 24 × 32.
    assert found["measures"]["hd95"]["mean"] == 20
    assert found["measures"]["hd95"]["worst_case"] == "missed"
    printed = capsys.readouterr().out
    assert "Missed entirely: 1" in printed
    assert "Invented: 1" in printed


def test_spacing_of_the_option_scales_lengths_and_volumes(tmp_path):
    for name, (prediction, truth) in list(cases("planes").items())[:1]:
        save(tmp_path / "predictions" / name, prediction, ".png")
        save(tmp_path / "truth" / name, truth, ".png")
    (plain,), (scaled,) = (rows(tmp_path, *o).values() for o in ([], ["--spacing", 2]))
    for key, factor in {"hd95": 2, "assd": 2, "volume_difference": 4, "volume_truth": 4}.items():
        np.testing.assert_allclose(float(scaled[key]), factor * float(plain[key]), rtol=1e-5)
    assert scaled["dice"] == plain["dice"]
