"""`recorder clip`, `recorder proof` and `recorder verify-proof`, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from called_recorder import Run, text
from recording_files import write
from recordings import Recording, device_key

from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED, Verdict


def recording() -> Recording:
    """0 OPEN, 1 key 0-.3, 2 delta -.6, 3 mark, 4 EPOCH, 5 key -.8, 6 key -.9, 7 beat, 8 SEAL."""
    made = Recording(checkpoint_every=1).open().chunk().chunk(keyframe=False).mark().epoch()
    return made.chunk(2).chunk(1, codec="stored").beat().seal()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "session", recording().sealed())


def policy(tmp_path: Path, seed: int = 1) -> Path:
    key = device_key(seed).public_key().public_bytes_raw().hex()
    path = tmp_path / f"trust-{seed}.yaml"
    path.write_text(f'keys:\n  - name: lab 7\n    public_key: "{key}"\n')
    return path


# --- clip ----------------------------------------------------------------------------------------


def test_a_clip_is_made_and_verified(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("clip", folder, tmp_path / "out", "--from", "0.65", "--to", "0.7")
    assert code == 0
    assert "0.600 s to 0.800 s" in out
    assert "1 chunks, 0 gaps, 0 marks" in out
    names = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert names == {"session.json", "chunks/0000000005.zst"}
    code, out, _ = run("verify", tmp_path / "out")
    assert code == EXIT_CODES[Verdict.CLIP]
    assert "CLIP" in out


def test_a_clip_tells_programs_what_it_holds(run: Run, folder: Path) -> None:
    code, out, _ = run("clip", folder, "out", "--from", "0", "--to", "00:00.350", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["session_id"] == recording().session_id
    assert (found["first_leaf"], found["end_leaf"]) == (1, 3)
    assert (found["t0_ns"], found["t1_ns"], found["chunks"]) == (0, 600_000_000, 2)
    assert found["folder"] == "out"


def test_the_same_clip_by_the_wall_clock(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("clip", folder, "a", "--from", "0.65", "--to", "0.7")[0] == 0
    begin, end = "2025-10-09T08:53:20.65Z", "2025-10-09T10:53:20.7+02:00"
    assert run("clip", folder, "b", "--from", begin, "--to", end)[0] == 0
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == (
                path.read_bytes()
            )


def test_the_policy_goes_into_the_clip(run: Run, folder: Path, tmp_path: Path) -> None:
    trust = policy(tmp_path)
    code, _, _ = run("clip", folder, "out", "--from", "0", "--to", "0.1", "--trust", trust)
    assert code == 0
    assert (tmp_path / "out" / "trust.yaml").read_bytes() == trust.read_bytes()


def test_what_is_no_policy_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    trust = tmp_path / "trust.yaml"
    trust.write_text("keys: 1\n")
    ended = run("clip", folder, "out", "--from", "0", "--to", "0.1", "--trust", trust)
    assert ended[0] == 78
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("times", "code", "said"),
    [
        (("0.5", "0.5"), 65, "a time before `to`"),
        (("0.5", "0.91"), 65, "a time up to 0.9 s"),
        (("5", "6"), 65, "a time up to 0.9 s"),
        (("x", "6"), 2, "expected seconds"),
        (("0", "2025-10-09T08:53:20.65Z"), 2, "one clock"),
        (("2025-10-09T08:53:19Z", "2025-10-09T08:53:20.65Z"), 65, "2025-10-09T08:53:20Z on"),
    ],
)
def test_times_that_are_wrong_are_refused(
    run: Run, folder: Path, tmp_path: Path, times: tuple[str, str], code: int, said: str
) -> None:
    ended = run("clip", folder, "out", "--from", times[0], "--to", times[1])
    assert ended[0] == code
    assert said in text(ended)
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken_or_inside_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    ended = run("clip", folder, "out", "--from", "0", "--to", "0.1")
    assert ended[0] == 65
    assert "name another one: nothing was written" in text(ended)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]
    inside = run("clip", folder, folder / "clip", "--from", "0", "--to", "0.1")
    assert inside[0] == 2
    assert "outside of the recording" in text(inside)


def test_a_tampered_recording_gives_no_clip_unless_asked(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    chunk = folder / "chunks" / "0000000001.zst"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    ended = run("clip", folder, "out", "--from", "0.65", "--to", "0.7")
    assert ended[0] == EXIT_CODES[Verdict.TAMPERED]
    assert "found TAMPERED; no clip was made" in text(ended)
    assert not (tmp_path / "out").exists()
    window = ("--from", "0.65", "--to", "0.7")
    assert run("clip", folder, "out", *window, "--unverified")[0] == 0
    assert (tmp_path / "out" / "clip").exists()
    damaged = run("clip", folder, "other", "--from", "0", "--to", "0.1", "--unverified")
    assert damaged[0] == 65
    assert "the recording is damaged" in text(damaged)
    assert not (tmp_path / "other").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_recording_that_goes_on_gives_a_clip(run: Run, tmp_path: Path) -> None:
    made = Recording(checkpoint_every=1).open().chunk().beat().chunk()
    folder = write(tmp_path / "session", made.journal())
    ended = run("clip", folder, "out", "--from", "0", "--to", "0.2")
    assert ended[0] == 0
    assert "not sealed" in ended[1]
    assert not (tmp_path / "out" / "seal").exists()
    assert run("verify", "out")[0] == EXIT_CODES[Verdict.CLIP]


def test_what_is_no_recording_or_a_clip_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("clip", "empty", "out", "--from", "0", "--to", "1")[0] == 2
    assert run("clip", folder, "out", "--from", "0", "--to", "0.1")[0] == 0
    ended = run("clip", "out", "again", "--from", "0", "--to", "0.1")
    assert ended[0] == 65
    assert "the folder of a whole recording" in text(ended)


# --- proof ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sealed", "journal"])
def test_a_chunk_is_proved_and_the_proof_verified(run: Run, tmp_path: Path, form: str) -> None:
    made = recording()
    files = made.sealed() if form == "sealed" else made.journal()
    folder = write(tmp_path / "session", files)
    assert run("proof", folder, "--chunk", 5, "--out", "proof.json")[0] == 0
    chunk = folder / "chunks" / "0000000005.zst"
    code, out, _ = run("verify-proof", "proof.json", "--chunk-file", chunk)
    assert code == 0
    assert "the proof holds" in out
    assert "nobody vouches" in out
    assert "leaf 5, CHUNK, is in the tree" in out
    assert "are those of the chunk" in out
    assert "not proved: that the times are true" in out


def test_a_proof_goes_to_stdout_and_is_the_same(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("proof", folder, "--leaf", 3)
    assert code == 0
    assert run("proof", folder, "--leaf", 3, "--out", "proof.json")[0] == 0
    assert (tmp_path / "proof.json").read_text() == out
    code, shown, _ = run("verify-proof", "proof.json", "--json")
    found = json.loads(shown)
    assert (code, found["holds"], found["record"]["index"]) == (0, True, 3)
    assert found["tree_size"] == 9
    key = device_key().public_key().public_bytes_raw().hex()
    assert found["device_keys"] == [{"kind": "ed25519", "data": key}]
    assert len(found["record"]["body_blake3"]) == 64


def test_two_checkpoints_are_proved_consistent(run: Run, folder: Path) -> None:
    assert run("proof", folder, "--between", 3, 9, "--out", "proof.json")[0] == 0
    code, out, _ = run("verify-proof", "proof.json")
    assert code == 0
    assert "the checkpoint of size 9 holds the 3 leaves" in out


def test_trust_is_apart_from_what_holds(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("proof", folder, "--chunk", 1, "--out", "proof.json")[0] == 0
    code, out, _ = run("verify-proof", "proof.json", "--trust", policy(tmp_path))
    assert (code, "trusted as lab 7" in out) == (0, True)
    code, out, _ = run("verify-proof", "proof.json", "--trust", policy(tmp_path, 2))
    assert (code, "NOT TRUSTED" in out) == (EXIT_UNTRUSTED, True)
    strict = policy(tmp_path)
    strict.write_text(strict.read_text() + "rules:\n  require_ml_dsa_44: true\n")
    assert run("verify-proof", "proof.json", "--trust", strict)[0] == EXIT_UNTRUSTED


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ('"tree_size": 9', '"tree_size": 8', Verdict.TAMPERED, "expected a checkpoint"),
        ("proof v1", "proof v2", Verdict.UNSUPPORTED, "a newer verifier"),
        ('"index": 5', '"index": 6', Verdict.TAMPERED, "expected a record of index 6"),
        ("{\n", "{ \n", Verdict.TAMPERED, "its one encoding"),
    ],
)
def test_a_proof_that_was_changed_does_not_hold(
    run: Run, folder: Path, tmp_path: Path, old: str, new: str, code: Verdict, said: str
) -> None:
    assert run("proof", folder, "--chunk", 5, "--out", "proof.json")[0] == 0
    path = tmp_path / "proof.json"
    path.write_text(path.read_text().replace(old, new, 1))
    ended = run("verify-proof", path)
    assert ended[0] == EXIT_CODES[code]
    assert said in text(ended)
    assert "the proof does not hold" in text(ended)
    code_json, out, _ = run("verify-proof", path, "--json")
    assert code_json == ended[0]
    assert json.loads(out)["holds"] is False


def test_another_chunks_file_does_not_hold(run: Run, folder: Path) -> None:
    assert run("proof", folder, "--chunk", 5, "--out", "proof.json")[0] == 0
    chunk = folder / "chunks" / "0000000001.zst"
    ended = run("verify-proof", "proof.json", "--chunk-file", chunk)
    assert ended[0] == EXIT_CODES[Verdict.TAMPERED]
    assert "the chunk's file" in text(ended)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "one of --chunk, --leaf and --between"),
        (("--chunk", 1, "--leaf", 1), 2, "one of --chunk, --leaf and --between"),
        (("--chunk", 3), 65, "the index of a CHUNK record"),
        (("--chunk", 99), 65, "the index of a leaf in [0, 9)"),
        (("--between", 5, 3), 65, "the smaller one first"),
        (("--between", 5, 30), 65, "a checkpoint of size 30"),
        (("--chunk", -1), 2, "--chunk"),
    ],
)
def test_what_cannot_be_proved_is_refused(
    run: Run, folder: Path, arguments: tuple[object, ...], code: int, said: str
) -> None:
    ended = run("proof", folder, *arguments)
    assert ended[0] == code
    assert said in text(ended)


def test_a_file_that_is_there_is_not_replaced(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "proof.json").write_text("mine")
    ended = run("proof", folder, "--chunk", 1, "--out", "proof.json")
    assert ended[0] == 74
    assert "expected a new file" in text(ended)
    assert "File exists; name another one" in text(ended)
    assert (tmp_path / "proof.json").read_text() == "mine"


def test_a_changed_recording_gives_no_proof(run: Run, folder: Path) -> None:
    records = bytearray((folder / "records").read_bytes())
    records[-1] ^= 1
    (folder / "records").write_bytes(bytes(records))
    assert run("proof", folder, "--chunk", 1)[0] == 65
