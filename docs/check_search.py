"""Searches the built site as a browser does, and sees whether the right page comes first.

python docs/check_search.py site                  # every search of SEARCHES
python docs/check_search.py site "class weights"  # what one search finds, best first

It runs the search of the site's theme in Node.js. Where there is none, it says so and ends well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["SEARCHES", "main", "search"]

# What a person types -> the pages that answer it. One of them must be the first result.
SEARCHES = {
    "ignore_index": ("coming-from/", "concepts.html"),
    "3D": ("start.html",),
    "gradient accumulation": ("scale.html",),
    "install": ("installing.html",),
    "cuda": ("installing.html",),
    "colab": ("installing.html",),
    "hd95": ("api/metrics.html", "choosing.html", "validation.html"),
    "class weights": ("recipes.html", "concepts.html"),
    "nan": ("troubleshooting.html",),
    "out of memory": ("troubleshooting.html",),
    "slow": ("troubleshooting.html",),
    "label smoothing": ("recipes.html",),
    "deep supervision": ("recipes.html",),
    "brats": ("recipes.html", "coming-from/"),
    "nnunet": ("coming-from/nnunet.html", "recipes.html"),
    "equinox": ("recipes.html",),
    "softmax_region_sums": ("api/sums.html",),
    "dice_loss": ("api/losses.html",),
    "shard_map": ("scale.html",),
    "semantic versions": ("stability.html",),
    "half precision": ("concepts.html",),
    "validation": ("validation.html",),
    "own images": ("your-own-images.html",),
    "evaluate": ("validation.html", "your-own-images.html"),
    "missed object": ("validation.html",),
    "nifti": ("your-own-images.html", "validation.html"),
    "medpy": ("coming-from/medpy.html",),
    "best threshold": ("api/metrics.html", "choosing.html", "validation.html"),
}

# The theme's worker, without a browser: its messages are passed by hand.
_WORKER = """
const fs = require("fs"), vm = require("vm");
const [worker, index] = process.argv.slice(1, 3);
const queries = JSON.parse(fs.readFileSync(0, "utf-8"));
let handle, answer;
globalThis.self = globalThis;
globalThis.addEventListener = (_, handler) => { handle = handler; };
globalThis.postMessage = message => answer(message);
vm.runInThisContext(fs.readFileSync(worker, "utf-8"));
const ask = data => new Promise(resolve => { answer = resolve; handle({ data }); });
(async () => {
  const data = JSON.parse(fs.readFileSync(index, "utf-8"));
  await ask({ type: 0, data: { ...data, options: { suggest: false } } });
  const found = {};
  for (const query of queries) {
    const { items } = (await ask({ type: 2, data: query })).data;
    found[query] = items.map(sections => sections[0].location.split("#")[0]);
  }
  console.log(JSON.stringify(found));
})();
"""


def search(site: Path, queries: list[str]) -> dict[str, list[str]]:
    """Search the built site.

    Args:
        site: the folder that the build wrote.
        queries: what to type.

    Returns:
        Query -> pages, best first.

    Raises:
        FileNotFoundError: if the site has no index, or there is no Node.js.
    """
    if shutil.which("node") is None:
        raise FileNotFoundError("the search needs Node.js (node)")
    workers = list((site / "assets" / "javascripts" / "workers").glob("search.*.min.js"))
    index = site / "search" / "search_index.json"
    if not workers or not index.exists():
        raise FileNotFoundError(f"{site} has no search index: build the site first")
    result = subprocess.run(
        ["node", "-e", _WORKER, str(workers[0]), str(index)],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(result.stdout)


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; ``None``: those of the process.

    Returns:
        The exit code: 1 if a search finds another page first.
    """
    parser = argparse.ArgumentParser(prog="python docs/check_search.py", description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("query", nargs="?")
    arguments = parser.parse_args(argv)
    if shutil.which("node") is None:
        print("skipped, the search was not tested: it needs Node.js (node)")
        return 0
    if arguments.query:
        print("\n".join(search(arguments.site, [arguments.query])[arguments.query]))
        return 0
    wrong = 0
    for query, found in search(arguments.site, list(SEARCHES)).items():
        if not found or not found[0].startswith(SEARCHES[query]):
            wrong += 1
            print(f"{query!r} finds {', '.join(found[:4]) or 'nothing'}", file=sys.stderr)
    print(f"{len(SEARCHES)} searches, {wrong} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
