"""A rotation happens or does not: new keys are in force exactly when the statement is kept."""

from __future__ import annotations

import contextlib
import itertools
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recorder_worker.adapters.device_key import (
    DeviceKeyFiles,
    FileSigner,
    PrivateKeys,
    secret_file,
)
from recorder_worker.core.errors import SettingsError, StoreError
from recorder_worker.core.signing.rotation import (
    Rotation,
    parse_rotation,
    sign_rotation,
    verify_rotation,
)
from recorder_worker.core.signing.signing_keys import PublicKey


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture(params=[False, True], ids=["ed25519", "ml-dsa-44 beside it"])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> DeviceKeyFiles:
    folder = tmp_path / "keys"
    return DeviceKeyFiles(folder / "device.pem", folder, ml_dsa_44=request.param)


def again(files: DeviceKeyFiles) -> DeviceKeyFiles:
    return DeviceKeyFiles(files.path, files.path.parent, ml_dsa_44=len(files.kinds) == 2)


def state(old: PrivateKeys, new: PrivateKeys) -> bytes:
    rotation = Rotation(recorder="recorder-1", at_s=1, old=old.public(), new=new.public())
    return sign_rotation(rotation, old.sign)


def chain(files: DeviceKeyFiles) -> list[Rotation]:
    found = []
    for statement in files.statements():
        signed = parse_rotation(statement)
        verify_rotation(signed)
        found.append(signed.rotation)
    return found


def in_force(files: DeviceKeyFiles) -> tuple[PublicKey, ...]:
    keys = files.load()
    assert keys is not None
    return keys.public()


def test_new_keys_take_the_place_of_the_old_ones(files: DeviceKeyFiles) -> None:
    old = files.load_or_make().public()
    private = [files.paths[kind].read_bytes() for kind in files.kinds]
    place = files.rotate(state)
    new = in_force(again(files))
    assert not set(old) & set(new)
    assert [(r.old, r.new) for r in chain(files)] == [(old, new)]
    assert place.read_bytes() == files.statements()[0]
    everything = [path for path in files.path.parent.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in everything} == {0o600}
    assert not {path.read_bytes() for path in everything} & set(private)
    assert not [path for path in everything if path.suffix in {".next", ".new"}]


def test_many_rotations_make_a_chain(files: DeviceKeyFiles) -> None:
    first = files.load_or_make().public()
    for number in range(1, 12):
        assert files.rotate(state).name == str(number)
    found = chain(files)
    assert found[0].old == first
    assert found[-1].new == in_force(files)
    assert all(a.new == b.old for a, b in itertools.pairwise(found))


def test_a_signer_names_the_keys_that_statements_tie_to_its_own(files: DeviceKeyFiles) -> None:
    def signer() -> FileSigner:
        return FileSigner(files.path, ml_dsa_44=len(files.kinds) == 2)

    sets = [files.load_or_make().public()]
    assert signer().former_keys() == ()
    for _ in range(3):
        files.rotate(state)
        sets.append(in_force(files))
    assert signer().former_keys() == (*sets[2], *sets[1], *sets[0])
    # One that its old keys have not signed ties nothing, and what is before it is not tied either.
    second = files.path.parent / "rotations" / "2"
    statement = second.read_bytes()
    at = statement.index(b"signed ed25519 ") + len(b"signed ed25519 ")
    other = b"B" if statement[at : at + 1] == b"A" else b"A"
    second.write_bytes(statement[:at] + other + statement[at + 1 :])
    assert signer().former_keys() == sets[2]
    second.write_bytes(b"no statement")
    assert signer().former_keys() == sets[2]


def test_zeros_are_written_over_the_old_keys(files: DeviceKeyFiles, tmp_path: Path) -> None:
    files.load_or_make()
    for kind in files.kinds:
        (tmp_path / kind.value).hardlink_to(files.paths[kind])
    files.rotate(state)
    for kind in files.kinds:
        assert not (tmp_path / kind.value).read_bytes().strip(b"\0")


