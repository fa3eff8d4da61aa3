#include "pygateway/codec.h"

#include <atomic>
#include <mutex>

#include "gateway/decoder.h"

// In CPython since 3.3 and stable from 3.10 on, where the Limited API has it, too.
extern "C" const char* PyUnicode_AsUTF8AndSize(PyObject* text, Py_ssize_t* size);

namespace brood::pygateway {

using gateway::Extension;

namespace {

bool is_exactly(PyObject* value, PyTypeObject& type) { return Py_TYPE(value) == &type; }

class Encoder {
 public:
  Encoder(const Destination& destination, std::string& bytes)
      : destination_(destination), packer_(bytes) {}

  bool encode(PyObject* value) {
    if (is_exactly(value, PyLong_Type)) return integer(value);
    if (is_exactly(value, PyUnicode_Type)) return text(value);
    if (value == Py_None) return packer_.nil(), true;
    if (value == Py_True || value == Py_False) return packer_.boolean(value == Py_True), true;
    if (is_exactly(value, PyBytes_Type)) return bytes(value);
    if (is_exactly(value, PyFloat_Type)) return packer_.real(PyFloat_AsDouble(value)), true;
    if (is_exactly(value, PyTuple_Type)) return tuple(value);
    if (is_exactly(value, PyList_Type)) return list(value);
    if (is_exactly(value, PyDict_Type)) return dict(value);
    return rare(value);
  }

  // Raises DumpError with the place of what could not be sent.
  void raise() const {
    if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_UnicodeError)) return;
    PyErr_Clear();
    const std::string at = path_.empty() ? "" : " at " + path_;
    PyErr_Format(classes.dump_error, "%s%s", error_.c_str(), at.c_str());
  }

 private:
  bool fail(std::string why) {
    error_ = std::move(why);
    return false;
  }

  // One more level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(Encoder& encoder) : encoder_(encoder) { ++encoder_.depth_; }
    ~Level() { --encoder_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    bool too_deep() {
      return encoder_.depth_ > gateway::kMaxNesting && !encoder_.fail("nested over 100 levels");
    }

   private:
    Encoder& encoder_;
  };

