// Python's objects to bytes of docs/protocol.md, section 6, and back. With the GIL held.
#pragma once

#include <string>
#include <string_view>

#include "pygateway/objects.h"

namespace brood::pygateway {

// What a value is encoded for: channels can be sent only to the context at their other end. Without
// an engine no channel can be.
struct Destination {
  EngineObject* engine = nullptr;
  uint32_t peer = 0;
};

// Appends. False with DumpError set, which says what and where.
bool encode(PyObject* value, const Destination& destination, std::string& bytes);
// The same; the contents of long bytes are not copied but referred to by `rest`, behind what is in
// `bytes`.
bool encode_item(PyObject* value, const Destination& destination, std::string& bytes,
                 gateway::Payload& rest);
// References that payloads had are dropped where the GIL is not held; this really does it.
void drop_references();

// Of a received item; what is an object already is that.
PyObject* decode_item(gateway::Payload item, const Destination& source);
// Engine::Options::allocate, with an object bytes. Without the GIL.
gateway::LongBytes allocate_bytes(size_t size);

// The current exception, which is cleared, as what CLOSE carries.
std::string load_error_value();

// Null with LoadError set. `source`: whom the bytes come from.
PyObject* decode(std::string_view bytes, const Destination& source);

}  // namespace brood::pygateway
