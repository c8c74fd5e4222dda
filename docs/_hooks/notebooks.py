"""Makes a page of each notebook: as it is stored with its outputs, or executed without.

The size is that of the notebook's own `DICE_JAX_NOTEBOOK_SIZE`: "tiny" unless the environment says
otherwise, so that a build takes seconds; the published site is built with "quick".
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# The site's builder loads this file by its path, without the folder beside it.
sys.path.append(str(Path(__file__).parent))
import kept

__all__ = ["execute", "on_files"]

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "experiments" / "notebooks"
_SIZE = "DICE_JAX_NOTEBOOK_SIZE"


def execute(path: Path, size: str) -> Any:
    """Run a notebook from top to bottom, or take what that gave the last time.

    Args:
        path: the notebook.
        size: its size, a word that it knows.

    Returns:
        The notebook with its outputs.
    """
    import nbformat

    sources = [path.read_text(encoding="utf-8"), size, *map(kept.code, ("dice_jax", "experiments"))]
    made = kept.kept(path.name, sources, lambda: _run(path, size))
    return nbformat.reads(made.decode(), as_version=4)


def _run(path: Path, size: str) -> bytes:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            _SIZE: size,
            "DICE_JAX_NOTEBOOK_OUT": "study",
            "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
            # The page must not depend on what the reader's terminal can show.
            "TERM": "dumb",
        }
        client = NotebookClient(notebook, timeout=1800, kernel_name="python3")
        if os.name == "posix":
            # Not over TCP, where the kernel warns of listeners.
            kernel = client.create_kernel_manager()
            kernel.transport, kernel.ip = "ipc", f"{folder}/kernel"
        client.execute(cwd=folder, env={**os.environ, **environment})
    return nbformat.writes(notebook).encode()


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages and their pictures (mkdocs calls this)."""
    import nbformat
    from mkdocs.structure.files import File
    from nbconvert import MarkdownExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    size = os.environ.get(_SIZE, "tiny")
    for path in sorted(_FOLDER.glob("*.ipynb")):
        stored = nbformat.read(path, as_version=4)
        has_outputs = any(cell.get("outputs") for cell in stored.cells)
        notebook = stored if has_outputs else execute(path, size)
        for cell in notebook.cells:
            # Progress bars and other news of the run are no result.
            cell.outputs = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
        exporter = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor])
        text, resources = exporter.from_notebook_node(
            notebook, {"unique_key": path.stem, "output_files_dir": path.stem}
        )
        title, _, rest = text.partition("\n")
        words = f"This page is `experiments/notebooks/{path.name}`, with its stored outputs."
        if not has_outputs:
            words = (
                f"This page is `experiments/notebooks/{path.name}`, executed when the site was "
                f"built, at the size `{size}`."
            )
        if size == "tiny" and not has_outputs:
            words += " At that size everything runs, and scores of trained networks mean nothing."
        page = f"{title}\n\n{words}\n{rest}"
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, picture in resources["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files
