#include "http/page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace brood {
namespace {

const PageFile* find(std::string_view path) {
  auto files = page_files();
  auto found = std::find_if(files.begin(), files.end(),
                            [path](const PageFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

TEST(Page, HasItsFilesSortedByPath) {
  auto files = page_files();
  ASSERT_GE(files.size(), 4u);
  EXPECT_TRUE(std::is_sorted(files.begin(), files.end(),
                             [](const auto& a, const auto& b) { return a.path < b.path; }));
  for (const PageFile& file : files) {
    EXPECT_EQ(file.path.front(), '/');
    EXPECT_FALSE(file.bytes.empty()) << file.path;
    EXPECT_FALSE(file.type.empty()) << file.path;
    EXPECT_FALSE(file.policy.empty()) << file.path;
    EXPECT_TRUE(file.etag.size() > 8 && file.etag.front() == '"' && file.etag.back() == '"');
  }
}

TEST(Page, RefersOnlyToFilesItHas) {
  const PageFile* page = find("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->type, "text/html; charset=utf-8");
  std::string text(page->bytes);
  int references = 0;
  for (std::string_view attribute : {" src=\"", " href=\""}) {
    for (size_t at = text.find(attribute); at != text.npos; at = text.find(attribute, at + 1)) {
      size_t from = at + attribute.size();
      std::string path = text.substr(from, text.find('"', from) - from);
      EXPECT_TRUE(find(path)) << path;
      references++;
    }
  }
  EXPECT_GE(references, 3);
}

TEST(Page, KeepsTheHtmlOfCellsApart) {
  const PageFile* frame = find("/frame.html");
  ASSERT_TRUE(frame);
  EXPECT_NE(frame->policy.find("sandbox allow-scripts;"), frame->policy.npos);
  EXPECT_EQ(frame->policy.find("allow-same-origin"), frame->policy.npos);
  EXPECT_EQ(frame->policy.find("connect-src"), frame->policy.npos);  // default-src 'none' holds
  const PageFile* page = find("/");
  ASSERT_TRUE(page);
  EXPECT_NE(page->policy.find("script-src 'self';"), page->policy.npos);
}

TEST(Page, PacksWhatIsWorthIt) {
  for (const PageFile& file : page_files()) {
    if (file.gzip.empty()) continue;
    EXPECT_LT(file.gzip.size(), file.bytes.size());
    EXPECT_EQ(file.gzip.substr(0, 2), "\x1f\x8b");
  }
}

}  // namespace
}  // namespace brood
