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
    const ssize_t got =
        ready
            ? receive_once(fd_, {kReadSize, kMostDescriptors}, parser_.buffer(), descriptors_).count
            : -1;
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
