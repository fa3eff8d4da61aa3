// brood::Value against the golden vectors, which Python's codecs read, too.
#include "brood/value.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/sys.h"

namespace brood {
namespace {

using nlohmann::json;

std::string unhex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string bytes_of(const json& vector) {
  std::string bytes = unhex(vector["hex"]);
  const std::string more = unhex(vector.value("then", ""));
  for (int i = 0; i < vector.value("times", 0); ++i)
    bytes += more;
  return bytes;
}

json vectors() {
  Result<std::string> text =
      read_file(std::string(BROOD_SOURCE_DIR) + "/tests/vectors/values.json", 1 << 20);
  return text ? json::parse(*text) : json();
}

TEST(ValueVectors, ValidOnesAreReadAndWrittenAgain) {
  const json all = vectors();
  ASSERT_GT(all["valid"].size(), 50U);
  for (const json& vector : all["valid"]) {
    const Loaded loaded = load(bytes_of(vector));
    ASSERT_TRUE(loaded.value) << vector["name"] << ": " << loaded.error;
    const bool surrogates = vector["value"].is_object() && vector["value"].contains("surrogates");
    if (!vector["shortest"] || surrogates || loaded.value->as<Bytes>()) continue;
    EXPECT_EQ(dump(*loaded.value).bytes, bytes_of(vector)) << vector["name"];
  }
}

TEST(ValueVectors, MalformedOnesAreRefused) {
  const json all = vectors();
  ASSERT_GT(all["malformed"].size(), 20U);
  for (const json& vector : all["malformed"]) {
    if (vector["name"] == "surrogates that are no UTF-8") continue;  // bytes for C++
    const Loaded loaded = load(bytes_of(vector));
    EXPECT_FALSE(loaded.value) << vector["name"] << ": " << loaded.value->to_text();
    EXPECT_FALSE(loaded.error.empty()) << vector["name"];
  }
}

TEST(Value, LooksLikePython) {
  const Value value = List{None{},       true,
                           -5,           1.0,
                           "it's",       Bytes{std::string("\0a", 2)},
                           Tuple{1},     Set{},
                           FrozenSet{2}, Dict{{"a", std::complex<double>(0, 1)}}};
  EXPECT_EQ(value.to_text(),
            "[None, True, -5, 1.0, \"it's\", b'\\x00a', (1,), set(), frozenset({2}), "
            "{'a': (0.0+1.0j)}]");
  EXPECT_EQ(load(dump(value).bytes).value, value);
}

TEST(Value, IsAskedForWhatItIs) {
  const Value value = Dict{{"n", 3}, {"x", 2.5}, {"t", "text"}, {"b", Bytes{"raw"}}};
  const Dict* dict = value.as<Dict>();
  ASSERT_NE(dict, nullptr);
  EXPECT_EQ(dict->find("n")->as_integer(), 3);
  EXPECT_EQ(dict->find("n")->as_real(), 3.0);
  EXPECT_EQ(dict->find("x")->as_integer(), std::nullopt);
  EXPECT_EQ(*dict->find("t")->as_text(), "text");
  EXPECT_EQ(*dict->find("b")->as_bytes(), "raw");
  EXPECT_EQ(dict->find("none"), nullptr);
  EXPECT_EQ(value.as<List>(), nullptr);
  EXPECT_EQ(Value(UINT64_MAX).as_integer(), std::nullopt);
}

TEST(Value, SaysWhyItCannotBeSent) {
  EXPECT_NE(dump(std::string("\xff")).error, "");
  Value deep = 1;
  for (int i = 0; i < 101; ++i)
    deep = List{std::move(deep)};
  EXPECT_NE(dump(deep).error.find("100 levels"), std::string::npos);
}

}  // namespace
}  // namespace brood
