"""A machine's own key: where it lies, who may read it, and what is not one."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from edgenode.errors import ConfigError, StorageError
from edgenode.trust.identity import Identity, create, load

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


def test_a_key_comes_back_as_it_was_made(path: Path) -> None:
    made = create(path)
    assert load(path).public == made.public and load(path).sign(b"x") == made.sign(b"x")
    assert create(path.with_name("other.pem")).public != made.public


def test_a_key_is_for_its_owner_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o660, 0o644, 0o601])
def test_a_key_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    create(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="by others") as caught:
        load(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_key_is_never_overwritten(path: Path) -> None:
    public = create(path).public
    with pytest.raises(StorageError, match="there already"):
        create(path)
    assert load(path).public == public
    assert [one.name for one in path.parent.iterdir()] == ["key.pem"]
    link = path.with_name("link.pem")
    link.symlink_to(path.with_name("nowhere.pem"))
    with pytest.raises(StorageError):
        create(link)


def test_what_a_power_cut_left_half_written_is_no_key_and_in_nobody_s_way(path: Path) -> None:
    path.with_name("key.pem.new").write_text("-----BEGIN PRIVATE")
    assert create(path).public == load(path).public
    assert [one.name for one in path.parent.iterdir()] == ["key.pem"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        create(tmp_path / "missing" / "key.pem")


GOOD = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(32)).decode()
X25519 = GOOD.replace("K2Vw", "K2Vu")  # another algorithm's object identifier
DAMAGED = {
    "empty": "",
    "not PEM": "key",
    "no base64": "-----BEGIN PRIVATE KEY-----\n=\n-----END PRIVATE KEY-----\n",
    "cut off": f"-----BEGIN PRIVATE KEY-----\n{GOOD[:-8]}\n-----END PRIVATE KEY-----\n",
    "cut within a group": f"-----BEGIN PRIVATE KEY-----\n{GOOD[:-3]}\n-----END PRIVATE KEY-----\n",
    "longer": f"-----BEGIN PRIVATE KEY-----\n{GOOD}AAAA\n-----END PRIVATE KEY-----\n",
    "another algorithm": f"-----BEGIN PRIVATE KEY-----\n{X25519}\n-----END PRIVATE KEY-----\n",
    "encrypted": f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{GOOD}\n-----END ENCRYPTED PRIVATE KEY-----\n",
    "two": f"-----BEGIN PRIVATE KEY-----\n{GOOD}\n-----END PRIVATE KEY-----\n" * 2,
    "not ASCII": "-----BEGIN PRIVATE KEY-----\né\n-----END PRIVATE KEY-----\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_no_key(path: Path, name: str) -> None:
    path.write_text(DAMAGED[name], encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in caught.value.what and GOOD not in caught.value.what


def test_a_missing_file_is_said(path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the key"):
        load(path)


@needs_openssl
def test_openssl_reads_the_file_and_its_keys_are_read_here(path: Path) -> None:
    key = create(path)
    told = subprocess.run(["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"], capture_output=True, check=True).stdout
    assert told[-32:] == key.public
    other = path.with_name("openssl.pem")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(other)], check=True)
    other.chmod(0o600)
    assert len(load(other).public) == 32


def test_what_a_key_derives_is_one_secret_for_each_purpose() -> None:
    key, other = Identity(bytes(32)), Identity(b"\1" * 32)
    secrets = {key.derive("a"), key.derive("b"), other.derive("a"), bytes(32), key.public}
    assert len(secrets) == 5 and key.derive("a") == Identity(bytes(32)).derive("a")


def test_a_key_does_not_show_itself() -> None:
    key = Identity(b"\x07" * 32)
    assert repr(key) == str(key) == f"Identity({key.public.hex()})"
    with pytest.raises(ValueError, match="32"):
        Identity(bytes(31))
