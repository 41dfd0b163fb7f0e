"""Notes that are malformed in one way each: the three lines, and the bytes of a signed note."""

from __future__ import annotations

import base64
from collections.abc import Callable

from recordings import RECORDER

BAD_TEXT: dict[str, Callable[[str, str, str], str]] = {
    "015": lambda o, n, r: f"{o}\n0{n}\n{r}\n",
    "+15": lambda o, n, r: f"{o}\n+{n}\n{r}\n",
    "-15": lambda o, n, r: f"{o}\n-{n}\n{r}\n",
    "1_5": lambda o, n, r: f"{o}\n0_{n}\n{r}\n",
    "15.0": lambda o, n, r: f"{o}\n{n}.0\n{r}\n",
    "hexadecimal": lambda o, n, r: f"{o}\n0x{int(n):x}\n{r}\n",
    "a space before": lambda o, n, r: f"{o}\n {n}\n{r}\n",
    "a space behind": lambda o, n, r: f"{o}\n{n} \n{r}\n",
    "Arabic-Indic digits": lambda o, n, r: f"{o}\n{arabic(n)}\n{r}\n",
    "full-width digits": lambda o, n, r: f"{o}\n{wide(n)}\n{r}\n",
    "2^64 and more": lambda o, n, r: f"{o}\n{int(n) + 2**64}\n{r}\n",
    "CRLF": lambda o, n, r: f"{o}\r\n{n}\r\n{r}\r\n",
    "one CR": lambda o, n, r: f"{o}\n{n}\r\n{r}\n",
    "U+2028 for a newline": lambda o, n, r: f"{o}\u2028{n}\n{r}\n",
    "U+2028 behind the size": lambda o, n, r: f"{o}\n{n}\u2028\n{r}\n",
    "U+0085 behind the size": lambda o, n, r: f"{o}\n{n}\u0085\n{r}\n",
    "vertical tab": lambda o, n, r: f"{o}\n{n}\v\n{r}\n",
    "NUL": lambda o, n, r: f"{o}\n{n}\0\n{r}\n",
    "root without padding": lambda o, n, r: f"{o}\n{n}\n{r.rstrip('=')}\n",
    "root with spare bits": lambda o, n, r: f"{o}\n{n}\n{spare_bits(r)}\n",
    "root in URL base64": lambda o, n, r: f"{o}\n{n}\n{'-' + r[1:]}\n",
    "root with a space": lambda o, n, r: f"{o}\n{n}\n{r} \n",
    "root of 31 bytes": lambda o, n, _: f"{o}\n{n}\n{b64(bytes(31))}\n",
    "root of 33 bytes": lambda o, n, _: f"{o}\n{n}\n{b64(bytes(33))}\n",
    "root in hexadecimal": lambda o, n, r: f"{o}\n{n}\n{base64.b64decode(r).hex()}\n",
    "extension line": lambda o, n, r: f"{o}\n{n}\n{r}\nextension\n",
    "two extension lines": lambda o, n, r: f"{o}\n{n}\n{r}\na\nb\n",
    "no root": lambda o, n, _: f"{o}\n{n}\n",
    "origin twice": lambda o, n, r: f"{o}\n{o}\n{n}\n{r}\n",
    "byte order mark": lambda o, n, r: f"\ufeff{o}\n{n}\n{r}\n",
    "origin with a space": lambda o, n, r: f"{o} \n{n}\n{r}\n",
    "origin in another case": lambda o, n, r: f"{o.swapcase()}\n{n}\n{r}\n",
}
BAD_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "no final newline": lambda note: note[:-1],
    "an empty line behind": lambda note: note + b"\n",
    "a line behind": lambda note: note + b"more\n",
    "no empty line": lambda note: note.replace(b"\n\n", b"\n"),
    "two empty lines": lambda note: note.replace(b"\n\n", b"\n\n\n"),
    "a hyphen for the dash": lambda note: note.replace("—".encode(), b"-"),
    "an en dash": lambda note: note.replace("—".encode(), b"\xe2\x80\x93"),
    "two spaces": lambda note: note.replace("— ".encode(), "—  ".encode()),
    "a no-break space": lambda note: note.replace("— ".encode(), "—\u00a0".encode()),
    "CRLF everywhere": lambda note: note.replace(b"\n", b"\r\n"),
    "CR behind the signature": lambda note: note[:-1] + b"\r\n",
    "signature without padding": lambda note: note.rstrip(b"=\n") + b"\n",
    "signature with spare bits": lambda note: spare_bits(note[:-1].decode()).encode() + b"\n",
    "signature with more behind": lambda note: note[:-1] + b"AAAA\n",
    "signature without key id": lambda note: note.rpartition(b" ")[0] + b" AAAA\n",
    "no signature": lambda note: note.partition(b"\n\n")[0] + b"\n\n",
    "the signature twice": lambda note: note + note.partition(b"\n\n")[2],
    "17 signatures": lambda note: note + note.partition(b"\n\n")[2] * 16,
    "not UTF-8": lambda note: note.replace(RECORDER.encode(), b"\xff\xfe"),
    "another name of the key": lambda note: note.replace(b" " + RECORDER.encode(), b" other"),
    "empty": lambda _: b"",
}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spare_bits(text: str) -> str:
    """Base64 that decodes to the same bytes, and is not canonical."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip("=")
    if body == text:
        return text + "===="  # nothing is spare: padding that is none
    return body[:-1] + alphabet[alphabet.index(body[-1]) + 1] + text[len(body) :]


def arabic(digits: str) -> str:
    return "".join(chr(0x0660 + int(digit)) for digit in digits)


def wide(digits: str) -> str:
    return "".join(chr(0xFF10 + int(digit)) for digit in digits)
