"""Makes the API pages: every public name on one, and no build where a docstring lacks a part."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

__all__ = ["PAGES", "NotDocumented", "Page", "Symbol", "on_files", "problems", "public_symbols"]

PACKAGES = ("dice_jax", "dice_jax.analysis", "dice_jax.analysis.plots", "dice_jax.metrics")


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of the API.

    Args:
        title: its heading.
        modules: whose public names it shows, in order, without ``dice_jax.``.
        words: its first paragraph.
    """

    title: str
    modules: tuple[str, ...]
    words: str


# A new module of public names needs a place here; a new name in one of these needs nothing.
PAGES = {
    "sums": Page(
        "Sums",
        ("sums.region", "sums.head", "sums.additive"),
        "These functions read the pixels once. Every index, and every loss of [Losses of "
        "sums](losses.md), is a function of what they return.",
    ),
    "losses": Page(
        "Losses of sums",
        ("losses.overlap", "losses.correlation", "losses.soft_labels"),
        "Each takes [`RegionSums`][dice_jax.RegionSums] and returns one number per region (and "
        "class). Nothing is reduced for you: write `.mean()`.",
    ),
    "indices": Page(
        "Indices",
        ("losses.indices",),
        "An index is an overlap in [0, 1]. Computed from probabilities, it is the basis of a loss. "
        "Computed from a hard mask, it is a metric.",
    ),
    "array_losses": Page(
        "Losses of arrays",
        (
            "losses.pixelwise",
            "losses.powers",
            "losses.lovasz",
            "losses.boundary",
            "images.distance",
            "images.skeleton",
            "losses.cldice",
            "losses.wasserstein",
        ),
        "Losses that need more than [`RegionSums`][dice_jax.RegionSums]. Those that are ratios "
        "of sums take their own sums too: `dice_plus_plus_loss(dice_plus_plus_sums(…))`. The "
        "others are functions of sorted errors or of single pixels.",
    ),
    "objects": Page(
        "Objects and pyramids",
        ("sums.instances", "images.components", "losses.supervision", "losses.means"),
        "Sums per object, one loss over several resolutions, and a mean over the regions that are "
        "present.",
    ),
    "scale": Page(
        "Scale",
        ("sums.accumulation", "sums.streaming", "sums.convolutions", "_pass.choice"),
        "The gradient of a whole batch or a whole image, in the memory of one microbatch or one "
        "tile: see [Scale](../scale.md).",
    ),
    "metrics": Page(
        "Metrics",
        (
            "metrics.overlaps",
            "metrics.confusion",
            "metrics.scores",
            "metrics.surfaces",
            "metrics.surface_elements",
            "metrics.skeletons",
            "metrics.rankings",
            "metrics.reliability",
            "metrics.objects",
        ),
        "Metrics that compare a prediction with the truth. Overlaps such as Dice and IoU are "
        "[indices](indices.md) of the sums of hard masks.",
    ),
    "analysis": Page(
        "Analysis",
        (
            "analysis.gradient",
            "sums.balance",
            "analysis.direction",
            "analysis.monitor",
            "analysis.landscapes",
            "analysis.examples",
            "images.files",
            "analysis.images",
        ),
        "What the gradient of a loss does, at pixels, logits and parameters: see "
        "[Analysis](../analysis.md).",
    ),
    "theory": Page(
        "Theory",
        (
            "theory.verify",
            "theory.statements",
            "theory.closed_forms.gradients",
            "theory.closed_forms.masses",
            "theory.closed_forms.hessians",
            "theory.closed_forms.escape",
            "theory.closed_forms.pooling",
            "theory.best_constants",
            "theory.optima",
        ),
        "The statements of the [theory page](../theory.md), what checks them, and their closed "
        "forms as functions.",
    ),
    "plots": Page(
        "Plots",
        ("analysis.plots",),
        "Pictures with Matplotlib (the extra `analysis`). Each draws on axes and "
        "returns them; none calls `show`.",
    ),
}

