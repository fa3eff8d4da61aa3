// Signal dispositions and masks as the kernel has them. glibc hides the two signals that its
// threads use (32 and 33): its sigaction() refuses them and its sigprocmask() drops them, but a
// parent that ignores or blocks them hands that down all the same.
#pragma once

#include <cstdint>

namespace brood {

constexpr int kSignals = 64;
constexpr int kInternalSignals[] = {32, 33};

constexpr uint64_t signal_bit(int number) { return uint64_t{1} << (number - 1); }

// Of this process: bit n-1 stands for signal n.
uint64_t ignored_signals();
// Of the calling thread.
uint64_t blocked_signals();
void set_blocked_signals(uint64_t mask);

enum class Disposition { kDefault, kIgnore };

// Any signal, also those that glibc hides.
void set_disposition(int number, Disposition disposition);

}  // namespace brood
