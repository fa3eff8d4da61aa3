#include "session/api.h"

namespace brood {

const char* name_of(ProblemCode code) {
  switch (code) {
    case ProblemCode::kBadRequest: return "bad_request";
    case ProblemCode::kUnauthorized: return "unauthorized";
    case ProblemCode::kForbidden: return "forbidden";
    case ProblemCode::kNotFound: return "not_found";
    case ProblemCode::kBusy: return "busy";
    case ProblemCode::kEnded: return "ended";
    case ProblemCode::kLimit: return "limit";
    case ProblemCode::kUnavailable: return "unavailable";
    case ProblemCode::kTimeout: return "timeout";
    case ProblemCode::kInternal: return "internal";
  }
  return "internal";
}

}  // namespace brood
