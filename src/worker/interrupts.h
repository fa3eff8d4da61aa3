// No interrupt is slept through. CPython's handler of a signal only notes it: what arrives between
// the interpreter's look at that note and the system call that waits is acted on when the call
// returns, after time.sleep(60) a minute later. In a session this window is wide, for behind every
// checkpoint the first write to a page is a fault (of 14,000 interrupts of a sleep, sent as soon as
// a print() before it was seen, 3 to 9 were lost). So a SIGINT is followed by a timer. Its signals
// (SIGRTMAX, unless the program has a handler of its own for it) do nothing but end system calls
// (EINTR), until Python's handler has run. Worker process, its main thread.
#pragma once

namespace brood {

// Stands before Python's handler of SIGINT if there is one. signal.signal() replaces it, so once
// more before each cell.
void watch_interrupts();

// Python's handler has run. A handler of the user's need not say so: the timer gives up by itself.
void interrupt_heard();

}  // namespace brood
