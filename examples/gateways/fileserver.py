#!/usr/bin/env python3
"""A file server that is never installed: file names go to another machine, contents come back.

    python3 fileserver.py [--via SPEC]... SPEC FILE...

Writes the contents one after the other to standard output, as cat does. SPEC says where the files are; each --via is a machine
on the way there. What cannot be read is named on standard error; the exit status is then 1, after all others were written.

    python3 fileserver.py popen /etc/hostname
    python3 fileserver.py ssh=user@host -- /etc/hostname /var/log/syslog
    python3 fileserver.py --via ssh=front ssh=behind /bin/ls > ls
"""

import argparse
import sys

import brood


def serve(channel):
    """Runs there, with Python 3.6 or later. Answers each name with the pieces of that file, and a text: what went wrong, or none."""
    for name in channel:
        error = ""
        try:
            with open(name, "rb") as file:
                for piece in iter(lambda: file.read(1 << 18), b""):
                    channel.send(piece)
        except OSError as failed:
            error = failed.strerror
        channel.send(error)


def fetch(gateway, names, output):
    """Writes the contents to `output`, a binary file; returns {name: why it could not be read}."""
    channel = gateway.remote_exec(serve)
    for name in names:  # all of them at once: no answer is waited for
        channel.send(name)
    channel.end()
    errors = {}
    for name in names:
        while isinstance(answer := channel.receive(), bytes):
            output.write(answer)
        if answer:
            errors[name] = answer
    return errors


def main():
    parser = argparse.ArgumentParser(description="Fetches files through a gateway.")
    parser.add_argument("--via", action="append", default=[], metavar="SPEC", help="a gateway on the way, the first one first")
    parser.add_argument("spec", help="where the files are: popen, ssh=HOST, socket=HOST:PORT, ...")
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args()
    with brood.Group() as group:
        way = ""
        for spec in (*options.via, options.spec):
            gateway = group.makegateway(spec + way)
            way = "//via=" + gateway.id
        errors = fetch(gateway, options.files, sys.stdout.buffer)
    for name, error in errors.items():
        print(f"fileserver.py: {name}: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (brood.HostNotFound, ValueError) as error:
        sys.exit(f"fileserver.py: {error}")
