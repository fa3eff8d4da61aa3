"""Writes the golden frames from docs/protocol.md, independently of the C++ side. usage: make_vectors.py [FOLDER]

Each vector is NAME.frame (the bytes) and an entry in vectors.json (what they mean). Both sides' tests read them; the
files are checked in, and a test compares them with what this script makes.
"""
import json
import struct
import sys
from pathlib import Path


def field(tag, value):
    if isinstance(value, int):
        value = struct.pack("<Q", value & (1 << 64) - 1)
    return struct.pack("<HHI", tag, 0, len(value)) + value


def frame(kind, payload):
    return struct.pack("<IHH", len(payload), kind, 1) + payload


def identity(device, inode, size, mtime, ctime):
    return struct.pack("<5Q", device, inode, size, mtime, ctime)


NO_FILE = identity(0, 0, 0, 0, 0)

VECTORS = {
    "run_script": (
        1,
        field(1, 0)
        + field(2, b"tools/job.py")
        + field(3, b"--fast")
        + field(3, b"caf\xe9")
        + b"".join(field(4, word) for word in (b"/usr/bin/python3", b"-u", b"tools/job.py", b"--fast", b"caf\xe9"))
        + field(5, b"HOME=/home/ada\0LANG=C.UTF-8\0")
        + field(6, 1)
        + field(7, 0o27)
        + field(8, -5)
        + field(9, 1 << 0)
        + field(10, 1 << 14)
        + field(11, b"".join(struct.pack("<QQ", i, 100 + i) for i in range(16)))
        + field(12, b"\x03\0\0\0\0\0\0\0")
        + field(13, struct.pack("<4I", 0, 1, 2, 63)),
    ),
    "run_unknown_field": (1, field(1, 1) + field(2, b"print(1)") + field(999, b"from the future") + field(13, b"")),
    "accepted": (2, field(1, 4711)),
    "refused": (3, field(2, b"what the environment has loaded changed on disk")),
    "exited_status": (4, field(3, 0) + field(4, 120)),
    "exited_signal": (4, field(3, 1) + field(4, 11)),
    "stopped": (5, field(5, 20)),
    "warm_plain": (
        16,
        field(1, b"/usr/bin/python3")
        + field(12, 0)
        + field(2, identity(2049, 77, 6831736, 1700000000000000001, 1700000000000000002))
        + field(3, b"-W")
        + field(3, b"error")
        + field(4, b"HOME=/home/ada")
        + field(4, b"LANG=C.UTF-8")
        + field(5, b"")
        + field(6, NO_FILE)
        + field(7, b"")
        + field(9, b"")
        + field(10, NO_FILE)
        + field(11, b"uid=1000 "),
    ),
    "warmed_failed": (18, field(6, 0) + field(7, b"preload nump failed")),
    "retire": (38, b""),
}
MALFORMED = {
    "bad_version": struct.pack("<IHH", 0, 2, 7),
    "bad_length": struct.pack("<IHH", (8 << 20) + 1, 1, 1),
    "bad_field_length": frame(1, struct.pack("<HHI", 1, 0, 100) + b"short"),
    "bad_field_zero": frame(1, struct.pack("<HHI", 1, 1, 0)),
    "bad_field_header": frame(1, b"\x01\x00\x00"),
    "bad_kind": frame(1, field(1, 4)),
    "bad_descriptors_order": frame(1, field(13, struct.pack("<2I", 2, 1))),
    "bad_limits": frame(1, field(11, b"\0" * 255)),
    "bad_environment": frame(1, field(5, b"HOME=/root")),
    "bad_pid": frame(2, field(1, 0)),
}


def write(folder):
    index = {}
    for name, (kind, payload) in VECTORS.items():
        (folder / f"{name}.frame").write_bytes(frame(kind, payload))
        index[name] = {"type": kind, "valid": True}
    for name, data in MALFORMED.items():
        (folder / f"{name}.frame").write_bytes(data)
        index[name] = {"valid": False}
    (folder / "vectors.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent))
