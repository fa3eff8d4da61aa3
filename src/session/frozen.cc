#include "session/frozen.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "base/socket.h"
#include "wire/message.h"

namespace brood {

Frozen::Frozen(Reaper& reaper, Fd socket) : reaper_(reaper), socket_(std::move(socket)) {}

Frozen::~Frozen() {
  if (!socket_) return;
  learn_pid();
  if (pid_ > 0) reaper_.end(pid_);
}

pid_t Frozen::pid() {
  learn_pid();
  return pid_;
}

// Its first frame carries its credentials. Of what else it might send nothing is looked at.
void Frozen::learn_pid() {
  if (pid_ != 0 || !socket_) return;
  std::string bytes;
  std::vector<Fd> descriptors;
  const Received got =
      receive_once(socket_.get(), {256, 0, MSG_DONTWAIT, true}, bytes, descriptors);
  if (got.count > 0) pid_ = got.sender;
}

bool Frozen::send(FrameType type, std::string_view head, std::string_view body,
                  std::span<const int> descriptors) {
  if (!socket_) return false;
  const std::string frame = encode_frame(type, encode_message(head, body));
  const ssize_t sent = send_some(socket_.get(), frame, descriptors);
  return sent == static_cast<ssize_t>(frame.size());
}

void Frozen::release() { socket_.reset(); }

}  // namespace brood