# No paper stands behind these: they move, read, draw, count or hold.
_WITHOUT_SOURCE = {
    "dice_jax": {
        "AdditiveSums",
        "concatenate_sums",
        "label_components",
        "pad_piece",
        "pass_implementation",
        "safe_mean",
        "with_canonical_convolutions",
    },
    "dice_jax.analysis": {
        "article_examples",
        "as_mask",
        "as_probabilities",
        "curvature_spectrum",
        "ImageFile",
        "image_suffix",
        "read_image",
        "hessian_vector_product",
        "monitor_metrics",
        "read_mask",
        "read_prediction",
        "theory_markdown",
    },
    "dice_jax.metrics": {"instance_counts", "of_regions"},
}


class NotDocumented(Exception):
    """A public name without a page, or a docstring that lacks a part."""


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A public name.

    Args:
        package: where users import it from.
        name: in that package.
        module: where it is defined, without ``dice_jax.``.
        value: what it is.
    """

    package: str
    name: str
    module: str
    value: Any

    @property
    def address(self) -> str:
        """The dotted name that users write."""
        return f"{self.package}.{self.name}"


def public_symbols() -> list[Symbol]:
    """Every public name of the package, with the module that defines it.

    Returns:
        The names in the order of their packages and modules.
    """
    return [symbol for package in PACKAGES for symbol in _names(package)]


def _names(package: str) -> Iterator[Symbol]:
    module = importlib.import_module(package)
    if hasattr(module, "__all__"):
        for name in module.__all__:
            yield Symbol(package, name, package.removeprefix("dice_jax."), getattr(module, name))
        return
    tree = ast.parse(inspect.getsource(module))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dice_jax."):
            for alias in node.names:
                name = alias.asname or alias.name
                yield Symbol(
                    package, name, node.module.removeprefix("dice_jax."), getattr(module, name)
                )


def _parameters(value: Any) -> list[inspect.Parameter]:
    if inspect.isclass(value):
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        return [inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY) for f in fields]
    return list(inspect.signature(value).parameters.values())


def _section(docstring: str, title: str) -> str:
    match = re.search(rf"^{title}:\n((?:    .*\n?|\n)+)", docstring, flags=re.MULTILINE)
    return textwrap.dedent(match[1]) if match else ""


def _raises(function: Any) -> bool:
    """Whether the function itself checks what it is given."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks.check"):
            return True
    return False


# Options that are one number wherever they occur; every other array says its shape.
_SHAPE = re.compile(r"\[|shape|scalar|number|pixels|γ|α|β|δ|λ")
_SHAPE_OF_ALL = re.compile(r"arguments' broadcast shape|of the shape of ``|in the shape of ``")


def problems(symbol: Symbol) -> list[str]:
    """Say what a public name's docstring lacks.

    Args:
        symbol: from `public_symbols`.

    Returns:
        A few words per missing part; empty if it is complete.
    """
    value = symbol.value
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return []
    docstring = inspect.getdoc(value) or ""
    missing: list[str] = []
    summary = docstring.split("\n\n")[0]
    if not summary.endswith((".", ":")) or "\n" in summary:
        missing.append("a first sentence on one line")
    arguments = _section(docstring, "Args")
    if not (inspect.isclass(value) and issubclass(value, enum.Enum)):
        for parameter in _parameters(value):
            entry = re.search(
                rf"^\*{{0,2}}{parameter.name}:((?:.*\n?)(?:(?: .*)?\n?)*)", arguments, re.MULTILINE
            )
            if entry is None:
                missing.append(f"Args: {parameter.name}")
            elif "ArrayLike" in str(parameter.annotation) and not (
                _SHAPE.search(entry[1]) or _SHAPE_OF_ALL.search(_section(docstring, "Returns"))
            ):
                missing.append(f"Args: the shape of {parameter.name}")
    # The function that makes a class's objects may show how.
    made = inspect.isclass(value) and re.search(r"\b[Mm]ade by `\w+`", docstring)
    if not made and not re.search(r"^Example:\n(.*\n)*? +>>> ", docstring, re.MULTILINE):
        missing.append("Example")
    if inspect.isclass(value):
        return missing
    if not _section(docstring, "Returns"):
        missing.append("Returns")
    if _raises(value) and not _section(docstring, "Raises"):
        missing.append("Raises")
    sourceless = symbol.module.endswith("plots") or symbol.name in _WITHOUT_SOURCE.get(
        symbol.package, ()
    )
    if not sourceless and not _section(docstring, "References"):
        missing.append("References")
    return missing


