"""Writes the configuration of a nats-server on which everybody may do what its grant says.

Three kinds of files: the accounts with their users, for any server or cluster to include; a whole
single server around them; and for each user the variables with which a process logs in as it. The
server has hashes of the passwords only (bcrypt); the passwords stand in the users' files alone.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import bcrypt
import msgspec

from recorder_worker.adapters.nats_server.config import quoted
from recorder_worker.adapters.private_file import write_private
from recorder_worker.bus.rights.permissions import API_PREFIX, HOME, Grant, TokenLists
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.sources.rules import subject_matches
from recorder_worker.core.subjects import STORED
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import AuthSettings

ACCOUNTS_FILE = "accounts.conf"
SERVER_FILE = "nats-server.conf"
USERS_FOLDER = "users"

HASH_ROUNDS = 10
"""The passwords are 256 random bits: no number of rounds makes them harder to guess."""

_INBOX = "_INBOX.>"
_ANSWER_WITHIN = '"2m"'
_LOGIN = re.compile(r'\{user: "([a-z0-9-]+)", password: "(\$2a\$[^"]+)"')
_PASSWORD = re.compile(r"^RECORDER_NATS__PASSWORD=(\S+)$", re.MULTILINE)


def token_lists(auth: AuthSettings, storage: StorageSettings | None = None) -> TokenLists:
    """What the settings of authorisation, and of a second store on NATS, make of rights.

    A bucket may be used later: its rights are there also where tokens are not asked for yet.
    """
    return TokenLists(
        revocations=auth.revocations_bucket,
        jwks=auth.jwks_bucket,
        asked_for=auth.mode == "jwt",
        objects=storage.object_bucket if storage else "",
    )


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens, where its store is, and with which certificates."""

    host: str = "127.0.0.1"
    port: int = 4222
    store: str = "/data"
    found_at: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def url(self) -> str:
        """Where users find it; where nothing else is said, on this machine."""
        return self.found_at or f"{'tls' if self.tls_cert else 'nats'}://{self.host}:{self.port}"


class NatsConf(msgspec.Struct, frozen=True, kw_only=True):
    """One set of files."""

    folder: Path
    listener: Listener
    grants: tuple[Grant, ...]

    def present(self) -> list[Path]:
        """The files of an earlier run."""
        return [path for path in (self._accounts, self._server) if path.exists()]

    def write(self, *, keep: bool) -> list[Path]:
        """Write everything; gives the paths. With `keep`, users that were there stay as they are.

        Raises:
            SettingsError: files of an earlier run cannot be read, or nothing can be written here.
        """
        try:
            return self._write(_logins(self._accounts) if keep else {})
        except OSError as error:
            raise SettingsError(
                f"--out: expected to write {self.folder}, found: {error.strerror} "
                f"({error.filename}); give this user the right, or name another folder"
            ) from error

    def _write(self, kept: dict[str, str]) -> list[Path]:
        hashes, written = {}, []
        for grant in self.grants:
            path = self.folder / USERS_FOLDER / f"{grant.user}.env"
            hashes[grant.user] = kept.get(grant.user, "")
            password = _password_in(path) if hashes[grant.user] else secrets.token_urlsafe(32)
            if not hashes[grant.user]:
                salt = bcrypt.gensalt(HASH_ROUNDS, prefix=b"2a")
                hashes[grant.user] = bcrypt.hashpw(password.encode(), salt).decode()
            if password:  # a file that was carried away stays away
                write_private(path, _variables(grant, password, self.listener).encode())
                written.append(path)
        for path in (self.folder / USERS_FOLDER).glob("*.env"):
            if path.stem not in hashes:
                path.unlink()  # of a user who has no rights any more
        write_private(self._accounts, accounts_text(self.grants, hashes).encode())
        write_private(self._server, server_text(self.listener).encode())
        return [self._server, self._accounts, *written]

    @property
    def _accounts(self) -> Path:
        return self.folder / ACCOUNTS_FILE

    @property
    def _server(self) -> Path:
        return self.folder / SERVER_FILE


