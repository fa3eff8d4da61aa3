// Result<T>: a value or an Error. The lane for failures that are expected (see require.h for bugs).
// Pure; any thread. No exceptions, so that the thin client can use it too.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/require.h"

namespace brood {

struct Error {
  std::string message;  // a whole clause for people: what failed, on what, why
  int code = 0;         // errno where a system call failed, else 0
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() & { return checked(); }
  T&& operator*() && { return std::move(checked()); }
  T* operator->() { return &checked(); }
  const Error& error() const { return error_; }

 private:
  T& checked() {
    require(value_.has_value(), "a Result was used without checking it");
    return *value_;
  }
  std::optional<T> value_;
  Error error_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return !error_.has_value(); }
  const Error& error() const {
    require(error_.has_value(), "the error of a Result that has none was used");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace brood
