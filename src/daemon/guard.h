// Guard: cancellation by destruction. Handlers wrapped by an object's guard do nothing once the
// object is gone.
#pragma once

#include <memory>
#include <utility>

namespace brood {

class Guard {
 public:
  // True once the owner of the guard is gone.
  class Watch {
   public:
    explicit Watch(const std::shared_ptr<char>& token) : token_(token) {}
    bool gone() const { return token_.expired(); }

   private:
    std::weak_ptr<char> token_;
  };

  Watch watch() const { return Watch(token_); }

  template <typename Handler>
  auto wrap(Handler handler) const {
    return [watch = watch(), handler = std::move(handler)](auto&&... arguments) mutable {
      if (!watch.gone()) handler(std::forward<decltype(arguments)>(arguments)...);
    };
  }

 private:
  std::shared_ptr<char> token_ = std::make_shared<char>();
};

}  // namespace brood
