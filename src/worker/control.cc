#include "worker/control.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/socket.h"
#include "wire/message.h"

namespace brood {
namespace {

constexpr size_t kReadSize = 4096;  // bytes; each page that is written is copied after a checkpoint
constexpr size_t kMostDescriptors = 8;  // with one frame; more are closed by the kernel
constexpr long kFirstPause = 10'000, kLongestPause = 1'000'000;  // nanoseconds

// False: the time has passed, or a signal came.
bool wait_readable(int socket, int64_t nanoseconds) {
  const int64_t rest = std::max<int64_t>(nanoseconds, 0);
  const timespec time{static_cast<time_t>(rest / 1'000'000'000),
                      static_cast<long>(rest % 1'000'000'000)};
  pollfd item{socket, POLLIN, 0};
  return ppoll(&item, 1, &time, nullptr) > 0;
}

// One recvmsg that a signal may end, unlike receive_some().
ssize_t receive_once(int socket, std::string& bytes, std::vector<Fd>& descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostDescriptors)];
  const size_t before = bytes.size();
  bytes.resize(before + kReadSize);
  iovec part{bytes.data() + before, kReadSize};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  const int saved = errno;
  bytes.resize(before + static_cast<size_t>(got < 0 ? 0 : got));
  for (cmsghdr* item = got < 0 ? nullptr : CMSG_FIRSTHDR(&message); item;
       item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; i < (item->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof fd, sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  errno = saved;
  return got;
}

}  // namespace

bool Control::send(FrameType type, std::string_view head, std::string_view body,
                   std::span<const int> descriptors) {
  if (!is_ours()) return false;
  const std::string frame = encode_frame(type, encode_message(head, body));
  PyThreadState* state = PyEval_SaveThread();
  bool sent;
  {
    const std::lock_guard lock(*sending_);
    sent = static_cast<bool>(send_all(fd_, frame, descriptors));
  }
  PyEval_RestoreThread(state);
  return sent;
}

bool Control::wait_until_read() {
  for (long pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    int unread = 0;
    if (ioctl(fd_, SIOCOUTQ, &unread) != 0 || unread == 0) return true;
    const timespec time{0, pause};
    PyThreadState* state = PyEval_SaveThread();
    nanosleep(&time, nullptr);
    PyEval_RestoreThread(state);
    if (PyErr_CheckSignals() != 0) return false;
  }
}

std::optional<Incoming> Control::receive(double seconds, bool* timed_out) {
  const int64_t end = monotonic_ns() + static_cast<int64_t>(std::min(seconds, 1e9) * 1e9);
  FrameView frame;
  while (is_ours()) {
    const FrameParser::Step step = parser_.next(frame);
    if (step == FrameParser::Step::kMalformed) return std::nullopt;
    if (step == FrameParser::Step::kFrame) {
      Result<MessageView> message = decode_message(frame.payload);
      if (!message) return std::nullopt;
      return Incoming{frame.header.type, std::string(message->head), std::string(message->body)};
    }
    PyThreadState* state = PyEval_SaveThread();
    const bool ready = seconds < 0 || wait_readable(fd_, end - monotonic_ns());
    const ssize_t got = ready ? receive_once(fd_, parser_.buffer(), descriptors_) : -1;
    const int error = ready ? errno : EINTR;
    PyEval_RestoreThread(state);
    if (!ready && seconds >= 0 && monotonic_ns() >= end) {
      *timed_out = true;
      return std::nullopt;
    }
    if (got < 0 && error == EINTR) {
      if (PyErr_CheckSignals() != 0) return std::nullopt;
      continue;
    }
    if (got <= 0) return std::nullopt;
  }
  return std::nullopt;  // a signal handler has forked
}

void Control::begin_anew() {
  owner_ = getpid();
  parser_ = FrameParser();
  descriptors_.clear();
  sending_.emplace();
}

}  // namespace brood
