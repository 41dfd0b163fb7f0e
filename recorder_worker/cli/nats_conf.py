"""`recorder nats-conf`: a nats-server's users, each with the rights of its grant and no others."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.cli.output import columns, out
from recorder_worker.cli.settings_option import ConfigOption, load_settings
from recorder_worker.core.errors import SettingsError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("nats-conf")(nats_conf)


def nats_conf(
    folder: Annotated[
        Path, typer.Option("--out", help="The folder to write to; made if missing.")
    ] = Path("nats-conf"),
    client: Annotated[
        list[str] | None,
        typer.Option(help="Name of a client, who may start sessions and read its own; repeatable."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="Also a user for a process that runs all stages.")
    ] = False,
    listen: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = "127.0.0.1:4222",
    url: Annotated[
        str, typer.Option(help="Where users find the server, nats://host:4222; else as --listen.")
    ] = "",
    store: Annotated[str, typer.Option(help="The server's folder for its streams.")] = "/data",
    tls_cert: Annotated[str, typer.Option(help="Path of the server's certificate (PEM).")] = "",
    tls_key: Annotated[str, typer.Option(help="Path of the certificate's key (PEM).")] = "",
    tls_ca: Annotated[
        str, typer.Option(help="Path of the authority (PEM) that clients' certificates are of.")
    ] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="Allow a server that others can reach without TLS.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Users that are there keep their passwords; rights are new."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite what is there; all passwords are new.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Write a nats-server's configuration with one user for each stage, client and role.

    Passwords are random, and stand only in the files of the users (0600); the server's files have
    their hashes, and nothing secret is printed. Of the settings, which are those of the workers,
    auth.mode and the names of the buckets of tokens are looked at. After an upgrade of the recorder
    run it again with `--keep`, with the same clients, and let the server read its configuration.
    """
    from recorder_worker.bus.rights import permissions  # noqa: PLC0415  (loads NATS)
    from recorder_worker.service.nats_conf import (  # noqa: PLC0415  (as above)
        Listener,
        NatsConf,
        token_lists,
    )

    host, port = _address(listen)
    if len({bool(path) for path in (tls_cert, tls_key, tls_ca)}) > 1:
        raise SettingsError(
            "--tls-cert: expected --tls-cert, --tls-key and --tls-ca together, or none of them; "
            "give the missing one"
        )
    if not (tls_cert or plain or _is_loopback(host)):
        raise SettingsError(
            f"--listen: expected a loopback address where there is no TLS, found {host}; give "
            "--tls-cert, --tls-key and --tls-ca, or --plain if the network is yours alone"
        )
    settings = load_settings(config)
    conf = NatsConf(
        folder=folder,
        listener=Listener(
            host=host,
            port=port,
            store=store,
            found_at=url,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
        ),
        grants=permissions.grants(
            client or (), together=together, tokens=token_lists(settings.auth, settings.storage)
        ),
    )
    present = conf.present()
    if present and not (keep or force):
        raise SettingsError(
            f"--out: expected no configuration in {folder}, found {present[0].name}; --keep writes "
            "the rights anew and keeps the passwords, --force makes new ones"
        )
    written = conf.write(keep=keep and not force)
    for line in columns([(grant.user, grant.does) for grant in conf.grants]):
        out.print(line, markup=False)
    for path in written:
        out.print(str(path), markup=False)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise SettingsError(
            f"--listen: expected HOST:PORT such as 127.0.0.1:4222, found {listen!r}; correct it"
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
