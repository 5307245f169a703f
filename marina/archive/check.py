"""What a ``.mar`` must be before TorchServe may see it.

TorchServe unpacks whatever it is given: names that leave the folder, a ``configFile`` outside it,
any number of bytes. It also reads a zip as a stream, entry after entry, where Python reads the
directory at the end; so an archive is refused in which the two could differ. Marina's own are
stored, not deflated, and hold nothing between their entries: no bomb fits in them, and nothing
hidden.
"""

from __future__ import annotations

import json
import re
import stat
import struct
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from marina.archive.mar import MANIFEST
from marina.errors import ArchiveError

if TYPE_CHECKING:
    from pathlib import Path

MODEL_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+-]{0,31}")

_MANIFEST_KEYS = {"createdOn", "description", "runtime", "archiverVersion", "model"}
_MODEL_KEYS = {"modelName", "modelVersion", "handler", "serializedFile", "configFile"}
_FILE_KEYS = ("handler", "serializedFile", "configFile")  # what names a file of the archive
_MAX_MANIFEST_BYTES = 64 * 1024

_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.+@-]{1,128}")
_UTF8_FLAG = 0x800

# APPNOTE 4.3.7, 4.3.16 and 4.5.3.
_LOCAL_HEADER = struct.Struct("<4s2xHH8xIIHH")
_END = struct.Struct("<4s6xHI4xH")
_ZIP64 = struct.Struct("<HHQQ")
_ZIP64_SIZE = 0xFFFFFFFF


@dataclass(frozen=True)
class ArchiveLimits:
    """How large an archive may be.

    Attributes:
        entries: Files in it.
        size_bytes: Of the whole; unpacked it is no larger.
    """

    entries: int = 1000
    size_bytes: int = 16 * 1024**3


DEFAULT_LIMITS = ArchiveLimits()


def check_archive(file: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Check that an archive is safe to unpack and to register.

    Args:
        file: The ``.mar``.
        limits: How large it may be.

    Returns:
        Its manifest.

    Raises:
        ArchiveError: It cannot be read, or is not what `marina archive` makes; the message says
            in what.
    """
    try:
        with file.open("rb") as raw:
            _check_size(raw, limits)
            with zipfile.ZipFile(raw) as archive:
                _check_entries(raw, archive)
                return _checked_manifest(archive)
    except _Refusal as err:
        raise ArchiveError(
            f"{file} is refused: {err}. Only archives that `marina archive` made are served"
        ) from err
    except zipfile.BadZipFile as err:
        raise ArchiveError(f"{file} is no .mar, or a damaged one: {err}") from err
    except OSError as err:
        raise ArchiveError(f"cannot read {file}: {err.strerror or err}") from err


class _Refusal(Exception):
    """Why an archive is refused."""


def _check_size(raw: IO[bytes], limits: ArchiveLimits) -> None:
    """Check the sizes before Python reads the directory, which could be all of the file."""
    size = raw.seek(0, 2)
    if size > limits.size_bytes:
        raise _Refusal(f"it has {size:,} bytes, more than {limits.size_bytes:,}")
    raw.seek(max(0, size - _END.size))
    end = raw.read()
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise zipfile.BadZipFile("it does not end as a zip without a comment does")
    _, count, directory_size, comment_size = _END.unpack(end)
    if comment_size:
        raise zipfile.BadZipFile("it is cut off")
    if count > limits.entries or directory_size > limits.entries * 1024:
        raise _Refusal(f"it holds {count:,} entries, more than {limits.entries:,}")


def _check_entries(raw: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Check each entry, and that the file is its entries one after the other."""
    position = 0
    seen: set[str] = set()
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        _check_name(entry)
        if entry.filename in seen:
            raise _Refusal(f"it holds {entry.filename} twice")
        seen.add(entry.filename)
        if entry.header_offset != position:
            raise _Refusal(f"it hides bytes before {entry.filename}")
        position = _end_of(raw, entry)
    if archive.start_dir != position:
        raise _Refusal("it hides bytes behind its last entry")


def _check_name(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename  # Python cuts what it shows at the first NUL
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise _Refusal(
            f"the name {name!r} is not a path inside it of letters, digits and . _ + @ -"
        )
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        raise _Refusal(f"{name} is not a plain file")


def _end_of(raw: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Check an entry's own header against the directory, and say where the entry ends."""
    raw.seek(entry.header_offset)
    header = raw.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise zipfile.BadZipFile(f"{entry.filename} is cut off")
    signature, flags, method, packed, size, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    name, extra = raw.read(name_size), raw.read(extra_size)
    if extra and extra != _ZIP64.pack(1, 16, entry.file_size, entry.file_size):
        raise _Refusal(f"{entry.filename} has an extra field")
    if extra and packed == size == _ZIP64_SIZE:
        size = packed = entry.file_size
    if flags & ~_UTF8_FLAG or method != zipfile.ZIP_STORED:
        raise _Refusal(f"{entry.filename} is compressed, encrypted or streamed, not stored")
    directory = (b"PK\3\4", entry.orig_filename.encode(), entry.file_size, entry.file_size)
    same_method = entry.compress_type == zipfile.ZIP_STORED
    if (signature, name, size, packed) != directory or not same_method:
        raise _Refusal(f"{entry.filename} and the zip's directory do not agree")
    return raw.tell() + entry.file_size


def _checked_manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    names = set(archive.namelist())
    manifest = _read_manifest(archive, names)
    model = manifest.get("model")
    if not isinstance(model, dict):
        raise _Refusal(f'{MANIFEST} has no "model"')
    unknown = (manifest.keys() - _MANIFEST_KEYS) | (model.keys() - _MODEL_KEYS)
    if unknown:
        raise _Refusal(f"{MANIFEST} has the key {min(unknown)!r}, which no archive of Marina's has")
    for key in ("modelName", "modelVersion", "handler"):
        if not isinstance(model.get(key), str):
            raise _Refusal(f"{MANIFEST} does not say {key}")
    if not MODEL_VERSION.fullmatch(model["modelVersion"]):
        raise _Refusal(f"{model['modelVersion']!r} is no version")
    for key in _FILE_KEYS:
        if key in model and model[key] not in names:
            raise _Refusal(f"{MANIFEST} names {model[key]!r} as {key}, which is not in the archive")
    return manifest


def _read_manifest(archive: zipfile.ZipFile, names: set[str]) -> dict[str, Any]:
    if MANIFEST not in names:
        raise _Refusal(f"it lacks {MANIFEST}")
    if archive.getinfo(MANIFEST).file_size > _MAX_MANIFEST_BYTES:
        raise _Refusal(f"{MANIFEST} has more than {_MAX_MANIFEST_BYTES:,} bytes")
    try:
        manifest = json.loads(archive.read(MANIFEST), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as err:
        raise _Refusal(f"{MANIFEST} is no JSON: {err}") from err
    if not isinstance(manifest, dict):
        raise _Refusal(f"{MANIFEST} is no JSON object")
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is given twice: Java and Python might each take another."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _Refusal(f"{MANIFEST} gives a key twice")
    return document
