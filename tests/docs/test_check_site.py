"""The site's checker finds what is broken, and nothing else."""

import http.server
import importlib.util
import sys
import threading
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "docs" / "check_site.py"


@pytest.fixture(scope="module")
def checker():
    spec = importlib.util.spec_from_file_location("check_site", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_site"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["check_site"]


def site(folder, body):
    (folder / "sub").mkdir()
    (folder / "sub" / "other.html").write_text('<h2 id="here">x</h2><a href="../index.html">up</a>')
    (folder / "index.html").write_text(body)
    (folder / "style.css").write_text("")
    return folder


GOOD = """<link rel="stylesheet" href="style.css"><a href="sub/other.html#here">a</a>
<a href="#top" id="top">b</a><a href="https://example.org/x">c</a><a href="mailto:a@b.c">d</a>"""


def test_a_sound_site_passes(checker, tmp_path):
    assert checker.main([str(site(tmp_path, GOOD))]) == 0


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ('<a href="missing.html">x</a>', "leads nowhere"),
        ('<a href="sub/other.html#there">x</a>', "names no anchor"),
        ('<a href="#there">x</a>', "names no anchor"),
        ('<a href="/sub/other.html">x</a>', "server's root"),
        ('<img src="picture.png">', "leads nowhere"),
        ('<script src="https://example.org/a.js"></script>', "fetches https://example.org/a.js"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "fetches"),
    ],
)
def test_each_kind_of_fault_is_found(checker, tmp_path, broken, words):
    folder = site(tmp_path, GOOD + broken)
    (problem,) = checker.problems(folder, checker.read(folder))
    assert words in problem
    assert checker.main([str(folder)]) == 1


def test_external_links_are_listed_once(checker, tmp_path, capsys):
    checker.main([str(site(tmp_path, GOOD + GOOD)), "--list"])
    assert capsys.readouterr().out.splitlines()[0] == "https://example.org/x"


def test_an_empty_folder_is_an_error(checker, tmp_path):
    with pytest.raises(FileNotFoundError, match="build the site first"):
        checker.read(tmp_path)


class Answers(http.server.BaseHTTPRequestHandler):
    """Says 200, 404 or 403, by the path's name."""

    def do_GET(self):
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, format, *args):
        """Say nothing."""


@pytest.mark.parametrize(("status", "words"), [(200, ""), (404, "answers 404"), (403, "")])
def test_external_links_are_asked(checker, tmp_path, capsys, status, words):
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        link = f'<a href="http://127.0.0.1:{server.server_port}/{status}">x</a>'
        code = checker.main([str(site(tmp_path, link)), "--external"])
    finally:
        server.shutdown()
        server.server_close()
    assert code == bool(words)
    assert words in capsys.readouterr().err
