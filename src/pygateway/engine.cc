// The class Engine of _brood.
#include <cxxabi.h>
#include <unistd.h>

#include "pygateway/codec.h"
#include "pygateway/objects.h"

namespace brood::pygateway {

using gateway::Queue;
using gateway::Wait;

Classes classes;
PyTypeObject* engine_type = nullptr;

PyGILState_STATE take_gil(PyThreadState* saved) {
  try {
    if (saved == nullptr) return PyGILState_Ensure();
    PyEval_RestoreThread(saved);
  } catch (const abi::__forced_unwind&) {
    for (;;)
      pause();
  }
  return PyGILState_LOCKED;
}

namespace {

EngineObject* as_engine(PyObject* self) { return reinterpret_cast<EngineObject*>(self); }
gateway::Engine& engine_of(PyObject* self) { return *as_engine(self)->engine; }

// In a thread that the engine has started: calls spawner(queue).
void call_spawner(const std::weak_ptr<EngineLink>& link, Queue queue) {
  if (Py_IsInitialized() == 0) return;
  const PyGILState_STATE state = take_gil(nullptr);
  {
    const std::shared_ptr<EngineLink> alive = link.lock();
    const PyRef self = PyRef::borrow(alive ? reinterpret_cast<PyObject*>(alive->object) : nullptr);
    PyObject* spawner = self ? as_engine(self.get())->spawner : nullptr;
    if (spawner != nullptr) {
      const PyRef keep = PyRef::borrow(spawner);
      const PyRef result(PyObject_CallFunction(spawner, "i", static_cast<int>(queue)));
      if (!result) PyErr_WriteUnraisable(spawner);
    }
  }
  PyGILState_Release(state);
}

bool take_ancestors(PyObject* sequence, std::vector<uint32_t>& ancestors) {
  const Py_ssize_t count = sequence == nullptr ? 0 : PySequence_Size(sequence);
  for (Py_ssize_t i = 0; i < count; ++i) {
    const PyRef item(PySequence_GetItem(sequence, i));
    if (!item) return false;
    ancestors.push_back(static_cast<uint32_t>(PyLong_AsUnsignedLong(item.get())));
  }
  return PyErr_Occurred() == nullptr;
}

PyObject* make(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"context",      "ancestors", "item",      "window",
                                "channel_type", "name",      "heartbeat", nullptr};
  unsigned int context = 0;
  PyObject *ancestors = nullptr, *channel_class = reinterpret_cast<PyObject*>(channel_type);
  gateway::Engine::Options options;
  Py_ssize_t item = static_cast<Py_ssize_t>(options.limits.item);
  Py_ssize_t window = static_cast<Py_ssize_t>(options.limits.window);
  const char* name = "master";
  double heartbeat = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "I|OnnOsd:Engine",
                                   const_cast<char**>(names), &context, &ancestors, &item, &window,
                                   &channel_class, &name, &heartbeat))
    return nullptr;
  if (classes.remote_error == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "_brood.bind() was not called");
    return nullptr;
  }
  options.context = context;
  options.name = name;
  options.limits.item = static_cast<size_t>(std::max<Py_ssize_t>(item, 1));
  options.limits.window = static_cast<size_t>(std::max<Py_ssize_t>(window, 1));
  options.heartbeat = static_cast<int64_t>(heartbeat * kSecond);
  if (!take_ancestors(ancestors, options.ancestors)) return nullptr;
  const auto allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
  PyObject* self = allocate(type, 0);
  if (self == nullptr) return nullptr;
  EngineObject* object = as_engine(self);
  new (&object->engine) std::shared_ptr<gateway::Engine>();
  new (&object->link) std::shared_ptr<EngineLink>(std::make_shared<EngineLink>(object));
  new (&object->due) gateway::ChannelPtr();
  object->channel_class = PyRef::borrow(channel_class).release();
  object->callbacks = PyDict_New();
  object->watch_writer = -1;
  options.spawn = [link = std::weak_ptr(object->link)](gateway::Engine&, Queue queue) {
    call_spawner(link, queue);
  };
  options.allocate = allocate_bytes;
  object->engine = std::make_shared<gateway::Engine>(std::move(options));
  return self;
}

