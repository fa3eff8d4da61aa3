// For tests: a program that can stand for an interpreter. It reads the specification from
// descriptor 3, as a zygote does, and then behaves as its first option says. Also the event loop's
// time limit, and a directory to work in.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/runtime_dir.h"
#include "base/sys.h"
#include "daemon/asio.h"
#include "wire/launch.h"

namespace brood {

inline constexpr char kFakeZygote[] = R"py(#!/usr/bin/python3 -ISE
import os, socket, struct, sys
control = socket.socket(fileno=3)

def read(count):
    data = b""
    while len(data) < count:
        piece = control.recv(count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data

def frame():
    length, kind, version = struct.unpack("<IHH", read(8))
    return kind, read(length)

def send(kind, *fields):
    payload = b"".join(struct.pack("<HHI", tag, 0, len(v)) + v for tag, v in
                       ((t, struct.pack("<Q", v) if isinstance(v, int) else v.encode()) for t, v in fields))
    control.sendall(struct.pack("<IHH", len(payload), kind, 1) + payload)

PREPARE, READY, FAILED, STALE, STARTED, ENDED, RETIRE = range(32, 39)
mode = sys.argv[1]
kind, payload = frame()
assert kind == PREPARE
if mode == "die":
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)
if mode == "kill":
    os.kill(os.getpid(), 9)
if mode == "fail":
    send(FAILED, (1, "no such module"))
    os._exit(1)
if mode != "hang":
    send(READY, (1, 5000), (2, 300), (3, 100), (10, "3.99"))
if mode == "stale":
    send(STALE, (2, "/some/file.py"))
if mode == "busy":
    send(STARTED, (3, 4242), (4, "prog.py"), (7, 3))
if mode == "crash":
    os._exit(3)
if mode == "garbage":
    control.sendall(b"\xff" * 64)
while True:
    kind, payload = frame()
    if kind == RETIRE and mode == "busy":
        send(ENDED, (3, 4242), (7, 0))
    if kind == RETIRE and mode != "stubborn":
        os._exit(0)
)py";

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    spdlog::set_level(spdlog::level::off);
    std::string pattern = testing::TempDir() + "daemon-XXXXXX";
    dir_.path = mkdtemp(pattern.data());
    EXPECT_TRUE(create(dir_));
    const std::string fake = dir_.path + "/fake-python";
    std::ofstream(fake) << kFakeZygote;
    chmod(fake.c_str(), 0700);
  }
  // What the test started sees the end of its control socket; a test that leaves something running
  // hangs here.
  ~DaemonTest() override {
    while (waitpid(-1, nullptr, 0) > 0) {
    }
    std::filesystem::remove_all(dir_.path);
  }

  // A plain environment whose interpreter is the fake one; `tag` makes its key another one.
  Launch launch(const std::string& mode, const std::string& tag = "") const {
    Launch out;
    out.python = dir_.path + "/fake-python";
    out.python_file = identify(out.python.c_str());
    out.options = {mode};
    out.variables = {"TAG=" + tag};
    return out;
  }

  // Runs the event loop until the condition holds; false: not within ten seconds.
  template <typename Condition>
  bool until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(50));
    }
    return true;
  }

  RuntimeDir dir_;
  boost::asio::io_context io_{1};
};

}  // namespace brood
