// The answer to each request: checks who asks, finds the route, and hands over to the one who
// answers that kind. Server process, its one thread.
#pragma once

#include "http/exchange.h"
#include "http/services.h"

namespace brood {

// `services` outlives everybody that the factory makes.
ResponderFactory make_front(Services& services);

}  // namespace brood
