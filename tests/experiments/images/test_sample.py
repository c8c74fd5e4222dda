"""The sample of real images is small, complete and says where it is from."""

from pathlib import Path

import numpy as np

from dice_jax.analysis import read_image

SAMPLE = Path(__file__).parents[3] / "experiments" / "sample" / "nuclei"


def test_the_sample_is_what_its_readme_says():
    words = (SAMPLE / "README.md").read_text()
    files = [path for path in SAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1e6
    folders = sorted((SAMPLE / "stage1_train").iterdir())
    masks = list(SAMPLE.glob("stage1_train/*/masks/*.png"))
    assert f"{len(folders)} real images" in words
    assert f"their {len(masks)} nuclei" in words
    assert "CC0" in words
    assert "commit `3035455`" in words
    assert len(files) == len(folders) + len(masks) + 1
    for folder in folders:
        (image,) = (folder / "images").iterdir()
        assert image.stem == folder.name
        pixels = read_image(image).pixels
        assert pixels.shape == (256, 256, 3)
        assert (pixels == pixels[..., :1]).all()
    assert np.unique(read_image(masks[0]).pixels).tolist() == [0, 255]
