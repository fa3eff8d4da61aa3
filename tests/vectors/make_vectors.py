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


def message(head, body=b""):
    head = head if isinstance(head, bytes) else json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    return struct.pack("<I", len(head)) + head + body


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
    "hello_client": (64, message({"versions": [1], "client": "a test"})),
    "hello_server": (
        64,
        message(
            {
                "version": 1,
                "server": "brood",
                "auth": ["SCRAM-SHA-256"],
                "user": "ada",
                "role": "admin",
                "limits": {"frame": 8 << 20, "sessions": 64},
            }
        ),
    ),
    "session_setup": (48, message({"session": "s-1", "preparser": "", "limits": {"memory": 1 << 30, "file_size": 0, "open_files": 256}})),
    "session_cell": (49, message({"cell": 3, "code": "print('caf\u00e9')", "execution_count": 2, "checkpoint": True})),
    "session_ask": (50, message({"ask": 1, "what": "complete", "code": "pri", "cursor": 3})),
    "session_message": (51, message({}, b"\0any bytes\xff")),
    "session_branch": (52, message({"session": "s-2"}, b"/sessions/s-1\0/sessions/s-2")),
    "session_freeze": (53, message({})),
    "session_ready": (56, message({"pid": 4711, "python": "3.11.2", "threads": 1, "children": 0})),
    "session_checkpoint": (57, message({"us": 850, "threads": 0, "children": 1})),
    "session_no_checkpoint": (57, message({}, b"cannot fork: Resource temporarily unavailable")),
    "session_result": (58, message({"type": "result", "data": {"text/plain": "'caf\u00e9'"}})),
    "session_done": (59, message({"cell": 3, "status": "ok"})),
    "session_answer": (60, message({"ask": 1, "start": 0, "matches": ["print"]})),
    "session_resume": (61, message({"session": "s-1"})),
    "session_frozen": (62, message({})),
    "auth_first": (65, message({"mechanism": "SCRAM-SHA-256", "data": "n,,n=token,r=rOprNGfwEbeRWgbNEkqO"})),
    "request_execute": (66, message({"request": 1, "method": "execute", "session": "s-1", "code": "print('caf\u00e9')"})),
    "request_stdin": (66, message({"request": 2, "method": "stdin", "session": "s-1"}, b"a\0b\xff\n")),
    "answer": (67, message({"request": 1, "cell": 3})),
    "answer_error": (67, message({"request": 2, "error": {"code": "not_found", "text": "there is no such session"}})),
    "event_stdout": (68, message({"session": "s-1", "seq": 12, "type": "stdout", "cell": 3}, b"caf\xc3\xa9\xff\n")),
}
MALFORMED = {
    "bad_version": struct.pack("<IHH", 0, 2, 7),
    "bad_length": struct.pack("<IHH", (8 << 20) + 1, 1, 1),
    "bad_field_length": frame(1, struct.pack("<HHI", 1, 0, 100) + b"short"),
    "bad_field_zero": frame(1, struct.pack("<HHI", 1, 1, 0)),
    "bad_field_header": frame(1, b"\x01\x00\x00"),
    "bad_kind": frame(1, field(1, 5)),
    "bad_descriptors_order": frame(1, field(13, struct.pack("<2I", 2, 1))),
    "bad_limits": frame(1, field(11, b"\0" * 255)),
    "bad_environment": frame(1, field(5, b"HOME=/root")),
    "bad_pid": frame(2, field(1, 0)),
    "bad_message_short": frame(66, b"\x02\0"),
    "bad_message_length": frame(66, struct.pack("<I", 3) + b"{}"),
    "bad_message_limit": frame(66, struct.pack("<I", (4 << 20) + 1) + b"{}"),
    "bad_message_list": frame(66, message(b"[]")),
    "bad_message_text": frame(66, message(b'{"request": 1, "method": "\xff"}')),
    "bad_message_nan": frame(66, message(b'{"request": NaN}')),
    "bad_message_deep": frame(66, message(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}")),
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
