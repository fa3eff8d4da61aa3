// A worker lives as long as its client. The client sends nothing on the connection that stands for
// it, so whatever happens there is its end, which would have been the program's. The kernel sees to
// it, also when the zygote is dead. (The socket of the request would not do: a client that loses
// its processor inside of its send wakes the receiver only when it goes on, and by then the program
// may run.) Worker process.
#pragma once

namespace brood {

// From now on this process dies (SIGKILL) with the connection.
void die_with(int connection);
// And no longer.
void outlive(int connection);

}  // namespace brood