PyObject* add_link(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"peer", "reader", "writer", "ahead", "name", "heartbeat", nullptr};
  unsigned int peer = 0;
  int reader = -1, writer = -1;
  const char *ahead = "", *name = "";
  Py_ssize_t size = 0;
  double heartbeat = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Iii|y#sd:add_link",
                                   const_cast<char**>(names), &peer, &reader, &writer, &ahead,
                                   &size, &name, &heartbeat))
    return nullptr;
  const std::string problem = engine_of(self).link_problem(peer);
  if (!problem.empty()) {  // the descriptors are still the caller's
    PyErr_SetString(classes.gateway_lost, problem.c_str());
    return nullptr;
  }
  const Result<void> added = engine_of(self).add_link(
      peer, *name == 0 ? "context " + std::to_string(peer) : name, Fd(reader),
      writer == reader ? Fd() : Fd(writer), {ahead, static_cast<size_t>(size)},
      static_cast<int64_t>(heartbeat * kSecond));
  if (added) Py_RETURN_NONE;
  PyErr_SetString(PyExc_OSError, added.error().message.c_str());
  return nullptr;
}

PyObject* add_route(PyObject* self, PyObject* arguments) {
  unsigned int context = 0, via = 0;
  if (!PyArg_ParseTuple(arguments, "II:add_route", &context, &via)) return nullptr;
  engine_of(self).add_route(context, via);
  Py_RETURN_NONE;
}

PyObject* open(PyObject* self, PyObject* peer) {
  const auto number = static_cast<uint32_t>(PyLong_AsUnsignedLong(peer));
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (engine_of(self).has_stopped()) {
    PyErr_SetString(classes.gateway_lost, "the engine has stopped");
    return nullptr;
  }
  return channel_object(as_engine(self), engine_of(self).open(number));
}

PyObject* adopt(PyObject* self, PyObject* arguments) {
  unsigned int peer = 0, number = 0;
  if (!PyArg_ParseTuple(arguments, "II:adopt", &peer, &number)) return nullptr;
  gateway::ChannelPtr state = engine_of(self).adopt(peer, number);
  if (state == nullptr) {  // it has ended
    state = std::make_shared<gateway::ChannelState>(peer, number);
    state->closed = true;
  }
  return channel_object(as_engine(self), state);
}

PyObject* request(PyObject* self, PyObject* arguments) {
  unsigned int peer = 0;
  int kind = 0;
  PyObject* value = nullptr;
  if (!PyArg_ParseTuple(arguments, "IiO:request", &peer, &kind, &value)) return nullptr;
  std::string body;
  if (!encode(value, {as_engine(self), peer}, body)) return nullptr;
  gateway::ChannelPtr channel;
  const auto type = static_cast<FrameType>(kind);
  Wait result = engine_of(self).request(peer, type, body, channel, 0);
  while (result == Wait::kTimeout || result == Wait::kInterrupted) {
    result =
        released([&] { return engine_of(self).request(peer, type, body, channel, INT64_MAX); });
    if (result == Wait::kInterrupted && PyErr_CheckSignals() != 0) return nullptr;
  }
  if (result == Wait::kDone) return channel_object(as_engine(self), channel);
  PyErr_SetString(classes.gateway_lost,
                  channel ? engine_of(self).lost(*channel).c_str() : "the engine has stopped");
  return nullptr;
}

// OPEN and ROUTE have two numbers, not a value.
bool raw_body(PyObject* value, std::string& body) {
  unsigned int first = 0, second = 0;
  if (!PyTuple_Check(value) || !PyArg_ParseTuple(value, "II", &first, &second)) return false;
  body.resize(8);
  gateway::put_u32(body.data(), first);
  gateway::put_u32(body.data() + 4, second);
  return true;
}

PyObject* post(PyObject* self, PyObject* arguments) {
  unsigned int peer = 0;
  int kind = 0;
  PyObject* value = nullptr;
  if (!PyArg_ParseTuple(arguments, "IiO:post", &peer, &kind, &value)) return nullptr;
  std::string body;
  const auto type = static_cast<FrameType>(kind);
  const bool raw = type == FrameType::kOpen || type == FrameType::kRoute;
  const bool empty = type == FrameType::kBye || type == FrameType::kPing;
  if (!empty && !(raw ? raw_body(value, body) : encode(value, {}, body))) return nullptr;
  engine_of(self).post(peer, type, body);
  Py_RETURN_NONE;
}

// The next call that a callback is due, as the value of a request. Null without an exception: the
// channel has nothing for now.
PyObject* next_call(EngineObject* self) {
  const PyRef key(PyLong_FromVoidPtr(self->due.get()));
  PyObject* pair = key ? PyDict_GetItem(self->callbacks, key.get()) : nullptr;  // borrowed
  if (pair == nullptr) return nullptr;
  gateway::Payload item;
  bool ended = false;
  if (self->engine->take_due(*self->due, item, ended)) {
    const PyRef value(decode_item(std::move(item), {self, self->due->peer}));
    return value ? PyTuple_Pack(2, PyTuple_GetItem(pair, 0), value.get()) : nullptr;
  }
  if (!ended) return nullptr;
  const PyRef keep = PyRef::borrow(pair);
  PyDict_DelItem(self->callbacks, key.get());
  PyObject* marker = PyTuple_GetItem(pair, 1);
  return marker == classes.no_endmarker ? nullptr
                                        : PyTuple_Pack(2, PyTuple_GetItem(pair, 0), marker);
}

