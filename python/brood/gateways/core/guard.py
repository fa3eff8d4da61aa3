"""The process beside an interpreter that ends it when nobody else can: the watch of docs/protocol.md, sections 7 and 8.

On a remote this is the child of the first stage, which runs the text of this file by itself: nothing but `os` and what is
imported here. Beside a local interpreter whose engine is in Python it is forked by the worker.
"""
import os


def guard(pid, told, link=0, within=4.0):
    """Waits for the end of process `pid`, the parent, which leads a process group; does not return.

    told    descriptor of a pipe from it: each "<d" is the time (CLOCK_MONOTONIC) to kill the group; inf: none, -inf: it leaves in
            order
    link    descriptor on which the link to its own parent is read; never read here. `within` seconds after its end the group is
            killed
    The group is killed also when the process ends, or closes the pipe, without a word.
    """
    import select
    import struct
    from time import monotonic

    keep_only(told, link)
    never = float("inf")
    poll = select.poll()
    poll.register(told, select.POLLIN)
    poll.register(link, getattr(select, "POLLRDHUP", 0))
    step = never
    try:
        poll.register(os.pidfd_open(pid), select.POLLIN)
    except (AttributeError, OSError):
        step = 1.0  # a child of its own may keep the pipe open
    asked = broken = never
    while os.getppid() == pid:
        rest = min(asked, broken) - monotonic()
        if rest <= 0:
            break
        rest = min(rest, step)
        for descriptor, _ in poll.poll(None if rest == never else int(rest * 1000) + 1):
            if descriptor == link:
                poll.unregister(link)
                os.close(link)
                broken = monotonic() + within
            elif descriptor == told:
                records = os.read(told, 4096)
                asked = struct.unpack("<d", records[-8:])[0] if records else 0
        if asked == -never:
            os._exit(0)
    kill(pid)
    os._exit(0)


def keep_only(one, other):
    """Leaves the process group, which a signal might be for, and closes all other descriptors."""
    try:
        os.setpgid(0, 0)
    except OSError:
        pass
    low, high = sorted((one, other))
    for first, behind in (0, low), (low + 1, high), (high + 1, 1024):
        if first < behind:  # an empty range from 0 would be all, in some versions
            os.closerange(first, behind)


def kill(pid):
    """The process group, and the process if it is still the parent: later its number may be another's."""
    for end in [os.killpg] + [os.kill] * (os.getppid() == pid):
        try:
            end(pid, 9)
        except OSError:
            pass
