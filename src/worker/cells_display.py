"""What a cell shows: MIME bundles, display(), figures. A part of the cell loop (cells.py)."""
import sys

kTextLimit = 1_000_000  # characters of text/plain that are shown
kPrettyLimit = 20_000  # longer reprs are shown as they are
kHeadRoom = 64 << 10  # bytes of a head besides its data

METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
    ("_repr_javascript_", "application/javascript"),
    ("_repr_pdf_", "application/pdf"),
)
PLAIN = frozenset(
    (int, float, complex, bool, str, bytes, bytearray, type(None), type, range, type(len), type(lambda: 0))
)
CONTAINERS = frozenset((list, tuple, dict, set, frozenset))

# --- bundles -------------------------------------------------------------------------------------


def bundle(value, include=None, exclude=None):
    """({mime: data}, metadata). Raises what the value's repr() raises; any other format that fails is left out, with
    a notice."""
    data, metadata = {}, {}
    kind = type(value)
    if kind not in PLAIN and kind not in CONTAINERS and not isinstance(value, type):
        add_rich(value, data, metadata, include, exclude)
    if "text/plain" not in data:
        data["text/plain"] = plain(value)
    if include or exclude:
        for mime in [mime for mime in data if (include and mime not in include) or mime in (exclude or ())]:
            del data[mime]
    return data, metadata


def add_rich(value, data, metadata, include, exclude):
    given = attempt(value, "_repr_mimebundle_", {"include": include, "exclude": exclude})
    if given is not None:
        formats, more = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
        if isinstance(formats, dict):
            data.update({str(mime): as_text(mime, content) for mime, content in formats.items()})
            metadata.update(more or {})
        else:
            complain(value, "_repr_mimebundle_", f"it returned {type(formats).__name__}, not a dict")
    if is_figure(value):
        if "image/png" not in data:
            data["image/png"] = as_text("image/png", picture(value))
        return
    for method, mime in METHODS:
        if mime not in data:
            add_format(value, method, mime, data, metadata)


def add_format(value, method, mime, data, metadata):
    content = attempt(value, method, {})
    if isinstance(content, tuple) and len(content) == 2 and isinstance(content[1], dict):
        content, metadata[mime] = content
    if content is None:
        return
    if isinstance(content, (str, bytes)) or mime == "application/json":
        data[mime] = as_text(mime, content)
    else:
        complain(value, method, f"it returned {type(content).__name__}, not text")