  bool integer(PyObject* value) {
    int overflow = 0;
    const long long small = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0) return packer_.integer(small), true;
    if (overflow > 0) {
      const unsigned long long large = PyLong_AsUnsignedLongLong(value);
      if (PyErr_Occurred() == nullptr) return packer_.unsigned_integer(large), true;
      PyErr_Clear();
    }
    const PyRef bits(PyObject_CallMethod(value, "bit_length", nullptr));
    const long long count = bits ? PyLong_AsLongLong(bits.get()) : -1;
    if (count < 0) return false;
    const long long size = count / 8 + 1;
    if (static_cast<unsigned long long>(size) > gateway::kMaxBigInt)
      return fail("an int of more than 1 MiB");
    const PyRef method(PyObject_GetAttrString(value, "to_bytes"));
    const PyRef arguments(Py_BuildValue("(Ls)", size, "little"));
    const PyRef options(Py_BuildValue("{s:O}", "signed", Py_True));
    if (!method || !arguments || !options) return false;
    const PyRef data(PyObject_Call(method.get(), arguments.get(), options.get()));
    char* begin = nullptr;
    Py_ssize_t length = 0;
    if (!data || PyBytes_AsStringAndSize(data.get(), &begin, &length) != 0) return false;
    // bit_length leaves room for a sign that -2^(8n-1) does not need
    if (length > 1 && begin[length - 1] == '\xff' && (begin[length - 2] & 0x80)) --length;
    packer_.extension(Extension::kBigInt, {begin, static_cast<size_t>(length)});
    return true;
  }

  bool text(PyObject* value) {
    Py_ssize_t size = 0;
    if (const char* data = PyUnicode_AsUTF8AndSize(value, &size))
      return packer_.text({data, static_cast<size_t>(size)}), true;
    PyErr_Clear();
    const PyRef encoded(PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass"));
    char* data = nullptr;
    if (!encoded || PyBytes_AsStringAndSize(encoded.get(), &data, &size) != 0) return false;
    packer_.extension(Extension::kSurrogates, {data, static_cast<size_t>(size)});
    return true;
  }

  bool bytes(PyObject* value) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(value, &data, &size) != 0) return false;
    if (static_cast<uint64_t>(size) > UINT32_MAX) return fail("bytes of 4 GiB or more");
    packer_.binary({data, static_cast<size_t>(size)});
    return true;
  }

  bool item(PyObject* value, Py_ssize_t index) {
    if (encode(value)) return true;
    path_.insert(0, "[" + std::to_string(index) + "]");
    return false;
  }

  bool list(PyObject* value) {
    Level level(*this);
    if (level.too_deep()) return false;
    const Py_ssize_t count = PyList_Size(value);
    packer_.array(static_cast<size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      if (PyList_Size(value) != count) return fail("a list that changes");
      if (!item(PyList_GetItem(value, i), i)) return false;
    }
    return true;
  }

  bool tuple(PyObject* value) {
    Level level(*this);
    if (level.too_deep()) return false;
    const size_t begin = packer_.begin_extension();
    const Py_ssize_t count = PyTuple_Size(value);
    for (Py_ssize_t i = 0; i < count; ++i)
      if (!item(PyTuple_GetItem(value, i), i)) return false;
    packer_.end_extension(begin, Extension::kTuple);
    return true;
  }

  bool dict(PyObject* value) {
    Level level(*this);
    if (level.too_deep()) return false;
    const Py_ssize_t count = PyDict_Size(value);
    packer_.map(static_cast<size_t>(count));
    Py_ssize_t at = 0;
    PyObject *key = nullptr, *inner = nullptr;
    while (PyDict_Next(value, &at, &key, &inner)) {
      if (!encode(key)) {
        path_.insert(0, " in a key");
        return false;
      }
      if (!encode(inner)) {
        const PyRef name(PyObject_Repr(key));
        path_.insert(0, "[" + (name ? to_bytes(name.get()) : "?") + "]");
        return false;
      }
    }
    return PyDict_Size(value) == count || fail("a dict that changes");
  }

  bool elements(PyObject* value, Extension type) {
    Level level(*this);
    if (level.too_deep()) return false;
    const size_t begin = packer_.begin_extension();
    const PyRef iterator(PyObject_GetIter(value));
    if (!iterator) return false;
    while (const PyRef element = PyRef(PyIter_Next(iterator.get())))
      if (!encode(element.get())) {
        path_.insert(0, " in a set");
        return false;
      }
    if (PyErr_Occurred() != nullptr) return false;
    packer_.end_extension(begin, type);
    return true;
  }

  bool rare(PyObject* value) {
    if (is_exactly(value, PySet_Type)) return elements(value, Extension::kSet);
    if (is_exactly(value, PyFrozenSet_Type)) return elements(value, Extension::kFrozenSet);
    if (is_exactly(value, PyComplex_Type)) {
      packer_.complex({PyComplex_RealAsDouble(value), PyComplex_ImagAsDouble(value)});
      return true;
    }
    if (is_exactly(value, PyByteArray_Type) || is_exactly(value, PyMemoryView_Type)) {
      const PyRef copy(PyBytes_FromObject(value));
      return copy && bytes(copy.get());
    }
    if (PyObject_TypeCheck(value, channel_type)) return channel(value);
    if (reinterpret_cast<PyObject*>(Py_TYPE(value)) == classes.end) return end(value);
    const PyRef name(
        PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(value)), "__qualname__"));
    return fail("cannot send an object of type " + (name ? to_bytes(name.get()) : "?"));
  }

  bool channel(PyObject* value) {
    const auto* object = reinterpret_cast<ChannelObject*>(value);
    if (object->engine != destination_.engine || object->state->peer != destination_.peer)
      return fail("a channel can only be sent to the context at its other end");
    packer_.channel(gateway::kSender, object->state->number);
    destination_.engine->engine->announce(*object->state);
    return true;
  }

  bool end(PyObject* value) {
    uint32_t parts[3];
    const char* names[3] = {"context", "number", "home"};
    for (int i = 0; i < 3; ++i) {
      const PyRef part(PyObject_GetAttrString(value, names[i]));
      if (!part) return false;
      parts[i] = static_cast<uint32_t>(PyLong_AsUnsignedLong(part.get()));
      if (PyErr_Occurred() != nullptr) return false;
    }
    if (destination_.engine == nullptr || parts[2] != destination_.peer)
      return fail("this end of a channel is for another context");
    packer_.channel(parts[0], parts[1]);
    return true;
  }

  const Destination& destination_;
  gateway::Packer packer_;
  int depth_ = 0;
  std::string path_, error_;
};

