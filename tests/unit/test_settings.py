from __future__ import annotations

import itertools
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.errors import SettingsError
from recorder_worker.service.settings.layers import variable_name
from recorder_worker.service.settings.loading import DEFAULT, REDACTED, effective, load, node_name
from recorder_worker.service.settings.rule import Rule, allowed, rules
from recorder_worker.service.settings.tree import Settings

PACKAGED = Path(__file__).parents[2] / "config" / "settings.yaml"
TEMPLATE = PACKAGED.with_name("env.session-recorder.template")


@pytest.fixture(autouse=True)
def no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RECORDER_", "DYNACONF_")):
            monkeypatch.delenv(name)


def write(directory: Path, text: str, name: str = "settings.yaml") -> Path:
    path = directory / "config" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


S3 = """storage:
  kind: s3
  endpoint: https://s3.example
  bucket: recordings
"""
S3_LOGIN = {
    "RECORDER_STORAGE__ACCESS_KEY_ID": "key",
    "RECORDER_STORAGE__SECRET_ACCESS_KEY": "of-nobody-else",
}


@pytest.mark.parametrize(
    ("text", "variables", "words"),
    [
        ("storage:\n  kind: directory\n", {}, "storage.directory: expected a path"),
        ("storage:\n  directory: /mnt\n", {}, "storage.directory: expected a path where"),
        ("storage:\n  kind: nats\n", {}, "storage.bucket: expected letters"),
        ("storage:\n  kind: nats\n  bucket: a.b\n", {}, "storage.bucket: expected letters"),
        (S3.replace("recordings", "Recordings"), S3_LOGIN, "storage.bucket: expected 3 to 63"),
        (
            S3.replace("  endpoint: https://s3.example\n", ""),
            S3_LOGIN,
            "storage.endpoint: expected",
        ),
        (S3, {}, "storage.access_key_id: expected a key where"),
        (S3, {"RECORDER_STORAGE__ACCESS_KEY_ID": "key"}, "storage.secret_access_key: expected"),
        (
            S3 + "  credentials_file: /run/login\n",
            S3_LOGIN,
            "storage.credentials_file: expected a path only where",
        ),
        (
            "storage:\n  credentials_file: /run/login\n",
            {},
            "storage.credentials_file: expected a path only where",
        ),
        ("storage:\n  keep_local: after_seal\n", {}, "storage.keep_local: expected always"),
        ("storage:\n  kind: gcs\n", {}, "one of directory, nats, none, s3"),
        (S3.replace("https://", "ftp://"), S3_LOGIN, "storage.endpoint: expected"),
        (S3 + "  prefix: ../up/\n", S3_LOGIN, "storage.prefix: expected"),
        (S3 + "  prefix: no-slash\n", S3_LOGIN, "storage.prefix: expected"),
    ],
)
def test_settings_of_a_second_store_that_cannot_be_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    variables: dict[str, str],
    words: str,
) -> None:
    write(tmp_path, text)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(directory=tmp_path)
    assert words in str(caught.value)
    assert "of-nobody-else" not in str(caught.value)


def test_settings_of_a_bucket_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, S3 + "  prefix: recorder-7/\n  keep_local: after_seal\n")
    for name, value in S3_LOGIN.items():
        monkeypatch.setenv(name, value)
    settings, provenance = load(directory=tmp_path)
    assert (settings.storage.kind, settings.storage.object_bucket) == ("s3", "")
    assert "of-nobody-else" not in repr(settings)
    rows = {row.key: row.value for row in effective(settings, provenance)}
    assert rows["storage.access_key_id"] == rows["storage.secret_access_key"] == REDACTED


def test_a_login_in_a_file_stands_for_key_and_secret(tmp_path: Path) -> None:
    write(tmp_path, S3 + "  credentials_file: /run/login\n")
    settings, _ = load(directory=tmp_path)
    assert settings.storage.credentials_file == "/run/login"


# --- defaults and documentation -----------------------------------------------------------------


def test_everything_works_with_no_file_and_no_variable(tmp_path: Path) -> None:
    settings, provenance = load(directory=tmp_path)
    assert settings == Settings()
    assert set(provenance.values()) == {DEFAULT}
    assert settings.embedded_nats
    assert settings.device_key_path == Path("recorder-data/keys/device.pem")
    assert node_name(settings)


