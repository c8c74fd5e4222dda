"""Checks the built site: every link and anchor leads somewhere, and reading needs no network.

python docs/check_site.py site              # internal links, anchors, nothing fetched elsewhere
python docs/check_site.py site --list       # the external links
python docs/check_site.py site --external   # and whether they answer (needs a network)
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Page", "external_links", "main", "problems", "read"]

# What a browser fetches by itself, and by which attribute.
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
# Sites that turn programs away, and so answer nothing about the link.
_REFUSALS = (401, 403, 405, 429)


@dataclass
class Page(HTMLParser):
    """The links and anchors of one page.

    Args:
        path: of the page.
        anchors: what a link may point to in it.
        links: what it points to.
        fetched: what a browser loads with it.
    """

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    fetched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's links and anchors."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag in _FETCHED and _FETCHED[tag] in given:
            self.fetched.add(given[_FETCHED[tag]])
        elif tag == "link" and given.get("rel") in (
            "stylesheet",
            "icon",
            "preload",
            "modulepreload",
        ):
            self.fetched.add(given.get("href", ""))
        elif tag == "a" and "href" in given:
            self.links.add(given["href"])


def read(site: Path) -> list[Page]:
    """Parse every page.

    Args:
        site: the folder that the build wrote.

    Returns:
        The pages.

    Raises:
        FileNotFoundError: if there are none.
    """
    pages = [Page(path) for path in sorted(site.rglob("*.html"))]
    if not pages:
        raise FileNotFoundError(f"{site} holds no pages: build the site first")
    for page in pages:
        page.feed(page.path.read_text(encoding="utf-8"))
    return pages


def _is_external(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def problems(site: Path, pages: Iterable[Page]) -> list[str]:
    """Find what leads nowhere, and what would be fetched from elsewhere.

    Args:
        site: the folder that the build wrote.
        pages: from `read`.

    Returns:
        One line per problem.
    """
    pages = list(pages)
    anchors = {page.path.resolve(): page.anchors for page in pages}
    found: list[str] = []
    for page in pages:
        name = page.path.relative_to(site)
        # The page for unknown addresses links from the site's root.
        base = site if name.name == "404.html" else page.path.parent
        for link in sorted(page.fetched | page.links):
            if _is_external(link):
                if link in page.fetched and not link.startswith("data:"):
                    found.append(f"{name}: fetches {link}")
                continue
            parts = urlsplit(link)
            place = base / unquote(parts.path).lstrip("/") if parts.path else page.path
            if parts.path and name.name != "404.html" and parts.path.startswith("/"):
                found.append(f"{name}: {link} starts at the server's root")
                continue
            if place.is_dir():
                place /= "index.html"
            if not place.exists():
                found.append(f"{name}: {link} leads nowhere")
            elif (
                parts.fragment
                and place.suffix == ".html"
                and unquote(parts.fragment) not in anchors[place.resolve()]
            ):
                found.append(f"{name}: {link} names no anchor")
    return found


def external_links(pages: Iterable[Page]) -> dict[str, str]:
    """Collect the links to other sites.

    Args:
        pages: from `read`.

    Returns:
        Address to the first page that has it.
    """
    links: dict[str, str] = {}
    for page in pages:
        for link in sorted(page.links):
            if link.startswith(("http:", "https:")):
                links.setdefault(link, page.path.name)
    return links


def _answers(link: str) -> str | None:
    request = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    try:
        with urllib.request.urlopen(request, timeout=20):
            return None
    except urllib.error.HTTPError as error:
        return None if error.code in _REFUSALS else f"answers {error.code}"
    except (urllib.error.URLError, TimeoutError) as error:
        return f"does not answer: {error}"


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; ``None``: those of the process.

    Returns:
        The exit code: 1 if something is wrong.
    """
    parser = argparse.ArgumentParser(prog="python docs/check_site.py", description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--list", action="store_true", help="print the external links")
    parser.add_argument("--external", action="store_true", help="ask every external link")
    arguments = parser.parse_args(argv)
    pages = read(arguments.site)
    found = problems(arguments.site, pages)
    links = external_links(pages)
    if arguments.list:
        print("\n".join(sorted(links)))
    if arguments.external:
        for link, page in sorted(links.items()):
            if words := _answers(link):
                found.append(f"{page}: {link} {words}")
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    print(f"{len(pages)} pages, {len(links)} external links, {len(found)} problems")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
