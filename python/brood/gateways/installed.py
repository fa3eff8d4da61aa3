"""socket//installvia=ID: a socket server that a gateway runs for one more gateway."""

import os
import secrets

from .xspec import XSpec

_PLACES = ("../../../examples/gateways", "../../../../../share/brood/gateways")  # of the source tree, of PREFIX/lib/brood/python


def install(gateway):
    """Starts a server there, for one client with a secret; (XSpec to reach it with, its channel, to be kept).

    It listens where this process can reach it: on the loopback interface of a local gateway, else on all of that machine.
    """
    host = _machine(gateway)
    token = secrets.token_urlsafe(32)
    channel = gateway.remote_exec(_source())
    channel.send({"host": "127.0.0.1" if host == "127.0.0.1" else "0.0.0.0", "token": token, "once": True})
    port = channel.receive()[1]
    return XSpec(f"socket={host}:{port}//token={token}"), channel


def _machine(gateway):
    """The name of the machine that a gateway is on, as this one sees it."""
    while gateway.spec.popen or gateway.spec.sudo:
        if gateway.via is None:
            return "127.0.0.1"
        gateway = gateway.via
    if gateway.via is not None:
        raise ValueError(f"installvia={gateway.id}: this machine does not reach that one but through {gateway.via.id}; use via=")
    if gateway.spec.ssh:
        return gateway.spec.ssh.split()[0].rpartition("@")[2]
    return (gateway.address or gateway.spec.vagrant_ssh).rpartition(":")[0]


def _source():
    here = os.path.dirname(os.path.realpath(__file__))
    for place in _PLACES:
        try:
            with open(os.path.normpath(os.path.join(here, place, "socketserver.py")), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            pass
    raise FileNotFoundError(f"brood's socketserver.py is in none of {_PLACES} from {here}")
