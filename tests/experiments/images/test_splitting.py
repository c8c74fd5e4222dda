"""Splits: no group on two sides, foreground on every side, sections with gaps, stored and given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import ConfigError
from experiments.images.folder import Folder
from experiments.images.splitting import (
    SPLITS,
    Splitting,
    groups_of,
    parts_of,
    split_folder,
)


def _folder(names, foreground=None, groups=None, given_split=None):
    shares = np.linspace(0.1, 0.9, len(names)) if foreground is None else foreground
    masks = tuple(np.arange(100) < round(100 * share) for share in shares)
    return Folder(
        tuple(names),
        tuple(groups or [None] * len(names)),
        tuple(given_split or [None] * len(names)),
        (),
        tuple(mask.reshape(10, 10) for mask in masks),
        (),
        "",
        (),
    )


def _parts(folder, fold=0, **wish):
    splitting = Splitting(**wish)
    letters = split_folder(folder, "data", splitting, [])
    assert len(letters) == len(folder.names)
    return parts_of(letters, folder.names, splitting, fold)


_PATIENTS = st.lists(st.integers(1, 9), min_size=6, max_size=30)


@settings(max_examples=60, deadline=None)
@given(
    sizes=_PATIENTS,
    shuffle=st.randoms(use_true_random=False),
    folds=st.sampled_from([None, 3, 5]),
    word=st.text("abcxyz0189", min_size=1, max_size=5),
)
def test_no_group_is_on_two_sides(sizes, shuffle, folds, word):
    names = [f"{word}{p}_{i}" for p, size in enumerate(sizes) for i in range(size)]
    shuffle.shuffle(names)
    folder = _folder(names, [shuffle.choice((0.2, 0.5, 0.9)) for _ in names])
    tested = []
    for fold in range(folds or 1):
        parts = _parts(folder, fold, group="^[^_]+", folds=folds)
        groups = groups_of(folder, "^[^_]+")
        sides = [{groups[i] for i in rows} for rows in parts.values()]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert all(sides)
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(names)))
        tested += [int(i) for i in parts["test"]]
    if folds:
        # Every image is tested once.
        assert sorted(tested) == list(range(len(names)))


def test_shares_are_kept_by_rank_and_foreground_is_everywhere():
    generator = np.random.default_rng(0)
    foreground = np.round(generator.beta(0.5, 4, 200), 2)
    folder = _folder([f"im{i}" for i in range(200)], foreground)
    parts = _parts(folder)
    assert [len(rows) for rows in parts.values()] == pytest.approx([140, 30, 30], abs=1)
    means = [folder.foreground[rows].mean() for rows in parts.values()]
    # Drawn at random, the standard deviation of a mean of 30 would be 0.02.
    assert np.ptp(means) < 0.01
    # The same images, whenever it is asked.
    assert all((parts[name] == _parts(folder)[name]).all() for name in SPLITS)


def test_groups_of_unlike_sizes_share_the_images():
    names = [f"p{p}_{i}" for p, size in enumerate([40] + [5] * 12) for i in range(size)]
    parts = _parts(_folder(names, [0.3] * 100), group="^[^_]+")
    assert [len(rows) for rows in parts.values()] == pytest.approx([70, 15, 15], abs=5)


def test_rare_foreground_is_on_every_side():
    foreground = np.zeros(60)
    foreground[:6] = 0.5
    for rows in _parts(_folder([f"im{i}" for i in range(60)], foreground)).values():
        assert (_folder(range(60), foreground).foreground[rows] > 0).sum() == 2


@pytest.mark.parametrize(
    ("count", "wish", "says"),
    [
        (5, {}, "5 images with foreground are too few: each of 3 parts needs 2"),
        (7, {"folds": 4}, "7 images with foreground are too few: each of 4 folds needs 2"),
        (9, {"group": "im"}, "1 groups with foreground are too few"),
        (9, {"group": r"im\d(\d)"}, r"is not found in 9 of 9 names: im0, im1, im2 and 6 more"),
        (9, {"group": "("}, "not a regular expression"),
        (9, {"gap": 2}, "9 sections are too few for 3 blocks with gaps of 2"),
        (9, {"gap": 1, "group": "im."}, "--gap is for the sections of one volume"),
        (9, {"split_file": "none.csv"}, r"none\.csv cannot be read"),
    ],
)
def test_what_cannot_be_split_is_refused(count, wish, says):
    with pytest.raises(ConfigError, match=says):
        _parts(_folder([f"im{i}" for i in range(count)]), **wish)


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.parametrize("gap", [0, 1, 2])
def test_sections_are_blocks_with_gaps(folds, gap):
    # In the order of their numbers, not of their letters.
    names = [f"z{i}" for i in range(30)]
    folder = _folder(names)
    for fold in range(folds or 1):
        parts = _parts(folder, fold, gap=gap, folds=folds)
        assert all(len(rows) >= 2 for rows in parts.values())
        for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
            near = np.abs(parts[a][:, None] - parts[b][None, :]).min()
            assert near > gap
        for name in ("validation", "test"):
            assert (np.diff(parts[name]) == 1).all()
    # Only a gap is left out.
    assert sum(map(len, parts.values())) >= 30 - 6 * gap


def test_a_split_file_names_the_parts(tmp_path):
    names = ["a", "p/b", "c", "d"]
    file = tmp_path / "split.csv"
    file.write_text("image,part\na,train\nb,val\nc,test\n")
    parts = _parts(_folder(names), split_file=str(file))
    assert [rows.tolist() for rows in parts.values()] == [[0], [1], [2]]
    for line, says in {
        "e,train": r"names 1 images that data does not have: e; its images are a, p/b, c and 1",
        "d,nowhere": r"line 5: a name and train, validation or test expected.*got d,nowhere",
    }.items():
        file.write_text(f"image,part\na,train\nb,val\nc,test\n{line}\n")
        with pytest.raises(ConfigError, match=says):
            _parts(_folder(names), split_file=str(file))
    file.write_text("a,train\np/b,val\nd,val\n")
    with pytest.raises(ConfigError, match="the test part has no image"):
        _parts(_folder(names), split_file=str(file))
    file.write_text("a,train\np/b,val\nd,test\nc,train")
    with pytest.raises(ConfigError, match=r"divides 1 groups: x"):
        _parts(_folder(names, groups=["x", "x", "y", "z"]), split_file=str(file))
    with pytest.raises(ConfigError, match=r"leave out --folds"):
        _parts(_folder(names), split_file=str(file), folds=3)


def test_folders_that_give_the_split_are_obeyed():
    folder = _folder("abcd", given_split=["train", "test", "validation", None])
    assert [rows.tolist() for rows in _parts(folder).values()] == [[0], [2], [1]]


def test_studies_of_early_versions_keep_their_split():
    names = ("scan_2", "scan_3", "scan_0", "scan_1", "scan_15", "scan_19", "scan_5", "scan_24")
    parts = parts_of("", names, Splitting())
    assert [rows.tolist() for rows in parts.values()] == [[0, 1, 2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("names", "count", "option"),
    [
        ([f"p{p:02}_s{i}" for p in range(5) for i in range(4)], "5 groups", r"'^[^_\-. ]+'"),
        ([f"Image_{p:02}{eye}" for p in range(14) for eye in "LR"], "14 groups", r"'^.*\d'"),
        ([f"a-b{p}-{i}" for p in range(3) for i in range(9)], "3 groups", r"'^.*(?=[_\-. ])'"),
        ([f"{i:02}" for i in range(20)], "consecutive numbers", "--gap 1"),
    ],
)
def test_names_that_look_grouped_give_a_warning(names, count, option):
    notes = []
    split_folder(_folder(names), "data", Splitting(), notes)
    assert len(notes) == 1
    assert count in notes[0]
    assert option in notes[0]
    # A user who says what belongs together is not warned.
    notes = []
    split_folder(_folder(names), "data", Splitting(group="^.*$"), notes)
    assert notes == []


def test_names_that_do_not_look_grouped_give_none():
    for names in ([f"scan_{i}" for i in range(20)], [f"{i * 7919:x}" for i in range(20)]):
        notes = []
        split_folder(_folder(names), "data", Splitting(), notes)
        assert notes == []
