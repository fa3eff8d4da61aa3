#include "base/socket.h"

#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sys.h"

namespace brood {
namespace {

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error{"the socket path is longer than " + std::to_string(sizeof address.sun_path - 1) +
                 " bytes: " + path + " (set XDG_RUNTIME_DIR to a shorter directory)"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<Fd> unix_socket() {
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return sys_error("create a Unix socket");
  return fd;
}

ssize_t send_part(int socket, std::string_view bytes, std::span<const int> descriptors, int flags) {
  require(descriptors.size() <= kMaxDescriptors, "too many descriptors for one message");
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)];
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof(int) * descriptors.size());
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

// The descriptors and the sender that came with a message.
void take_control(msghdr& message, std::vector<Fd>& descriptors, pid_t& sender) {
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET) continue;
    if (item->cmsg_type == SCM_CREDENTIALS) {
      ucred credentials;
      std::memcpy(&credentials, CMSG_DATA(item), sizeof credentials);
      sender = credentials.pid;
    }
    if (item->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof fd, sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
}

}  // namespace

Result<Fd> connect_unix(const std::string& path, int timeout_ms) {
  Result<sockaddr_un> address = unix_address(path);
  if (!address) return address.error();
  Result<Fd> fd = unix_socket();
  if (!fd) return fd;
  if (timeout_ms > 0) set_timeout(fd->get(), SO_SNDTIMEO, timeout_ms);
  int rc;
  do {
    rc = connect(fd->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return sys_error("connect to " + path);
  return fd;
}

Result<Fd> listen_unix(const std::string& path, int backlog) {
  Result<sockaddr_un> address = unix_address(path);
  if (!address) return address.error();
  Result<Fd> fd = unix_socket();
  if (!fd) return fd;
  if (bind(fd->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return sys_error("bind " + path);
  if (listen(fd->get(), backlog) != 0) return sys_error("listen on " + path);
  return fd;
}

Result<unsigned> peer_uid(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return sys_error("read the peer's credentials");
  return static_cast<unsigned>(credentials.uid);
}

ssize_t send_some(int socket, std::string_view bytes, std::span<const int> descriptors) {
  return send_part(socket, bytes, descriptors, MSG_DONTWAIT);
}

Result<void> send_all(int socket, std::string_view bytes, std::span<const int> descriptors) {
  while (!bytes.empty()) {
    const ssize_t sent = send_part(socket, bytes, descriptors, 0);
    if (sent < 0) return sys_error("send");
    descriptors = {};
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

Received receive_once(int socket, const Receive& most, std::string& bytes,
                      std::vector<Fd>& descriptors) {
  alignas(
      cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors) + CMSG_SPACE(sizeof(ucred))];
  const size_t before = bytes.size();
  bytes.resize(before + most.bytes);
  iovec part{bytes.data() + before, most.bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  if (most.sender) message.msg_controllen += CMSG_SPACE(sizeof(ucred));
  if (most.descriptors > 0)
    message.msg_controllen += CMSG_SPACE(sizeof(int) * std::min(most.descriptors, kMaxDescriptors));
  Received out{recvmsg(socket, &message, most.flags | MSG_CMSG_CLOEXEC)};
  const int saved = errno;
  bytes.resize(before + static_cast<size_t>(std::max<ssize_t>(out.count, 0)));
  if (out.count >= 0) {
    out.descriptors_lost = (message.msg_flags & MSG_CTRUNC) != 0;
    take_control(message, descriptors, out.sender);
  }
  errno = saved;
  return out;
}

Result<size_t> receive_some(int socket, size_t most, std::string& bytes,
                            std::vector<Fd>& descriptors) {
  Received got;
  do {
    got = receive_once(socket, {most}, bytes, descriptors);
  } while (got.count < 0 && errno == EINTR);
  if (got.count < 0) return sys_error("receive");
  if (got.descriptors_lost) return Error{"descriptors were lost on the way (EMFILE?)"};
  return static_cast<size_t>(got.count);
}

void set_timeout(int socket, int option, int milliseconds) {
  timeval time{milliseconds / 1000, (milliseconds % 1000) * 1000};
  setsockopt(socket, SOL_SOCKET, option, &time, sizeof time);
}

}  // namespace brood
