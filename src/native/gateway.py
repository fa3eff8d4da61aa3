# brood serve: a gateway (docs/protocol.md, section 8). Descriptors 0 and 1 are the connection of its client.
# Arguments: where brood's core is, the engine, the number of the REQUEST, and limits: bytes of memory and of a file, open files.
import codecs, os, struct, sys

folder, engine, request, memory, file_size, open_files = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])


def set_limits():
    """As src/worker/cells.py does for sessions: the kernel's limits of each process."""
    import resource

    with open("/proc/self/statm", "rb") as file:
        loaded = int(file.read().split()[5]) * resource.getpagesize()
    wanted = [(resource.RLIMIT_DATA, memory and loaded + memory), (resource.RLIMIT_FSIZE, file_size), (resource.RLIMIT_NOFILE, open_files)]
    for which, value in wanted:
        hard = resource.getrlimit(which)[1]
        if value and (hard == resource.RLIM_INFINITY or value < hard):
            resource.setrlimit(which, (value, value))


if memory or file_size or open_files:
    set_limits()
try:
    loaded = codecs.lookup_error("brood.gateways")()  # src/zygote/preload.py
except LookupError:
    loaded = {}
if not loaded or loaded["brood_core"].__path__ != [folder]:
    loaded = {"brood_core": type(sys)("brood_core")}
    loaded["brood_core"].__path__ = [folder]
sys.modules.update(loaded)
from brood_core.worker import main

answer = b'{"request":%d,"pid":%d}' % (request, os.getpid())
try:
    os.write(1, struct.pack("<IHHI", len(answer) + 4, 67, 1, len(answer)) + answer)
except OSError:  # it has left
    os._exit(1)
main(native=engine != "python")
