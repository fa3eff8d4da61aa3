// Unix stream sockets: connect, listen, frames of bytes with descriptors. Any process.
#pragma once

#include <sys/socket.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace brood {

// The kernel's SCM_MAX_FD: descriptors in one message.
inline constexpr size_t kMaxDescriptors = 253;

// A full backlog makes connect() wait: at most `timeout_ms`, which then also bounds each send; 0:
// without end.
Result<Fd> connect_unix(const std::string& path, int timeout_ms = 0);
// Binds and listens. The caller made sure that the directory belongs to the user alone.
Result<Fd> listen_unix(const std::string& path, int backlog);

// The peer's user id, as the kernel recorded it at connect().
Result<unsigned> peer_uid(int socket);

// Sends all bytes; the descriptors travel with the first one. EPIPE is an error, never a signal.
Result<void> send_all(int socket, std::string_view bytes, std::span<const int> descriptors = {});

// What one sendmsg sends without waiting; -1 with errno. The descriptors travel with the first
// byte.
ssize_t send_some(int socket, std::string_view bytes, std::span<const int> descriptors = {});

// What one recvmsg may bring at most; more descriptors are closed by the kernel. Its flags.
struct Receive {
  size_t bytes;
  size_t descriptors = kMaxDescriptors;
  int flags = 0;
  bool sender = false;  // the socket has SO_PASSCRED
};

struct Received {
  ssize_t count;                  // of bytes; 0 at the end of the stream, -1 with errno
  pid_t sender = 0;               // 0: none is told
  bool descriptors_lost = false;  // too many, or no room for them in this process
};

// One recvmsg, which a signal may end. Appends to `bytes`, and received descriptors (close-on-exec)
// to `descriptors`.
Received receive_once(int socket, const Receive& most, std::string& bytes,
                      std::vector<Fd>& descriptors);

// The same, which signals do not end. Returns the count of bytes, 0 at the end of the stream.
Result<size_t> receive_some(int socket, size_t most, std::string& bytes,
                            std::vector<Fd>& descriptors);

// Sets SO_SNDTIMEO or SO_RCVTIMEO.
void set_timeout(int socket, int option, int milliseconds);

}  // namespace brood