def test_the_packaged_file_sets_every_key_to_its_default() -> None:
    settings, provenance = load(PACKAGED)
    assert settings == Settings()
    assert [key for key, origin in provenance.items() if origin == DEFAULT] == []


def test_every_key_of_the_packaged_file_has_a_comment_above_it() -> None:
    lines = PACKAGED.read_text(encoding="utf-8").splitlines()
    names = {rule.path[-1] for rule in rules().values()}
    documented = set()
    for above, line in itertools.pairwise(lines):
        name = line.strip().split(":")[0]
        if name in names:
            assert above.strip().startswith("# "), f"{line!r} has no comment above it"
            documented.add(name)
    assert documented == names


def test_every_key_has_words_for_what_it_allows() -> None:
    for rule in rules().values():
        assert allowed(rule.kind)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().data_dir = "elsewhere"  # type: ignore[misc]


# --- layers -------------------------------------------------------------------------------------


def test_the_local_file_and_then_the_environment_win_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = write(
        tmp_path,
        "nats: {port: 1, user: main, password: hidden, replicas: 3}\nstages: [capture, chunk]\n",
    )
    local = write(
        tmp_path, "nats: {port: 2, user: local}\nstages: [merkle]\n", "settings.local.yaml"
    )
    monkeypatch.setenv("RECORDER_NATS__PORT", "3")
    settings, provenance = load(directory=tmp_path)
    assert (settings.nats.port, settings.nats.user, settings.nats.replicas) == (3, "local", 3)
    assert settings.stages == ("merkle",)
    assert provenance["nats.port"] == "RECORDER_NATS__PORT"
    assert provenance["nats.user"] == str(local)
    assert provenance["stages"] == str(local)
    assert provenance["nats.replicas"] == str(main)
    assert provenance["data_dir"] == DEFAULT


def test_a_named_file_is_read_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data_dir: packaged\n")
    one = write(tmp_path, "data_dir: one\n", "one.yaml")
    two = write(tmp_path, "data_dir: two\n", "two.yaml")
    monkeypatch.setenv("RECORDER_CONFIG", str(one))
    assert load(directory=tmp_path)[0].data_dir == "one"
    assert load(two, directory=tmp_path)[0].data_dir == "two"


@pytest.mark.parametrize("by", ["--config", "RECORDER_CONFIG"])
def test_a_named_file_that_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    config = Path("missing.yaml")
    if by == "RECORDER_CONFIG":
        monkeypatch.setenv(by, "missing.yaml")
    with pytest.raises(SettingsError, match=f"{by}: expected a settings file, found nothing at"):
        load(config if by == "--config" else None, directory=tmp_path)


def test_a_group_without_keys_is_as_if_absent(tmp_path: Path) -> None:
    write(tmp_path, "nats:\n  # port: 1\nlog: {}\n")
    assert load(directory=tmp_path)[0] == Settings()


# --- environment --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "read"),
    [
        ("RECORDER_DATA_DIR", "/srv/data", lambda s: s.data_dir == "/srv/data"),
        ("RECORDER_DATA_DIR", "12", lambda s: s.data_dir == "12"),
        ("RECORDER_DATA_DIR", "@format {this}", lambda s: s.data_dir == "@format {this}"),
        ("RECORDER_NATS__TOKEN", "0123", lambda s: s.nats.token == "0123"),
        ("RECORDER_NATS__TOKEN", "1e3", lambda s: s.nats.token == "1e3"),
        ("RECORDER_NATS__TOKEN", "true", lambda s: s.nats.token == "true"),
        ("RECORDER_NATS__TOKEN", '"quoted"', lambda s: s.nats.token == '"quoted"'),
        ("RECORDER_NATS__URL", "", lambda s: s.nats.url == ""),
        ("RECORDER_NATS__PORT", " -1 ", lambda s: s.nats.port == -1),
        ("RECORDER_CAPTURE__LEASE_S", "3", lambda s: s.capture.lease_s == 3.0),
        ("RECORDER_CAPTURE__LEASE_S", "2.5", lambda s: s.capture.lease_s == 2.5),
        ("RECORDER_KEYS__ML_DSA_44", "true", lambda s: s.keys.ml_dsa_44 is True),
        ("RECORDER_KEYS__ML_DSA_44", "0", lambda s: s.keys.ml_dsa_44 is False),
        ("RECORDER_KEYS__DEVICE_KEY_PEM", "a\nb\n", lambda s: s.keys.device_key_pem == "a\nb\n"),
        ("RECORDER_STAGES", "chunk, merkle", lambda s: s.stages == ("chunk", "merkle")),
        ("RECORDER_STAGES", '["chunk"]', lambda s: s.stages == ("chunk",)),
        ("RECORDER_STAGES", "[chunk]", lambda s: s.stages == ("chunk",)),
        ("RECORDER_RETRY__BACKOFF_S", "1,2.5", lambda s: s.retry.backoff_s == (1.0, 2.5)),
        ("RECORDER_RETRY__BACKOFF_S", "[1, 2.5]", lambda s: s.retry.backoff_s == (1.0, 2.5)),
    ],
)
def test_a_variable_is_read_by_the_type_of_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, read: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert callable(read)
    assert read(load(directory=tmp_path)[0])


