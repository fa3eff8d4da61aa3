// The classes Engine and Channel of the module _brood, the C++ twins of those in
// python/brood/gateways/core/engine.py, whose docstring is their contract. Always with the GIL
// held; what waits lets it go meanwhile.
#pragma once

#include "worker/py.h"
// after py.h
#include <structmember.h>

#include "gateway/engine.h"

namespace brood::pygateway {

// What the extension needs of the package: classes of core/errors.py and core/kinds.py.
struct Classes {
  PyObject* remote_error = nullptr;
  PyObject* timeout_error = nullptr;
  PyObject* dump_error = nullptr;
  PyObject* load_error = nullptr;
  PyObject* gateway_lost = nullptr;
  PyObject* end = nullptr;           // one end of a channel between two others
  PyObject* no_endmarker = nullptr;  // what stands for no end marker
};
extern Classes classes;
extern PyTypeObject* engine_type;
extern PyTypeObject* channel_type;

struct EngineObject;

// Outlives the object: a thread that the engine has started looks here whether it still is.
struct EngineLink {
  explicit EngineLink(EngineObject* the_object) : object(the_object) {}
  EngineObject* object;
};

struct EngineObject {
  PyObject_HEAD std::shared_ptr<gateway::Engine> engine;
  std::shared_ptr<EngineLink> link;
  gateway::ChannelPtr due;        // whose items next(CALLBACKS) gives one by one
  PyObject* channel_class;        // Channel or a subclass
  PyObject* spawner;              // or null
  PyObject* callbacks;            // dict: address of a ChannelState -> (callback, end marker)
                                  // (address, writable) -> function of when()
  int watch_writer;               // or -1
  unsigned long callback_thread;  // that is in next(CALLBACKS), or calls; 0: none yet
};

struct ChannelObject {
  PyObject_HEAD gateway::ChannelPtr state;
  EngineObject* engine;  // owned
  PyObject* weak_references;
};

// The object that stands for a channel, made if there is none. Null with an exception set.
PyObject* channel_object(EngineObject* engine, const gateway::ChannelPtr& state);

// Takes the GIL, with what PyEval_SaveThread() gave, or null: what PyGILState_Ensure() needs. At
// the end of the interpreter CPython ends a thread that asks for it by unwinding its stack, and the
// references there would be dropped without the GIL: such a thread waits for the end of the
// process.
PyGILState_STATE take_gil(PyThreadState* saved);

// Calls `operation` without the GIL.
template <typename Operation>
auto released(Operation operation) {
  PyThreadState* saved = PyEval_SaveThread();
  if constexpr (std::is_void_v<decltype(operation())>) {
    operation();
    take_gil(saved);
  } else {
    auto result = operation();
    take_gil(saved);
    return result;
  }
}

// A method of any signature for a PyMethodDef, whose flags say which.
template <typename Function>
PyCFunction as_method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// Deadlines of CLOCK_MONOTONIC in ns; None is never. -1 with an exception set.
int64_t deadline_of(PyObject* timeout);
// The message of a GatewayLost, RemoteError or EOFError for a channel that has ended, raised.
PyObject* raise_end(EngineObject* engine, gateway::ChannelState& channel, bool eof);
// The RemoteError, or GatewayLost, that the value of CLOSE stands for. Null with an exception set.
PyObject* error_object(std::string_view value);

// Adds the classes to the module. False with an exception set.
bool add_classes(PyObject* module);
bool add_channel_class(PyObject* module);

}  // namespace brood::pygateway
