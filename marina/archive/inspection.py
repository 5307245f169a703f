"""Looking into a ``.mar`` and holding its files against the digests that it carries."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from marina.archive.check import check_archive
from marina.archive.mar import MANIFEST
from marina.errors import ArchiveError
from marina.files import sha256_file

PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Member:
    """A file of the archive.

    Attributes:
        name: Path in the archive.
        size: Bytes, unpacked.
        sha256: Of its content.
        fault: How it differs from what the provenance says; None if it does not.
    """

    name: str
    size: int
    sha256: str
    fault: str | None


@dataclass(frozen=True)
class Inspection:
    """What is inside a ``.mar``."""

    file: Path
    sha256: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    labels: tuple[str, ...]
    provenance: dict[str, Any]
    members: tuple[Member, ...]
    missing: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """One line for each file that is not what the provenance says."""
        changed = [f"{member.name}: {member.fault}" for member in self.members if member.fault]
        return changed + [f"{name}: missing" for name in self.missing]

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as ``marina inspect --json`` prints it."""
        return {
            "file": self.file.name,
            "sha256": self.sha256,
            "manifest": self.manifest,
            "image": self.config.get("image"),
            "config": self.config,
            "labels": list(self.labels),
            "provenance": self.provenance,
            "files": [
                {"name": member.name, "bytes": member.size, "sha256": member.sha256}
                for member in self.members
            ],
            "verified": not self.faults,
            "faults": self.faults,
        }


def inspect(file: Path) -> Inspection:
    """Read a ``.mar`` that Marina made and check every file in it against its provenance.

    Raises:
        ArchiveError: It is missing, unsafe, or lacks what every Marina archive has.
    """
    check_archive(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return _inspect(file, archive)
    except OSError as err:
        raise ArchiveError(f"cannot read {file}: {err.strerror or err}") from err
    except zipfile.BadZipFile as err:
        raise ArchiveError(f"{file} is no .mar, or a damaged one: {err}") from err
    except KeyError as err:
        raise ArchiveError(f"{file} was not made by `marina archive`: {err.args[0]}") from err
    except (ValueError, yaml.YAMLError) as err:
        raise ArchiveError(f"{file} holds a damaged JSON or YAML file: {err}") from err


def _inspect(file: Path, archive: zipfile.ZipFile) -> Inspection:
    manifest = json.loads(archive.read(MANIFEST))
    provenance = json.loads(archive.read(PROVENANCE))
    config = yaml.safe_load(archive.read(manifest["model"]["configFile"]))
    names = json.loads(archive.read("index_to_name.json"))
    digests: dict[str, str] = provenance["files"]
    members = tuple(_member(archive, entry, digests) for entry in archive.infolist())
    present = {member.name for member in members}
    return Inspection(
        file=file,
        sha256=sha256_file(file),
        manifest=manifest,
        config=config,
        labels=tuple(names[str(index)] for index in range(len(names))),
        provenance=provenance,
        members=members,
        missing=tuple(name for name in digests if name not in present),
    )


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, digests: dict[str, str]) -> Member:
    with archive.open(entry) as content:
        digest = hashlib.sha256()
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    fault = None
    if entry.filename not in {*digests, PROVENANCE}:
        fault = "not in the provenance"
    elif digests.get(entry.filename, digest.hexdigest()) != digest.hexdigest():
        fault = "SHA-256 differs from the provenance"
    return Member(entry.filename, entry.file_size, digest.hexdigest(), fault)
