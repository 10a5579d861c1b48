"""Zip files as torch writes them, without a zip library: nothing compressed, nothing split, nothing unusual.

A category has hundreds of thousands of these, and `zipfile` takes longer to open one than to read it. What is
not exactly in this form is left to `zipfile`, which then says what it thinks of it; so nothing is read here that
it would refuse. Torch-free.
"""

from __future__ import annotations

import struct
import zlib

_END = struct.Struct("<4sHHHHLLH")
"""PKWARE's APPNOTE.TXT 4.3.16: signature, disks (2), entries (2), size and offset of the directory, comment."""
_END64 = struct.Struct("<4sQHHLLQQQQ")
"""4.3.14, as above; before the sizes its own size, two versions, two disks."""
_LOCATOR64 = struct.Struct("<4sLQL")
"""4.3.15: signature, disk, offset of the former, number of disks."""
_ENTRY = struct.Struct("<4sBBBBHHLLLLHHHHHLL")
"""4.3.12: signature, versions (4), flags, method, time, CRC-32, sizes (2), lengths of name, extra, comment,
disk, attributes (2), offset of the local header."""
_LOCAL = struct.Struct("<4sHHHLLLLHH")
"""4.3.7: signature, version, flags, method, time, CRC-32, sizes (2), lengths of name and extra."""
_PLAIN_FLAGS = 0x808
"""Sizes follow the data (they are in the directory too); names are UTF-8."""


class NotPlainError(Exception):
    """A zip file that is damaged, or in a form that torch does not write: one for `zipfile` to judge."""


class StoredZip:
    """The entries of a zip file's content; its bytes are shared, not copied."""

    compressed = False

    def __init__(self, content: bytes) -> None:
        """Raises NotPlainError."""
        self._content = memoryview(content)
        self.entries: dict[str, tuple[int, int, int]] = {}
        """Name -> (offset of the local header, bytes, CRC-32)."""
        try:
            self._directory, stop = self._find()
            at = self._directory
            while at < stop:
                at = self._entry(content, at)
        except (struct.error, UnicodeDecodeError) as error:
            raise NotPlainError(str(error)) from error
        if at != stop:
            raise NotPlainError("a directory of another size")

    def _find(self) -> tuple[int, int]:
        """Where the directory begins and ends: where the records after it begin, and the file ends with them."""
        last = len(self._content) - _END.size
        if last < 0:
            raise NotPlainError("too short")
        magic, *_, size, offset, comment = _END.unpack_from(self._content, last)
        if magic != b"PK\x05\x06" or comment:
            raise NotPlainError("no end of a directory, or a comment")
        locator = last - _LOCATOR64.size
        long = _LOCATOR64.unpack_from(self._content, locator) if locator >= _END64.size else ("", 0, 0, 0)
        if long[0] == b"PK\x06\x07":
            _, disk, _, disks = long
            last = locator - _END64.size
            magic, *_, size, offset = _END64.unpack_from(self._content, last)
            if magic != b"PK\x06\x06" or disk or disks != 1:
                raise NotPlainError("no end of a long directory")
        if offset + size != last:
            raise NotPlainError("something between the directory and its end")
        return offset, last

    def _entry(self, content: bytes, at: int) -> int:
        """Notes an entry of the directory; returns where the next one begins."""
        (
            magic,
            _,
            _,
            needs,
            _,
            flags,
            method,
            _,
            crc,
            packed,
            size,
            n_name,
            n_extra,
            n_comment,
            *_,
            offset,
        ) = _ENTRY.unpack_from(content, at)
        plain = magic == b"PK\x01\x02" and needs <= 45 and not flags & ~_PLAIN_FLAGS
        if not plain or method or packed != size or n_extra or n_comment:
            raise NotPlainError("an entry in another form")
        at += _ENTRY.size
        raw = content[at : at + n_name]
        name = raw.decode("ascii")
        if len(raw) != n_name or name in self.entries or "\0" in name or "\\" in name:
            raise NotPlainError("a name that is unusual, or twice there")
        self.entries[name] = (offset, size, crc)
        return at + len(raw)

    def read(self, name: str) -> memoryview:
        """An entry's bytes. KeyError if there is none; NotPlainError."""
        at, size, crc = self.entries[name]
        if at + _LOCAL.size > self._directory:
            raise NotPlainError("an entry outside of the file")
        magic, *_, n_name, n_extra = _LOCAL.unpack_from(self._content, at)
        at += _LOCAL.size
        start = at + n_name + n_extra
        if magic != b"PK\x03\x04" or self._content[at : at + n_name] != name.encode("ascii"):
            raise NotPlainError("an entry that its directory does not describe")
        if start + size > self._directory:
            raise NotPlainError("an entry outside of the file")
        found = self._content[start : start + size]
        if zlib.crc32(found) != crc:
            raise NotPlainError("another CRC-32")
        return found
