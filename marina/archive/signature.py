"""Signatures of archives: Ed25519 (RFC 8032), in a file ``<archive>.sig`` beside the archive.

    openssl genpkey -algorithm ed25519 -out key.pem        # keep it secret
    openssl pkey -in key.pem -pubout -out pub.pem          # give it to whoever serves

What is signed is the archive's SHA-256, so that a signature holds for those bytes alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from marina.errors import ArchiveError
from marina.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIX = ".sig"
PASSWORD = "MARINA_SIGNING_PASSWORD"  # noqa: S105 - the name of the variable, not its value

_FORMAT = "marina-signature-1"
_MAKE_ONE = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"


def signature_file(archive: Path) -> Path:
    """Say where an archive's signature is."""
    return archive.with_name(archive.name + SUFFIX)


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Read a key to sign with; an encrypted one takes ``MARINA_SIGNING_PASSWORD``.

    Raises:
        ArchiveError: It cannot be read, or is no Ed25519 private key in PEM.
    """
    password = os.environ.get(PASSWORD)
    try:
        key = load_pem_private_key(_read(file), password.encode() if password else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise ArchiveError(
            f"expected an Ed25519 private key in PEM at {file} ({err}); {_MAKE_ONE}. The password "
            f"of an encrypted one is taken from {PASSWORD}"
        ) from err
    if not isinstance(key, Ed25519PrivateKey):
        raise ArchiveError(f"expected an Ed25519 private key, {file} is of another kind")
    return key


def read_public_key(file: Path) -> Ed25519PublicKey:
    """Read a key to verify with.

    Raises:
        ArchiveError: It cannot be read, or is no Ed25519 public key in PEM.
    """
    content = _read(file)
    if b"PRIVATE KEY" in content:
        raise ArchiveError(
            f"{file} is a private key, and no place that only verifies should have it: "
            "`openssl pkey -in key.pem -pubout -out pub.pem` gives the public one"
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise ArchiveError(f"expected an Ed25519 public key in PEM at {file} ({err})") from err
    if not isinstance(key, Ed25519PublicKey):
        raise ArchiveError(f"expected an Ed25519 public key, {file} is of another kind")
    return key


def sign(archive: Path, sha256: str, key: Ed25519PrivateKey) -> None:
    """Write an archive's signature beside it.

    Args:
        archive: The ``.mar``; it need not be there yet.
        sha256: Of its bytes.
        key: To sign with.
    """
    document = {
        "format": _FORMAT,
        "sha256": sha256,
        "key": fingerprint(key.public_key()),
        "signature": base64.b64encode(key.sign(_message(sha256))).decode(),
    }
    write_whole(signature_file(archive), json.dumps(document, indent=2) + "\n")


def check_signature(archive: Path, sha256: str, keys: Sequence[Ed25519PublicKey]) -> str:
    """Check that one of some keys signed an archive.

    Args:
        archive: The ``.mar``.
        sha256: Of its bytes, computed from them and not taken from an index.
        keys: Any of which will do.

    Returns:
        The fingerprint of the key that did.

    Raises:
        ArchiveError: There is no signature, or it is not one of these bytes by these keys.
    """
    file = signature_file(archive)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        signature = base64.b64decode(document["signature"], validate=True)
        is_known = document["format"] == _FORMAT
    except FileNotFoundError as err:
        raise ArchiveError(
            f"{archive} is not signed: there is no {file.name} beside it. Archive it again with "
            "--force --sign KEY"
        ) from err
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ArchiveError(f"{file} is no signature that `marina archive --sign` wrote") from err
    if not is_known:
        raise ArchiveError(f"{file} is of another format than {_FORMAT}: use a newer Marina")
    for key in keys:
        try:
            key.verify(signature, _message(sha256))
        except InvalidSignature:
            continue
        return fingerprint(key)
    given = ", ".join(fingerprint(key)[:16] for key in keys)
    if document.get("sha256") != sha256:
        raise ArchiveError(f"{archive} is not the file that was signed: its SHA-256 differs")
    raise ArchiveError(
        f"{archive} is not signed by the key {given}: the signature says "
        f"{str(document.get('key'))[:16]}"
    )


def fingerprint(key: Ed25519PublicKey) -> str:
    """Name a public key: the SHA-256 of its 32 bytes, in hexadecimal digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _message(sha256: str) -> bytes:
    """Give what is signed; its first words keep a signature from meaning anything else."""
    return f"{_FORMAT}\n{sha256}\n".encode()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as err:
        raise ArchiveError(f"cannot read the key {file}: {err.strerror or err}") from err
