"""`recorder token`: tokens that commands carry. It makes them for labs, and revokes any."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recorder_worker.cli.output import JsonOption, err, fields, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    client_bearer,
    client_login,
    load_settings,
)
from recorder_worker.core.access.identity import Identity
from recorder_worker.core.access.revocation import Revocation, key_of_subject, key_of_token
from recorder_worker.core.errors import RefusedError, SettingsError

if TYPE_CHECKING:
    from recorder_worker.bus.rights.token_lists import RevocationList
    from recorder_worker.service.settings.tree import Settings

SECOND_NS = 1_000_000_000


class RoleName(StrEnum):
    """The roles that a token may have."""

    USER = "USER"
    NODE_OPERATOR = "NODE_OPERATOR"
    ADMIN = "ADMIN"
    SUPER_ADMIN = "SUPER_ADMIN"


TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with the token; - reads standard input."),
]
TokenId = Annotated[str, typer.Option("--id", help="The token's id: its jti.")]
Subject = Annotated[str, typer.Option(help="All tokens of a subject: their sub.")]

token = typer.Typer(
    no_args_is_help=True,
    help="Tokens that commands carry where auth.mode is jwt: make them (for labs), look into them, "
    "revoke them.",
)


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(token, name="token")


@token.command("issue")
def issue(
    subject: Annotated[str, typer.Option(help="Whose token it is: sub.")],
    role: Annotated[RoleName, typer.Option(help="What he may do.")] = RoleName.USER,
    lifetime: Annotated[
        float, typer.Option(min=1, max=31_536_000, help="Seconds until it runs out.")
    ] = 3600.0,
    token_id: Annotated[str, typer.Option("--id", help="Its id (jti); made if left out.")] = "",
    key: Annotated[
        Path | None,
        typer.Option(help="Ed25519 private key (PEM); else the secret of the settings signs."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make a token, for labs and tests; prints it, alone, on stdout.

    Issuer, audience and the name of the role's claim are those of the settings.
    """
    from recorder_worker.adapters.tokens.issuer import TokenIssuer  # noqa: PLC0415  (loads PyJWT)

    auth = load_settings(config).auth
    if key is None and not auth.hs256_secret:
        raise SettingsError(
            "recorder token issue: expected --key, or a secret in auth.hs256_secret "
            "(RECORDER_AUTH__HS256_SECRET), found neither"
        )
    issuer = TokenIssuer.of_pem(_read(key)) if key else TokenIssuer.of_secret(auth.hs256_secret)
    now_s = int(time.time())
    claims: dict[str, object] = {
        "sub": subject,
        auth.role_claim: role.value,
        "jti": token_id or str(uuid.uuid4()),
        "iat": now_s,
        "exp": now_s + int(lifetime),
    }
    claims |= {"iss": auth.issuer} if auth.issuer else {}
    claims |= {"aud": auth.audience} if auth.audience else {}
    out.print(issuer.token(claims), markup=False)


@token.command("jwks")
def jwks(
    keys: Annotated[
        list[Path], typer.Argument(help="Ed25519 private keys (PEM).", metavar="KEY...")
    ],
) -> None:
    """Print the public halves of keys as a JWK Set, for auth.jwks_file."""
    from recorder_worker.adapters.tokens.issuer import public_jwk  # noqa: PLC0415  (loads PyJWT)

    print_json({"keys": [public_jwk(_read(path)) for path in keys]})


