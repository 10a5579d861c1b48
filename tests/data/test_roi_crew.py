"""Many readers give what one gives, in the same order, whatever the files are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import roi_worker as worker
from benchmark.data.pack import ensure_pack
from benchmark.data.release import find_category
from benchmark.data.roi_crew import RoiCrew
from benchmark.data.roi_worker import RoiWorker
from tests.fixtures_release import write_features, write_release


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two hundred files, of which some are missing, damaged, empty, or kill their reader."""
    folder = tmp_path_factory.mktemp("features")
    found = []
    for number in range(200):
        images = [np.random.default_rng(number).normal(size=(1 + number % 5, 8)).astype(np.float32)]
        path = write_features(folder, "amazon", "home", "train", str(number), images)
        if number % 17 == 0:
            path.unlink()
        if number % 23 == 0:
            path.write_bytes(b"garbage")
        found.append(path)
    return found


def flat(reply: worker.Reply) -> tuple[object, ...]:
    rois = b"" if reply.rois_VF is None else reply.rois_VF.tobytes()
    return reply.kind, reply.message, rois, reply.not_finite, reply.digest, reply.status


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_the_same_replies_in_the_same_order(files: list[Path], workers: int) -> None:
    with RoiWorker() as one:
        wanted = [flat(reply) for reply in one.read(files)]
    assert {reply[0] for reply in wanted} >= {worker.ROIS, worker.MISSING, worker.UNREADABLE}
    with RoiCrew(workers) as crew:
        assert [flat(reply) for reply in crew.read(iter(files))] == wanted
        # again, by the same processes, and fewer files than workers
        for n in (0, 1, 5, 31, 32, 33):
            assert [flat(reply) for reply in crew.read(files[:n])] == wanted[:n]


def test_files_are_asked_for_as_they_are_needed(files: list[Path]) -> None:
    asked = 0

    def paths():
        nonlocal asked
        for path in files * 20:
            asked += 1
            yield path

    with RoiCrew(2) as crew:
        replies = crew.read(paths())
        for _ in range(10):
            next(replies)
        assert asked < 300
        replies.close()


def test_a_pack_is_the_same_whatever_the_number_of_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_release(tmp_path / "release", products=20, reviews=120, roi_width=4)
    folder = find_category(root, "amazon", "electronics")
    found = []
    for workers in (1, 3):
        monkeypatch.setattr("benchmark.data.roi_crew.processors", lambda n=workers: n)
        pack = ensure_pack(folder, tmp_path / f"cache-{workers}")
        names = [
            path for path in sorted(pack.iterdir()) if path.suffix == ".npy" or path.name == "manifest.json"
        ]
        found.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in names})
    assert found[0] == found[1]
    assert "rois.npy" in found[0]
