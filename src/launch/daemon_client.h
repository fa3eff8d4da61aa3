// Talking to the daemon: start it, ask it to warm an environment. Thin client and brood-tool.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/runtime_dir.h"
#include "wire/launch.h"

namespace brood {

// Path of a part of the installation, relative to the running executable: "bin/broodd",
// "libexec/brood/brood-tool".
std::string installed(const char* part);

// Whether this error of a connection to the daemon means that it left without having accepted it or
// read the request: worth one more try, which finds none or another daemon.
bool daemon_was_leaving(const Error& error);

// Executes `broodd --background` without waiting for it to serve.
Result<void> start_daemon();

// Connects; if nobody listens, starts the daemon and waits until it serves, at most `timeout_ms`.
Result<Fd> connect_daemon(const RuntimeDir& dir, int timeout_ms);

// Asks for the environment and does not wait. Starts the daemon if need be: then a child process of
// the client delivers the request, so that the client itself goes on at once.
void ask_for_zygote(const RuntimeDir& dir, const Launch& launch);

// Asks and waits until it is warm. Fails with the reason when it cannot be kept warm.
Result<void> wait_for_zygote(const RuntimeDir& dir, const Launch& launch);

}  // namespace brood
