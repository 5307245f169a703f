"""Each kind of archive that TorchServe must not see."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marina.archive.check import ArchiveLimits, check_archive
from marina.archive.inspection import inspect
from marina.errors import ArchiveError

MODEL = {
    "modelName": "resnet",
    "modelVersion": "1.0",
    "handler": "entry.py",
    "serializedFile": "model.pt",
    "configFile": "model-config.yaml",
}
FILES = {
    "entry.py": b"",
    "model.pt": b"weights",
    "model-config.yaml": b"{}",
    "handlers/__init__.py": b"",
    "golden/0.png": b"png",
}


def manifest(**model: Any) -> bytes:
    given = {key: value for key, value in {**MODEL, **model}.items() if value is not None}
    return json.dumps({"createdOn": "2026-01-01", "runtime": "python", "model": given}).encode()


def zipped(
    *more: tuple[str | zipfile.ZipInfo, bytes],
    said: bytes | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """A good archive, with further entries behind it or another manifest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest() if said is None else said)
        for name, content in [*FILES.items(), *more]:
            archive.writestr(name, content)
    return buffer.getvalue()


def checked(content: bytes, tmp_path: Path, **limits: int) -> dict[str, Any]:
    file = tmp_path / "x.mar"
    file.write_bytes(content)
    return check_archive(file, ArchiveLimits(**limits))


def test_a_good_archive_passes(tmp_path: Path) -> None:
    assert checked(zipped(), tmp_path)["model"] == MODEL


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py",
        "handlers/../../evil.py",
        "/etc/cron.d/evil",
        "C:\\evil.py",
        "..\\evil.py",
        "a//b",
        "./a",
        "a/.",
        "folder/",
        "a\nb",
        "a b",
        "é",
        "x" * 129,
    ],
)
def test_a_name_that_leaves_the_folder_or_is_strange(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"is not a path inside it of letters"):
        checked(zipped((name, b"")), tmp_path)


def test_a_name_with_a_nul_is_seen_whole(tmp_path: Path) -> None:
    """Python would show it as evil.py alone."""
    content = zipped(("evil.py#.txt", b"")).replace(b"evil.py#.txt", b"evil.py\0.txt")
    with pytest.raises(ArchiveError, match=r"evil\.py\\x00\.txt' is not a path inside"):
        checked(content, tmp_path)


def test_a_link(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ArchiveError, match="link is not a plain file"):
        checked(zipped((link, b"/etc/passwd")), tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"holds entry\.py twice"):
        checked(zipped(("entry.py", b"evil")), tmp_path)


def test_too_many_entries(tmp_path: Path) -> None:
    many = [(f"file{number}", b"") for number in range(10)]
    assert checked(zipped(*many), tmp_path, entries=16)
    with pytest.raises(ArchiveError, match="holds 16 entries, more than 15"):
        checked(zipped(*many), tmp_path, entries=15)


def test_too_many_bytes(tmp_path: Path) -> None:
    content = zipped()
    assert checked(content, tmp_path, size_bytes=len(content))
    with pytest.raises(ArchiveError, match=r"bytes, more than"):
        checked(content, tmp_path, size_bytes=len(content) - 1)


def test_a_bomb(tmp_path: Path) -> None:
    bomb = zipped(("zeros", bytes(10_000_000)), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    with pytest.raises(ArchiveError, match=r"is compressed, encrypted or streamed, not stored"):
        checked(bomb, tmp_path)


def test_an_encrypted_entry(tmp_path: Path) -> None:
    content = bytearray(zipped())
    content[6] |= 1  # the first entry's flags (APPNOTE 4.4.4)
    with pytest.raises(ArchiveError, match="is compressed, encrypted or streamed, not stored"):
        checked(bytes(content), tmp_path)


def local_header(content: bytes, name: str) -> int:
    return zipfile.ZipFile(io.BytesIO(content)).getinfo(name).header_offset


def with_other_local_name(content: bytes) -> bytes:
    """TorchServe, which streams, would unpack this as evil.py."""
    start = local_header(content, "entry.py") + 30
    return content[:start] + b"evil1.py" + content[start + 8 :]


def with_other_local_size(content: bytes) -> bytes:
    """TorchServe would take the next entry's header for this one's content."""
    start = local_header(content, "model.pt")
    packed = struct.unpack_from("<I", content, start + 18)[0]
    sizes = struct.pack("<II", packed + 40, packed + 40)
    return content[: start + 18] + sizes + content[start + 26 :]


def with_extra_field(content: bytes) -> bytes:
    extra = zipfile.ZipInfo("extra.txt")
    extra.extra = struct.pack("<HH4s", 0x7075, 4, b"evil")  # a Unicode name of its own
    return zipped((extra, b""))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_other_local_name, r"entry\.py and the zip's directory do not agree"),
        (with_other_local_size, r"model\.pt and the zip's directory do not agree"),
        (with_extra_field, r"extra\.txt has an extra field"),
    ],
)
def test_what_torchserve_would_read_otherwise_than_python(
    change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match=message):
        checked(change(zipped()), tmp_path)


