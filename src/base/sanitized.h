// For tests: whether this is a build with sanitizers (the flavour asan-ubsan).
#pragma once

namespace brood {

#if !defined(__has_feature)
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)  // GCC, clang
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace brood