def accounts_text(grants: Sequence[Grant], hashes: dict[str, str]) -> str:
    """The accounts block: the recorder's own with its exports, and one for each user."""
    home = [grant for grant in grants if grant.home]
    guests = [grant for grant in grants if not grant.home]
    lines = [
        "# Written by `recorder nats-conf`; changes are lost. Include it in a server's file.",
        "accounts {",
        f"  {quoted(HOME)}: {{",
        "    jetstream: enabled",
        "    users: [",
        *(f"      {_user(grant, hashes[grant.user])}" for grant in home),
        "    ]",
        "    exports: [",
        *(f"      {line}" for line in _exports(guests)),
        "    ]",
        "  }",
    ]
    for grant in guests:
        lines += [
            f"  # {grant.does}",
            f"  {quoted(grant.user)}: {{",
            f"    users: [{_user(grant, hashes[grant.user])}]",
            *_block("exports", _served(grant, guests)),
            *_block("imports", (*_imports(grant), *_called(grant, guests))),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def _block(name: str, lines: Sequence[str]) -> tuple[str, ...]:
    return (f"    {name}: [", *(f"      {line}" for line in lines), "    ]") if lines else ()


def _user(grant: Grant, password: str) -> str:
    publish = ", ".join(quoted(subject) for subject in (*grant.own_asks.values(), *grant.calls))
    subscribe = ", ".join(quoted(subject) for subject in (_INBOX, *grant.hears, *grant.serves))
    # The subject of an answer is the server's own, and leads into the account of whoever asked.
    answer = f", allow_responses: {{max: 1, expires: {_ANSWER_WITHIN}}}" if grant.serves else ""
    return (
        f"{{user: {quoted(grant.user)}, password: {quoted(password)}, permissions: "
        f"{{publish: {{allow: [{publish}]}}, subscribe: {{allow: [{subscribe}]}}{answer}}}}}"
    )


def _served(grant: Grant, guests: Sequence[Grant]) -> list[str]:
    """What others may ask of this user; `$SRV` is answered by every worker that there is."""
    lines = []
    for subject in grant.serves:
        users = [quoted(guest.user) for guest in guests if _calls_on(guest, subject)]
        many = "response: stream, " if subject.startswith("$SRV.") else ""
        if users:
            lines.append(f"{{service: {quoted(subject)}, {many}accounts: [{', '.join(users)}]}}")
    return lines


def _called(grant: Grant, guests: Sequence[Grant]) -> list[str]:
    return [
        f"{{service: {{account: {quoted(guest.user)}, subject: {quoted(call)}}}}}"
        for guest in guests
        for subject in guest.serves
        for call in _calls_on(grant, subject)
    ]


def _calls_on(grant: Grant, served: str) -> list[str]:
    """What a user may call of a subject that another serves: all of it, or a part."""
    return [call for call in grant.calls if call == served or subject_matches(served, call)]


def _exports(guests: Sequence[Grant]) -> list[str]:
    asked: dict[tuple[str, str], list[str]] = {}
    for grant in guests:
        heard = [f"{STORED}.{subject}" for subject in grant.hears]
        for kind, subjects in (("service", grant.asks), ("stream", heard)):
            for subject in subjects:
                asked.setdefault((kind, subject), []).append(grant.user)
    return [
        f"{{{kind}: {quoted(subject)}, {_response(subject)}"
        f"accounts: [{', '.join(map(quoted, users))}]}}"
        for (kind, subject), users in asked.items()
    ]


def _response(subject: str) -> str:
    # A request for messages has as many answers as there are messages.
    many = any(part in subject for part in (".MSG.NEXT.", ".DIRECT.GET.KV_", ".DIRECT.GET.OBJ_"))
    return "response: stream, " if many else ""


def _imports(grant: Grant) -> list[str]:
    home = quoted(HOME)
    return [
        f"{{service: {{account: {home}, subject: {quoted(subject)}}}, to: {quoted(own)}}}"
        for subject, own in grant.own_asks.items()
    ] + [
        f"{{stream: {{account: {home}, subject: {quoted(f'{STORED}.{subject}')}}}, "
        f"to: {quoted(subject)}}}"
        for subject in grant.hears
    ]


def server_text(listener: Listener) -> str:
    """A single server around the accounts."""
    lines = [
        "# Written by `recorder nats-conf`; changes are lost.",
        "server_name: recorder",
        f"listen: {quoted(f'{listener.host}:{listener.port}')}",
        "max_payload: 1MB",
        "jetstream {",
        f"  store_dir: {quoted(listener.store)}",
        "  # An acknowledged message is on the disk, and not in memory for up to two minutes.",
        "  sync_interval: always",
        "  max_file_store: 4TB",
        "  max_memory_store: 256MB",
        "}",
        f"include {quoted(ACCOUNTS_FILE)}",
    ]
    if listener.tls_cert:
        lines += [
            "tls {",
            f"  cert_file: {quoted(listener.tls_cert)}",
            f"  key_file: {quoted(listener.tls_key)}",
            f"  ca_file: {quoted(listener.tls_ca)}",
            "  # Clients show a certificate of that authority, besides their password.",
            "  verify: true",
            '  min_version: "1.3"',
            "  timeout: 5",
            "}",
        ]
    return "\n".join([*lines, ""])


def _variables(grant: Grant, password: str, listener: Listener) -> str:
    lines = [
        f"# NATS user {grant.user}: {grant.does}.",
        "# Written by `recorder nats-conf`. A secret: for its owner alone.",
        f"RECORDER_NATS__URL={listener.url}",
        f"RECORDER_NATS__USER={grant.user}",
        f"RECORDER_NATS__PASSWORD={password}",
    ]
    if not grant.home:
        lines += [f"RECORDER_NATS__API_PREFIX={API_PREFIX}", "RECORDER_NATS__MANAGE=false"]
    if grant.client:
        lines.append(f"RECORDER_NATS__OWNER={grant.user}")
    if listener.tls_ca:
        lines.append(f"RECORDER_NATS__TLS_CA={listener.tls_ca}")
    return "\n".join([*lines, ""])


def _logins(accounts: Path) -> dict[str, str]:
    """The hash of each user's password, of an earlier run."""
    if not accounts.exists():
        return {}
    found = dict(_LOGIN.findall(accounts.read_text(encoding="utf-8")))
    if not found:
        raise SettingsError(
            f"--keep: expected {accounts} as recorder nats-conf writes it, found no user in it; "
            "use --force for new passwords"
        )
    return found


def _password_in(path: Path) -> str:
    found = _PASSWORD.search(path.read_text(encoding="utf-8")) if path.exists() else None
    return found[1] if found else ""
