"""The first stage, and what it fetches: how brood gets into an interpreter that has nothing of it (docs/protocol.md, section 8).

    python3 -c STAGE user@host:pid          STAGE, the same for everyone, is one line without ' and !, for any shell's '...'
    payload()                               what follows on its standard input: a length, and zlib data of that many bytes

The first stage forks. The child unpacks the program and feeds it to its parent, which has executed a fresh interpreter in the
meantime; then the child stays as the watch. Nothing is written to a disk. `pytest -s tests/gateways/test_stage.py -k size`
prints what both parts have in bytes.
"""
import os
import struct
import sys
import zlib

# r, w: a pipe with the program; q, v: one to the watch. The last words: that pipe's number, what sys.executable shall be.
# The directory of argv[0] is where an interpreter looks for its library, or for the pyvenv.cfg of a virtual environment.
_STAGE = """\
import os,sys,zlib
m=os.getpid()
r,w=os.pipe()
q,v=os.pipe()
if os.fork():
 e=sys.executable
 d,n=os.path.split(e)
 if sys.prefix==sys.base_prefix:d=os.path.dirname(os.path.realpath(e))
 for f in r,v:os.set_inheritable(f,1)
 os.execl(e,d+"/"+n+"(brood:"+sys.argv[1]+")",*getattr(sys,"orig_argv",[])[1:-3],"-c","exec(open(%d).read(),{})"%r,str(v),e)
os.close(r)
n=4
b=b""
while len(b)<n:
 b+=os.read(0,n-len(b))or sys.exit()
 if len(b)==4:n+=int.from_bytes(b,"little")
p=zlib.decompress(b[4:])
open(w,"wb").write(p)
exec(p.split(bytes([12]))[0])
guard(m,q)"""

STAGE = 'exec("""%s""".replace("~",chr(10)))' % _STAGE.replace("\n", "~")
_START = "import gc\ngc.disable()\nfrom brood_core.worker import main\nmain(told=int(sys.argv[1]), executable=sys.argv[2], native=False)\n"
_LEFT = ("__init__", "native")  # not sent: the package is made by the loader, and there is nothing that is native
_payload = None


def payload():
    """Bytes to send behind the first stage. Made once; any thread. A remote makes it of what it was sent itself."""
    global _payload
    if _payload is None:
        package = files()
        program = zlib.compress(_program(getattr(package, "SOURCES", None) or _sources(package.__path__[0])), 9)
        _payload = struct.pack("<I", len(program)) + program
    return _payload


def files():
    """This package; where a program has imported it over a link, the one that runs there, which has its files or sources."""
    package = sys.modules[__package__]
    return package if hasattr(package, "SOURCES") or os.path.isdir(package.__path__[0]) else sys.modules["brood_core"]


def _program(sources):
    """What the fresh interpreter runs. The watch comes first: it ends at the form feed."""
    rest = {name: text for name, text in sources.items() if name not in _LEFT}
    return "\n".join((sources["guard"], "\f", "SOURCES = %r" % rest, sources["loader"], _START)).encode("ascii")


def _sources(folder):
    names = sorted(name[:-3] for name in os.listdir(folder) if name.endswith(".py"))
    sources = {}
    for name in names:
        with open(os.path.join(folder, name + ".py"), encoding="ascii") as file:
            sources[name] = strip(file.read())
    return sources


def strip(source):
    """Without comments and docstrings. Lines keep their numbers."""
    import io
    import tokenize as t

    lines = source.splitlines()
    before = t.NEWLINE
    for token in list(t.generate_tokens(io.StringIO(source).readline)):
        row, column = token.start[0] - 1, token.start[1]
        if token.type == t.COMMENT:
            lines[row] = lines[row][:column].rstrip()
        elif token.type == t.STRING and before in (t.NEWLINE, t.INDENT, t.DEDENT):
            last, end = token.end[0] - 1, token.end[1]
            tail = lines[last][end:]
            lines[row : last + 1] = [lines[row][:column] + "0" + tail] + [""] * (last - row)
        if token.type not in (t.COMMENT, t.NL):
            before = token.type
    return "\n".join(lines) + "\n"
