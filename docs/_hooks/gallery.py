"""Runs the gallery's examples and makes a page of each: question, answer, picture, code.

A picture is drawn again when its script or the library's code has changed.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import runpy
import sys
from pathlib import Path
from typing import Any

# The site's builder loads this file by its path, without the folder beside it.
sys.path.append(str(Path(__file__).parent))
import kept

__all__ = ["Example", "on_files", "read", "run"]

_FOLDER = Path(__file__).parents[1] / "gallery"


@dataclasses.dataclass(frozen=True)
class Example:
    """One example.

    Args:
        name: of its page and picture.
        question: its title.
        answer: what the picture shows, in Markdown.
        code: what follows the docstring.
    """

    name: str
    question: str
    answer: str
    code: str

    @property
    def page(self) -> str:
        """The page's Markdown."""
        return (
            f"# {self.question}\n\n{self.answer}\n\n"
            f"![{self.question}]({self.name}.png)\n\n```python\n{self.code}\n```\n"
        )


def read(path: Path) -> Example:
    """Take an example apart.

    Args:
        path: a script whose docstring is the question on one line, then the answer.

    Returns:
        Its parts.

    Raises:
        ValueError: if there is no such docstring.
    """
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    question, _, answer = (ast.get_docstring(tree) or "").partition("\n\n")
    if not question.endswith("?") or not answer:
        raise ValueError(f"{path} must begin with a question on one line and its answer")
    code = "\n".join(source.splitlines()[tree.body[0].end_lineno :]).strip()
    return Example(path.stem, question, answer, code)


def run(path: Path) -> bytes:
    """Run an example.

    Args:
        path: a script that leaves a Matplotlib figure named ``figure``.

    Returns:
        The figure, as PNG.
    """
    sources = [path.read_text(encoding="utf-8"), kept.code("dice_jax")]
    return kept.kept(f"{path.stem}.png", sources, lambda: _draw(path))


def _draw(path: Path) -> bytes:
    import matplotlib.pyplot as plt

    # No window, whatever the reader's settings.
    plt.switch_backend("agg")
    figure = runpy.run_path(str(path))["figure"]
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    plt.close("all")
    return picture.getvalue()


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages and pictures (mkdocs calls this)."""
    from mkdocs.structure.files import File

    cards = []
    for path in sorted(_FOLDER.glob("*.py")):
        example = read(path)
        name = f"gallery/{example.name}"
        files.append(File.generated(config, f"{name}.md", content=example.page))
        files.append(File.generated(config, f"{name}.png", content=run(path)))
        cards.append(
            f"[![]({example.name}.png){{ loading=lazy }} {example.question}]({example.name}.md)"
        )
    index = "\n".join(
        (
            "# Gallery",
            "",
            "One question each. Every page is a script under `docs/gallery/` that is run when this "
            "site is built, and tested.",
            "",
            '<div class="gallery" markdown>',
            "",
            "\n\n".join(cards),
            "",
            "</div>",
            "",
        )
    )
    files.append(File.generated(config, "gallery/index.md", content=index))
    return files
