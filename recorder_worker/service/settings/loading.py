"""Loads the settings into one frozen struct, or says exactly which value is wrong.

The only module, with `layers`, that looks at the environment.
"""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from recorder_worker.core.errors import SettingsError
from recorder_worker.service.settings import layers
from recorder_worker.service.settings.disk import contradictions
from recorder_worker.service.settings.layers import Given, variable_name
from recorder_worker.service.settings.rule import Rule, allowed, nearest, rules
from recorder_worker.service.settings.secrets import with_secret_files
from recorder_worker.service.settings.storage_rules import storage_rules
from recorder_worker.service.settings.tree import Settings

DEFAULT = "default"
"""The provenance of a value that nobody set."""

REDACTED = "(set, not shown)"


class Row(msgspec.Struct, frozen=True):
    """One line of `recorder config`: a key, its value as text, and where it came from."""

    key: str
    value: str
    origin: str


def load(
    config: Path | None = None, *, directory: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """Read files and environment into settings.

    Args:
        config: the settings file; None means `RECORDER_CONFIG`, else `config/settings.yaml`
            below `directory` if it is there. A `.local` file beside it is read after it.
        directory: what relative paths of files are relative to; None means the working directory.

    Returns:
        The settings, and for every dotted key the path of the file or the name of the variable
        that its value came from, or `default`.

    Raises:
        SettingsError: a key or value is wrong: names the key, the value (unless it is secret),
            what is allowed and where it came from.
    """
    directory = Path.cwd() if directory is None else directory
    known = rules()
    given = layers.given(layers.settings_file(config, directory))
    given = with_secret_files(given, known)
    tree: dict[str, object] = {}
    provenance = {rule.dotted: DEFAULT for rule in known.values()}
    for path, found in given.items():
        rule = known.get(path)
        if rule is None:
            if _is_group(path, known) and found.value in (None, {}):
                continue  # a group whose lines are all commented out
            raise _unknown(path, found, known)
        _place(tree, path, _converted(rule, found))
        provenance[rule.dotted] = found.origin
    settings = msgspec.convert(tree, Settings)
    _check_together(settings, provenance)
    return settings, provenance


def effective(settings: Settings, provenance: dict[str, str]) -> list[Row]:
    """Every key with its value and origin, in the order of the tree; secrets are not shown."""
    rows = []
    for rule in rules().values():
        value: object = settings
        for name in rule.path:
            value = getattr(value, name)
        text = REDACTED if rule.secret and value else _shown(value)
        rows.append(Row(rule.dotted, text, provenance.get(rule.dotted, DEFAULT)))
    return rows


def node_name(settings: Settings) -> str:
    """The name of this node: the setting, else the host's name."""
    return settings.node or socket.gethostname()


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return _without_password(str(value))


def _without_password(text: str) -> str:
    # `nats.url` may carry a user and password; the place of a secret is not always its own key.
    return ",".join(
        f"{part.split('://', 1)[0]}://***@{part.rsplit('@', 1)[1]}"
        if "://" in part and "@" in part
        else part
        for part in text.split(",")
    )


def _is_group(path: tuple[str, ...], known: dict[tuple[str, ...], Rule]) -> bool:
    return any(rule[: len(path)] == path and len(rule) > len(path) for rule in known)


def _place(tree: dict[str, object], path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        branch = tree.setdefault(name, {})
        if not isinstance(branch, dict):
            raise TypeError(f"settings: {name} is a value and a group at once")
        tree = branch
    tree[path[-1]] = value


def _converted(rule: Rule, found: Given) -> object:
    value = found.value
    if found.text and isinstance(value, str):
        value = _from_text(rule, value)
    elif isinstance(value, list):
        value = list(value)
    try:
        # Only the text of a variable is read leniently: in YAML a number is written as one.
        kind = Settings
        for name in rule.path[:-1]:
            kind = type(getattr(kind(), name))
        converted = msgspec.convert({rule.path[-1]: value}, kind, strict=not found.text)
    except msgspec.ValidationError as error:
        raise _wrong(rule, found) from error
    return msgspec.to_builtins(getattr(converted, rule.path[-1]))


def _from_text(rule: Rule, text: str) -> object:
    if not isinstance(rule.kind, msgspec.inspect.VarTupleType):
        return text.strip() if not isinstance(rule.kind, msgspec.inspect.StrType) else text
    if text.lstrip().startswith("["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass  # perhaps [a, b]: not JSON, but clear enough
    return [item.strip(" \"'") for item in text.strip().strip("[]").split(",") if item.strip()]


def _wrong(rule: Rule, found: Given) -> SettingsError:
    shown = "(secret)" if rule.secret else repr(found.value)
    hint = ""
    if not found.text and isinstance(rule.kind, msgspec.inspect.StrType):
        hint = " (write it in quotes)"
    return SettingsError(
        f"{rule.dotted}: expected {allowed(rule.kind)}{hint}, found {shown} in {found.origin}; "
        f"correct it there"
    )


def _unknown(
    path: tuple[str, ...], found: Given, known: dict[tuple[str, ...], Rule]
) -> SettingsError:
    dotted = ".".join(path)
    if _is_group(path, known):
        inside = ", ".join(rule[-1] for rule in known if rule[: len(path)] == path)
        return SettingsError(
            f"{dotted}: expected a group with keys of {inside}, found {found.value!r} "
            f"in {found.origin}; write the keys below it"
        )
    near = nearest(path, known)
    in_environment = found.origin.startswith(f"{layers.PREFIX}_")
    if near is not None:
        name = f"{variable_name(near.path)}" if in_environment else near.dotted
        advice = f"did you mean {name} ({allowed(near.kind)})?"
    else:
        siblings = [rule.path[-1] for rule in known.values() if rule.path[:-1] == path[:-1]]
        groups = dict.fromkeys(rule[0] for rule in known)
        advice = f"allowed here: {', '.join(siblings if len(path) > 1 and siblings else groups)}"
    if in_environment and path[0].startswith(("port", "service_")):
        advice += (
            "; if Kubernetes made this variable for a service named recorder, "
            "set enableServiceLinks: false"
        )
    # The value is not shown: what stands under a mistyped key may be a secret.
    return SettingsError(f"{dotted}: there is no such setting, found in {found.origin}; {advice}")


def _check_together(settings: Settings, provenance: dict[str, str]) -> None:
    nats, capture, retry = settings.nats, settings.capture, settings.retry
    quality = settings.quality
    wrong = [
        *storage_rules(settings.storage),
        (
            "stages",
            len(set(settings.stages)) != len(settings.stages),
            "each stage at most once",
        ),
        (
            "capture.keyframe_min_s",
            capture.keyframe_min_s > capture.keyframe_max_s,
            f"at most capture.keyframe_max_s ({capture.keyframe_max_s})",
        ),
        *(
            (f"quality.{name}_begin", begin < end, f"at least quality.{name}_end ({end})")
            for name, begin, end in (
                ("flat", quality.flat_begin, quality.flat_end),
                ("bars", quality.bars_begin, quality.bars_end),
                ("blur", quality.blur_begin, quality.blur_end),
            )
        ),
        (
            "quality.black_begin",
            quality.black_begin > quality.black_end,
            f"at most quality.black_end ({quality.black_end})",
        ),
        (
            "chunk.max_plain_bytes",
            settings.chunk.max_plain_bytes < capture.segment_max_bytes,
            f"at least capture.segment_max_bytes ({capture.segment_max_bytes})",
        ),
        (
            # nats-server refuses a consumer whose back-off is not shorter than its deliveries.
            "retry.max_deliver",
            retry.max_deliver <= len(retry.backoff_s),
            f"more than the number of retry.backoff_s ({len(retry.backoff_s)})",
        ),
        (
            "nats.password",
            bool(nats.password) != bool(nats.user),
            "nats.user and nats.password together, or neither",
        ),
        (
            "nats.token",
            sum(bool(way) for way in (nats.token, nats.user, nats.credentials)) > 1,
            "only one of nats.token, nats.user with nats.password, and nats.credentials",
        ),
        (
            "nats.credentials",
            bool(nats.credentials) and settings.embedded_nats,
            "none with the embedded server; set nats.url to use credentials",
        ),
        (
            "nats.tls_key",
            bool(nats.tls_key) and not nats.tls_cert,
            "nats.tls_cert beside it, or neither",
        ),
        (
            "nats.tls_ca",
            bool(nats.tls_ca or nats.tls_cert) and settings.embedded_nats,
            "none with the embedded server, which listens on loopback; set nats.url to use TLS",
        ),
        (
            "capture.default_fps",
            settings.capture.default_fps > settings.capture.max_fps,
            "at most capture.max_fps",
        ),
        (
            "load.late_low",
            settings.load.late_low > settings.load.late_high,
            "at most load.late_high",
        ),
        (
            "load.behind_low_messages",
            settings.load.behind_low_messages > settings.load.behind_high_messages,
            "at most load.behind_high_messages",
        ),
        (
            "load.behind_low_bytes",
            settings.load.behind_low_bytes > settings.load.behind_high_bytes,
            "at most load.behind_high_bytes",
        ),
        *contradictions(settings.disk),
        (
            "keys.device_key",
            bool(settings.keys.device_key) and bool(settings.keys.device_key_pem),
            "a path, or keys.device_key_pem instead, not both",
        ),
    ]
    values = {row.key: row.value for row in effective(settings, provenance)}
    for key, is_wrong, expected in wrong:
        if is_wrong:
            raise SettingsError(
                f"{key}: expected {expected}, found {values[key] or 'nothing'} "
                f"in {provenance[key]}; correct one of them"
            )