struct ObjectBuilder {
  using Node = PyObject*;  // owned; null with an exception set

  explicit ObjectBuilder(const Destination& the_source) : source(the_source) {}

  Node nil() { return Py_INCREF(Py_None), Py_None; }
  Node boolean(bool flag) { return PyBool_FromLong(flag ? 1 : 0); }
  Node integer(int64_t number) { return PyLong_FromLongLong(number); }
  Node unsigned_integer(uint64_t number) { return PyLong_FromUnsignedLongLong(number); }
  Node real(double number) { return PyFloat_FromDouble(number); }
  Node text(std::string_view text) {
    return PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "strict");
  }
  Node binary(std::string_view data) {
    return PyBytes_FromStringAndSize(data.data(), static_cast<Py_ssize_t>(data.size()));
  }
  Node surrogates(std::string_view data) {
    return PyUnicode_Decode(data.data(), static_cast<Py_ssize_t>(data.size()), "utf-8",
                            "surrogatepass");
  }
  Node bigint(std::string_view data) {
    const PyRef method(
        PyObject_GetAttrString(reinterpret_cast<PyObject*>(&PyLong_Type), "from_bytes"));
    const PyRef arguments(
        Py_BuildValue("(y#s)", data.data(), static_cast<Py_ssize_t>(data.size()), "little"));
    const PyRef options(Py_BuildValue("{s:O}", "signed", Py_True));
    if (!method || !arguments || !options) return nullptr;
    return PyObject_Call(method.get(), arguments.get(), options.get());
  }
  Node complex(double real, double imaginary) { return PyComplex_FromDoubles(real, imaginary); }
  Node channel(uint32_t context, uint32_t number) {
    if (source.engine == nullptr) return fail("a channel outside of a channel");
    gateway::Engine& engine = *source.engine->engine;
    const uint32_t peer = context == gateway::kSender ? source.peer : context;
    const gateway::ChannelPtr state = engine.adopt(peer, number);
    if (state == nullptr) return fail("a channel that nobody has announced");
    return channel_object(source.engine, state);
  }

  static PyObject* filled(PyObject* sequence, Node* items, size_t count,
                          int (*set)(PyObject*, Py_ssize_t, PyObject*)) {
    for (size_t i = 0; sequence != nullptr && i < count; ++i)
      set(sequence, static_cast<Py_ssize_t>(i), std::exchange(items[i], nullptr));
    return sequence;
  }
  Node list(Node* items, size_t count) {
    return filled(PyList_New(static_cast<Py_ssize_t>(count)), items, count, PyList_SetItem);
  }
  Node sequence(Extension type, Node* items, size_t count) {
    if (type == Extension::kTuple)
      return filled(PyTuple_New(static_cast<Py_ssize_t>(count)), items, count, PyTuple_SetItem);
    const PyRef elements(list(items, count));
    if (!elements) return nullptr;
    return type == Extension::kSet ? PySet_New(elements.get()) : PyFrozenSet_New(elements.get());
  }
  Node dict(Node* items, size_t count) {
    PyRef dict(PyDict_New());
    for (size_t i = 0; dict && i + 1 < count; i += 2) {
      const PyRef key(std::exchange(items[i], nullptr));
      const PyRef value(std::exchange(items[i + 1], nullptr));
      if (PyDict_SetItem(dict.get(), key.get(), value.get()) != 0) return nullptr;
    }
    if (dict && static_cast<size_t>(PyDict_Size(dict.get())) != count / 2)
      return fail("a map has a key twice");
    return dict.release();
  }
  Node fail(const char* why) {
    PyErr_SetString(classes.load_error, why);
    return nullptr;
  }
  bool failed(const Node& node) const { return node == nullptr; }
  const char* error() const { return "see the exception"; }
  void drop(Node* items, size_t count) {
    for (size_t i = 0; i < count; ++i)
      Py_XDECREF(items[i]);
  }

  const Destination& source;
};