PyObject* request_tuple(EngineObject* self, gateway::Arrival& arrival) {
  const bool empty = arrival.body.size() == 0;
  const PyRef value(empty ? PyRef::borrow(Py_None).release()
                          : decode(arrival.body.view(), {self, arrival.peer}));
  if (!value) return nullptr;
  const PyRef channel(arrival.channel ? channel_object(self, arrival.channel)
                                      : PyRef::borrow(Py_None).release());
  if (!channel) return nullptr;
  const PyRef kind(PyLong_FromLong(static_cast<int>(arrival.type)));
  const PyRef peer(PyLong_FromUnsignedLong(arrival.peer));
  return PyTuple_Pack(4, kind.get(), peer.get(), value.get(), channel.get());
}

// A request that is no value is answered, and nobody else hears of it.
void refuse(EngineObject* self, const gateway::Arrival& arrival) {
  const std::string error = load_error_value();
  if (arrival.channel != nullptr) self->engine->close(*arrival.channel, error);
}

// The function of when(), to be called with None. Null without an exception: there is none.
// RemoteError.warn of an error that nobody can receive any more; null if there is nothing to say.
PyObject* warning_tuple(const gateway::Arrival& arrival) {
  const PyRef error(error_object(arrival.body.view()));
  if (!error) PyErr_Clear();
  if (!error || PyObject_IsInstance(error.get(), classes.remote_error) != 1) return nullptr;
  const PyRef warn(PyObject_GetAttrString(classes.remote_error, "warn"));
  return warn ? Py_BuildValue("(iI(OO)O)", 0, arrival.peer, warn.get(), error.get(), Py_None)
              : nullptr;
}

PyObject* told_tuple(EngineObject* self, const gateway::Arrival& arrival) {
  if (arrival.type == FrameType::kClose) return warning_tuple(arrival);
  const int writable = arrival.type == FrameType::kCredit ? 1 : 0;
  const PyRef key(Py_BuildValue("(Ni)", PyLong_FromVoidPtr(arrival.channel.get()), writable));
  const PyRef function = PyRef::borrow(key ? PyDict_GetItem(self->callbacks, key.get()) : nullptr);
  if (!function || PyDict_DelItem(self->callbacks, key.get()) != 0) return nullptr;
  return Py_BuildValue("(iI(OO)O)", 0, arrival.peer, function.get(), Py_None, Py_None);
}

PyObject* next(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"queue", "timeout", nullptr};
  int queue = 0;
  PyObject* timeout = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "i|O:next", const_cast<char**>(names),
                                   &queue, &timeout))
    return nullptr;
  const int64_t deadline = deadline_of(timeout);
  if (deadline < 0) return nullptr;
  EngineObject* object = as_engine(self);
  const bool leads = queue == static_cast<int>(Queue::kTasks) && getpid() == gettid();
  const bool callbacks = queue == static_cast<int>(Queue::kCallbacks);
  if (callbacks) object->callback_thread = PyThread_get_thread_ident();
  for (;;) {
    if (callbacks && object->due != nullptr) {
      if (PyObject* call = next_call(object)) {
        const PyRef own(call);
        return Py_BuildValue("(iIOO)", 0, object->due->peer, call, Py_None);
      }
      if (PyErr_Occurred() != nullptr) return nullptr;
      object->engine->delivered(*object->due);
      object->due.reset();
    }
    gateway::Arrival arrival;
    const Wait result = released(
        [&] { return object->engine->next(static_cast<Queue>(queue), arrival, deadline, leads); });
    if (result == Wait::kInterrupted && PyErr_CheckSignals() != 0) return nullptr;
    if (result == Wait::kTimeout || result == Wait::kEnded) Py_RETURN_NONE;
    if (result == Wait::kInterrupted) continue;
    if (!callbacks) {
      PyObject* request = request_tuple(object, arrival);
      if (request != nullptr || !PyErr_ExceptionMatches(classes.load_error)) return request;
      refuse(object, arrival);
      continue;
    }
    if (arrival.type == FrameType::kItem)
      object->due = std::move(arrival.channel);
    else if (PyObject* told = told_tuple(object, arrival))
      return told;
    if (PyErr_Occurred() != nullptr) return nullptr;
  }
}

