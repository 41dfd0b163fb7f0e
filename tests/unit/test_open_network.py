"""Open to everybody is for loopback: on a network it has to be asked for."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from recorder_worker.adapters.loopback import is_loopback
from recorder_worker.core.errors import SettingsError
from recorder_worker.service.authorisation import authoriser_for, check_network
from recorder_worker.service.settings.tree import AuthSettings, Settings

NAMES = {
    "home": ["127.0.0.1", "::1"],
    "both": ["127.0.0.1", "192.0.2.1"],
    "nats": ["172.18.0.2"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of a network of our own; what stands in it as a number is left to the system."""
    real = socket.getaddrinfo

    def look_up(host: str, *more: Any, **options: Any) -> Any:  # noqa: ANN401  (as the original)
        if host in NAMES:
            return [(0, 0, 0, "", (address, 0)) for address in NAMES[host]]
        if host[0].isalpha() and host != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("nats://127.0.0.1:4222", True),
        ("127.0.0.1:4222", True),
        ("nats://127.8.9.10", True),
        ("tls://user:password@[::1]:4222", True),
        ("nats://[::ffff:127.0.0.1]:4222", True),
        ("nats://home:4222", True),
        ("nats://both:4222", False),
        ("nats://nats:4222", False),
        ("nats://elsewhere.invalid:4222", False),
        ("nats://0.0.0.0:4222", False),
        ("nats://[::]:4222", False),
        ("nats://192.0.2.1:4222", False),
        ("nats://10.0.0.1", False),
        ("nats://[fe80::1]:4222", False),
        ("nats://[::ffff:10.0.0.1]:4222", False),
        ("nats://127.0.0.1@192.0.2.1:4222", False),
        ("nats://[", False),
        ("", False),
    ],
)
def test_an_address_is_loopback_or_it_is_not(url: str, *, loopback: bool) -> None:
    assert is_loopback(url) is loopback


def settings(*stages: str, **auth: Any) -> Settings:  # noqa: ANN401  (fields of the group)
    return Settings(stages=stages or ("capture", "merkle"), auth=AuthSettings(**auth))  # type: ignore[arg-type]


def test_open_on_a_network_is_refused_and_says_how_to_go_on() -> None:
    urls = ("nats://127.0.0.1:4222", "nats://root:hunter2@nats:4222")
    with pytest.raises(SettingsError) as caught:
        check_network(settings(), urls)
    says = str(caught.value)
    assert says.startswith("auth.mode: expected jwt, found open, with NATS on a network, at nats:4")
    assert "RECORDER_AUTH__ALLOW_OPEN_NETWORK" in says
    assert "hunter2" not in says


def test_what_takes_no_commands_or_asks_for_tokens_or_was_told_so_may_start() -> None:
    network = ("nats://nats:4222",)
    check_network(settings(), ("nats://127.0.0.1:4222", "nats://home:4222"))
    check_network(settings("chunk", "compress"), network)
    check_network(settings(mode="jwt"), network)
    check_network(settings(allow_open_network=True), network)


@pytest.mark.parametrize("stage", ["capture", "merkle"])
def test_taking_commands_or_answering_requests_alone_is_enough_to_be_refused(stage: str) -> None:
    with pytest.raises(SettingsError, match="found open, with NATS on a network"):
        check_network(settings(stage), ("nats://nats:4222",))


def test_tokens_need_keys() -> None:
    with pytest.raises(SettingsError, match=r"^auth\.mode: expected keys"):
        authoriser_for(AuthSettings(mode="jwt"), lambda: None)
    with pytest.raises(SettingsError, match=r"^auth\.hs256_secret: expected a secret of at least"):
        authoriser_for(AuthSettings(mode="jwt", hs256_secret="short"), lambda: None)
    with pytest.raises(SettingsError, match=r"^auth\.jwks_file: expected a readable file"):
        authoriser_for(AuthSettings(mode="jwt", jwks_file="/nowhere"), lambda: None)
