"""Channels over links, in Python: the engine of contexts that have no C++ (docs/protocol.md, section 7).

`_brood` has the same classes with the same behaviour. One thread of the engine reads all links and never runs user code; every
method may be called from any thread. Nothing here takes part in starting processes or in running code.

class Engine(context, ancestors=(), item=MAX_ITEM, window=WINDOW, channel_type=Channel)
    context, ancestors     numbers; ancestors[0] is the parent, ancestors[-1] the root; the root has none
    add_link(peer, reader, writer)   descriptors (may be equal) of a stream on which the mark and GREET were exchanged; owned from now on;
                           peer is the parent or a new child. Bytes that were read beyond GREET: `ahead=b""`
    add_route(context, via)          this context is behind that child
    open(peer) -> Channel            a new number; nothing is sent
    adopt(peer, number) -> Channel   the local object of a channel that somebody else opened (OPEN, extension 6); the same
                           object as long as one exists
    request(peer, kind, value) -> Channel    opens a channel with EXEC, CALL, MODULE, STATUS or START. CALL blocks while MAX_CALLS
                           are unanswered. DumpError; GatewayLost if the context is gone
    post(peer, kind, value)          LOG, OPEN, ROUTE, GONE, SHUTDOWN: no channel, no answer. LOG is dropped, and counted, over MAX_LOGS
    next(queue, timeout=None) -> (kind, peer, value, channel)   waits for a request; None after the time-out or stop()
        TASKS: EXEC and CALL.  SERVICE: MODULE, LOG, STATUS, START, SHUTDOWN, GONE (value: contexts, why; channel None).
        CALLBACKS: kind is 0, value is (function, argument) to call.
    set_spawner(function)            function(queue) is called in a new thread (daemonic) when something waits in a queue and nobody is in next()
        for it. It is expected to call next(queue, ...) until None. Not called again for that queue until a thread of its own has left.
    capture(fd, name)                reads lines from fd (owned) and posts LOG (name, 20, line) to the root; lines over 8 KiB are cut; reading stops
        while the link is congested
    watch(seconds) -> token, unwatch(token)     unless unwatched in time the process group is killed, even if the interpreter hangs
    lose(context, why)               the child, or what is behind it, is gone: its links are closed, GONE is sent, channels end with GatewayLost(why)
    drain(seconds)                   waits until all that was sent is with the kernel; False after the time
    stop()                           closes all links and channels, ends the thread
    stats() -> dict                  channels, calls (unanswered), dropped (frames), lost_logs, bytes_in, bytes_out, queued

    When the link to the parent ends: SERVICE gets GONE for it, all queues then return None, and watch(LEAVE_WITHIN) is set.
    SHUTDOWN: watch(min(seconds, LEAVE_WITHIN)), then the request goes to SERVICE.

class Channel     made by an Engine only; `channel_type` of the engine is a subclass
    engine, peer, number
    send(item, timeout=None)         blocks while the window is full. DumpError, TimeoutError, OSError if closed
    receive(timeout=None)            the next item. RemoteError once, if the other side closed with an error, then EOFError; GatewayLost; TimeoutError;
                           OSError if there is a callback
    __iter__, __next__               until EOFError
    end()                            no more items from here
    finish(value)                    RETURN: the last item
    close(error=None)                ends both directions; error: text, a dict (type, text, traceback) or an exception. The other side gets what was sent before
    isclosed()                       whether it was closed, here or there; items may be left
    waitclose(timeout=None)          until the other side has closed, or END came. RemoteError, GatewayLost, TimeoutError
    setcallback(callback, endmarker=NO_ENDMARKER)   each item, also those that wait, goes to callback in the thread that serves CALLBACKS, in order;
        endmarker, if given, after the last
    A channel that is not referenced any more is closed (END if it has a callback).
"""
