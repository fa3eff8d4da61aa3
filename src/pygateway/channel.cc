// The class Channel of _brood.
#include <cmath>

#include "pygateway/codec.h"
#include "pygateway/objects.h"

// In every CPython since 3.7 and in the Limited API from 3.10 on, with this value and signature.
#ifndef METH_FASTCALL
#define METH_FASTCALL 0x0080
#endif

namespace brood::pygateway {

using gateway::Wait;

PyTypeObject* channel_type = nullptr;

namespace {

constexpr size_t kLong = 16 << 10;  // bytes; a longer item is written without the GIL

ChannelObject* as_channel(PyObject* self) { return reinterpret_cast<ChannelObject*>(self); }

Destination other_end(const ChannelObject* self) { return {self->engine, self->state->peer}; }

// Calls `operation` without the GIL until it is not interrupted. kInterrupted: a signal's handler
// has raised.
template <typename Operation>
Wait without_gil(Operation operation) {
  for (;;) {
    const Wait result = released(operation);
    if (result != Wait::kInterrupted || PyErr_CheckSignals() != 0) return result;
  }
}

PyObject* raise_timeout(const char* what) {
  PyErr_SetString(classes.timeout_error, what);
  return nullptr;
}

PyObject* raise_closed(ChannelObject* self) {
  const std::string lost = self->engine->engine->lost(*self->state);
  if (!lost.empty())
    PyErr_SetString(classes.gateway_lost, lost.c_str());
  else
    PyErr_Format(PyExc_OSError, "cannot send to channel %u: it is closed", self->state->number);
  return nullptr;
}

bool is_sendable(const ChannelObject* self, size_t size) {
  const size_t most = self->engine->engine->limits().item;
  if (size > most)
    PyErr_Format(classes.dump_error, "this item has %zu bytes, at most %zu are allowed", size,
                 most);
  return size <= most;
}

PyObject* send_item(ChannelObject* self, PyObject* item, int64_t deadline) {
  gateway::Engine& engine = *self->engine->engine;
  std::string bytes;
  gateway::Payload rest;
  drop_references();
  if (!encode_item(item, other_end(self), bytes, rest)) return nullptr;
  if (!is_sendable(self, bytes.size() + rest.size())) return nullptr;
  // Most items are short, and nobody has to wait: the GIL is kept.
  Wait result = Wait::kTimeout;
  if (bytes.size() + rest.size() < kLong) result = engine.send(*self->state, bytes, rest, 0);
  if (result == Wait::kTimeout)
    result = without_gil([&] { return engine.send(*self->state, bytes, rest, deadline); });
  if (result == Wait::kDone) Py_RETURN_NONE;
  if (result == Wait::kInterrupted) return nullptr;
  if (result == Wait::kTimeout) return raise_timeout("the other side takes no more items");
  return raise_closed(self);
}

// Arguments of a method that takes `positional` ones and `timeout`. False with an exception set.
bool take_arguments(const char* name, PyObject* const* arguments, Py_ssize_t count,
                    PyObject* keywords, Py_ssize_t positional, int64_t& deadline) {
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_Size(keywords);
  PyObject* timeout = count > positional ? arguments[positional] : Py_None;
  const bool is_timeout =
      named == 1 && count == positional &&
      PyUnicode_CompareWithASCIIString(PyTuple_GetItem(keywords, 0), "timeout") == 0;
  if (is_timeout) timeout = arguments[count];
  if (count < positional || count > positional + 1 || (named > 0 && !is_timeout)) {
    PyErr_Format(PyExc_TypeError, "%s() takes %stimeout=None", name,
                 positional > 0 ? "item, " : "");
    return false;
  }
  deadline = deadline_of(timeout);
  return deadline >= 0;
}

PyObject* send(PyObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* keywords) {
  int64_t deadline = INT64_MAX;
  if (!take_arguments("send", arguments, count, keywords, 1, deadline)) return nullptr;
  return send_item(as_channel(self), arguments[0], deadline);
}

PyObject* raise_callback(const ChannelObject* self) {
  PyErr_Format(PyExc_OSError, "channel %u has a callback, which gets its items",
               self->state->number);
  return nullptr;
}

PyObject* receive_item(ChannelObject* self, int64_t deadline) {
  gateway::Engine& engine = *self->engine->engine;
  gateway::Payload item;
  if (self->state->has_callback) return raise_callback(self);
  if (!engine.try_receive(*self->state, item)) {
    drop_references();
    const Wait result = without_gil([&] { return engine.receive(*self->state, item, deadline); });
    if (result == Wait::kInterrupted) return nullptr;
    if (result == Wait::kTimeout) return raise_timeout("no item came in time");
    if (self->state->has_callback) return raise_callback(self);
    if (result == Wait::kEnded) return raise_end(self->engine, *self->state, true);
  }
  PyObject* value = decode_item(std::move(item), other_end(self));
  if (value == nullptr && PyErr_ExceptionMatches(classes.load_error)) {
    // What else comes makes no sense.
    PyObject *type = nullptr, *error = nullptr, *trace = nullptr;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_Restore(PyRef::borrow(type).release(), PyRef::borrow(error).release(),
                  PyRef::borrow(trace).release());
    engine.close(*self->state, load_error_value());
    PyErr_Restore(type, error, trace);
  }
  return value;
}

PyObject* receive(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                  PyObject* keywords) {
  int64_t deadline = INT64_MAX;
  if (!take_arguments("receive", arguments, count, keywords, 0, deadline)) return nullptr;
  return receive_item(as_channel(self), deadline);
}

PyObject* next_item(PyObject* self) {
  PyObject* item = receive_item(as_channel(self), INT64_MAX);
  if (item == nullptr && PyErr_ExceptionMatches(PyExc_EOFError) &&
      !PyErr_ExceptionMatches(classes.gateway_lost))
    PyErr_Clear();  // the end of the iteration
  return item;
}

PyObject* end(PyObject* self, PyObject*) {
  as_channel(self)->engine->engine->end(*as_channel(self)->state);
  Py_RETURN_NONE;
}

PyObject* finish(PyObject* self, PyObject* value) {
  std::string bytes;
  if (!encode(value, other_end(as_channel(self)), bytes) ||
      !is_sendable(as_channel(self), bytes.size()))
    return nullptr;
  if (!as_channel(self)->engine->engine->finish(*as_channel(self)->state, bytes))
    return raise_closed(as_channel(self));
  Py_RETURN_NONE;
}

// What CLOSE carries for text, a dict or an exception.
PyObject* error_map(PyObject* error) {
  if (PyDict_Check(error)) return PyRef::borrow(error).release();
  if (PyUnicode_Check(error))
    return Py_BuildValue("{s:s,s:O,s:O}", "type", "", "text", error, "traceback", error);
  const PyRef text(PyObject_Str(error));
  if (!text) return nullptr;
  if (!PyExceptionInstance_Check(error))
    return Py_BuildValue("{s:s,s:O,s:O}", "type", "", "text", text.get(), "traceback", text.get());
  const PyRef name(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(error)), "__name__"));
  if (!name) return nullptr;
  const PyRef line(PyUnicode_FromFormat("%U: %U", name.get(), text.get()));
  return Py_BuildValue("{s:O,s:O,s:O}", "type", name.get(), "text", text.get(), "traceback",
                       line.get());
}