def attempt(value, method, arguments):
    """What one of the methods returns, None without it or when it fails. Looked up as python looks up its own special
    methods, so that objects that answer to every name are asked for nothing."""
    if getattr(type(value), method, None) is None and method not in getattr(value, "__dict__", ()):
        return None
    try:
        return getattr(value, method)(**arguments)
    except (NotImplementedError, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            raise
    except BaseException as error:
        error.__traceback__ = cells_report.without_own_frames(error.__traceback__)
        complain(value, method, "it failed:\n" + "".join(cells_report.traceback_lines(error)))
    return None


def complain(value, method, text):
    cells.notice(f"{method} of {type(value).__name__} is not used: {text}")


def as_text(mime, content):
    """Binary formats are base64 text."""
    if isinstance(content, (bytes, bytearray)):
        if mime.startswith("text/") or mime == "image/svg+xml":
            return bytes(content).decode("utf-8", "replace")
        import binascii

        return binascii.b2a_base64(content, newline=False).decode()
    return content


def plain(value):
    text = repr(value)
    if len(text) > 80 and type(value) in CONTAINERS and len(text) <= kPrettyLimit:
        text = pretty(value, text)
    return cells.shortened(text, kTextLimit)


def pretty(value, text):
    """Broken into lines; texts within stay whole."""
    try:
        import pprint

        dispatch = pprint.PrettyPrinter._dispatch
        parted = (str.__repr__, bytes.__repr__, bytearray.__repr__)
        printer = pprint.PrettyPrinter(width=80, compact=True, sort_dicts=False)
        printer._dispatch = {key: method for key, method in dispatch.items() if key not in parted}
        return printer.pformat(value)
    except Exception:
        return text


# --- sending -------------------------------------------------------------------------------------


def send_bundle(kind, data, members):
    """Sends a display or result event; formats that are no JSON or too long are replaced by a notice."""
    cells.flush()
    if not cells.speaks():
        return print_plain(data)
    head = None
    try:
        head = cells_own.encoded({"type": kind, "data": data, **members})
    except (ValueError, TypeError, RecursionError, MemoryError):
        pass
    if head is None or len(head) > cells.kHeadLimit // 4 and len(head.encode()) > cells.kHeadLimit:
        head = cells_own.encoded({"type": kind, "data": fitting(data), **fitting_members(members)})
    cells.session.send(cells.EVENT, head, b"", kind == "display")


def print_plain(data):
    """In a child that a cell has forked: its output is all that it shares with the session."""
    print(data["text/plain"] if "text/plain" in data else f"<{', '.join(data)}>")


def fitting(data):
    sizes = {}
    for mime, content in data.items():
        try:
            sizes[mime] = len(cells_own.encoded(content).encode())
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            cells.notice(f"{mime} is not shown, it is no JSON: {cells.one_line(error)}")
    room = cells.kHeadLimit - kHeadRoom
    kept = {}
    for mime in sorted(sizes, key=sizes.get):
        if sizes[mime] > room:
            cells.notice(f"{mime} is not shown, it takes {sizes[mime]:,} bytes; "
                         f"all formats together can have {cells.kHeadLimit - kHeadRoom:,}")
            continue
        room -= sizes[mime]
        kept[str(mime)] = data[mime]
    return kept


def fitting_members(members):
    """Without metadata that cannot be sent."""
    try:
        if len(cells_own.encoded(members).encode()) <= kHeadRoom - 1000:
            return members
    except (ValueError, TypeError, RecursionError):
        pass
    cells.notice("the metadata of this display is left out: it is no JSON, or too long")
    return {**members, "metadata": {}}


# --- display() -----------------------------------------------------------------------------------


class DisplayHandle:
    """What display(..., display_id=True) returns: shows something else in the same place."""

    def __init__(self, display_id=None):
        self.display_id = display_id or new_id()

    def __repr__(self):
        return f"<DisplayHandle display_id={self.display_id}>"

    def display(self, obj, **options):
        display(obj, display_id=self.display_id, **options)

    def update(self, obj, **options):
        display(obj, display_id=self.display_id, update=True, **options)


DisplayHandle.__module__ = "brood"


def new_id():
    import os

    return os.urandom(16).hex()


def display(*objs, include=None, exclude=None, metadata=None, display_id=None, update=False, raw=False, **ignored):
    """Show objects, each in the richest format that the client can show.

    metadata: a dict of {mime: dict}, sent along. display_id: True or a name for the place of this display; the call
    then returns a handle whose update(obj) shows something else there, and display(obj, display_id=..., update=True)
    does the same. raw: the objects are dicts of {mime: data} already.
    """
    if update and not display_id:
        raise TypeError("display() needs display_id when it updates")
    handle = None
    if display_id:
        if len(str(display_id)) > 1000:
            raise ValueError("display() takes a display_id of at most 1,000 characters")
        handle = DisplayHandle(None if display_id is True else str(display_id))
    for obj in objs:
        if raw:
            data, more = {str(mime): as_text(str(mime), content) for mime, content in obj.items()}, {}
        else:
            data, more = bundle(obj, include, exclude)
        more.update(metadata or {})
        send_bundle("display", data, {
            "metadata": more, "display_id": handle.display_id if handle else "", "update": bool(update)})
    return handle


display.__module__ = "brood"

# --- figures -------------------------------------------------------------------------------------


def is_figure(value):
    module = cells_own.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, getattr(module, "Figure", ()))


def picture(figure):
    import io

    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", dpi=100)
    return file.getvalue()


def show_figures(shown=None):
    """Shows and closes what pyplot has open; `shown` is a figure that was shown already as the cell's value."""
    pyplot = cells_own.modules["matplotlib.pyplot"]
    numbers = pyplot.get_fignums() if hasattr(pyplot, "get_fignums") else []
    try:
        for number in numbers:
            figure = pyplot.figure(number)
            if figure is not shown:
                display(figure)
    finally:
        if numbers:
            pyplot.close("all")


def show(*arguments, **options):
    """pyplot.show(): the figures appear now and not at the end of the cell."""
    show_figures()


def adapt_pyplot(pyplot):
    """Figures are pictures in the client; no window is opened."""
    choose_backend(pyplot)
    show.__doc__ = pyplot.show.__doc__
    pyplot.show = show


def choose_backend(pyplot):
    import matplotlib

    if str(dict.get(matplotlib.rcParams, "backend", "")).lower() != "agg":
        pyplot.switch_backend("agg")
    if pyplot.isinteractive():
        pyplot.ioff()


# --- IPython -------------------------------------------------------------------------------------


def publish_display_data(data, metadata=None, source=None, *, transient=None, **ignored):
    options = transient or {}
    display(data, metadata=metadata, raw=True, display_id=options.get("display_id"), update=bool(ignored.get("update")))


def adapt_ipython(module):
    """IPython's own functions show things here, although no IPython shell runs. The first two are where they are
    looked up in newer and older versions."""
    for name in ("IPython.core.display_functions", "IPython.core.display", "IPython.display"):
        known = cells_own.modules.get(name)
        for function in (display, publish_display_data):
            if hasattr(known, function.__name__):
                setattr(known, function.__name__, function)


def install():
    """begin_session(): what is imported already is adapted, the rest when it is imported."""
    cells_talk.when_imported("matplotlib.pyplot", adapt_pyplot)
    cells_talk.when_imported("IPython.display", adapt_ipython)
