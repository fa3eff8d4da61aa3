// TCP sockets: what all of ours have set, and their addresses as text. Any process.
#pragma once

#include <string>

#include "base/result.h"

namespace brood {

// Small messages go at once; a peer whose machine is gone is noticed within two minutes.
void tune_tcp(int socket);

// The IP address of either end; an IPv4 one on an IPv6 socket as IPv4. Empty: it has none (any
// more).
std::string peer_ip(int socket);
std::string local_ip(int socket);

// Whose process has the other end of a connection within this machine, as the kernel's table of
// connections tells. Fails when nobody has it any more, and for a connection to elsewhere.
Result<unsigned> local_peer_uid(int socket);

}  // namespace brood
