"""A time-stamp authority of its own: a CA, a certificate, and `openssl ts` behind HTTP."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from recorder_worker.core.receipts.authorities import TimestampAuthority, authority

TIME_STAMPING = (ExtendedKeyUsageOID.TIME_STAMPING,)
DAY = timedelta(days=1)
POLICY = "1.2.3.4.1"

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/chain.pem
signer_key = {folder}/tsa.key
signer_digest = {signer_digest}
default_policy = {policy}
digests = {digests}
{accuracy}
clock_precision_digits = {precision}
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = {ess}
"""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Tsa:
    """An authority in a folder: a root, an intermediate, and the certificate that stamps."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "lab TSA",
        usages: tuple[ObjectIdentifier, ...] = TIME_STAMPING,
        critical: bool = True,
        valid: tuple[timedelta, timedelta] = (-DAY, DAY),
        signer_digest: str = "sha256",
        digests: str = "sha256, sha384, sha512",
        accuracy: str = "accuracy = secs:1, millisecs:500",
        precision: int = 0,
        ess: str = "sha256",
        rsa_key: bool = False,
        chain: bool = True,
        root: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        root_key, middle_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.key: PrivateKey = (
            rsa.generate_private_key(65537, 2048)
            if rsa_key
            else ec.generate_private_key(ec.SECP256R1())
        )
        self.root = _certificate(f"{name} root", root_key, None, root_key, ca=True)
        self.middle = _certificate(f"{name} issuer", middle_key, self.root, root_key, ca=True)
        self.certificate = _certificate(
            name, self.key, self.middle, middle_key, usages=usages, critical=critical, valid=valid
        )
        self._write("tsa.pem", self.certificate)
        # openssl takes no empty file, and leaves out the signer's certificate the second time.
        above = (self.middle, self.root) if root else (self.middle,)
        self._write("chain.pem", *(above if chain else (self.certificate,)))
        (folder / "tsa.key").write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (folder / "serial").write_text("01\n")
        (folder / "openssl.cnf").write_text(
            _CONFIG.format(
                folder=folder,
                signer_digest=signer_digest,
                policy=POLICY,
                digests=digests,
                accuracy=accuracy,
                precision=precision,
                ess=ess,
            )
        )

    @property
    def root_pem(self) -> str:
        return self.root.public_bytes(Encoding.PEM).decode()

    def trusted(self, name: str = "lab") -> TimestampAuthority:
        """The authority as a policy names it: by its root."""
        return authority(name, self.root_pem)

    def query(self, message: bytes, *, digest: str = "sha256", certificates: bool = True) -> bytes:
        """A TimeStampReq over a message."""
        (self.folder / "message").write_bytes(message)
        self._openssl(
            "ts", "-query", "-data", "message", f"-{digest}", "-out", "query.tsq",
            *(("-cert",) if certificates else ()),
        )  # fmt: skip
        return (self.folder / "query.tsq").read_bytes()

    def answer(self, query: bytes, *, token: bool = False) -> bytes:
        """The TimeStampResp to a query, or the token alone."""
        (self.folder / "query.tsq").write_bytes(query)
        self._openssl(
            "ts", "-reply", "-config", "openssl.cnf", "-section", "here",
            "-queryfile", "query.tsq", "-out", "reply.tsr", *(("-token_out",) if token else ()),
        )  # fmt: skip
        return (self.folder / "reply.tsr").read_bytes()

    def stamp(
        self,
        message: bytes,
        *,
        digest: str = "sha256",
        certificates: bool = True,
        token: bool = False,
    ) -> bytes:
        """A time-stamp over a message."""
        query = self.query(message, digest=digest, certificates=certificates)
        return self.answer(query, token=token)

    @asynccontextmanager
    async def served(
        self, answer: Callable[[bytes], web.Response] | None = None
    ) -> AsyncIterator[ServedTsa]:
        """The authority behind HTTP on a free port; `answer` makes other answers of a query."""
        served = ServedTsa(self, answer)
        await served.start()
        try:
            yield served
        finally:
            await served.stop()

    def _write(self, name: str, *certificates: x509.Certificate) -> None:
        (self.folder / name).write_bytes(
            b"".join(c.public_bytes(Encoding.PEM) for c in certificates)
        )

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


class ServedTsa:
    """The HTTP server of an authority. `queries` are those that came."""

    def __init__(self, tsa: Tsa, answer: Callable[[bytes], web.Response] | None) -> None:
        self.queries: list[bytes] = []
        self.content_types: list[str] = []
        self.url = ""
        self._tsa = tsa
        self.answer = answer
        self._lock = asyncio.Lock()  # openssl keeps the serial number in a file
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        handler: Callable[[web.Request], Awaitable[web.Response]] = self._handle
        app = web.Application()
        app.router.add_post("/", handler)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        query = await request.read()
        self.queries.append(query)
        self.content_types.append(request.content_type)
        if self.answer is not None:
            return self.answer(query)
        async with self._lock:
            body = await asyncio.to_thread(self._tsa.answer, query)
        return reply(body)


def reply(body: bytes) -> web.Response:
    """What an authority sends."""
    return web.Response(body=body, content_type="application/timestamp-reply")


def _certificate(
    name: str,
    key: PrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: PrivateKey,
    *,
    ca: bool = False,
    usages: tuple[ObjectIdentifier, ...] = (),
    critical: bool = True,
    valid: tuple[timedelta, timedelta] = (-DAY, DAY),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    begin, end = (-2 * DAY, 2 * DAY) if ca else valid
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())
