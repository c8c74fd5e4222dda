"""What the site keeps between builds is made again when its source or the code has changed only."""

import pytest


@pytest.fixture
def kept(hook, tmp_path, monkeypatch):
    module = hook("kept")
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    monkeypatch.setattr(module, "_FOLDER", tmp_path / "kept")
    (tmp_path / "package").mkdir()
    module.code.cache_clear()
    yield module
    module.code.cache_clear()


def test_a_thing_is_made_once_for_each_source(kept, tmp_path):
    made = []

    def make():
        made.append(None)
        return b"picture %d" % len(made)

    for source, expected in (("a", b"picture 1"), ("a", b"picture 1"), ("b", b"picture 2")):
        assert kept.kept("x.png", [source], make) == expected
    # What is out of date goes.
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"""Words."""\ndef f():\n    """More."""\n    return 1  # a comment\n', True),
        ('"""Other."""\n\n\ndef f():\n    "One."\n    return 1\n', True),
        ('"""Words."""\ndef f():\n    """More."""\n    return 2\n', False),
    ],
)
def test_only_code_counts(kept, tmp_path, text, same):
    (tmp_path / "package" / "m.py").write_text(
        '"""Words."""\ndef f():\n    """More."""\n    return 1\n'
    )
    before = kept.code("package")
    kept.code.cache_clear()
    (tmp_path / "package" / "m.py").write_text(text)
    assert (kept.code("package") == before) == same