@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=99)
)
def test_a_text_arrives_exactly_as_it_was_given(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECORDER_NATS__TOKEN", text)
        assert load(directory=Path("/nonexistent"))[0].nats.token == text


def test_variables_that_dynaconf_would_take_for_itself_are_not_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNACONF_DATA_DIR", "elsewhere")
    monkeypatch.setenv("DATA_DIR", "elsewhere")
    assert load(directory=tmp_path)[0] == Settings()


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data_dri: x", ["data_dri: there is no such setting", "did you mean data_dir"]),
        ("nats: {prot: 1}", ["nats.prot", "did you mean nats.port"]),
        ("nats: {window_log: 1}", ["nats.window_log", "did you mean compress.window_log"]),
        ("nats: {zzz: 1}", ["nats.zzz", "allowed here: url, port, credentials"]),
        ("zzz: 1", ["zzz", "allowed here: data_dir, node, stages, nats"]),
        ("nats: 5", ["nats: expected a group with keys of url, port", "found 5"]),
        ("nats: {port: {x: 1}}", ["nats.port.x: there is no such setting"]),
        ("nats: {port: 70000}", ["nats.port: expected a whole number >= -1 and <= 65535", "70000"]),
        ("nats: {port: '1'}", ["nats.port: expected a whole number", "found '1'"]),
        ("nats: {port: 1.5}", ["nats.port: expected a whole number", "1.5"]),
        ("data_dir: 5", ["data_dir: expected text", "(write it in quotes), found 5"]),
        ("data_dir:", ["data_dir: expected text", "None"]),
        ("data_dir: ''", ["data_dir: expected text of at least 1 character"]),
        ("stages: [capture, chnk]", ["each one of capture, chunk, compress, merkle", "chnk"]),
        ("stages: []", ["stages: expected a list of 1 to 4 values"]),
        ("stages: [chunk, chunk]", ["stages: expected each stage at most once"]),
        ("log: {level: loud}", ["log.level: expected one of debug, error, info, warning", "loud"]),
        ("compress: {window_log: 24}", ["window_log: expected a whole number >= 10 and <= 23"]),
        ("capture: {segment_s: 0}", ["capture.segment_s: expected a number > 0 and <= 60"]),
        ("capture: {keyframe_min_s: 301}", ["at most capture.keyframe_max_s (300.0), found 301.0"]),
        ("chunk: {max_plain_bytes: 2097152}", ["at least capture.segment_max_bytes (33554432)"]),
        ("retry: {max_deliver: 4}", ["more than the number of retry.backoff_s (4), found 4"]),
        ("nats: {user: me}", ["nats.user and nats.password together"]),
        ("nats: {credentials: a.creds}", ["set nats.url to use credentials"]),
        ("nats: {url: 'nats://h', credentials: a, token: b}", ["only one of nats.token"]),
        ("node: 'a b'", ["node: expected text", "'a b'"]),
        ("keys: {ml_dsa_44: 1}", ["keys.ml_dsa_44: expected true or false, found 1"]),
        ("disk: {pause_bytes: 1}", ["pause_bytes: expected 0, or at least disk.floor_bytes (5368"]),
        ("disk: {floor_bytes: 5, pause_bytes: 9, warn_bytes: 8}",
            ["disk.warn_bytes: expected 0, or at least disk.pause_bytes (9), found 8"]),
        ("disk: {floor_bytes: 5, refuse_bytes: 9, warn_bytes: 8}",
            ["disk.warn_bytes: expected 0, or at least disk.refuse_bytes (9), found 8"]),
        ("keys: {device_key: a, device_key_pem: b}", ["keys.device_key: expected", "not both"]),
    ],
)  # fmt: skip
def test_a_wrong_file_says_what_where_and_what_is_allowed(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = write(tmp_path, text + "\n")
    with pytest.raises(SettingsError) as raised:
        load(directory=tmp_path)
    for word in words:
        assert word in str(raised.value)
    assert str(path) in str(raised.value) or "default" in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("RECORDER_NATS__PORT", "x", ["nats.port: expected a whole number", "found 'x'"]),
        ("RECORDER_NATS__PORT", "", ["nats.port: expected a whole number", "found ''"]),
        ("RECORDER_NATS_URL", "x", ["nats_url", "did you mean RECORDER_NATS__URL"]),
        ("RECORDER_DATADIR", "x", ["did you mean RECORDER_DATA_DIR"]),
        ("RECORDER_SIDECAR__PROT", "1", ["sidecar.prot", "did you mean RECORDER_SIDECAR__PORT"]),
        ("RECORDER_PORT_8090_TCP", "tcp://10.0.0.1:8090", ["enableServiceLinks: false"]),
        ("RECORDER_STAGES", "capture,tree", ["each one of capture, chunk, compress, merkle"]),
        ("RECORDER_CAPTURE__DEFAULT_FPS", "nan", ["capture.default_fps: expected a number > 0"]),
    ],
)
def test_a_wrong_variable_says_what_where_and_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, words: list[str]
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as raised:
        load(directory=tmp_path)
    for word in [*words, f"in {variable}"]:
        assert word in str(raised.value)


