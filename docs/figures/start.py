"""Draw the picture of docs/start.md: run the page's code, which ends with the picture.

Run: python docs/figures/start.py
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "start.md"

names: dict[str, object] = {}
with contextlib.chdir(FOLDER):
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
        if "savefig" in block:
            break
