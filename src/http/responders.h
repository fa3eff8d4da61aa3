// Those who answer one kind of route each. They are made after the caller is known.
#pragma once

#include <memory>

#include "http/exchange.h"
#include "http/routes.h"
#include "http/services.h"

namespace brood {

// `body`: the JSON object that was sent, or an empty one.
using WithBody = std::function<void(nlohmann::json body)>;

// Reads a JSON body, if there is one, and goes on with it; answers itself when it is no JSON object
// or too long. `done` is not called when the one who asks is gone: wrap it with a Guard.
void read_json(Exchange& exchange, const Services& services, WithBody done);

std::unique_ptr<Responder> make_call(Services& services, Exchange& exchange, Caller caller,
                                     Route route);
std::unique_ptr<Responder> make_upload(Services& services, Exchange& exchange, Caller caller,
                                       Route route);
std::unique_ptr<Responder> make_download(Services& services, Exchange& exchange, Caller caller,
                                         Route route);
// Server-sent events of one cell; `body` as of `execute`.
std::unique_ptr<Responder> make_cell_stream(Services& services, Exchange& exchange, Caller caller,
                                            Route route);
std::unique_ptr<Responder> make_socket(Services& services, Exchange& exchange, Caller caller,
                                       Route route);

}  // namespace brood