@pytest.mark.parametrize("key", [rule.dotted for rule in rules().values()])
def test_a_key_with_one_letter_missing_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    path = tuple(key.split("."))
    mistyped = variable_name((*path[:-1], path[-1][:-2] + path[-1][-1]))
    monkeypatch.setenv(mistyped, "1")
    with pytest.raises(SettingsError, match=f"did you mean {variable_name(path)}"):
        load(directory=tmp_path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "text\n", "a: [1\n", "a: 1\na: 2\n", "a:\tb: c\n"])
@pytest.mark.parametrize("name", ["settings.yaml", "settings.local.yaml"])
def test_a_file_that_is_not_yaml_is_named(tmp_path: Path, text: str, name: str) -> None:
    write(tmp_path, "")
    path = write(tmp_path, text, name)
    with pytest.raises(SettingsError, match="expected YAML") as raised:
        load(directory=tmp_path)
    assert str(path) in str(raised.value)


def test_a_file_that_may_not_be_read_is_not_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.unlink()
    path.mkdir()
    local = write(tmp_path, "", "one.local.yaml")
    local.unlink()
    local.mkdir()
    write(tmp_path, "", "one.yaml")
    with pytest.raises(SettingsError, match="expected a readable file, found: Is a directory"):
        load(tmp_path / "config" / "one.yaml")


# --- what is shown ------------------------------------------------------------------------------


def test_secrets_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_NATS__PASSWORD", "hunter2")
    monkeypatch.setenv("RECORDER_NATS__USER", "me")
    monkeypatch.setenv("RECORDER_NATS__URL", "nats://u:hunter2@one:4222,nats://two")
    settings, provenance = load(directory=tmp_path)
    rows = {row.key: row for row in effective(settings, provenance)}
    assert "hunter2" not in str(rows)
    assert rows["nats.password"].value == REDACTED
    assert rows["nats.token"].value == ""
    assert rows["nats.url"].value == "nats://***@one:4222,nats://two"
    assert rows["nats.password"].origin == "RECORDER_NATS__PASSWORD"
    assert list(rows) == [rule.dotted for rule in rules().values()]


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RECORDER_NATS__PASSWORD", "hunter2"),
        ("RECORDER_NATS__PASSWORT", "hunter2"),
        ("RECORDER_NATS__TOKEN", "hunter2" * 1000),
        ("RECORDER_KEYS__DEVICE_KEY_PEM", "hunter2" * 1000),
        ("RECORDER_KEYS__DEVICE_KEY_PME", "hunter2"),
    ],
)
def test_a_secret_is_not_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as raised:
        load(directory=tmp_path)
    assert "hunter2" not in str(raised.value)