def _placed(symbols: list[Symbol]) -> dict[str, list[Symbol]]:
    placed: dict[str, list[Symbol]] = {name: [] for name in PAGES}
    where = {module: name for name, page in PAGES.items() for module in page.modules}
    for symbol in symbols:
        if symbol.module not in where:
            raise NotDocumented(
                f"{symbol.address} is defined in {symbol.module}, which stands on no page: "
                "add it to PAGES in docs/_hooks/api.py"
            )
        placed[where[symbol.module]].append(symbol)
    for name, page in PAGES.items():
        placed[name].sort(key=lambda s, order=page.modules: order.index(s.module))
    return placed


def _constants(symbols: list[Symbol]) -> list[str]:
    """Describe what has no docstring: constants."""
    return [
        f"- <a id='{s.address}'></a>`{s.name}`: {type(s.value).__name__}"
        + (
            f" of {len(s.value)} `{type(s.value[0]).__name__}`"
            if isinstance(s.value, tuple)
            else ""
        )
        for s in symbols
    ]


def _markdown(page: Page, symbols: list[Symbol]) -> str:
    documented = [s for s in symbols if inspect.isfunction(s.value) or inspect.isclass(s.value)]
    constants = _constants([s for s in symbols if s not in documented])
    lines = [f"# {page.title}", "", page.words, ""]
    for symbol in documented:
        lines += [f"::: {symbol.address}", ""]
    if constants:
        lines += ["## Constants", "", *constants, ""]
    return "\n".join(lines)


def _index(placed: dict[str, list[Symbol]]) -> str:
    lines = [
        # The pages below have every name again.
        "---\nsearch:\n  exclude: true\n---\n",
        "# API",
        "",
        "Every public name. `import dice_jax as dj` is all that a training step needs; channels "
        "are last, everything after the arrays is keyword-only, and all functions work under "
        "`jit`, `grad`, `vmap`, `jvp` and `shard_map` unless they say otherwise.",
        "",
    ]
    for name, symbols in placed.items():
        lines += [
            f"## [{PAGES[name].title}]({name}.md)",
            "",
            "| name | what it is |",
            "| --- | --- |",
        ]
        for symbol in symbols:
            if not (inspect.isfunction(symbol.value) or inspect.isclass(symbol.value)):
                continue
            shown = symbol.address.removeprefix("dice_jax.")
            summary = (inspect.getdoc(symbol.value) or "").split("\n\n")[0].replace("\n", " ")
            summary = summary.replace("|", "&#124;").replace("\\", "")
            lines.append(f"| [`{shown}`][{symbol.address}] | {summary} |")
        lines.append("")
    return "\n".join(lines)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages, or stop the build (mkdocs calls this)."""
    from mkdocs.structure.files import File

    symbols = public_symbols()
    lacking = {s.address: missing for s in symbols if (missing := problems(s))}
    if lacking:
        words = "\n".join(f"  {name}: {', '.join(parts)}" for name, parts in lacking.items())
        raise NotDocumented(f"docstrings lack parts (CONTRIBUTING.md has the template):\n{words}")
    placed = _placed(symbols)
    files.append(File.generated(config, "api/index.md", content=_index(placed)))
    for name, page in PAGES.items():
        content = _markdown(page, placed[name])
        files.append(File.generated(config, f"api/{name}.md", content=content))
    return files
