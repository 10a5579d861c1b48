"""The short way to read a zip file gives what Python's `zipfile` gives, or says that it is not for it."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch

from benchmark.data import pth
from benchmark.data.stored_zip import NotPlainError, StoredZip


def saved() -> bytes:
    buffer = io.BytesIO()
    torch.save([{"x": torch.arange(24.0).reshape(4, 6)}, {"x": torch.ones(2, 6)}], buffer)
    return buffer.getvalue()


def zipped(comment: bytes = b"", extra: bytes = b"", method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in ("a/data.pkl", "a/data/0"):
            info = zipfile.ZipInfo(name)
            info.extra, info.compress_type = extra, method
            archive.writestr(info, name.encode() * 9)
        archive.comment = comment
    return buffer.getvalue()


def short_way(content: bytes) -> dict[str, bytes] | None:
    try:
        archive = StoredZip(content)
        return {name: bytes(archive.read(name)) for name in archive.entries}
    except NotPlainError:
        return None


def long_way(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("content", [saved(), zipped()], ids=["torch", "zipfile"])
def test_every_entry(content: bytes) -> None:
    assert short_way(content) == long_way(content)


@pytest.mark.parametrize(
    "content",
    [
        zipped(comment=b"c"),
        zipped(extra=b"\x01\x00\x00\x00"),
        zipped(method=zipfile.ZIP_DEFLATED),
        b"before" + zipped(),
        zipped() + b"after",
        zipped()[:-1],
        b"PK\x05\x06" + bytes(18),
        b"",
    ],
)  # fmt: skip
def test_what_is_unusual_is_left_to_zipfile(content: bytes) -> None:
    assert not short_way(content)


def test_a_name_twice_is_left_to_zipfile() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "2")
    assert short_way(buffer.getvalue()) is None


def test_whatever_byte_is_changed_nothing_is_read_that_zipfile_refuses() -> None:
    """Every byte, to several others. Entries only: an archive may hold what no one asks for."""
    content, refused = bytearray(zipped()), 0
    for at, before in enumerate(bytes(content)):
        for value in {0, 1, 8, 255, before ^ 1, before ^ 128} - {before}:
            content[at] = value
            found = short_way(bytes(content))
            if found is None:
                refused += 1
            else:
                assert found == long_way(bytes(content)), (at, value)
        content[at] = before
    # names, sizes, offsets, CRC-32, contents; what is left are times and such
    assert refused > 3 * len(content)


def test_a_file_cut_off_or_with_a_changed_byte_reads_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole reader with and without the short way: the same arrays, or the same words."""
    content, rng = saved(), np.random.default_rng(5)
    damaged = [content, *(content[:size] for size in range(0, len(content), 97))]
    for _ in range(600):
        changed = bytearray(content)
        changed[int(rng.integers(len(content)))] = int(rng.integers(256))
        damaged.append(bytes(changed))

    def outcome(one: bytes) -> object:
        try:
            return [(image["x"].shape, image["x"].tobytes()) for image in pth.loads(one, only="x")]
        except Exception as error:
            return str(error)

    quick = [outcome(one) for one in damaged]
    monkeypatch.setattr(pth, "StoredZip", pth._OtherZip)
    assert quick == [outcome(one) for one in damaged]
