#include "wire/control.h"

#include <gtest/gtest.h>

#include "wire/resolved.h"

namespace brood {
namespace {

TEST(Control, ZygoteSpecRoundTrips) {
  ZygoteSpec spec;
  spec.key = "k";
  spec.socket_path = "/run/env/k";
  spec.preload = {"numpy", "pandas"};
  spec.init_file = "/x/init.py";
  spec.import_directory = "/x";
  spec.overrides = {"A=1"};
  spec.ignored_variables = {"TERM"};
  spec.watched_files = {"/x/brood.toml"};
  spec.spares = 7;
  spec.image = ImageMode::kOff;
  spec.allow_threads = true;
  spec.for_sessions = true;
  spec.for_gateways = false;
  Result<ZygoteSpec> again = decode_zygote_spec(encode(spec));
  ASSERT_TRUE(again);
  EXPECT_EQ(encode(*again), encode(spec));
  EXPECT_EQ(again->preload, spec.preload);
  EXPECT_EQ(again->image, ImageMode::kOff);
  EXPECT_TRUE(again->allow_threads);
  EXPECT_FALSE(again->allow_sockets);
  EXPECT_TRUE(again->for_sessions);
  EXPECT_FALSE(again->for_gateways);
}

TEST(Control, ReportsRoundTrip) {
  ZygoteReady ready;
  ready.preload_us = 595'000;
  ready.image_fork_us = 430;
  ready.read_variables = {"MPLBACKEND"};
  ready.output = "warning\n";
  EXPECT_EQ(encode(*decode_zygote_ready(encode(ready))), encode(ready));
  WorkerEvent event{12, "job.py", true, 9, 3};
  EXPECT_EQ(encode(*decode_worker_event(encode(event))), encode(event));
  EXPECT_EQ(decode_zygote_failed(encode(ZygoteFailed{"why"}))->text, "why");
  EXPECT_EQ(decode_zygote_stale(encode(ZygoteStale{"/x.py"}))->path, "/x.py");
}

TEST(Control, GarbageIsAnError) {
  EXPECT_FALSE(decode_zygote_spec("\x01"));
  EXPECT_FALSE(decode_zygote_ready("\x01\x00\x00\x00\xff\xff\xff\xff"));
  EXPECT_FALSE(decode_worker_event(std::string(7, '\0')));
}

TEST(Resolved, RoundTripsAndIsNamedByTheFilesState) {
  Resolved resolved{"", "/usr/bin/python3", "analysis", "/x/init.py", "/x", {"A=1", "B=2"}};
  Result<Resolved> again = decode_resolved(encode(resolved));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->overrides, resolved.overrides);
  EXPECT_EQ(encode(*again), encode(resolved));
  const FileIdentity one{1, 2, 3, 4, 5}, two{1, 2, 3, 9, 5};
  EXPECT_NE(resolved_name("/brood.toml", one, ""), resolved_name("/brood.toml", two, ""));
  EXPECT_NE(resolved_name("/brood.toml", one, ""), resolved_name("/brood.toml", one, "x"));
}

}  // namespace
}  // namespace brood
