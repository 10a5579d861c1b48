"""Feature files read in a child: bombs cost themselves only, odd fields beside `x` cost nothing."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.core.errors import DataError
from benchmark.data import pth
from benchmark.data import roi_worker as worker
from benchmark.data.check import check
from benchmark.data.corpus import open_corpus
from benchmark.data.pickles import UnsafeFileError
from benchmark.data.roi_worker import RoiWorker
from tests.fixtures_release import feature_path, write_release

HERE = ("amazon", "electronics")
X = torch.arange(12.0).reshape(2, 6)


def hash_bomb() -> bytes:
    """{nested tuples: 1}: hashing takes 2^60 steps, the file 300 bytes."""
    key = b"K\x01"
    for number in range(60):
        key += b"q" + bytes([number]) + b"h" + bytes([number]) + b"\x86"  # (it, it)
    return b"\x80\x02}" + key + b"K\x01s."


def memo_bomb() -> bytes:
    """A memo index of two thousand million in ten bytes."""
    return b"\x80\x02Nr" + struct.pack("<I", 0x7FFFFFFF) + b"."


def long_bytes() -> bytes:
    return b"\x80\x05\x8e" + struct.pack("<Q", 1 << 40) + b"x."


BOMBS: dict[str, Callable[[], bytes]] = {
    "hash": hash_bomb,
    "memo": memo_bomb,
    "bytes": long_bytes,
    "in a list": lambda: b"\x80\x02]" + hash_bomb()[2:-1] + b"a.",
    "frames": lambda: b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b".",
    "nested lists": lambda: b"\x80\x02" + b"]" * 3_000_000 + b"a" * 2_999_999 + b".",
    "nested tuples": lambda: b"\x80\x02N" + b"\x85" * 3_000_000 + b".",
    "a key of nested tuples": lambda: b"\x80\x02}N" + b"\x85" * 3_000_000 + b"Ns.",
    "set of bombs": lambda: b"\x80\x04\x8f(" + hash_bomb()[3:-4] + b"\x90.",
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("honest") / "item.pth"
    torch.save([{"x": X}], path)
    return path


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SECONDS", 0.5)


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_costs_itself_only(tmp_path: Path, honest: Path, kind: str) -> None:
    bomb = tmp_path / "bomb.pth"
    bomb.write_bytes(BOMBS[kind]())
    started = time.monotonic()
    with RoiWorker() as reader:
        replies = list(reader.read([honest, bomb, honest, bomb, *[honest] * 100]))
    assert time.monotonic() - started < 300  # each bomb alone would take years
    kinds = [reply.kind for reply in replies]
    assert kinds == [worker.ROIS, worker.UNREADABLE, worker.ROIS, worker.UNREADABLE, *[worker.ROIS] * 100]
    for reply in replies[2:3] + replies[4:]:
        np.testing.assert_array_equal(reply.rois_VF, X.numpy())


def test_what_is_no_file_and_what_is_not_there(tmp_path: Path, honest: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    names = ["fifo", "folder", "device", "absent", "x" * 300]
    with RoiWorker() as reader:
        replies = list(reader.read([*[tmp_path / name for name in names], honest]))
    assert [reply.kind for reply in replies] == [
        *[worker.UNREADABLE] * 3,
        worker.MISSING,
        worker.UNREADABLE,
        worker.ROIS,
    ]
    assert "a pipe" in replies[0].message


def test_a_killed_child_is_replaced_and_its_file_read_again(honest: Path) -> None:
    with RoiWorker() as reader:
        replies = reader.read([honest] * 300)
        seen = [next(replies) for _ in range(10)]
        reader._started().kill()
        seen += replies
    assert len(seen) == 300
    assert {reply.kind for reply in seen} == {worker.ROIS}


def test_a_child_that_cannot_start_is_an_error_not_a_release_without_images(
    honest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.sys, "executable", "/bin/false")
    with RoiWorker() as reader, pytest.raises(OSError, match="did not start"):
        list(reader.read([honest]))


class Custom:
    """A class of somebody's own, with a state."""

    def __init__(self) -> None:
        self.a = {"b": [1]}


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