def test_an_entry_that_no_directory_lists(tmp_path: Path) -> None:
    """A whole zip before the zip: TorchServe would unpack the first, Python the second."""
    with pytest.raises(ArchiveError, match=r"hides bytes before MAR-INF/MANIFEST\.json"):
        checked(zipped(("evil.py", b"")) + zipped(), tmp_path)


def test_an_entry_that_the_directory_forgot(tmp_path: Path) -> None:
    content = zipped(("evil.py", b"evil"))
    whole = zipfile.ZipFile(io.BytesIO(content))
    last = whole.start_dir + sum(46 + len(e.filename) for e in whole.infolist()[:-1])
    end = len(content) - 22
    directory = content[whole.start_dir : last]
    count = len(whole.infolist()) - 1
    tail = struct.pack("<HHII", count, count, len(directory), whole.start_dir)
    forged = content[: whole.start_dir] + directory + content[end : end + 8] + tail + b"\0\0"
    with pytest.raises(ArchiveError, match="hides bytes behind its last entry"):
        checked(forged, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no zip", zipped()[:-30], zipped() + b"more"])
def test_what_is_no_zip_or_a_damaged_one(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"x\.mar is no \.mar, or a damaged one"):
        checked(content, tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"cannot read .*x\.mar: No such file"):
        check_archive(tmp_path / "x.mar")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (manifest(configFile="../../secret.yaml"), r"names '\.\./\.\./secret\.yaml' as configFile"),
        (manifest(configFile="/etc/passwd"), "names '/etc/passwd' as configFile"),
        (manifest(handler="image_classifier"), "names 'image_classifier' as handler"),
        (manifest(serializedFile="none.pt"), r"names 'none\.pt' as serializedFile"),
        (manifest(requirementsFile="entry.py"), "has the key 'requirementsFile'"),
        (manifest(modelFile="entry.py"), "has the key 'modelFile'"),
        (manifest(modelVersion="../1"), r"'\.\./1' is no version"),
        (manifest(modelVersion=1.0), "does not say modelVersion"),
        (manifest(modelName=None), "does not say modelName"),
        (manifest(handler=None), "does not say handler"),
        (b'{"model": 1}', 'has no "model"'),
        (b'{"model": {}, "workflow": {}}', "has the key 'workflow'"),
        (b'{"model": {}, "model": {}}', "gives a key twice"),
        (b"[]", "is no JSON object"),
        (b"{", "is no JSON: "),
        (b"[" * 60_000, "is no JSON: "),
        (b" " * 70_000, "has more than 65,536 bytes"),
    ],
)
def test_a_manifest_that_says_what_it_must_not(said: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=message):
        checked(zipped(said=said), tmp_path)


def test_no_manifest_at_all(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.pt", b"")
    with pytest.raises(ArchiveError, match=r"it lacks MAR-INF/MANIFEST\.json"):
        checked(buffer.getvalue(), tmp_path)


def test_an_archive_of_more_than_4_gib_is_no_other_kind(tmp_path: Path) -> None:
    """Python writes such sizes into an extra field; a sparse file holds them without the bytes."""
    file = tmp_path / "large.mar"
    size = 2**32 + 1
    large = zipfile.ZipInfo("large.bin")
    large.file_size = large.compress_size = size
    large.CRC = 0
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest())
        for name, content in FILES.items():
            archive.writestr(name, content)
        large.header_offset = archive.fp.tell()  # type: ignore[union-attr]
        archive.fp.write(large.FileHeader(zip64=True))  # type: ignore[union-attr]
        archive.fp.seek(size, 1)  # type: ignore[union-attr]
        archive.start_dir = archive.fp.tell()  # type: ignore[union-attr]
        archive.filelist.append(large)
        archive.NameToInfo["large.bin"] = large
        archive._didModify = True  # type: ignore[attr-defined]
    assert check_archive(file)["model"]["modelName"] == "resnet"


def test_inspection_refuses_what_serving_would(tmp_path: Path) -> None:
    file = tmp_path / "x.mar"
    file.write_bytes(zipped(("../evil.py", b"")))
    with pytest.raises(ArchiveError, match=r"is refused: the name '\.\./evil\.py'"):
        inspect(file)