def test_a_kind_may_be_turned_on_and_off_between_rotations(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    one = DeviceKeyFiles(folder / "device.pem", folder)
    two = DeviceKeyFiles(folder / "device.pem", folder, ml_dsa_44=True)
    one.load_or_make()
    two.rotate(state)
    assert len(in_force(two)) == 2
    one.rotate(state)
    assert len(in_force(one)) == 1
    assert [(len(r.old), len(r.new)) for r in chain(one)] == [(1, 2), (1, 1)]
    assert not (folder / "device-ml-dsa-44.pem").exists()


def test_the_recorder_and_open_sessions_outlive_a_rotation(files: DeviceKeyFiles) -> None:
    ml_dsa_44 = len(files.kinds) == 2
    before = FileSigner(files.path, ml_dsa_44=ml_dsa_44)
    secret, epoch = before.session_secret("session-1"), before.open_epoch("session-1", 0)
    files.rotate(state)
    after = FileSigner(files.path, ml_dsa_44=ml_dsa_44)
    assert after.device_keys() != before.device_keys()
    assert after.recorder == before.recorder
    assert after.session_secret("session-1") == secret
    assert after.open_epoch("session-1", 0) == epoch


def test_rotations_that_race_make_one_chain(files: DeviceKeyFiles) -> None:
    first = files.load_or_make().public()
    seen: list[tuple[PublicKey, ...]] = []
    with ThreadPoolExecutor(8) as pool:
        rotating = [pool.submit(again(files).rotate, state) for _ in range(6)]
        loading = [pool.submit(in_force, again(files)) for _ in range(12)]
        assert len({each.result() for each in rotating}) == 6
        seen = [each.result() for each in loading]
    found = chain(files)
    sets = [first, *(r.new for r in found)]
    assert [r.old for r in found] == sets[:-1]
    assert set(seen) <= set(sets)  # never the new key of one kind and the old one of the other


def test_without_a_key_there_is_nothing_to_rotate(files: DeviceKeyFiles) -> None:
    with pytest.raises(SettingsError, match="recorder keys init"):
        files.rotate(state)
    assert not files.path.parent.exists()
    assert files.load() is None
    assert files.statements() == []


def test_a_statement_that_cannot_be_made_changes_nothing(files: DeviceKeyFiles) -> None:
    files.load_or_make()
    files.rotate(state)
    old = in_force(files)

    def failing(*_: object) -> bytes:
        raise StoreError("no")

    with pytest.raises(StoreError):
        files.rotate(failing)
    assert list(files.path.parent.glob("*.next"))
    assert in_force(again(files)) == old
    files.rotate(state)
    assert [r.old for r in chain(files)][1:] == [old]
    assert not list(files.path.parent.glob("*.next"))


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize(
    ("step", "count"),
    [
        *((step, n) for step in ("put_if_absent", "_spare", "_link", "erase") for n in range(1, 6)),
        *(("sync_folder", n) for n in range(1, 12)),
        *((step, n) for step in ("replace", "_overwrite") for n in range(1, 4)),
    ],
)
def test_a_crash_at_any_step_leaves_the_old_keys_or_the_new_ones_and_their_statement(
    files: DeviceKeyFiles, monkeypatch: pytest.MonkeyPatch, step: str, count: int, done: bool
) -> None:
    old = files.load_or_make().public()
    original = getattr(secret_file, step)
    left = [count]

    def crashing(*arguments: object, **named: object) -> object:
        left[0] -= 1
        if left[0] == 0 and not done:
            raise Crash
        result = original(*arguments, **named)
        if left[0] == 0:
            raise Crash
        return result

    with monkeypatch.context() as patch:
        patch.setattr(secret_file, step, crashing)
        with contextlib.suppress(Crash):
            files.rotate(state)
    if done:  # whoever comes first finishes it: a worker, or `recorder keys show`
        keys = in_force(again(files))
    else:
        keys = FileSigner(files.path, ml_dsa_44=len(files.kinds) == 2).device_keys()
    assert in_force(again(files)) == keys
    found = chain(again(files))
    if found:
        assert [(r.old, r.new) for r in found] == [(old, keys)]
    else:
        assert keys == old
    again(files).rotate(state)
    assert chain(files)[-1].old == keys
    assert chain(files)[-1].new == in_force(files)
    names = {path.name for path in files.path.parent.iterdir()}
    assert not [name for name in names if name.endswith((".next", ".new"))]