PyObject* close(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"error", nullptr};
  PyObject* error = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:close", const_cast<char**>(names),
                                   &error))
    return nullptr;
  std::string bytes;
  if (error != Py_None) {
    const PyRef map(error_map(error));
    if (!map || !encode(map.get(), other_end(as_channel(self)), bytes)) return nullptr;
  }
  as_channel(self)->engine->engine->close(*as_channel(self)->state, bytes);
  Py_RETURN_NONE;
}

PyObject* is_closed(PyObject* self, PyObject*) {
  return PyBool_FromLong(as_channel(self)->engine->engine->is_closed(*as_channel(self)->state));
}

PyObject* wait_closed(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"timeout", nullptr};
  PyObject* timeout = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:waitclose", const_cast<char**>(names),
                                   &timeout))
    return nullptr;
  const int64_t deadline = deadline_of(timeout);
  if (deadline < 0) return nullptr;
  ChannelObject* channel = as_channel(self);
  // A callback cannot wait for itself.
  const bool delivered = channel->engine->callback_thread != PyThread_get_thread_ident();
  const Wait result = without_gil(
      [&] { return channel->engine->engine->wait_closed(*channel->state, delivered, deadline); });
  if (result == Wait::kInterrupted) return nullptr;
  if (result == Wait::kTimeout) return raise_timeout("the other side has not closed in time");
  return raise_end(channel->engine, *channel->state, false);
}