PyObject* set_spawner(PyObject* self, PyObject* function) {
  PyObject* before = as_engine(self)->spawner;
  as_engine(self)->spawner = PyRef::borrow(function).release();
  Py_XDECREF(before);
  engine_of(self).allow_threads();
  Py_RETURN_NONE;
}

PyObject* capture(PyObject* self, PyObject* arguments) {
  int fd = -1;
  const char* name = nullptr;
  if (!PyArg_ParseTuple(arguments, "is:capture", &fd, &name)) return nullptr;
  engine_of(self).capture(Fd(fd), name);
  Py_RETURN_NONE;
}

PyObject* watch(PyObject* self, PyObject* seconds) {
  const double value = PyFloat_AsDouble(seconds);
  if (PyErr_Occurred() != nullptr) return nullptr;
  return PyLong_FromUnsignedLongLong(engine_of(self).watch(static_cast<int64_t>(value * kSecond)));
}

PyObject* unwatch(PyObject* self, PyObject* token) {
  const unsigned long long number = PyLong_AsUnsignedLongLong(token);
  if (PyErr_Occurred() != nullptr) return nullptr;
  engine_of(self).unwatch(number);
  Py_RETURN_NONE;
}

PyObject* lose(PyObject* self, PyObject* arguments) {
  unsigned int context = 0;
  const char* why = nullptr;
  if (!PyArg_ParseTuple(arguments, "Is:lose", &context, &why)) return nullptr;
  engine_of(self).lose(context, why);
  Py_RETURN_NONE;
}

PyObject* drain(PyObject* self, PyObject* seconds) {
  const double value = PyFloat_AsDouble(seconds);
  if (PyErr_Occurred() != nullptr) return nullptr;
  const bool drained =
      released([&] { return engine_of(self).drain(static_cast<int64_t>(value * kSecond)); });
  return PyBool_FromLong(drained ? 1 : 0);
}

PyObject* stop(PyObject* self, PyObject*) {
  released([&] { engine_of(self).stop(); });
  Py_RETURN_NONE;
}

PyObject* after_fork_in_child(PyObject* self, PyObject*) {
  engine_of(self).after_fork_in_child();
  Py_RETURN_NONE;
}

PyObject* before_fork(PyObject* self, PyObject*) {
  engine_of(self).before_fork();
  Py_RETURN_NONE;
}

PyObject* after_fork_in_parent(PyObject* self, PyObject*) {
  engine_of(self).after_fork_in_parent();
  Py_RETURN_NONE;
}

PyObject* stats(PyObject* self, PyObject*) {
  const gateway::EngineStats stats = engine_of(self).stats();
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "channels", number(stats.channels),
                       "calls", number(stats.calls), "queued", number(stats.queued), "tasks",
                       number(stats.tasks), "dropped", stats.dropped, "lost_logs", stats.lost_logs,
                       "bytes_in", stats.bytes_in, "bytes_out", stats.bytes_out, "unwritten",
                       number(stats.unwritten));
}

PyObject* raise_in_thread(PyObject*, PyObject* arguments) {
  unsigned long ident = 0;
  PyObject* exception = nullptr;
  if (!PyArg_ParseTuple(arguments, "kO:raise_in_thread", &ident, &exception)) return nullptr;
  return PyBool_FromLong(PyThreadState_SetAsyncExc(ident, exception));
}

PyObject* get_context(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(engine_of(self).context());
}

PyObject* get_ancestors(PyObject* self, void*) {
  const std::vector<uint32_t>& ancestors = engine_of(self).ancestors();
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(ancestors.size()));
  for (size_t i = 0; tuple != nullptr && i < ancestors.size(); ++i)
    PyTuple_SetItem(tuple, static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLong(ancestors[i]));
  return tuple;
}

PyObject* get_watch_writer(PyObject* self, void*) {
  const int fd = as_engine(self)->watch_writer;
  return fd < 0 ? PyRef::borrow(Py_None).release() : PyLong_FromLong(fd);
}

int set_watch_writer(PyObject* self, PyObject* value, void*) {
  const long fd = value == nullptr || value == Py_None ? -1 : PyLong_AsLong(value);
  if (PyErr_Occurred() != nullptr) return -1;
  as_engine(self)->watch_writer = static_cast<int>(fd);
  engine_of(self).set_watch_writer(static_cast<int>(fd));
  return 0;
}

int traverse_engine(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_engine(self)->channel_class);
  Py_VISIT(as_engine(self)->spawner);
  Py_VISIT(as_engine(self)->callbacks);
  return 0;
}