ODD = {
    "numpy string": np.str_("cat"),
    "set": {1, 2},
    "frozenset": frozenset([1]),
    "device": torch.device("cpu"),
    "dtype": torch.float32,
    "object array": np.array([None, "a"], dtype=object),
    "strings": np.array(["a", "bc"]),
    "structured": np.zeros(2, dtype=[("a", "f4"), ("b", "i2")]),
    "complex": 1j,
    "complex tensor": torch.zeros(3, dtype=torch.complex64),
    "path": pathlib.PurePosixPath("a/b"),
    "object": Custom(),
    "class": Custom,
    "slice": slice(1, 2),
    "range": range(3),
    "sparse": torch.eye(3).to_sparse(),
    "size": torch.Size([1, 2]),
    "generator state": torch.Generator().get_state(),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore")
def test_an_odd_field_beside_x_keeps_the_image(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / "item.pth"
    images = [{"odd": ODD[name], "x": X, "boxes": torch.ones(2, 4)}, {"x": 2 * X, "odd": ODD[name]}]
    torch.save(images, path, _use_new_zipfile_serialization=zipped)
    reply = worker.read_features(path.read_bytes())
    assert reply.kind == worker.ROIS, reply.message
    np.testing.assert_array_equal(reply.rois_VF, torch.cat([X, 2 * X]).numpy())
    torch.save([{"x": ODD[name]}], path, _use_new_zipfile_serialization=zipped)
    assert worker.read_features(path.read_bytes()).kind in (worker.UNREADABLE, worker.UNSAFE, worker.EMPTY)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_code_beside_x_is_not_run(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "victim"
    images = [{"evil": RunsCode(victim), "x": X.numpy()}]
    content = pickle.dumps(images, protocol)
    reply = worker.read_features(content)
    assert reply.kind == worker.ROIS, reply.message
    assert not victim.exists()
    with pytest.raises(UnsafeFileError, match="mkdir"):
        pth.loads(content)
    pickle.loads(content)
    assert victim.exists(), "the attack itself works"


def test_a_release_with_a_bomb_is_packed_without_that_image(tmp_path: Path) -> None:
    root = write_release(tmp_path / "release")
    for name, bomb in (("0de0-0", hash_bomb), ("0de0-1", memo_bomb)):
        feature_path(root, *HERE, "dev", name).write_bytes(bomb())
    report = check(root)
    assert report.ok
    assert [line.rpartition(": ")[2] for line in report.categories[0].unreadable] == [
        "given up",
        "asks for more memory than there is",
    ]
    corpus = open_corpus(root, *HERE, cache=tmp_path / "cache")
    assert corpus.manifest["splits"]["dev"]["images"]["review"]["unreadable"] == 2
    assert corpus.dev.rois("review").count_N[:3].tolist()[:2] == [0, 0]
    assert corpus.dev.rois("review").count_N[2] > 0


def test_a_file_that_the_machine_cannot_read_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_release(tmp_path / "release")
    answers = RoiWorker.read

    def no_permission(self: RoiWorker, paths: Any) -> Any:
        paths = list(paths)
        yield worker.Reply(worker.MACHINE, "Permission denied")
        yield from list(answers(self, paths))[1:]

    monkeypatch.setattr(RoiWorker, "read", no_permission)
    assert any("cannot be read (Permission denied)" in problem for problem in check(root).problems)
    with pytest.raises(DataError, match="Permission denied"):
        open_corpus(root, *HERE, cache=tmp_path / "cache")


def test_a_large_field_beside_x_is_not_even_read() -> None:
    buffer = io.BytesIO()
    torch.save([{"x": X, "image": torch.zeros(1000, 1000)}], buffer)
    assert worker.read_features(buffer.getvalue()).rois_VF is not None


class Written(io.RawIOBase):
    """A pipe's end that keeps what each call wrote."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)


@pytest.mark.parametrize("n", [0, 1, 128])
def test_a_reply_is_written_in_one_piece(n: int) -> None:
    """A second one would wake the parent a second time for every file."""
    rois_VF = (np.arange(n * 2048) % 999).reshape(n, 2048).astype(np.float16) if n else None
    said = worker.Reply(worker.ROIS if n else worker.UNREADABLE, "why", rois_VF)
    written = Written()
    pipe = io.BufferedWriter(written)
    worker._send(pipe, said)
    (piece,) = written.pieces
    assert piece.endswith(b"why" + (b"" if rois_VF is None else rois_VF.tobytes()))
    assert struct.unpack_from("<Bii", piece) == (said.kind, n, 2048 if n else 0)
