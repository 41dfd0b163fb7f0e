"""From settings to who may command the recorder, and whether that may stay open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recorder_worker.adapters.loopback import is_loopback
from recorder_worker.adapters.tokens.jwks_file import JwksFile
from recorder_worker.adapters.tokens.keyring import (
    BadKeysError,
    VerificationKey,
    keys_in,
    secret_key,
)
from recorder_worker.adapters.tokens.verifier import JwtVerifier
from recorder_worker.bus.rights.token_lists import JwksBucket, RevocationList
from recorder_worker.bus.sessions.key_value import KeyValueBucket
from recorder_worker.core.access.rules import AccessRules
from recorder_worker.core.access.token_claims import SECOND_NS, ClaimRules
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.pipeline import CAPTURE, MERKLE
from recorder_worker.ports import JwksSource
from recorder_worker.service.settings.tree import AuthSettings, Settings
from recorder_worker.stages.authoriser import Authoriser, OpenAuthoriser, TokenAuthoriser

JetStream = Callable[[], Any]
"""JetStream on the present connection; only the bus knows its type."""


def authoriser_for(auth: AuthSettings, jetstream: JetStream) -> Authoriser:
    """Who decides about commands and requests.

    Raises:
        SettingsError: tokens are asked for, and there is nothing to check them with.
    """
    if auth.mode == "open":
        return OpenAuthoriser()
    listed = None
    if auth.revocations_bucket:
        listed = RevocationList(KeyValueBucket(jetstream, auth.revocations_bucket))
    sources: list[JwksSource] = []
    if auth.jwks_bucket:
        sources.append(JwksBucket(KeyValueBucket(jetstream, auth.jwks_bucket)))
    return TokenAuthoriser(verifier(auth, sources), listed, access_rules(auth), claim_rules(auth))


def verifier(auth: AuthSettings, more: list[JwksSource]) -> JwtVerifier:
    """What checks tokens: the keys of the settings, and those of more sources.

    Raises:
        SettingsError: a key is none, or there is none at all.
    """
    fixed: list[VerificationKey] = []
    sources = list(more)
    try:
        if auth.hs256_secret:
            fixed.append(secret_key(auth.hs256_secret))
        if auth.jwks_file:
            keys_in(_read("auth.jwks_file", auth.jwks_file))  # a wrong one stops the start
            sources.append(JwksFile(Path(auth.jwks_file)))
    except BadKeysError as error:
        secret = auth.hs256_secret and not fixed
        where = "auth.hs256_secret" if secret else f"auth.jwks_file {auth.jwks_file}"
        raise SettingsError(f"{where}: {error}") from error
    if not fixed and not sources:
        raise SettingsError(
            "auth.mode: expected keys to check tokens with, found none; set auth.jwks_file, "
            "auth.jwks_bucket or RECORDER_AUTH__HS256_SECRET"
        )
    return JwtVerifier(fixed, sources, audience=auth.audience, issuer=auth.issuer)


def access_rules(auth: AuthSettings) -> AccessRules:
    """What each role may do."""
    return AccessRules(
        may={
            "USER": frozenset(auth.user_may),
            "NODE_OPERATOR": frozenset(auth.node_operator_may),
            "ADMIN": frozenset(auth.admin_may),
            "SUPER_ADMIN": frozenset(auth.super_admin_may),
        },
        own_only=frozenset(auth.own_only),
    )


def claim_rules(auth: AuthSettings) -> ClaimRules:
    """How claims are read."""
    return ClaimRules(role_claim=auth.role_claim, skew_ns=round(auth.skew_s * SECOND_NS))


def check_network(settings: Settings, urls: tuple[str, ...]) -> None:
    """Refuse to obey, and to answer, everybody on a network, unless that was asked for.

    Workers of capture take commands, those of merkle answer requests. Raises SettingsError.
    """
    auth = settings.auth
    served = {CAPTURE.name, MERKLE.name} & set(settings.stages)
    if auth.mode != "open" or auth.allow_open_network or not served:
        return
    public = [url.rsplit("@", 1)[-1] for url in urls if not is_loopback(url)]
    if public:
        raise SettingsError(
            "auth.mode: expected jwt, found open, with NATS on a network, at "
            f"{', '.join(public)}: whoever reaches it could start and stop recordings, and be told "
            "of all; set auth.mode to jwt, or, where something else decides who reaches it, "
            "auth.allow_open_network (RECORDER_AUTH__ALLOW_OPEN_NETWORK) to true"
        )


def _read(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{setting}: expected a readable file at {path}, found: {error.strerror}; correct the "
            "path, or its mode"
        ) from error