// Objects whose last reference of a payload is gone.
struct Dropped {
  std::mutex mutex;
  std::vector<PyObject*> objects;
  std::atomic<bool> any = false;
};

Dropped& dropped() {
  static Dropped& instance = *new Dropped;  // threads may be there until the very end
  return instance;
}

std::shared_ptr<const void> keep(PyObject* object) {
  Py_INCREF(object);
  return {object, [](PyObject* owned) {
            Dropped& list = dropped();
            const std::lock_guard lock(list.mutex);
            list.objects.push_back(owned);
            list.any.store(true, std::memory_order_release);
          }};
}

}  // namespace

void drop_references() {
  Dropped& list = dropped();
  if (!list.any.load(std::memory_order_acquire)) return;
  std::vector<PyObject*> objects;
  {
    const std::lock_guard lock(list.mutex);
    objects.swap(list.objects);
    list.any.store(false, std::memory_order_relaxed);
  }
  for (PyObject* object : objects)
    Py_DECREF(object);
}

bool encode(PyObject* value, const Destination& destination, std::string& bytes) {
  Encoder encoder(destination, bytes);
  if (encoder.encode(value)) return true;
  encoder.raise();
  return false;
}

bool encode_item(PyObject* value, const Destination& destination, std::string& bytes,
                 gateway::Payload& rest) {
  constexpr Py_ssize_t kLong = 16 << 10;
  if (!is_exactly(value, PyBytes_Type) || PyBytes_Size(value) < kLong)
    return encode(value, destination, bytes);
  const auto size = static_cast<size_t>(PyBytes_Size(value));
  if (size > UINT32_MAX) return encode(value, destination, bytes);  // which says why not
  gateway::Packer(bytes).binary_head(size);
  rest = gateway::Payload(keep(value), {PyBytes_AsString(value), size});
  return true;
}

gateway::LongBytes allocate_bytes(size_t size) {
  const PyGILState_STATE state = take_gil(nullptr);
  gateway::LongBytes bytes;
  if (PyObject* object = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size))) {
    bytes = {keep(object), object, PyBytes_AsString(object)};
    Py_DECREF(object);
  }
  PyErr_Clear();
  PyGILState_Release(state);
  return bytes;
}

std::string load_error_value() {
  const std::string text = take_exception();
  const auto size = static_cast<Py_ssize_t>(text.size());
  const PyRef error(Py_BuildValue("{s:s,s:s#,s:s#}", "type", "LoadError", "text", text.data(), size,
                                  "traceback", text.data(), size));
  std::string bytes;
  if (!error || !encode(error.get(), {}, bytes)) PyErr_Clear();
  return bytes;
}

PyObject* decode_item(gateway::Payload item, const Destination& source) {
  if (item.object() == nullptr) return decode(item.view(), source);
  PyObject* object = PyRef::borrow(static_cast<PyObject*>(item.object())).release();
  item = {};
  drop_references();
  return object;
}

PyObject* decode(std::string_view bytes, const Destination& source) {
  ObjectBuilder builder(source);
  PyObject* value = nullptr;
  gateway::Decoder<ObjectBuilder> decoder(builder);
  if (decoder.decode(bytes, value)) return value;
  if (PyErr_Occurred() == nullptr) {
    PyErr_SetString(classes.load_error, decoder.error().c_str());
  } else if (!PyErr_ExceptionMatches(classes.load_error) &&
             !PyErr_ExceptionMatches(PyExc_MemoryError)) {
    PyErr_SetString(classes.load_error, take_exception().c_str());  // not UTF-8, not hashable
  }
  return nullptr;
}

}  // namespace brood::pygateway
