#include "master/complaints.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/capture.h"

namespace brood::master {
namespace {

void read_lines(gateway::Capture& capture, int stop, const Complaints::OnLine& on_line) {
  pollfd polled[2] = {{capture.fd(), POLLIN, 0}, {stop, POLLIN, 0}};
  int left = 16;  // reads when it is told to stop
  while (left > 0) {
    poll(polled, 2, -1);
    const auto read = capture.read(on_line);
    if (read == gateway::Capture::Read::kEnd) return;
    if (polled[1].revents == 0) continue;
    left = read == gateway::Capture::Read::kData ? left - 1 : 0;
  }
  capture.finish(on_line);
}

}  // namespace

Complaints::Complaints(Fd fd, OnLine on_line)
    : stop_(eventfd(0, EFD_CLOEXEC)),
      thread_(start_quiet_thread(
          [stop = stop_.get(), capture = std::make_shared<gateway::Capture>(std::move(fd), ""),
           on_line = std::move(on_line)] { read_lines(*capture, stop, on_line); })) {}

Complaints::~Complaints() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t wrote = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

std::thread start_quiet_thread(std::function<void()> run) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(run));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace brood::master
