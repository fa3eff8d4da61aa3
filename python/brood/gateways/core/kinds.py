"""Numbers of docs/protocol.md, section 7."""
from .twin import twin

GREET, EXEC, CALL, ITEM, PART, RETURN, CLOSE, END, CREDIT, MODULE = range(80, 90)
LOG, STATUS, START, OPEN, ROUTE, GONE, SHUTDOWN, BYE, PING = range(90, 99)

TASKS, SERVICE, CALLBACKS = range(3)  # the queues of Engine.next

MARK = b"\nbrood gateway 1\n"
ROOT = 0  # the context of the master
SENDER = 0xFFFFFFFF  # in a channel sent as a value: the other end is at its sender

MAX_FRAME = 8 << 20  # bytes of a frame's payload
PIECE = 1 << 20  # bytes of a PART
MAX_ITEM = 256 << 20  # bytes of a value
WINDOW = 8 << 20  # bytes sent on a channel and not taken
ITEM_COST = 64  # bytes that each item counts for beyond its own
MAX_CHANNELS = 65536
MAX_CALLS = 16384  # of one caller to one context, unanswered
MAX_LOGS = 10000  # waiting records
LEAVE_WITHIN = 4.0  # seconds after the link to the parent ended
DEADLINE_GRACE = 0.5  # seconds between DeadlineExceeded and the end of the process


class End:
    """One end of a channel between two other contexts: can only be sent to context `home`, where it arrives as a channel to `context`."""

    def __init__(self, context, number, home):
        self.context = context
        self.number = number
        self.home = home


End = getattr(twin(__name__), "End", End)
