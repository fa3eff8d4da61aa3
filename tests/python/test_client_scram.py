"""scram.py against the exchange that RFC 7677 prints, and against servers that cheat."""

import base64

import pytest
from brood.gateways.core.scram import Scram, ScramError

NONCE = "rOprNGfwEbeRWgbNEkqO"
FIRST = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_exchange_of_rfc_7677():
    scram = Scram("user", "pencil", NONCE)
    assert scram.first() == "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert scram.final(FIRST) == final
    scram.verify(FINAL)


def test_a_server_without_the_password_is_found_out():
    scram = Scram("user", "pencil", NONCE)
    scram.final(FIRST)
    for cheat in ("v=" + base64.b64encode(bytes(32)).decode(), "v=", "x", "", "v=%%%"):
        with pytest.raises(ScramError):
            scram.verify(cheat)
    with pytest.raises(ScramError, match="invalid-proof"):
        scram.verify("e=invalid-proof")
    with pytest.raises(ScramError):
        Scram("user", "pencil", NONCE).verify("v=")  # before final()


@pytest.mark.parametrize(
    "first",
    [
        "",
        "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        f"r={NONCE}x,s=,i=4096",
        f"r={NONCE}x,s=***,i=4096",
        f"r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
        f"r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999",
        f"r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=many",
        f"m=x,r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        f"r={NONCE}x,r={NONCE}y,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    ],
)
def test_malformed(first):
    with pytest.raises(ScramError):
        Scram("user", "pencil", NONCE).final(first)


def test_names_are_escaped_and_nonces_differ():
    assert Scram("a,b=c", "x", "n").first() == "n,,n=a=2Cb=3Dc,r=n"
    assert Scram("a", "x").first() != Scram("a", "x").first()


def test_derived_keys_are_kept():
    keys = {}
    one, two = Scram("user", "pencil", NONCE, keys), Scram("user", "pencil", NONCE, keys)
    assert one.final(FIRST) == two.final(FIRST) and len(keys) == 1
    assert Scram("user", "other", NONCE, keys).final(FIRST) != one.final(FIRST)
