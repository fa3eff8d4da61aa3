// TCP sockets: what all of ours have set, and their addresses as text. Any process.
#pragma once

#include <string>

namespace brood {

// Small messages go at once; a peer whose machine is gone is noticed within two minutes.
void tune_tcp(int socket);

// The IP address of either end; an IPv4 one on an IPv6 socket as IPv4. Empty: it has none (any
// more).
std::string peer_ip(int socket);
std::string local_ip(int socket);

}  // namespace brood
