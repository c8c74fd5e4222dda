"""Pictures of real images, from the outputs that are stored in the notebook.

python docs/figures/nuclei.py
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
NOTEBOOK = FOLDER.parents[1] / "experiments" / "notebooks" / "nuclei.ipynb"


def pictures() -> list[Image.Image]:
    """The notebook's pictures in order: data, before, after, loss, worst cases, comparison."""
    found = []
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                data = base64.b64decode("".join(output["data"]["image/png"]))
                found.append(Image.open(io.BytesIO(data)).convert("RGB"))
    return found


def main() -> None:
    """Write the pictures of docs/your-own-images.md and docs/validation.md."""
    _, before, after, _, worst, _ = pictures()
    width = min(before.width, after.width)
    rows = [np.asarray(x.resize((width, x.height * width // x.width))) for x in (before, after)]
    both = Image.fromarray(np.concatenate(rows))
    for name, picture in {"nuclei": both, "evaluate": worst}.items():
        picture.quantize(128).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
