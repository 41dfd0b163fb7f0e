"""Keys and signatures for `reference_writer.py`: notes, checkpoints of the log and its proofs."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from reference_format import ED25519, ML_DSA_44, root, split
from reference_log import FIRST_LINE, sha256
from reference_notes import (
    COSIGNATURE,
    SIGNATURE,
    Note,
    ed25519_message,
    key_id,
    ml_dsa_message,
    verifies,
)


class SignatureStore:
    """What was made once: ML-DSA signatures by key and message, time-stamps, wrapped keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        self.used: set[str] = set()

    def sign(self, private: MLDSA44PrivateKey, message: bytes) -> bytes:
        public = private.public_key().public_bytes_raw()
        name = hashlib.sha256(public + message).hexdigest()
        old = base64.b64decode(self.known.get(name, ""))
        if not verifies(ML_DSA_44, public, message, old):
            self.known[name] = base64.b64encode(private.sign(message)).decode()
        self.used.add(name)
        return base64.b64decode(self.known[name])

    def timestamp(self, data: bytes) -> bytes:
        """An RFC 3161 response of a throw-away authority, whose key nobody has any more."""
        name = "timestamp " + hashlib.sha256(data).hexdigest()
        if name not in self.known:
            self.known[name] = base64.b64encode(timestamp(data)).decode()
        self.used.add(name)
        return base64.b64decode(self.known[name])

    def wrapped(self, key: bytes, recipient: str) -> str:
        """A session key as an age file, whose stanzas hold random bytes."""
        name = "wrapped " + hashlib.sha256(recipient.encode() + key).hexdigest()
        if name not in self.known:
            to = pyrage.x25519.Recipient.from_str(recipient)
            self.known[name] = pyrage.encrypt(key, [to], armored=True).decode()
        self.used.add(name)
        return self.known[name]

    def save(self) -> None:
        used = {name: self.known[name] for name in sorted(self.used)}
        self.path.write_text(json.dumps(used, indent=1) + "\n")


class Key:
    """A private key that is made of its name."""

    def __init__(self, name: str, kind: int, store: SignatureStore) -> None:
        seed, self.kind = hashlib.sha256(name.encode()).digest(), kind
        self._sign: Callable[[bytes], bytes]
        if kind == ED25519:
            ed25519 = Ed25519PrivateKey.from_private_bytes(seed)
            self.public, self._sign = ed25519.public_key().public_bytes_raw(), ed25519.sign
        else:
            ml_dsa = MLDSA44PrivateKey.from_seed_bytes(seed)
            self.public = ml_dsa.public_key().public_bytes_raw()
            self._sign = lambda message: store.sign(ml_dsa, message)

    def sign(self, message: bytes) -> bytes:
        return self._sign(message)


def signature_line(name: str, blob_: bytes) -> bytes:
    return f"— {name} {base64.b64encode(blob_).decode()}\n".encode()


def cosigned(note: Note, recorder: str, keys: Sequence[Key], time: int) -> bytes:
    """A note with a line for each key, over its text as it stands in `raw`."""
    lines = b""
    for key in keys:
        message = (ed25519_message if key.kind == ED25519 else ml_dsa_message)(note, recorder, time)
        if key.kind == ED25519:
            message = message.removesuffix(note.text) + note.raw
        id_ = key_id(recorder, COSIGNATURE[key.kind], key.public)
        lines += signature_line(recorder, id_ + time.to_bytes(8, "big") + key.sign(message))
    return note.raw + b"\n" + lines


def log_signed(entries: Sequence[bytes], recorder: str, device: Key) -> bytes:
    """The checkpoint of a log of sessions."""
    origin = f"{recorder}/log"
    note = Note(origin, len(entries), root(entries, sha256), (), b"")
    id_ = key_id(origin, SIGNATURE, device.public)
    return note.text + b"\n" + signature_line(origin, id_ + device.sign(note.text))


def inclusion(entries: Sequence[bytes], index: int) -> list[bytes]:
    """RFC 9162 §2.1.3.1, from the leaf's sibling up."""
    if len(entries) == 1:
        return []
    middle = split(len(entries))
    left, right = entries[:middle], entries[middle:]
    if index < middle:
        return [*inclusion(left, index), root(right, sha256)]
    return [*inclusion(right, index - middle), root(left, sha256)]


def log_proof(entries: Sequence[bytes], index: int, recorder: str, device: Key) -> bytes:
    hashes = [base64.b64encode(value).decode() + "\n" for value in inclusion(entries, index)]
    head = f"{FIRST_LINE}\nindex {index}\n" + "".join(hashes) + "\n"
    return head.encode() + log_signed(entries, recorder, device)


# --- time-stamps ---------------------------------------------------------------------------------

OPENSSL_CONFIG = """
[req]
distinguished_name = name
prompt = no
x509_extensions = authority
[name]
CN = Time-stamp authority of vectors
[authority]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = one
[one]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
"""


def timestamp(data: bytes) -> bytes:
    """Made with `openssl ts` by an authority whose key is gone when this returns."""
    with tempfile.TemporaryDirectory() as folder:

        def openssl(arguments: str) -> None:
            command = ["openssl", *arguments.split()]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)

        (Path(folder) / "config").write_text(OPENSSL_CONFIG)
        (Path(folder) / "data").write_bytes(data)
        openssl("req -x509 -config config -days 36500 -newkey rsa:2048 -nodes -keyout key -out pem")
        openssl("ts -query -data data -sha256 -cert -out query")
        openssl("ts -reply -config config -queryfile query -signer pem -inkey key -out answer")
        return (Path(folder) / "answer").read_bytes()