PyObject* set_callback(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"callback", "endmarker", nullptr};
  PyObject *callback = nullptr, *marker = classes.no_endmarker;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|O:setcallback",
                                   const_cast<char**>(names), &callback, &marker))
    return nullptr;
  ChannelObject* channel = as_channel(self);
  if (channel->state->has_callback) {
    PyErr_Format(PyExc_OSError, "channel %u has a callback", channel->state->number);
    return nullptr;
  }
  const PyRef key(PyLong_FromVoidPtr(channel->state.get()));
  const PyRef pair(PyTuple_Pack(2, callback, marker));
  if (!key || !pair || PyDict_SetItem(channel->engine->callbacks, key.get(), pair.get()) != 0)
    return nullptr;
  channel->engine->engine->set_callback(*channel->state);
  Py_RETURN_NONE;
}

PyObject* when(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"function", "writable", nullptr};
  PyObject* function = nullptr;
  int writable = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|p:when", const_cast<char**>(names),
                                   &function, &writable))
    return nullptr;
  ChannelObject* channel = as_channel(self);
  const PyRef key(Py_BuildValue("(Ni)", PyLong_FromVoidPtr(channel->state.get()), writable));
  if (!key || PyDict_SetItem(channel->engine->callbacks, key.get(), function) != 0) return nullptr;
  channel->engine->engine->notify_when(*channel->state, writable != 0);
  Py_RETURN_NONE;
}

PyObject* get_number(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(as_channel(self)->state->number);
}
PyObject* get_peer(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(as_channel(self)->state->peer);
}
PyObject* get_engine(PyObject* self, void*) {
  return PyRef::borrow(reinterpret_cast<PyObject*>(as_channel(self)->engine)).release();
}

PyObject* iterate(PyObject* self) { return PyRef::borrow(self).release(); }

int traverse_channel(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_channel(self)->engine);
  return 0;
}

int clear_channel(PyObject*) { return 0; }  // the engine is needed until the end

