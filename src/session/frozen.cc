#include "session/frozen.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "base/socket.h"
#include "wire/message.h"

namespace brood {

pid_t sender_of(msghdr& message) {
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender;
    std::memcpy(&sender, CMSG_DATA(item), sizeof sender);
    return sender.pid;
  }
  return 0;
}

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
  char bytes[256];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  iovec part{bytes, sizeof bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) > 0)
    pid_ = sender_of(message);
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
