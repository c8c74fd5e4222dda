"""`python -m dice_jax`: predictions scored, the statements tested, the article's argument drawn."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dice_jax._core.optional_imports import optional
from dice_jax.evaluation.command import add_command
from dice_jax.theory.verify import ClaimResult, verify_claims

# A table narrower than this cannot be read; piped output has no width of its own.
_PIPED_WIDTH = 120


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dice_jax", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    claims = commands.add_parser(
        "claims",
        help="test every statement about the gradient against the library's own losses",
        description="Tests every statement about the gradient of a Dice loss against jax.grad of "
        "the library's own losses. Exit code 0: all hold; 1: one falls; 2: an unknown id.",
    )
    claims.add_argument("--only", nargs="+", metavar="ID", help="ids to test, such as C1 C10")
    claims.add_argument("--json", action="store_true", help="print the results as JSON")
    claims.add_argument("--trials", type=int, default=32, help="random problems per statement (32)")
    claims.add_argument("--seed", type=int, default=0, help="of the random problems (0)")
    claims.set_defaults(run=_claims)
    explain = commands.add_parser(
        "explain",
        help="draw the article's argument on a worked example or on your own mask",
        description="Writes figures and one self-contained page: label, prediction, product, the "
        "three sums, the gradient at every pixel, the ratio.",
    )
    explain.add_argument("--out", type=Path, required=True, help="directory for page and figures")
    explain.add_argument("--mask", type=Path, help="a two-valued mask, such as a PNG")
    explain.add_argument(
        "--prediction", type=Path, help="probabilities for it (8 or 16 bit images are scaled)"
    )
    explain.add_argument(
        "--smooth", type=float, default=1.0, help="the loss's smoothing, in pixels (1)"
    )
    explain.set_defaults(run=_explain)
    add_command(commands)
    return parser


def _claims(arguments: argparse.Namespace) -> int:
    import jax

    only = [name.upper() for name in arguments.only] if arguments.only else None
    verify = partial(
        verify_claims, key=jax.random.key(arguments.seed), trials=arguments.trials, only=only
    )
    if arguments.json:
        results = verify()
        print(json.dumps([dataclasses.asdict(r) for r in results], indent=2, ensure_ascii=False))
    else:
        console = optional("rich.console", user="python -m dice_jax claims", extra="analysis")
        with console.Console(stderr=True).status("testing") as status:
            results = verify(progress=lambda name: status.update(f"testing {name}"))
        _print_table(results)
    return 0 if all(result.verified for result in results) else 1


def _print_table(results: Sequence[ClaimResult]) -> None:
    console = optional("rich.console", user="python -m dice_jax claims", extra="analysis")
    tables = optional("rich.table", user="python -m dice_jax claims", extra="analysis")
    text = optional("rich.text", user="python -m dice_jax claims", extra="analysis").Text
    screen = console.Console()
    if not screen.is_terminal:
        screen = console.Console(width=_PIPED_WIDTH)
    table = tables.Table(
        title="What the gradient of a Dice loss does, tested", show_lines=True, expand=True
    )
    table.add_column("id", no_wrap=True)
    table.add_column("statement", ratio=3)
    table.add_column("where it, the article or a belief fails", ratio=2)
    table.add_column("worst error", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for r in results:
        verdict = "[green]holds[/green]" if r.verified else "[bold red]FALLS[/bold red]"
        # Text, not markup: statements hold square brackets.
        statement = text.assemble((f"{r.title}. ", "bold"), r.statement)
        where = text(r.counterexample["what"] if r.counterexample else "—")
        table.add_row(r.id, statement, where, f"{r.worst_error:.1e}", verdict, f"{r.seconds:.1f}")
    screen.print(table)
    for r in results:
        for check in r.checks:
            if not check.passed:
                screen.print(
                    f"{r.id} falls at: {check.what} (error {check.error:.2g}, "
                    f"allowed {check.tolerance:.2g})",
                    style="red",
                    markup=False,
                    highlight=False,
                )
    fallen = [r.id for r in results if not r.verified]
    seconds = sum(r.seconds for r in results)
    summary = f"{len(results) - len(fallen)} of {len(results)} statements hold, {seconds:.0f} s"
    screen.print(summary + (f"; fallen: {', '.join(fallen)}" if fallen else ""), highlight=False)


def _explain(arguments: argparse.Namespace) -> int:
    from dice_jax.analysis.explanation import explain

    page = explain(
        arguments.out,
        mask=arguments.mask,
        prediction=arguments.prediction,
        smooth=arguments.smooth,
    )
    print(page)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; ``None``: those of the process.

    Returns:
        The exit code: 0, 1 if a statement falls, 2 for a request that cannot be met.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
