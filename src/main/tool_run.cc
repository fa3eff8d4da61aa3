#include "main/tool_run.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/sys.h"
#include "daemon/resolve.h"
#include "launch/plan.h"
#include "launch/run_options.h"
#include "launch/trace.h"
#include "main/tool_client.h"

namespace brood {
namespace {

// What the configuration says about a cold run; kept for the thin client where that holds for
// everybody.
Resolved resolve_and_keep(const Launch& launch) {
  const ColdResolution resolution = resolve_for_cold(launch, surroundings_here());
  const RuntimeDir dir = runtime_dir();
  if (!resolution.cacheable || !create(dir)) return resolution.resolved;
  const std::string name =
      resolved_name(launch.config_file, launch.config_identity, launch.env_name);
  if (identify(launch.config_file.c_str()) == launch.config_identity)
    if (Result<void> kept = replace_file(dir.resolved_file(name), encode(resolution.resolved));
        !kept)
      trace(kept.error().message);
  return resolution.resolved;
}

}  // namespace

int run_resolved(std::span<char* const> arguments) {
  if (arguments.empty()) return fail("resolve-and-run is for brood's own use", kUsage);
  const bool drop_in = std::string_view(arguments[0]) == "1";
  ParsedRun run;
  run.python = arguments.subspan(1);
  if (!drop_in) {
    Result<ParsedRun> parsed = parse_run_options(run.python);
    if (!parsed) return fail(parsed.error().message, kUsage);
    run = std::move(*parsed);
  }
  Result<Plan> plan = make_plan(run.python, run.options, drop_in);
  if (!plan) return fail(plan.error().message, drop_in ? 127 : kUsage);
  if (plan->launch.config_file.empty()) return fail(run_cold(*plan, nullptr).message, 127);
  const Resolved resolved = resolve_and_keep(plan->launch);
  if (!resolved.error.empty()) {
    fail(resolved.error);
    if (!drop_in) return kUsage;
  }
  return fail(run_cold(*plan, &resolved).message, 127);
}

}  // namespace brood
