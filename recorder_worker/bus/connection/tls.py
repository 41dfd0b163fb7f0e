"""TLS towards NATS: the certificates of the settings, and no connection without it where they are.

nats-py asks the server whether it wants TLS, and sends the login in the clear to one that says no.
Whoever sits in between can say no. So the login is held back here unless the connection is
encrypted: the one place in nats-py that makes the message with the login is wrapped.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from recorder_worker.core.errors import SettingsError


class PlainServerError(NatsError):
    """The server offers no TLS although it shall be used."""

    def __str__(self) -> str:
        return "nats: the server offers no TLS"


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of PEM files; all empty: TLS where the server wants it, by the system's authorities."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext | None:
        """What the connection is made with; None where nothing is set.

        Raises:
            SettingsError: a file cannot be read, or is not what it should be.
        """
        if not (self.ca or self.cert or self.key):
            return None
        if self.ca:
            # Alone: a certificate by any other authority is as good as none.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load("nats.tls_ca", (self.ca,), lambda: context.load_verify_locations(self.ca))
        else:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert:
            _load(
                "nats.tls_cert",
                (self.cert, self.key),
                # No passphrase: OpenSSL would wait for one at the terminal.
                lambda: context.load_cert_chain(self.cert, self.key or None, password=""),
            )
        return context


def _load(setting: str, files: tuple[str, ...], load: Callable[[], None]) -> None:
    try:
        for file in filter(None, files):
            Path(file).open("rb").close()  # for an error that says which one
        load()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{setting}: expected certificates in PEM that this user can read, and the key that "
            f"belongs to them, found {' and '.join(filter(None, files))}: {error}; correct the "
            "path or the file"
        ) from error


def tls_advice(error: Exception) -> str | None:
    """What is wrong with TLS on a connection, and what to do; None where it is something else."""
    if isinstance(error, PlainServerError):
        return (
            "it offers no TLS although nats.tls_ca or nats.tls_cert is set; nothing was sent to "
            "it. Switch TLS on there, or leave these settings empty"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate does not hold: {error.verify_message}; check nats.tls_ca "
            "(RECORDER_NATS__TLS_CA), the certificate's dates, and the name in nats.url"
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"TLS fails: {error.reason or error}; where the server asks for a certificate of ours, "
            "set nats.tls_cert and nats.tls_key to one that its authority has signed and that is "
            "not expired"
        )
    return None


def _refuse_plain(client: Client) -> None:
    if "tls" in client.options and not (client._server_info or {}).get("tls_required"):  # noqa: SLF001  (nothing public says it)
        raise PlainServerError


_connect_command = Client._connect_command  # noqa: SLF001  (as above)


def _guarded(client: Client) -> bytes:
    _refuse_plain(client)
    return _connect_command(client)


setattr(Client, "_connect_command", _guarded)  # noqa: B010  (as above)