@token.command("inspect")
def inspect(
    token_file: TokenFile = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Check a token as a worker with these settings would now, and print what it says.

    Without `--token-file` it is the one that commands would carry. What is on the bus, the list of
    revoked tokens and keys in a bucket, is not asked. The exit code is 65 where it is refused.
    """
    text = _token(token_file, config)
    found = asyncio.run(_inspected(load_settings(config), text))
    if json:
        print_json(found)
    else:
        out.print(fields(**found), markup=False)


@token.command("revoke")
def revoke(
    token_id: TokenId = "",
    subject: Subject = "",
    token_file: TokenFile = None,
    reason: Annotated[str, typer.Option(help="Why; he who is refused is told it.")] = "",
    lasts: Annotated[
        float, typer.Option(min=0, max=3_153_600_000, help="Seconds; 0: for ever.")
    ] = 0.0,
    nats: NatsOption = None,
    config: ConfigOption = None,
) -> None:
    """Revoke a token, or all of a subject: commands that are not carried out yet are refused."""
    keys = _keys(token_id, subject, token_file, config)
    now_ns = time.time_ns()
    until_ns = now_ns + int(lasts * SECOND_NS) if lasts else 0
    entry = Revocation(reason=reason, until_ns=until_ns, revoked_ns=now_ns)

    async def enter(listed: RevocationList) -> None:
        for key in keys:
            await listed.enter(key, entry)
            err.print(f"revoked {key}", markup=False)

    asyncio.run(_with_list(config, nats, enter))


@token.command("unrevoke")
def unrevoke(
    token_id: TokenId = "",
    subject: Subject = "",
    token_file: TokenFile = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
) -> None:
    """Take a token, or a subject, off the list again."""
    keys = _keys(token_id, subject, token_file, config)

    async def remove(listed: RevocationList) -> None:
        for key in keys:
            if not await listed.remove(key):
                raise RefusedError(
                    field="--id or --subject",
                    expected="a revoked one",
                    got=key,
                    hint="the list has no such entry; nothing was changed",
                )
            err.print(f"not revoked any more: {key}", markup=False)

    asyncio.run(_with_list(config, nats, remove))


async def _with_list(config: Path | None, nats: str | None, act: Any) -> None:  # noqa: ANN401  (an async function of the list)
    from recorder_worker.bus.rights.token_lists import revocation_list  # noqa: PLC0415  (loads NATS)

    bucket = load_settings(config).auth.revocations_bucket
    if not bucket:
        raise SettingsError(
            "auth.revocations_bucket: expected the name of a bucket, found none: tokens cannot be "
            "revoked; set it, for all workers"
        )
    async with revocation_list(client_login(config, nats), bucket) as listed:
        await act(listed)


async def _inspected(settings: Settings, text: str) -> dict[str, Any]:
    from recorder_worker.core.access.token_claims import check_times, identity_of  # noqa: PLC0415  (as below)
    from recorder_worker.service import authorisation  # noqa: PLC0415  (loads PyJWT)

    auth = settings.auth
    rules, access = authorisation.claim_rules(auth), authorisation.access_rules(auth)
    claims = await authorisation.verifier(auth, []).claims(text)
    identity = identity_of(claims, rules)
    check_times(claims, rules, time.time_ns())
    return {
        "subject": identity.actor,
        "role": identity.role,
        "id": identity.token_id,
        "runs_out": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(str(claims["exp"])))),
        "may": ", ".join(sorted(access.may[identity.role])),
        "sessions": "its own" if identity.role in access.own_only else "all",
    }


def _keys(
    token_id: str, subject: str, token_file: Path | None, config: Path | None
) -> tuple[str, ...]:
    """The keys of the list that are meant."""
    if token_file is not None:
        identity = asyncio.run(_named(load_settings(config), _token(token_file, config)))
        token_id = token_id or identity.token_id
    keys = [key_of_token(token_id)] if token_id else []
    keys += [key_of_subject(subject)] if subject else []
    if not keys:
        raise RefusedError(
            field="--id",
            expected="--id, --subject, or --token-file with a token that has an id (jti)",
            got="neither",
            hint="recorder token inspect prints the id of a token",
        )
    return tuple(keys)


async def _named(settings: Settings, text: str) -> Identity:
    """Whom a token names, also when it has run out."""
    from recorder_worker.core.access.token_claims import identity_of  # noqa: PLC0415  (as below)
    from recorder_worker.service import authorisation  # noqa: PLC0415  (loads PyJWT)

    claims = await authorisation.verifier(settings.auth, []).claims(text)
    return identity_of(claims, authorisation.claim_rules(settings.auth))


def _token(token_file: Path | None, config: Path | None) -> str:
    if token_file is not None and str(token_file) == "-":
        return sys.stdin.read().strip()
    return client_bearer(config, token_file)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: expected a readable key, found: {error.strerror}; correct the path"
        ) from error
