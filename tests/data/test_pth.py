"""Feature files: what is read, and that nothing in them executes."""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data import pickles, pth


def features() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(6, 8, generator=rng)
    return {
        "float32": base,
        "float64": base.double(),
        "float16": base.half(),
        "bfloat16": base.bfloat16(),
        "int64": torch.arange(12).reshape(3, 4),
        "bool": base > 0,
        "transposed": base.T,
        "slice": base[1:4, 2:5],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 8),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", list(features()))
def test_tensors_of_both_torch_formats(tmp_path: Path, name: str, zipped: bool) -> None:
    tensor = features()[name]
    path = tmp_path / "item.pth"
    torch.save([{"x": tensor, "boxes": tensor}, {"x": tensor}], path, _use_new_zipfile_serialization=zipped)
    images = pth.load(path)
    assert len(images) == 2
    for image in images:
        assert image["x"].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(image["x"], (tensor.float() if name == "bfloat16" else tensor).numpy())


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_arrays_and_plain_values(tmp_path: Path, protocol: int) -> None:
    plain = {"id": "a", "size": (640, 480), "n": 3, "p": 0.5, "none": None, "raw": b"\x00\xff", "ok": True}
    arrays = {
        "f4": np.arange(12, dtype=np.float32).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big": np.arange(4, dtype=">i4"),
        "scalar": np.float32(1.5),
    }
    path = tmp_path / "item.pth"
    value = [collections.OrderedDict(plain | arrays)]
    torch.save(value, path, pickle_protocol=protocol)
    bare = tmp_path / "bare.pth"
    bare.write_bytes(pickle.dumps(value, protocol=protocol))
    for loaded in (pth.load(path)[0], pth.load(bare)[0]):
        assert {key: loaded[key] for key in plain} == plain
        for key, array in arrays.items():
            np.testing.assert_array_equal(loaded[key], array)


def test_a_module_parameter_is_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "item.pth"
    torch.save([{"x": torch.nn.Parameter(torch.ones(2, 3))}], path)
    np.testing.assert_array_equal(pth.load(path)[0]["x"], np.ones((2, 3)))


class MakesFile:
    """Unpickling it the ordinary way creates the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def write_attack(kind: str, path: Path, victim: Path) -> None:
    if kind == "bare":
        path.write_bytes(pickle.dumps([{"x": MakesFile(victim)}]))
    else:
        torch.save([{"x": MakesFile(victim)}], path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["zip", "flat", "bare"])
def test_a_pickle_that_would_create_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    path, victim = tmp_path / "evil.pth", tmp_path / "victim"
    write_attack(kind, path, victim)
    with pytest.raises(pickles.UnsafeFileError, match=r"evil\.pth: refused.*`posix\.mkdir`"):
        pth.load(path)
    assert not victim.exists()
    torch.load(path, weights_only=False) if kind != "bare" else pickle.loads(path.read_bytes())
    assert victim.exists(), "the attack itself works, so the refusal above is what stopped it"


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.",
        b"(S'1'\nibuiltins\neval\n.",
        b"(cbuiltins\neval\nS'1'\no.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"ctorch\nload\n.",
        b"ccopyreg\n_reconstructor\n.",
        b"c_codecs\nencode.__globals__\n.",
    ],
)
def test_every_way_to_name_something_is_refused(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(program)
    with pytest.raises(pickles.UnsafeFileError, match="refused"):
        pth.load(path)


def test_stand_ins_cannot_be_altered(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    # BUILD on an admitted name: would set attributes if it were a plain function
    path.write_bytes(b"c_codecs\nencode\n}(S'_function'\nNub.")
    with pytest.raises(pickles.UnreadableFileError, match="sets the state"):
        pth.load(path)
    good = tmp_path / "good.pth"
    good.write_bytes(pickle.dumps([b"\xff"], protocol=2))
    assert pth.load(good) == [b"\xff"]


def test_damaged_files_are_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "item.pth"
    torch.save([{"x": torch.ones(4, 8)}], path)
    content = path.read_bytes()
    for damaged in (
        b"",
        b"no pickle",
        content[:100],
        content[: len(content) // 2],
        b"PK\x03\x04" + b"0" * 50,
    ):
        path.write_bytes(damaged)
        with pytest.raises(pickles.UnreadableFileError):
            pth.load(path)
    with pytest.raises(pickles.UnreadableFileError, match="No such file"):
        pth.load(tmp_path / "absent.pth")


def test_any_flipped_byte_gives_a_value_or_one_of_our_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "item.pth"
    for zipped in (True, False):
        torch.save([{"x": torch.ones(2, 3)}, {"x": np.ones(3)}], path, _use_new_zipfile_serialization=zipped)
        content = bytearray(path.read_bytes())
        for _ in range(300):
            damaged = bytearray(content)
            damaged[int(rng.integers(len(content)))] = int(rng.integers(256))
            path.write_bytes(damaged)
            try:
                pth.load(path)
            except (pickles.UnreadableFileError, pickles.UnsafeFileError):
                continue


def zip_with(pickled: bytes, storage: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", storage)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (0, (10**9, 10**9), (0, 0)), (0, (2,), (-1,))],
)
def test_a_tensor_cannot_reach_outside_of_its_storage(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if value == "STORAGE" else None

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, ("STORAGE", offset, shape, strides, False, {})

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(Tensor())
    path = tmp_path / "item.pth"
    path.write_bytes(zip_with(buffer.getvalue(), np.arange(4, dtype=np.float32).tobytes()))
    with pytest.raises(pickles.UnreadableFileError):
        pth.load(path)


def test_lists_that_hold_themselves_or_double_end(tmp_path: Path) -> None:
    path = tmp_path / "item.pth"
    loop: list[Any] = []
    loop.append(loop)
    path.write_bytes(pickle.dumps(loop))
    with pytest.raises(pickles.UnreadableFileError, match="nested too deeply"):
        pth.load(path)
    doubling: list[Any] = [1]
    for _ in range(25):
        doubling = [doubling, doubling]
    path.write_bytes(pickle.dumps(doubling))
    assert len(pth.load(path)) == 2
