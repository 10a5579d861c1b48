"""Words counted in a process of their own are those counted here, whatever becomes of it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmark.data import pack_words
from benchmark.data.pack import ensure_pack
from benchmark.data.release import find_category
from tests.fixtures_release import write_release


def contents(pack: Path) -> dict[str, str]:
    """Of every array and the manifest; not what says when the sources were read."""
    names = [path for path in pack.iterdir() if path.suffix == ".npy" or path.name == "manifest.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in names}


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[Any]]:
    """The processes that count words are started, also for few texts; those that were."""
    started = []
    start = subprocess.Popen

    def noted(*args: Any, **kwargs: Any) -> Any:
        child = start(*args, **kwargs)
        if "pack_words" in str(args[0]):
            started.append(child)
        return child

    monkeypatch.setattr(pack_words, "MANY", 1)
    monkeypatch.setattr(pack_words, "processors", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", noted)
    return started


@pytest.mark.parametrize("died", [False, True])
def test_the_same_pack(tmp_path: Path, children: list[Any], died: bool, monkeypatch: Any) -> None:
    root = write_release(tmp_path / "release", products=20, reviews=200, roi_width=4)
    folder = find_category(root, "amazon", "electronics")
    reports: list[tuple[int, int, str]] = []
    if died:
        told = pack_words.TextWorker._tell

        def dies(worker: pack_words.TextWorker, message: list[str]) -> None:
            told(worker, message)
            if message == ["dev", "review"]:
                children[0].kill()
                children[0].wait()

        monkeypatch.setattr(pack_words.TextWorker, "_tell", dies)
    apart = ensure_pack(folder, tmp_path / "apart", progress=lambda *one: reports.append(one))
    assert len(children) == 1
    assert children[0].poll() is not None
    for side in ("product", "review"):
        assert any(f"train {side} words" in what for _, _, what in reports)
    monkeypatch.setattr(pack_words, "MANY", 10**9)
    here = ensure_pack(folder, tmp_path / "here")
    assert len(children) == 1
    assert contents(apart) == contents(here)
    assert {"train.review.words.flat.npy", "vocabulary.joint.flat.npy", "manifest.json"} <= set(
        contents(here)
    )


def test_a_tokenizer_that_fails_says_so(tmp_path: Path, children: list[Any], monkeypatch: Any) -> None:
    def no_tokenizer(_: str) -> Any:
        raise ImportError("no such tokenizer")

    monkeypatch.setattr(pack_words, "word_tokenizer", no_tokenizer)
    monkeypatch.setattr(pack_words.sys, "executable", "/bin/false")
    (tmp_path / "train.review.text.flat.npy").touch()
    with pack_words.TextWorker(tmp_path, "en", lambda *_: None) as worker:
        worker.add("train", "review", 5)
        with pytest.raises(ImportError, match="no such tokenizer"):
            worker.write()


def test_nothing_to_count(tmp_path: Path, children: list[Any]) -> None:
    with pack_words.TextWorker(tmp_path, "en", lambda *_: None) as worker:
        assert worker.write() == {"product": 2, "review": 2, "joint": 3}
    assert not children
