#!/usr/bin/env python3
"""Anchors the log of sessions in a file that only grows, and answers with signed receipts.

    python examples/anchor_worker.py --key anchor.pem --chain anchors.chain \
        --log-key 'recorder-…/log+281c6318+AUyb…'

Needs nats-py and session-recorder (for notes, proofs and the chain). Run it where the recorder has
no say: its word is worth as much as its key and file are out of the recorder's reach. `--log-key`
is the `vkey` that `recorder keys show` prints; give it once more for a key that came by rotation.
It prints its own public key: for the recorder's `anchors.chain_keys`, so that receipts are kept,
and for `anchors` in the trust.yaml of those who verify. Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import signal
import sys
from pathlib import Path

import msgspec
import nats
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from recorder_worker.adapters.anchor_chain import AnchorChain
from recorder_worker.core.errors import RecorderError, StoreError
from recorder_worker.core.events import AnchorReceipt, AnchorRequested
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.signing.note import NoteKey, SignatureType, parse_note, verify_note

STREAM = "INTEGRATION"
REQUESTS = "integration.anchor.requested"
RECEIPTS = "integration.anchor.receipt"


async def main() -> None:
    """Anchor until told to stop."""
    options = arguments()
    private = private_key(options.key)
    public = private.public_key().public_bytes_raw()
    chain = AnchorChain(options.chain, options.name, public, private.sign)
    keys = [note_key(text) for text in options.log_key]
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bus = await nats.connect(options.nats, max_reconnect_attempts=-1)
    try:
        js = bus.jetstream()
        # One at a time, so that checkpoints are anchored in the order in which the log grew.
        config = ConsumerConfig(
            durable_name=options.durable,
            filter_subject=REQUESTS,
            ack_policy=AckPolicy.EXPLICIT,
            max_ack_pending=1,
        )
        await js.add_consumer(STREAM, config)
        subscription = await js.pull_subscribe_bind(options.durable, STREAM)
        print(f"public key {public.hex()}, {chain.count} entries", flush=True)
        while not stop.is_set():
            try:
                (message,) = await subscription.fetch(1, timeout=1)
            except TimeoutError:
                continue
            await handle(message, chain, keys, js)
    finally:
        await bus.close()
        chain.close()


async def handle(
    message: Msg, chain: AnchorChain, keys: list[NoteKey], js: JetStreamContext
) -> None:
    """Check one request, anchor it, answer it; a wrong one is refused for good."""
    try:
        request = msgspec.json.decode(message.data, type=AnchorRequested)
        check_signature(request, keys)
        anchored = chain.anchor(request)
    except StoreError as error:
        print(f"LATER: {error}", file=sys.stderr, flush=True)
        await message.nak(delay=10)
        return
    except (RecorderError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        print(f"REFUSED: {error}", file=sys.stderr, flush=True)
        await message.term()
        return
    if not anchored.linked:
        print(f"NOT LINKED: {request.previous_size} was never seen", file=sys.stderr, flush=True)
    said = ("origin", "tree_size", "root_hash", "session_id")
    answer = AnchorReceipt(
        **{name: getattr(request, name) for name in said},
        kind="chain",
        target="examples/anchor_worker.py",
        receipt=anchored.receipt,
    )
    identity = f"anchor:chain:{request.origin}:{request.tree_size}:{request.root_hash}"
    await js.publish(RECEIPTS, msgspec.json.encode(answer), headers={"Nats-Msg-Id": identity})
    await message.ack()
    print(f"anchored {request.origin} at {request.tree_size}", flush=True)


def check_signature(request: AnchorRequested, keys: list[NoteKey]) -> None:
    """The note is signed by a key that was given for its log. Raises ProofError, FormatError."""
    note = parse_note(request.note.encode())
    mine = [key for key in keys if key.name == request.origin]
    for key in mine:
        try:
            verify_note(note, key)
        except ProofError:
            continue
        return
    raise ProofError(f"{request.origin}: expected a signature of one of {len(mine)} known keys")


def note_key(vkey: str) -> NoteKey:
    """A key from its C2SP form: name+key id+base64(type and key)."""
    name, _, rest = vkey.partition("+")
    typed = base64.b64decode(rest.partition("+")[2])
    key = NoteKey(name=name, public_key=typed[1:], type=SignatureType.ED25519)
    if key.vkey != vkey:
        raise SystemExit(f"--log-key: expected the vkey of `recorder keys show`, got {vkey!r}")
    return key


def private_key(path: Path) -> Ed25519PrivateKey:
    """The anchor's key; made where there is none."""
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise SystemExit(f"--key {path}: expected an Ed25519 key")
    return key


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--key", type=Path, required=True, help="PEM of an Ed25519 key; made once.")
    parser.add_argument("--chain", type=Path, required=True, help="The file that only grows.")
    parser.add_argument("--log-key", action="append", required=True, help="A log's vkey.")
    parser.add_argument("--name", default="anchor", help="This anchor, in its receipts.")
    parser.add_argument("--durable", default="example-anchor")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