int clear_engine(PyObject* self) {
  Py_CLEAR(as_engine(self)->spawner);
  if (as_engine(self)->callbacks != nullptr) PyDict_Clear(as_engine(self)->callbacks);
  return 0;
}

void deallocate_engine(PyObject* self) {
  EngineObject* object = as_engine(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (object->link) object->link->object = nullptr;
  if (object->engine) {
    released([&] { object->engine->stop(); });
  }
  object->due.~shared_ptr();
  object->engine.~shared_ptr();
  object->link.~shared_ptr();
  Py_CLEAR(object->channel_class);
  Py_CLEAR(object->spawner);
  Py_CLEAR(object->callbacks);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

PyMethodDef engine_methods[] = {
    {"add_link", as_method(add_link), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"add_route", add_route, METH_VARARGS, nullptr},
    {"open", open, METH_O, nullptr},
    {"adopt", adopt, METH_VARARGS, nullptr},
    {"request", request, METH_VARARGS, nullptr},
    {"post", post, METH_VARARGS, nullptr},
    {"next", as_method(next), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"set_spawner", set_spawner, METH_O, nullptr},
    {"capture", capture, METH_VARARGS, nullptr},
    {"watch", watch, METH_O, nullptr},
    {"unwatch", unwatch, METH_O, nullptr},
    {"lose", lose, METH_VARARGS, nullptr},
    {"drain", drain, METH_O, nullptr},
    {"stop", stop, METH_NOARGS, nullptr},
    {"after_fork_in_child", after_fork_in_child, METH_NOARGS, nullptr},
    {"before_fork", before_fork, METH_NOARGS, nullptr},
    {"after_fork_in_parent", after_fork_in_parent, METH_NOARGS, nullptr},
    {"stats", stats, METH_NOARGS, nullptr},
    {"raise_in_thread", raise_in_thread, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef engine_properties[] = {
    {"context", get_context, nullptr, nullptr, nullptr},
    {"ancestors", get_ancestors, nullptr, nullptr, nullptr},
    {"watch_writer", get_watch_writer, set_watch_writer, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot engine_slots[] = {{Py_tp_new, reinterpret_cast<void*>(make)},
                              {Py_tp_methods, engine_methods},
                              {Py_tp_getset, engine_properties},
                              {Py_tp_traverse, reinterpret_cast<void*>(traverse_engine)},
                              {Py_tp_clear, reinterpret_cast<void*>(clear_engine)},
                              {Py_tp_dealloc, reinterpret_cast<void*>(deallocate_engine)},
                              {0, nullptr}};

PyType_Spec engine_spec = {"_brood.Engine", sizeof(EngineObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                           engine_slots};

// --- functions of the module ---------------------------------------------------------------------

PyObject* bind(PyObject*, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"remote_error", "timeout_error", "dump_error",   "load_error",
                                "gateway_lost", "end",           "no_endmarker", nullptr};
  Classes bound;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOOOOOO:bind", const_cast<char**>(names),
                                   &bound.remote_error, &bound.timeout_error, &bound.dump_error,
                                   &bound.load_error, &bound.gateway_lost, &bound.end,
                                   &bound.no_endmarker))
    return nullptr;
  for (PyObject* object : {bound.remote_error, bound.timeout_error, bound.dump_error,
                           bound.load_error, bound.gateway_lost, bound.end, bound.no_endmarker})
    Py_INCREF(object);  // for as long as the process lives
  classes = bound;
  Py_RETURN_NONE;
}

PyObject* dumps(PyObject*, PyObject* value) {
  std::string bytes;
  if (!encode(value, {}, bytes)) return nullptr;
  return PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
}

PyObject* loads(PyObject*, PyObject* data) {
  char* begin = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(data, &begin, &size) != 0) return nullptr;
  return decode({begin, static_cast<size_t>(size)}, {});
}

PyMethodDef functions[] = {
    {"bind", as_method(bind), METH_VARARGS | METH_KEYWORDS,
     "bind(...): the classes that Engine and Channel raise and know; before any is made."},
    {"dumps", dumps, METH_O, "dumps(value) -> bytes; DumpError"},
    {"loads", loads, METH_O, "loads(bytes) -> value; LoadError"},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool add_classes(PyObject* module) {
  if (PyModule_AddFunctions(module, functions) != 0 || !add_channel_class(module)) return false;
  PyObject* type = PyType_FromSpec(&engine_spec);
  if (type == nullptr) return false;
  engine_type = reinterpret_cast<PyTypeObject*>(type);
  Py_INCREF(type);
  return PyModule_AddObject(module, "Engine", type) == 0;
}

}  // namespace brood::pygateway
