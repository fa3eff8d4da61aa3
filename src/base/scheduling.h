// Standing back: what must be done soon, but not before what a person waits for.
#pragma once

namespace brood {

// The calling thread, and what it forks or executes: woken, it preempts nobody, and what is woken
// preempts it (SCHED_BATCH, sched(7), and from Linux 6.12 on a long time slice). Needs no
// privilege, and none to go back. Fails silently: it is a courtesy.
void stand_back();

// The calling thread as every other one again.
void stand_in_line();

// The calling process has nothing to do but to end: it takes what processor time nobody else wants
// (SCHED_IDLE). For good, for going back takes a privilege.
void give_way();

}  // namespace brood
