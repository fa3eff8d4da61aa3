// The page's files, as web/ is built from them (cmake/brood_web.cmake) and embedded into the
// program. Read-only data, usable from any thread at any time.
#pragma once

#include <span>
#include <string_view>

namespace brood {

struct PageFile {
  std::string_view path;  // of the address: "/" is the page itself, the others begin with "/", too
  std::string_view type;  // Content-Type
  std::string_view etag;  // ETag with its quotes; of `bytes`, changes with them
  std::string_view bytes;
  std::string_view gzip;    // the same, for Content-Encoding: gzip; empty where it saves nothing
  std::string_view policy;  // Content-Security-Policy; must be sent with every answer of this file
  std::string_view cache;   // Cache-Control
};

// Sorted by path.
std::span<const PageFile> page_files();

}  // namespace brood
