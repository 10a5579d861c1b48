"""What counts as a method's code, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import models
from benchmark.core import code
from benchmark.core.errors import UsageError

METHOD = '''"""A method."""
import torch
from helper import scale

class Net(Base):
    """Scores."""
    title = "A Net"
    reads_images = True
    def score(self, batch):
        import late
        return scale * batch + late.offset
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(METHOD)
    (tmp_path / "helper.py").write_text("import deeper\nscale = 2\n")
    (tmp_path / "deeper.py").write_text("zero = 0\n")
    (tmp_path / "late.py").write_text("offset = 0\n")
    (tmp_path / "unrelated.py").write_text("one = 1\n")
    return tmp_path


def hashed(folder: Path) -> str:
    code.code_of.cache_clear()
    return code.code_of(f"{folder / 'net.py'}:Net")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("net.py", "return scale * batch", "return scale + batch"),
        ("helper.py", "scale = 2", "scale = 3"),
        ("deeper.py", "zero = 0", "zero = 0.0"),
        ("late.py", "offset = 0", "offset = 1"),
        ("net.py", 'title = "A Net"', 'title = "B Net"'),
    ],
)
def test_other_meaning_is_other_code(folder, file, old, new):
    before = hashed(folder)
    edit(folder / file, old, new)
    assert hashed(folder) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("net.py", '"""Scores."""', '"""Scores, said otherwise."""\n    # and a comment'),
        ("net.py", "scale * batch +", "(scale\n            * batch) +"),
        ("unrelated.py", "one = 1", "one = 2"),
    ],
)
def test_words_layout_and_strangers_are_not(folder, file, old, new):
    before = hashed(folder)
    edit(folder / file, old, new)
    assert hashed(folder) == before


def test_a_moved_folder_is_the_same_code(folder, tmp_path_factory):
    before = hashed(folder)
    moved = folder.rename(tmp_path_factory.mktemp("other") / "place")
    assert hashed(moved) == before


def test_a_package_is_followed_through_relative_imports(tmp_path):
    package = tmp_path / "netpack"
    (package / "parts").mkdir(parents=True)
    for init in (package, package / "parts"):
        (init / "__init__.py").write_text("")
    (package / "net.py").write_text("from .parts import layers\nclass Net: pass\n")
    (package / "parts" / "layers.py").write_text("from ..sizes import SIZE\n")
    (package / "sizes.py").write_text("SIZE = 1\n")
    target = f"{package / 'net.py'}:Net"
    before = code.code_of(target)
    assert code.locate(target).module == "netpack.net"
    (package / "sizes.py").write_text("SIZE = 2\n")
    code.code_of.cache_clear()
    assert code.code_of(target) != before


def test_built_in_methods_reach_their_parts_but_not_the_harness(monkeypatch):
    read = []
    parse = code._parse
    monkeypatch.setattr(code, "_parse", lambda file: (read.append(str(file)), parse(file))[1])
    code.code_of.cache_clear()
    found = {name: models.code_of(name) for name in models.DEFAULT_METHODS}
    assert len(set(found.values())) == len(found)
    assert any(name.endswith("baselines/parts/words.py") for name in read)
    assert any(name.endswith("mmss/pseudo_labels.py") for name in read)
    assert not any("/benchmark/" in name for name in read)


@pytest.mark.parametrize("target", ["net.py", "nowhere.py:Net", "no_such_module_xyz:Net", ":Net"])
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(UsageError):
        code.locate(target)


def test_a_syntax_error_names_file_and_line(folder):
    (folder / "helper.py").write_text("x = 1\ny = = 2\n")
    with pytest.raises(UsageError, match=r"helper\.py:2"):
        hashed(folder)


def test_constants_are_read_without_running_the_file(folder):
    edit(folder / "net.py", "import torch", "raise RuntimeError('was run')")
    assert code.class_constants(f"{folder / 'net.py'}:Net") == {"title": "A Net", "reads_images": True}
