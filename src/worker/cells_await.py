"""Top-level await in cells: the session's event loop. A part of the cell loop (cells.py)."""
import _signal

kStarting = object()  # in the place of the cell's task while that is made: an interrupt waits for it


def run(coroutine):
    """Runs a cell's top-level await on the session's event loop, and with it the tasks of earlier cells; they stand
    still while no cell awaits. The first interrupt cancels the cell if it waits, as asyncio.run() does."""
    cells.session.interrupts = 0
    cells.session.too_late = False
    cells.session.task = kStarting
    try:
        loop = event_loop()
        cells.session.task = task = loop.create_task(coroutine)
    except BaseException:
        cells.session.task = None
        raise
    if cells.session.interrupts:
        task.cancel()
    try:
        value = loop.run_until_complete(task)
    except BaseException as error:
        if not task.done():
            cancel(loop, task)
        if cells.session.interrupts and type(error).__name__ == "CancelledError":
            raise KeyboardInterrupt().with_traceback(cell_traceback(error)) from None
        raise
    finally:
        cells.session.task = None
    if cells.session.too_late:
        raise KeyboardInterrupt
    return value


def cell_traceback(error):
    """Where the cell was when it was cancelled. Before 3.11 that is in an exception behind the one that arrives."""
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith("<cell "):
                return trace
            trace = trace.tb_next
        error = error.__context__
    return None


def cancel(loop, task):
    """A task that another one's KeyboardInterrupt or SystemExit left behind."""
    import asyncio

    task.cancel()
    try:
        loop.run_until_complete(asyncio.wait([task], timeout=1))
    except BaseException:
        pass
    if task.done() and not task.cancelled():
        task.exception()  # it counts as seen


def cancels(task):
    """For an interrupt: cancels the cell's task if that waits or has not begun. False: raise KeyboardInterrupt where the code is."""
    if task is kStarting:
        cells.session.interrupts += 1
        return True
    import asyncio

    if cells.session.interrupts or asyncio.current_task(task.get_loop()) is task:
        return False
    cells.session.interrupts += 1
    cells.session.too_late = True
    task.get_loop().call_soon_threadsafe(stop_waiting, task)
    return True


def stop_waiting(task):
    """On the event loop. The task may have come to its end since the interrupt."""
    if task.cancel():
        cells.session.too_late = False


def event_loop():
    import asyncio

    loop = cells.session.loop
    if loop is None or loop.is_closed():
        loop = cells.session.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


kept_loops = []  # loops that cannot be detached: closing one would change what the other copies share


def detach_loop(loop):
    """The loop's epoll descriptor and its pipe to itself are shared with all copies of this process: it gets new
    ones, without a word to the old epoll, and its tasks go on here."""
    import selectors

    try:
        old, new = loop._selector, selectors.DefaultSelector()
        for key in list(old.get_map().values()):
            new.register(key.fileobj, key.events, key.data)
        loop._selector = new
        getattr(old, "_selector", new).close()
        loop._close_self_pipe()
        loop._make_self_pipe()
        loop._default_executor = None  # its threads are not here
        if loop._signal_handlers:
            _signal.set_wakeup_fd(loop._csock.fileno())
    except Exception:  # a loop of another make
        kept_loops.append(loop)
        cells.session.loop = None
