// The bits of an entry of /proc/self/pagemap (proc_pid_pagemap(5) and the kernel's
// Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <cstddef>
#include <cstdint>

namespace brood {

constexpr size_t kPage = 4096;  // bytes; x86-64, and what else has 2 MiB huge pages
constexpr uint64_t kPagePresent = uint64_t{1} << 63;
constexpr uint64_t kPageOfFileOrShared = uint64_t{1} << 61;
// Nobody else maps it. Not set: inherited by a fork and not written since.
constexpr uint64_t kPageExclusive = uint64_t{1} << 56;

}  // namespace brood
