"""Epoch keys: made once, the same for whoever asks, and erased for good."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from recorder_worker.adapters.device_key import FileSigner, secret_file
from recorder_worker.core.errors import KeyErasedError, PermanentError, StoreError
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey, verify_signature
from recorder_worker.ports import Signer

SESSION = "0192f0c1-2b3c-7d4e-8f50-123456789abc"


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture(params=[False, True], ids=["ed25519", "ml-dsa-44 beside it"])
def signer(tmp_path: Path, request: pytest.FixtureRequest) -> FileSigner:
    return FileSigner(tmp_path / "keys" / "device.pem", ml_dsa_44=request.param)


def folder_of(signer: FileSigner) -> Path:
    return signer.path.parent / "epochs" / SESSION


def again(signer: FileSigner) -> FileSigner:
    """Another process: nothing is known but what is on the disk."""
    return FileSigner(signer.path, ml_dsa_44=len(signer.device_keys()) == 2)


def check_signs(signer: FileSigner, epoch: int, keys: tuple[PublicKey, ...]) -> None:
    for key in keys:
        message = f"message of {epoch}".encode()
        verify_signature(key, message, signer.sign_epoch(SESSION, epoch, key.kind, message))


def test_it_is_a_signer(signer: FileSigner) -> None:
    port: Signer = signer
    assert port.device_keys()


def test_every_epoch_has_keys_of_its_own_which_stay_the_same(signer: FileSigner) -> None:
    keys = [signer.open_epoch(SESSION, epoch) for epoch in range(3)]
    assert len({key.data for epoch in keys for key in epoch}) == 3 * len(signer.device_keys())
    kinds = [key.kind for key in signer.device_keys()]
    for epoch, made in enumerate(keys):
        assert [key.kind for key in made] == kinds
        assert again(signer).open_epoch(SESSION, epoch) == made
        check_signs(again(signer), epoch, made)
    assert signer.open_epoch("another-session", 0) != keys[0]
    assert not set(signer.device_keys()) & {key for epoch in keys for key in epoch}


@pytest.mark.parametrize("closed", [False, True])
def test_a_session_keeps_the_kinds_of_its_keys_when_the_setting_changes(
    tmp_path: Path, closed: bool
) -> None:
    place = tmp_path / "keys" / "device.pem"
    before = FileSigner(place).open_epoch(SESSION, 0)
    if closed:
        FileSigner(place).close_epoch(SESSION, 0)
    changed = FileSigner(place, ml_dsa_44=True)
    kinds = [key.kind for key in changed.open_epoch(SESSION, 1)]
    assert kinds == [key.kind for key in before] == [KeyKind.ED25519]
    fresh = [key.kind for key in changed.open_epoch("another-session", 0)]
    assert fresh == [KeyKind.ED25519, KeyKind.ML_DSA_44]


def test_a_closed_epoch_signs_nothing_is_never_made_again_and_tells_its_public_keys(
    signer: FileSigner,
) -> None:
    keys = signer.open_epoch(SESSION, 0)
    signer.open_epoch(SESSION, 1)
    private = (folder_of(signer) / "0.key").read_bytes()
    for _ in range(2):
        signer.close_epoch(SESSION, 0)
        for each in (signer, again(signer)):
            with pytest.raises(KeyErasedError, match="epoch 0"):
                each.sign_epoch(SESSION, 0, KeyKind.ED25519, b"")
            assert each.open_epoch(SESSION, 0) == keys  # a record may have to be made again
    left = {path.name: path.read_bytes() for path in folder_of(signer).iterdir()}
    assert sorted(left) == ["0.erased", "1.key"]
    assert private not in left.values()
    assert all(kind.value.encode() in left["0.erased"] for kind in (key.kind for key in keys))
    check_signs(signer, 1, signer.open_epoch(SESSION, 1))


def test_an_erased_key_is_a_permanent_error_and_so_is_one_that_was_never_made(
    signer: FileSigner,
) -> None:
    with pytest.raises(KeyErasedError, match="found none"):
        signer.sign_epoch(SESSION, 7, KeyKind.ED25519, b"")
    assert issubclass(KeyErasedError, PermanentError)


def test_zeros_are_written_over_a_key_before_its_name_goes(
    signer: FileSigner, tmp_path: Path
) -> None:
    signer.open_epoch(SESSION, 0)
    place = folder_of(signer) / "0.key"
    size = place.stat().st_size
    os.link(place, tmp_path / "another name of the same blocks")
    signer.close_epoch(SESSION, 0)
    assert (tmp_path / "another name of the same blocks").read_bytes() == bytes(size)


def test_a_stray_file_with_a_key_goes_with_its_epoch(signer: FileSigner) -> None:
    signer.open_epoch(SESSION, 0)
    stray = folder_of(signer) / ".0.key.0123456789abcdef.new"
    stray.write_bytes(b"left by a crash")
    other = folder_of(signer) / ".1.key.0123456789abcdef.new"
    other.write_bytes(b"of another epoch")
    signer.close_epoch(SESSION, 0)
    assert not stray.exists()
    assert other.exists()
    signer.close_session(SESSION)
    assert not folder_of(signer).exists()


def test_a_closed_session_leaves_nothing_and_closing_again_does_no_harm(
    signer: FileSigner,
) -> None:
    signer.session_secret(SESSION)
    for epoch in range(3):
        signer.open_epoch(SESSION, epoch)
    signer.close_epoch(SESSION, 0)
    for _ in range(2):
        signer.close_session(SESSION)
        signer.close_epoch(SESSION, 2)
        assert list((signer.path.parent / "epochs").iterdir()) == []


def test_one_session_is_closed_without_touching_another(signer: FileSigner) -> None:
    keys = signer.open_epoch("another-session", 0)
    signer.open_epoch(SESSION, 0)
    signer.close_session(SESSION)
    assert signer.open_epoch("another-session", 0) == keys


@pytest.mark.parametrize("session_id", ["", "..", "a/b", "../../x", ".hidden", "a" * 65, "a\0"])
def test_a_session_id_cannot_lead_elsewhere(signer: FileSigner, session_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: signer.open_epoch(session_id, 0),
        lambda: signer.session_secret(session_id),
        lambda: signer.close_epoch(session_id, 0),
        lambda: signer.close_session(session_id),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="id of a session"):
            call()


@pytest.mark.parametrize("data", [b"", b"{}", b"not keys", b'{"ed25519":"AAAA"}', bytes(64)])
def test_a_damaged_key_is_an_error_that_shows_nothing_of_it(
    signer: FileSigner, data: bytes
) -> None:
    signer.open_epoch(SESSION, 0)
    (folder_of(signer) / "0.key").write_bytes(data)
    with pytest.raises(StoreError, match="something else") as raised:
        signer.sign_epoch(SESSION, 0, KeyKind.ED25519, b"")
    assert raised.value.__cause__ is None
    assert "AAAA" not in str(raised.value)
    with pytest.raises(StoreError):
        signer.open_epoch(SESSION, 0)


def test_keys_made_before_ml_dsa_was_turned_on_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "device.pem"
    keys = FileSigner(path).open_epoch(SESSION, 0)
    later = FileSigner(path, ml_dsa_44=True)
    assert later.open_epoch(SESSION, 0) == keys
    assert len(later.open_epoch("another-session", 0)) == 2


# --- crashes --------------------------------------------------------------------------------------

STEPS = ("make_folder", "_spare", "_link", "sync_folder", "erase", "_overwrite", "put_if_absent")


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_crash_at_any_step_leaves_one_key_or_none(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch, step: str, count: int, done: bool
) -> None:
    """Open, sign, close and close the session; die somewhere; do it again as another process."""
    calls: list[str] = []
    keys: dict[int, tuple[PublicKey, ...]] = {}

    def life(each: FileSigner) -> None:
        for epoch in (0, 1):
            if epoch not in keys or "closed 0" not in calls:
                keys[epoch] = each.open_epoch(SESSION, epoch)
            check_signs(each, epoch, keys[epoch])
        each.close_epoch(SESSION, 0)
        calls.append("closed 0")

    original = getattr(secret_file, step)
    left = [count]

    def crashing(*arguments: object) -> object:
        left[0] -= 1
        if left[0] == 0 and not done:
            raise Crash
        result = original(*arguments)
        if left[0] == 0:
            raise Crash
        return result

    with monkeypatch.context() as patch:
        patch.setattr(secret_file, step, crashing)
        with contextlib.suppress(Crash):
            life(signer)
    after = again(signer)
    found = after.open_epoch(SESSION, 0)
    assert keys.get(0, found) == found
    if not (folder_of(signer) / "0.erased").exists():
        check_signs(after, 0, found)
    after.close_epoch(SESSION, 0)
    with pytest.raises(KeyErasedError):
        after.sign_epoch(SESSION, 0, KeyKind.ED25519, b"")
    assert not (folder_of(signer) / "0.key").exists()
    found = after.open_epoch(SESSION, 1)
    assert keys.get(1, found) == found
    after.close_session(SESSION)
    assert not folder_of(signer).exists()


@pytest.mark.parametrize("step", ["erase", "_overwrite", "put_if_absent"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_crash_while_a_session_is_closed_makes_no_key_anew(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch, step: str, count: int
) -> None:
    for epoch in (0, 1, 2):
        signer.open_epoch(SESSION, epoch)
    signer.close_epoch(SESSION, 0)
    original = getattr(secret_file, step)
    left = [count]

    def crashing(*arguments: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise Crash
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(secret_file, step, crashing)
        try:
            signer.close_session(SESSION)
        except Crash:
            # Marks go only when no key is left, so that while there is one, none is made anew.
            left_keys = [path.stem for path in folder_of(signer).glob("*.key")]
            left_marks = [path.stem for path in folder_of(signer).glob("*.erased")]
            if left_keys:
                assert {*left_keys, *left_marks} == {"0", "1", "2"}
            for epoch in map(int, left_marks):
                again(signer).open_epoch(SESSION, epoch)
                with pytest.raises(KeyErasedError):
                    again(signer).sign_epoch(SESSION, epoch, KeyKind.ED25519, b"")
    again(signer).close_session(SESSION)
    assert not folder_of(signer).exists()


# --- races ----------------------------------------------------------------------------------------


def test_threads_that_open_one_epoch_get_the_same_keys(signer: FileSigner) -> None:
    barrier = threading.Barrier(8)

    def opened(_: int) -> tuple[PublicKey, ...]:
        each = again(signer)
        barrier.wait()
        return each.open_epoch(SESSION, 0)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(opened, range(8)))
    assert len(found) == 1
    assert sorted(path.name for path in folder_of(signer).iterdir()) == ["0.key"]


def test_who_opens_while_another_closes_never_gets_a_second_key(signer: FileSigner) -> None:
    """The one that is late sees the mark behind its own making, and erases what it made."""
    for epoch in range(30):
        first = signer.open_epoch(SESSION, epoch)
        barrier = threading.Barrier(4)

        def late(epoch: int = epoch, barrier: threading.Barrier = barrier) -> object:
            barrier.wait()
            return signer.open_epoch(SESSION, epoch)

        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(late) for _ in range(3)]
            barrier.wait()
            signer.close_epoch(SESSION, epoch)
            assert {each.result() for each in found} <= {first}
        assert not (folder_of(signer) / f"{epoch}.key").exists()


@pytest.mark.parametrize("zeros", [False, True])
def test_a_key_that_is_erased_while_it_is_read_is_erased_and_not_damaged(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch, zeros: bool
) -> None:
    signer.open_epoch(SESSION, 0)
    original = secret_file.read

    def late(path: Path) -> bytes | None:
        if path.name != "0.key":
            return original(path)
        monkeypatch.setattr(secret_file, "read", original)
        size = path.stat().st_size
        again(signer).close_epoch(SESSION, 0)
        return bytes(size) if zeros else original(path)

    monkeypatch.setattr(secret_file, "read", late)
    with pytest.raises(KeyErasedError, match="are erased"):
        signer.sign_epoch(SESSION, 0, KeyKind.ED25519, b"")


def overtake(
    monkeypatch: pytest.MonkeyPatch, by: Callable[[], None], *, zeros: bool
) -> Callable[[Path], bytes | None]:
    """Let another worker do something within the next reading of the key of epoch 0."""
    original = secret_file.read

    def late(path: Path) -> bytes | None:
        if path.name != "0.key":
            return original(path)
        monkeypatch.setattr(secret_file, "read", original)
        size = path.stat().st_size
        by()
        return bytes(size) if zeros else original(path)

    monkeypatch.setattr(secret_file, "read", late)
    return original


@pytest.mark.parametrize("zeros", [False, True])
def test_who_learns_the_kinds_of_a_key_that_is_erased_meanwhile_finds_no_damage(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch, zeros: bool
) -> None:
    before = signer.open_epoch(SESSION, 0)
    original = overtake(monkeypatch, lambda: again(signer).close_epoch(SESSION, 0), zeros=zeros)
    after = signer.open_epoch(SESSION, 1)
    assert secret_file.read is original
    assert [key.kind for key in after] == [key.kind for key in before]
    assert after != before


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("whole", [False, True], ids=["the epoch", "the session"])
def test_who_closes_what_another_closes_meanwhile_finds_no_damage(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch, zeros: bool, whole: bool
) -> None:
    signer.open_epoch(SESSION, 0)
    other = again(signer)
    by = partial(other.close_session, SESSION) if whole else partial(other.close_epoch, SESSION, 0)
    original = overtake(monkeypatch, by, zeros=zeros)
    signer.close_epoch(SESSION, 0)
    assert secret_file.read is original
    assert folder_of(signer).exists() is not whole
    assert not (folder_of(signer) / "0.key").exists()


def test_who_removes_a_session_that_another_removes_meanwhile_finds_it_gone(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer.open_epoch(SESSION, 0)
    original = secret_file.erase

    def late(path: Path) -> None:
        monkeypatch.setattr(secret_file, "erase", original)
        original(path)
        again(signer).close_session(SESSION)

    monkeypatch.setattr(secret_file, "erase", late)
    signer.close_session(SESSION)
    assert secret_file.erase is original
    assert not folder_of(signer).exists()


def test_who_opens_an_epoch_while_its_session_is_closed_is_told_that_it_is_erased(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer.open_epoch(SESSION, 0)
    original = secret_file.put_if_absent

    def late(path: Path, make: Callable[[], bytes]) -> bytes:
        data = original(path, make)
        monkeypatch.setattr(secret_file, "put_if_absent", original)
        again(signer).close_session(SESSION)
        return bytes(len(data))

    monkeypatch.setattr(secret_file, "put_if_absent", late)
    with pytest.raises(KeyErasedError, match="erased with its session"):
        signer.open_epoch(SESSION, 0)


def test_a_key_made_behind_the_mark_is_erased_by_its_maker(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer.open_epoch(SESSION, 1)
    original = secret_file.put_if_absent

    def slow(path: Path, make: Callable[[], bytes]) -> bytes:
        # Between its look for the mark and its making, another one opens and closes the epoch.
        if path.name == "0.key":
            monkeypatch.setattr(secret_file, "put_if_absent", original)
            again(signer).open_epoch(SESSION, 0)
            again(signer).close_epoch(SESSION, 0)
        return original(path, make)

    monkeypatch.setattr(secret_file, "put_if_absent", slow)
    told = signer.open_epoch(SESSION, 0)
    assert told == again(signer).open_epoch(SESSION, 0)
    with pytest.raises(KeyErasedError):
        signer.sign_epoch(SESSION, 0, KeyKind.ED25519, b"")
    assert sorted(path.name for path in folder_of(signer).iterdir()) == ["0.erased", "1.key"]


def test_an_epoch_is_closed_while_another_worker_removes_the_session(
    signer: FileSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer.open_epoch(SESSION, 0)
    other = again(signer)
    spare = secret_file._spare

    def overtaken(path: Path, data: bytes) -> Path:
        monkeypatch.setattr(secret_file, "_spare", spare)
        other.close_session(SESSION)
        assert not folder_of(signer).exists()
        return spare(path, data)

    monkeypatch.setattr(secret_file, "_spare", overtaken)
    signer.close_epoch(SESSION, 0)
    assert secret_file._spare is spare
    assert not folder_of(signer).exists()