def test_settings_are_plain_data() -> None:
    built = msgspec.to_builtins(Settings())
    assert msgspec.convert(built, Settings) == Settings()


# --- secrets ------------------------------------------------------------------------------------

SECRETS = [rule for rule in rules().values() if rule.secret]


@pytest.mark.parametrize("rule", SECRETS, ids=lambda rule: rule.dotted)
def test_every_secret_is_read_from_a_file_that_its_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Rule
) -> None:
    if rule.dotted == "nats.password":
        monkeypatch.setenv("RECORDER_NATS__USER", "capture")
    secret = tmp_path / "secret"
    secret.write_text("0123 \n", encoding="utf-8")  # text, although it could be a number
    variable = f"{variable_name(rule.path)}_FILE"
    monkeypatch.setenv(variable, str(secret))
    settings, provenance = load(directory=tmp_path)
    found: object = settings
    for name in rule.path:
        found = getattr(found, name)
    assert found == "0123 "
    assert provenance[rule.dotted] == variable
    rows = {row.key: row for row in effective(settings, provenance)}
    assert (rows[rule.dotted].value, rows[rule.dotted].origin) == (REDACTED, variable)
    assert "0123" not in repr(rows)
    assert "0123" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o600, "No such file"),
        ("", 0o600, "an empty file"),
        ("\n", 0o600, "an empty file"),
        (b"\xff\xfe", 0o600, "it is not text"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | bytes | None,
    mode: int,
    words: str,
) -> None:
    secret = tmp_path / "token"
    if content is not None:
        secret.write_bytes(content.encode() if isinstance(content, str) else content)
        secret.chmod(mode)
    monkeypatch.setenv("RECORDER_NATS__TOKEN_FILE", str(secret))
    with pytest.raises(SettingsError, match=words) as caught:
        load(directory=tmp_path)
    for part in ("nats.token", str(secret), "RECORDER_NATS__TOKEN_FILE"):
        assert part in str(caught.value)


def test_a_secret_that_is_given_twice_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "token"
    secret.write_text("hidden-one", encoding="utf-8")
    monkeypatch.setenv("RECORDER_NATS__TOKEN_FILE", str(secret))
    monkeypatch.setenv("RECORDER_NATS__TOKEN", "hidden-two")
    with pytest.raises(SettingsError, match="found both") as caught:
        load(directory=tmp_path)
    assert "hidden" not in str(caught.value)


def test_a_secret_file_wins_over_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "nats: {token: old}\n")
    (tmp_path / "token").write_text("new\n", encoding="utf-8")
    monkeypatch.setenv("RECORDER_NATS__TOKEN_FILE", str(tmp_path / "token"))
    assert load(directory=tmp_path)[0].nats.token == "new"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_secret_in_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, "nats: {token: hidden}\n")
    path.chmod(mode)
    with pytest.raises(SettingsError, match=r"nats\.token.*others may read") as caught:
        load(directory=tmp_path)
    assert "hidden" not in str(caught.value)
    path.chmod(0o600)
    assert load(directory=tmp_path)[0].nats.token == "hidden"


def test_an_open_settings_file_without_secrets_is_fine(tmp_path: Path) -> None:
    write(tmp_path, 'nats: {token: "", port: 4223}\n').chmod(0o644)
    assert load(directory=tmp_path)[0].nats.port == 4223


def test_only_secrets_have_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_NATS__USER_FILE", "x")
    with pytest.raises(SettingsError, match=r"nats\.user_file: there is no such setting"):
        load(directory=tmp_path)
    monkeypatch.delenv("RECORDER_NATS__USER_FILE")
    write(tmp_path, "nats: {token_file: /x}\n")
    with pytest.raises(SettingsError, match="RECORDER_NATS__TOKEN_FILE"):
        load(directory=tmp_path)


def test_the_template_of_variables_names_every_setting_and_sets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is new, tests/unit/test_docs.py says."""
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    named = dict(
        line[1:].split("=", 1) for line in lines if line.startswith("#RECORDER_") and "=" in line
    )
    wanted = {variable_name(path) for path in rules()}
    wanted |= {f"{variable_name(rule.path)}_FILE" for rule in SECRETS}
    assert set(named) == wanted
    # Taken at its word, every line gives the default.
    for name, value in named.items():
        if not name.endswith("_FILE"):
            monkeypatch.setenv(name, value)
    assert load(directory=tmp_path)[0] == Settings()
