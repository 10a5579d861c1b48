"""A pack knows what it was made of, and whether it is still what was written."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.core.errors import DataError
from benchmark.data import seal, sources
from benchmark.data.corpus import Corpus, open_corpus
from benchmark.data.release import find_category
from benchmark.data.store import build_folder
from tests.fixtures_release import feature_path, table_path, write_features, write_release

HERE = ("amazon", "electronics")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release")


def opened(root: Path) -> Corpus:
    return open_corpus(root, *HERE, cache=root.parent / "cache")


def same_size_same_time(path: Path, content: bytes) -> None:
    """Writes content of the same length into the file itself, and sets its times back."""
    before = path.stat()
    assert len(content) == before.st_size
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_label_edited_with_the_same_size_and_time(root: Path) -> None:
    before = opened(root)
    path = table_path(root, *HERE, "rel", "test")
    same_size_same_time(path, path.read_bytes().replace(b'"upvotes": {"0": 0', b'"upvotes": {"0": 4'))
    after = opened(root)
    assert (before.test.label_R[0], after.test.label_R[0]) == (0, 4)
    assert after.fingerprint != before.fingerprint
    assert before.pack.is_dir(), "whoever has the old one open reads on"


def test_a_feature_file_repaired_in_place(root: Path) -> None:
    path = feature_path(root, *HERE, "dev", "0de0-1")
    good = path.read_bytes()
    same_size_same_time(path, bytes(len(good)))
    broken = opened(root)
    assert broken.manifest["splits"]["dev"]["images"]["review"]["unreadable"] == 1
    same_size_same_time(path, good)
    mended = opened(root)
    assert mended.manifest["splits"]["dev"]["images"]["review"]["unreadable"] == 0
    assert mended.fingerprint != broken.fingerprint


def test_a_feature_file_more_and_one_less(root: Path) -> None:
    first = opened(root)
    write_features(root, *HERE, "test", "0te1", [np.ones((1, 6))])
    more = opened(root)
    assert more.fingerprint != first.fingerprint
    shutil.rmtree(feature_path(root, *HERE, "test", "0te1").parent)
    assert opened(root).fingerprint == first.fingerprint


def test_what_was_only_touched_is_not_packed_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(root)
    for path in root.rglob("*"):
        os.utime(path)
    copied = feature_path(root, *HERE, "dev", "0de0-1")
    content = copied.read_bytes()
    copied.unlink()
    copied.write_bytes(content)
    write_features(root, *HERE, "test", "of no item", [np.ones((1, 6))])
    monkeypatch.setattr("benchmark.data.pack._Packer.pack", lambda self: pytest.fail("packed again"))
    assert opened(root).pack == first.pack
    monkeypatch.setattr(sources, "same_content", lambda *_: pytest.fail("compared again"))
    assert opened(root).pack == first.pack


def test_the_sources_of_a_pack_as_older_ones_have_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All on one line; the files in any order."""
    first = opened(root)
    ledger = json.loads((first.pack / sources.LEDGER).read_text())
    assert len(ledger) == len((first.pack / sources.LEDGER).read_text().splitlines()) - 2
    (first.pack / sources.LEDGER).write_text(json.dumps(dict(reversed(ledger.items()))))
    (first.pack / seal.SEAL).unlink()
    seal.seal(first.pack)
    for path in root.rglob("*"):
        os.utime(path)
    with monkeypatch.context() as patched:
        patched.setattr("benchmark.data.pack._Packer.pack", lambda self: pytest.fail("packed again"))
        assert opened(root).pack == first.pack
    path = feature_path(root, *HERE, "dev", "0de0-1")
    path.write_bytes(path.read_bytes() + b"0")
    assert opened(root).pack != first.pack


def test_a_change_while_packing_is_not_taken_for_what_was_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(stats: object) -> None:
        path = table_path(root, *HERE, "rel", "test")
        path.write_text(path.read_text() + " ")

    monkeypatch.setattr(sources, "settle", meanwhile)
    with pytest.raises(DataError, match=r"electronics\.rel\.test changed while it was read"):
        opened(root)


def test_two_hundred_thousand_files_take_bounded_time(tmp_path: Path) -> None:
    """Measured on a tenth: one `stat` for each."""
    root = write_release(tmp_path / "release")
    folder = root / "amazon/electronics/features/train"
    for number in range(20_000):
        (folder / f"i{number}").mkdir()
        (folder / f"i{number}" / f"i{number}.pth").touch()
    category = find_category(root, *HERE)
    started = time.process_time()
    stats = sources.scan(category)
    sources.state_of(stats)
    assert time.process_time() - started < 15  # a tenth of that on a machine of its own
    assert len(stats) > 20_000


def test_a_large_file_is_hashed_once_and_when_its_stat_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "LARGE", 1000)
    folder = build_folder(tmp_path / "t", lambda out: (out / "rois.npy").write_bytes(b"a" * 5000) and None)
    hashed: list[str] = []
    original = seal._sha256
    monkeypatch.setattr(seal, "_sha256", lambda path: (hashed.append(Path(path).name), original(path))[1])
    assert seal.damage_of(folder) == ""
    assert hashed == []
    assert seal.damage_of(folder, thorough=True) == ""
    os.utime(folder / "rois.npy")
    assert seal.damage_of(folder) == ""
    assert seal.damage_of(folder) == ""
    assert hashed == ["rois.npy"] * 2
    same_size_same_time(folder / "rois.npy", b"a" * 4999 + b"b")
    assert seal.damage_of(folder) == "rois.npy is damaged (its content is not what was written)"
