"""Makes a page of each notebook, from the outputs that are stored in it.

Run a notebook, and store its outputs anew: python docs/_hooks/notebooks.py article
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import platform
import resource
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["code_of", "on_files", "run", "store", "with_small_pictures"]

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "experiments" / "notebooks"


def run(path: Path, folder: Path, size: str | None = None) -> Any:
    """Run a notebook from top to bottom.

    Args:
        path: the notebook.
        folder: where it runs; what it writes goes there.
        size: the ``DICE_JAX_NOTEBOOK_SIZE`` of the run; ``None``: the notebook's own default.

    Returns:
        The notebook with its outputs.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    environment = {
        **os.environ,
        "DICE_JAX_NOTEBOOK_OUT": "study",
        "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
        # The outputs must not depend on what the terminal can show.
        "TERM": "dumb",
    }
    if size is not None:
        environment["DICE_JAX_NOTEBOOK_SIZE"] = size
    client = NotebookClient(notebook, timeout=3600, kernel_name="python3")
    with tempfile.TemporaryDirectory() as sockets:
        if os.name == "posix":
            # Not over TCP, where the kernel warns of listeners. A socket's path must be short.
            kernel: Any = client.create_kernel_manager()
            kernel.transport, kernel.ip = "ipc", f"{sockets}/kernel"
        client.execute(cwd=str(folder), env=environment)
    return notebook


def code_of(notebook: Any) -> str:
    """Hash the code of a notebook: stored outputs belong to one code."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def with_small_pictures(notebook: Any) -> Any:
    """Reduce the pictures of a notebook to 256 colours: half the size, and no eye sees it."""
    from PIL import Image

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                small = io.BytesIO()
                picture.convert("RGB").quantize(256).save(small, "png", optimize=True)
                output.data["image/png"] = base64.b64encode(small.getvalue()).decode()
    return notebook


def store(path: Path) -> None:
    """Run a notebook at its default size and write it with its outputs, and what it ran on."""
    import nbformat

    import dice_jax

    with tempfile.TemporaryDirectory() as folder:
        notebook = run(path, Path(folder))
    for cell in notebook.cells:
        # Progress bars and other news of the run are no result.
        cell.get("metadata", {}).pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    notebook.metadata["dice_jax"] = {
        "code": code_of(notebook),
        "version": dice_jax.__version__,
        "machine": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}",
        # Of CPU time, because the machine may have other work.
        "cpu_minutes": round((used.ru_utime + used.ru_stime) / 60, 1),
    }
    part = path.with_suffix(".part")
    nbformat.write(with_small_pictures(notebook), part)
    part.replace(path)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages and their pictures (mkdocs calls this)."""
    import nbformat
    from mkdocs.structure.files import File
    from nbconvert import MarkdownExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    for path in sorted(_FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        exporter = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor])
        text, resources = exporter.from_notebook_node(
            notebook, {"unique_key": path.stem, "output_files_dir": path.stem}
        )
        # Beside the notebook stands docs/, on the site stand its pages.
        title, _, rest = text.replace("](../../docs/", "](../").partition("\n")
        ran = notebook.metadata.get("dice_jax")
        words = f"This page is `experiments/notebooks/{path.name}`"
        if ran is not None:
            words += (
                f", with the outputs of a run on {ran.machine}, which took {ran.cpu_minutes} "
                "minutes of CPU time"
            )
        page = f"{title}\n\n{words}.\n{rest}"
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, picture in resources["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


if __name__ == "__main__":
    # One notebook a process: the CPU time is that of all children.
    parser = argparse.ArgumentParser(description="Run notebooks and store their outputs.")
    parser.add_argument("name", help="a notebook of experiments/notebooks, without suffix")
    store(_FOLDER / f"{parser.parse_args().name}.ipynb")
