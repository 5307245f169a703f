"""Signatures: whose they are, and of what."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from marina.archive.signature import (
    PASSWORD,
    check_signature,
    fingerprint,
    read_private_key,
    read_public_key,
    sign,
    signature_file,
)
from marina.errors import ArchiveError

KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
DIGEST = 64 * "a"


def private_pem(key: Ed25519PrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def mar(tmp_path: Path) -> Path:
    file = tmp_path / "resnet-1.0.mar"
    sign(file, DIGEST, KEY)
    return file


def test_a_signature_is_its_keys_and_its_files(mar: Path) -> None:
    keys = [OTHER.public_key(), KEY.public_key()]
    assert check_signature(mar, DIGEST, keys) == fingerprint(KEY.public_key())
    with pytest.raises(ArchiveError, match=r"is not signed by the key .*: the signature says"):
        check_signature(mar, DIGEST, [OTHER.public_key()])
    with pytest.raises(ArchiveError, match="is not the file that was signed: its SHA-256 differs"):
        check_signature(mar, 64 * "b", keys)


def test_what_the_signature_says_of_itself_proves_nothing(mar: Path) -> None:
    """Someone without the key rewrites digest and fingerprint, but cannot sign."""
    document = json.loads(signature_file(mar).read_text())
    document["sha256"] = 64 * "b"
    signature_file(mar).write_text(json.dumps(document))
    with pytest.raises(ArchiveError, match="is not signed by the key"):
        check_signature(mar, 64 * "b", [KEY.public_key()])


def test_a_signature_of_something_else_is_none_of_an_archive(mar: Path) -> None:
    document = json.loads(signature_file(mar).read_text())
    document["signature"] = base64.b64encode(KEY.sign(DIGEST.encode())).decode()
    signature_file(mar).write_text(json.dumps(document))
    with pytest.raises(ArchiveError, match="is not signed by the key"):
        check_signature(mar, DIGEST, [KEY.public_key()])


def test_no_signature(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"is not signed: there is no x\.mar\.sig beside it"):
        check_signature(tmp_path / "x.mar", DIGEST, [KEY.public_key()])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "x", "signature": "%"}'])
def test_a_damaged_signature(mar: Path, content: str) -> None:
    signature_file(mar).write_text(content)
    with pytest.raises(ArchiveError, match=r"\.sig is no signature that `marina archive --sign`"):
        check_signature(mar, DIGEST, [KEY.public_key()])


def test_a_signature_of_a_later_marina(mar: Path) -> None:
    document = json.loads(signature_file(mar).read_text())
    signature_file(mar).write_text(json.dumps({**document, "format": "marina-signature-2"}))
    with pytest.raises(ArchiveError, match="is of another format than marina-signature-1"):
        check_signature(mar, DIGEST, [KEY.public_key()])


def test_keys_come_in_pem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, public = tmp_path / "key.pem", tmp_path / "pub.pem"
    public.write_bytes(public_pem(KEY))
    secret.write_bytes(private_pem(KEY, NoEncryption()))
    assert read_private_key(secret).public_key() == read_public_key(public) == KEY.public_key()
    secret.write_bytes(private_pem(KEY, BestAvailableEncryption(b"word")))
    with pytest.raises(ArchiveError, match=f"an encrypted one is taken from {PASSWORD}"):
        read_private_key(secret)
    monkeypatch.setenv(PASSWORD, "word")
    assert read_private_key(secret).public_key() == KEY.public_key()


def test_what_is_no_such_key(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    with pytest.raises(ArchiveError, match=r"cannot read the key .*: No such file"):
        read_private_key(file)
    file.write_bytes(b"no PEM")
    with pytest.raises(ArchiveError, match=r"expected an Ed25519 private key in PEM .*openssl"):
        read_private_key(file)
    with pytest.raises(ArchiveError, match="expected an Ed25519 public key in PEM"):
        read_public_key(file)
    curve = generate_private_key(SECP256R1())
    file.write_bytes(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ArchiveError, match=r"expected an Ed25519 private key, .* another kind"):
        read_private_key(file)
    public = curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(public)
    with pytest.raises(ArchiveError, match=r"expected an Ed25519 public key, .* another kind"):
        read_public_key(file)


def test_whoever_verifies_has_no_business_with_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(KEY, NoEncryption()))
    with pytest.raises(ArchiveError, match="is a private key, and no place that only verifies"):
        read_public_key(file)