void deallocate_channel(PyObject* self) {
  ChannelObject* channel = as_channel(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (channel->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  if (channel->state) {
    channel->state->owner = nullptr;
    channel->engine->engine->release(*channel->state);
  }
  channel->state.~shared_ptr();
  Py_CLEAR(channel->engine);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

PyMethodDef channel_methods[] = {
    {"send", as_method(send), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"receive", as_method(receive), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"end", end, METH_NOARGS, nullptr},
    {"finish", finish, METH_O, nullptr},
    {"close", as_method(close), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"isclosed", is_closed, METH_NOARGS, nullptr},
    {"waitclose", as_method(wait_closed), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"setcallback", as_method(set_callback), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"when", as_method(when), METH_VARARGS | METH_KEYWORDS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef channel_properties[] = {{"number", get_number, nullptr, nullptr, nullptr},
                                    {"peer", get_peer, nullptr, nullptr, nullptr},
                                    {"engine", get_engine, nullptr, nullptr, nullptr},
                                    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef channel_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ChannelObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot channel_slots[] = {{Py_tp_methods, channel_methods},
                               {Py_tp_getset, channel_properties},
                               {Py_tp_members, channel_members},
                               {Py_tp_iter, reinterpret_cast<void*>(iterate)},
                               {Py_tp_iternext, reinterpret_cast<void*>(next_item)},
                               {Py_tp_traverse, reinterpret_cast<void*>(traverse_channel)},
                               {Py_tp_clear, reinterpret_cast<void*>(clear_channel)},
                               {Py_tp_dealloc, reinterpret_cast<void*>(deallocate_channel)},
                               {0, nullptr}};

PyType_Spec channel_spec = {"_brood.Channel", sizeof(ChannelObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                            channel_slots};

}  // namespace

int64_t deadline_of(PyObject* timeout) {
  if (timeout == Py_None) return INT64_MAX;
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1 && PyErr_Occurred() != nullptr) return -1;
  if (std::isnan(seconds)) {
    PyErr_SetString(PyExc_ValueError, "a time-out that is not a number");
    return -1;
  }
  if (seconds > 1e9) return INT64_MAX;
  return monotonic_ns() + static_cast<int64_t>(std::max(seconds, 0.0) * kSecond);
}

PyObject* raise_end(EngineObject* engine, gateway::ChannelState& channel, bool eof) {
  const gateway::Engine::Ended ended = engine->engine->take_end(channel);
  if (!ended.lost.empty()) {
    PyErr_SetString(classes.gateway_lost, ended.lost.c_str());
    return nullptr;
  }
  if (!ended.error) {
    if (!eof) Py_RETURN_NONE;
    PyErr_SetNone(PyExc_EOFError);
    return nullptr;
  }
  const PyRef error(error_object(*ended.error));
  if (error) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.get())), error.get());
  return nullptr;
}

PyObject* error_object(std::string_view value) {
  const PyRef map(decode(value, {}));
  if (!map || !PyDict_Check(map.get())) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(classes.load_error, "an error that is no map");
    return nullptr;
  }
  const auto part = [&](const char* name) {
    PyObject* text = PyDict_GetItemString(map.get(), name);  // borrowed
    return PyRef(text != nullptr && PyUnicode_Check(text) ? PyRef::borrow(text).release()
                                                          : PyUnicode_FromString(""));
  };
  const PyRef type = part("type"), text = part("text"), trace = part("traceback");
  // A router's has no traceback.
  if (PyUnicode_CompareWithASCIIString(type.get(), "GatewayLost") == 0 &&
      PyUnicode_GetLength(trace.get()) == 0)
    return PyObject_CallFunctionObjArgs(classes.gateway_lost, text.get(), nullptr);
  return PyObject_CallFunctionObjArgs(classes.remote_error, trace.get(), type.get(), text.get(),
                                      nullptr);
}

PyObject* channel_object(EngineObject* engine, const gateway::ChannelPtr& state) {
  if (state->owner != nullptr) return PyRef::borrow(static_cast<PyObject*>(state->owner)).release();
  auto* type = reinterpret_cast<PyTypeObject*>(engine->channel_class);
  PyObject* self = PyType_GenericAlloc(type, 0);
  if (self == nullptr) return nullptr;
  ChannelObject* channel = as_channel(self);
  new (&channel->state) gateway::ChannelPtr(state);
  Py_INCREF(engine);
  channel->engine = engine;
  state->owner = self;
  return self;
}

bool add_channel_class(PyObject* module) {
  PyObject* type = PyType_FromSpec(&channel_spec);
  if (type == nullptr) return false;
  channel_type = reinterpret_cast<PyTypeObject*>(type);
  Py_INCREF(type);
  return PyModule_AddObject(module, "Channel", type) == 0;
}

}  // namespace brood::pygateway
