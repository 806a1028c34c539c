"""The metadata of an ONNX file, read without a runtime: a runtime would load the whole model.

An ONNX file is one protobuf message (`ModelProto` in onnx.proto); its metadata is a list of keys and values beside the
graph. Only the outermost fields are read, and the others are skipped, so the size of the model does not matter.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DamagedModelError", "read_metadata"]

_FIRST_TAG = b"\x08"
"""The tag of the version of the format, which every writer puts first."""

_METADATA = 14
_KEY, _VALUE = 1, 2

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
"""The wire types of protobuf."""

_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}

_LFS_POINTER = b"version https://git-lfs"

_MAX_METADATA_BYTES = 1 << 20
"""Far more than any model has: the largest values are two lists of 560 numbers."""


class DamagedModelError(ValueError):
    """A file is not a whole ONNX model; the text follows the name of the file."""


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file.

    Raises:
        DamagedModelError: the file is empty, cut off, or no ONNX model.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise DamagedModelError("is empty")
        start = file.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            raise DamagedModelError("is a pointer of Git LFS, not the model: run git lfs pull")
        if not start.startswith(_FIRST_TAG):
            raise DamagedModelError("is no ONNX model")
        file.seek(0)
        return _read_model(file, size)


def _read_model(file: BinaryIO, size: int) -> dict[str, str]:
    metadata: dict[str, str] = {}
    while file.tell() < size:
        field, wire_type = divmod(_varint(file), 8)
        length = _length(file, wire_type)
        missing = file.tell() + length - size
        if missing > 0:
            raise DamagedModelError(f"is cut off: {missing} bytes are missing")
        if field == _METADATA and length <= _MAX_METADATA_BYTES:
            entry = _read_entry(file, file.tell() + length)
            metadata[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        else:
            file.seek(length, os.SEEK_CUR)
    return metadata


def _read_entry(file: BinaryIO, end: int) -> dict[int, str]:
    """Return the fields of a message of strings that ends at a position."""
    fields: dict[int, str] = {}
    while file.tell() < end:
        field, wire_type = divmod(_varint(file), 8)
        fields[field] = file.read(min(_length(file, wire_type), end - file.tell())).decode(errors="replace")
    return fields


def _length(file: BinaryIO, wire_type: int) -> int:
    """Return the number of bytes of the field that follows its tag; a varint is read and has none left."""
    if wire_type == _BYTES:
        return _varint(file)
    if wire_type == _VARINT:
        _varint(file)
        return 0
    if wire_type not in _FIXED_BYTES:
        raise DamagedModelError("is no ONNX model")
    return _FIXED_BYTES[wire_type]


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise DamagedModelError("is cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise DamagedModelError("is no ONNX model")
