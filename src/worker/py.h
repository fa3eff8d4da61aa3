// CPython's Limited API (3.9) with an owned reference. Zygote and worker processes; always with the
// GIL held.
#pragma once

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x03090000
#endif
#include <Python.h>

#include <string>
#include <utility>

namespace brood {

class PyRef {
 public:
  PyRef() = default;
  explicit PyRef(PyObject* owned) : object_(owned) {}
  PyRef(PyRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  PyRef& operator=(PyRef&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  PyRef(const PyRef&) = delete;
  PyRef& operator=(const PyRef&) = delete;
  ~PyRef() { Py_XDECREF(object_); }

  static PyRef borrow(PyObject* object) {
    Py_XINCREF(object);
    return PyRef(object);
  }
  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_ = nullptr;
};

// str as UTF-8 with surrogates escaped (the bytes it came from); empty on failure, without an
// exception set.
std::string to_bytes(PyObject* text);
// The other way round, as os.fsdecode does.
PyRef from_bytes(std::string_view bytes);

// "Type: message" of the current exception, which is cleared.
std::string take_exception();

// Executes `source` (with `filename` in tracebacks) as a module of its own and returns its
// namespace. `builtins`: a dict; null for the interpreter's own.
PyRef execute(const char* source, const char* filename, PyObject* builtins = nullptr);
// A copy of the interpreter's builtins, which nobody else can change.
PyRef copy_of_builtins();

// Calls namespace[name](*arguments). Null with an exception set on failure. `arguments`: a tuple,
// or null for none.
PyRef call(PyObject* space, const char* name, PyRef arguments = {});

}  // namespace brood
