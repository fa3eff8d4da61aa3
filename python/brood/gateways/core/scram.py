"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. Pure, but for the nonce.

It is here because remotes have it, too. Names and passwords are taken as UTF-8, as they are: no SASLprep.
"""

import base64
import binascii
import hashlib
import hmac
import os

MIN_ROUNDS = 4096  # RFC 7677
MAX_ROUNDS = 10_000_000  # some seconds: what a server may make its client compute


class ScramError(Exception):
    """The server's message is malformed, or its proof is wrong; the text is a clause."""


class Scram:
    """One exchange: first(), then final(server_first), then verify(server_final).

    `keys` is a dict that the exchanges of one client share, in any thread: the derived keys of (user, password, salt, rounds), which
    take some milliseconds to compute.
    """

    def __init__(self, user, password, nonce=None, keys=None):
        self._name = user.replace("=", "=3D").replace(",", "=2C")
        self._secret = (user, password)
        self._nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self._keys = {} if keys is None else keys
        self._server_signature = None

    def first(self):
        return "n,," + self._bare()

    def final(self, server_first):
        nonce, salt, rounds = self._parse_first(server_first)
        client_key, server_key = self._derive(salt, rounds)
        without_proof = f"c=biws,r={nonce}"
        signed = f"{self._bare()},{server_first},{without_proof}".encode()
        signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self._server_signature = _hmac(server_key, signed)
        return f"{without_proof},p={base64.b64encode(proof).decode()}"

    def verify(self, server_final):
        """Raises ScramError unless the server knows the password, too."""
        fields = _fields(server_final)
        if "e" in fields:
            raise ScramError(f"the server refused: {fields['e']}")
        if self._server_signature is None or not hmac.compare_digest(_base64(fields.get("v", "")), self._server_signature):
            raise ScramError("the server did not prove that it knows the password, too; is it the one you mean?")

    def _bare(self):
        return f"n={self._name},r={self._nonce}"

    def _parse_first(self, text):
        fields = _fields(text)
        if "m" in fields:
            raise ScramError("the server asks for an extension of SCRAM that this client does not know")
        nonce, salt = fields.get("r", ""), _base64(fields.get("s", ""))
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ScramError("the server's nonce does not continue the client's")
        rounds = fields.get("i", "")
        if not (rounds and not rounds.strip("0123456789") and len(rounds) < 10 and MIN_ROUNDS <= int(rounds) <= MAX_ROUNDS):
            raise ScramError(f"the server asks for {rounds[:20] or 'no'} rounds, expected {MIN_ROUNDS} to {MAX_ROUNDS}")
        if not salt:
            raise ScramError("the server sent no salt")
        return nonce, salt, int(rounds)

    def _derive(self, salt, rounds):
        key = (*self._secret, salt, rounds)
        derived = self._keys.get(key)
        if derived is None:
            salted = hashlib.pbkdf2_hmac("sha256", self._secret[1].encode(), salt, rounds)
            derived = tuple(_hmac(salted, label) for label in (b"Client Key", b"Server Key"))
            self._keys.clear()  # the server's salt of one user rarely changes
            self._keys[key] = derived
        return derived


def _hmac(key, text):
    return hmac.new(key, text, "sha256").digest()


def _fields(text):
    """{letter: value} of `a=...,b=...`."""
    fields = {}
    for part in text.split(","):
        letter, equals, value = part.partition("=")
        if len(letter) != 1 or not equals or letter in fields:
            raise ScramError("the server's SCRAM message is malformed")
        fields[letter] = value
    return fields


def _base64(text):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ScramError("the server's SCRAM message has malformed base64") from None
