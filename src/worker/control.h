// Control: a session worker's socket to the server. Frames with messages, descriptors with some.
// Worker process; GIL held by the caller and released while it waits. Any thread may send; reading
// is for the one that runs cells.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "wire/frame.h"
#include "worker/py.h"

namespace brood {

struct Incoming {
  FrameType type = FrameType::kMessage;
  std::string head;
  std::string body;
};

class Control {
 public:
  explicit Control(int fd) : fd_(fd) {}
  Control(const Control&) = delete;

  int fd() const { return fd_; }
  // False in a child that the user's code has forked: it neither sends nor receives.
  bool is_ours() const { return getpid() == owner_; }
  // What came with the frames so far and was not taken; in the order of their arrival.
  std::vector<Fd> take_descriptors() { return std::move(descriptors_); }

  // False: the server is gone, or the socket is not ours.
  bool send(FrameType type, std::string_view head, std::string_view body = {},
            std::span<const int> descriptors = {});

  // Waits until the server has read what was sent, so that output which is written from now on
  // comes after it. False with a Python exception set: a signal handler raised.
  bool wait_until_read();

  // The next frame; nothing with a Python exception set (a signal handler raised), or without one
  // at the end of the socket, and where it is not ours. With `seconds` from 0 on: nothing and
  // `timed_out` when they have passed.
  std::optional<Incoming> receive(double seconds = -1, bool* timed_out = nullptr);

  // In a copy of the process, with another socket at the same number: what the original was about
  // to write or had read is not the copy's.
  void begin_anew();

 private:
  const int fd_;
  pid_t owner_ = getpid();
  FrameParser parser_;
  std::vector<Fd> descriptors_;
  std::optional<std::mutex> sending_{std::in_place};
};

}  // namespace brood
