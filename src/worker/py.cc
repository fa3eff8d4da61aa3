#include "worker/py.h"

#include <string_view>

namespace brood {

std::string to_bytes(PyObject* text) {
  PyRef encoded(PyUnicode_EncodeFSDefault(text));
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (!encoded || PyBytes_AsStringAndSize(encoded.get(), &data, &size) != 0) {
    PyErr_Clear();
    return {};
  }
  return std::string(data, static_cast<size_t>(size));
}

PyRef from_bytes(std::string_view bytes) {
  return PyRef(
      PyUnicode_DecodeFSDefaultAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
}

std::string take_exception() {
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  PyRef own_type(type), own_value(value), own_trace(trace);
  std::string out;
  if (type) {
    PyRef name(PyObject_GetAttrString(type, "__name__"));
    if (name) out = to_bytes(name.get());
  }
  PyRef text(value ? PyObject_Str(value) : nullptr);
  if (text) out += ": " + to_bytes(text.get());
  PyErr_Clear();
  return out;
}

PyRef copy_of_builtins() {
  PyRef builtins(PyImport_ImportModule("builtins"));
  return PyRef(builtins ? PyDict_Copy(PyModule_GetDict(builtins.get())) : nullptr);
}

PyRef execute(const char* source, const char* filename, PyObject* own_builtins) {
  PyRef code(Py_CompileString(source, filename, Py_file_input));
  if (!code) return {};
  PyRef space(PyDict_New());
  PyRef builtins =
      own_builtins ? PyRef::borrow(own_builtins) : PyRef(PyImport_ImportModule("builtins"));
  PyRef name(PyUnicode_FromString(filename));
  if (!space || !builtins || !name) return {};
  PyDict_SetItemString(space.get(), "__builtins__", builtins.get());
  PyDict_SetItemString(space.get(), "__name__", name.get());
  PyRef result(PyEval_EvalCode(code.get(), space.get(), space.get()));
  if (!result) return {};
  return space;
}

PyRef call(PyObject* space, const char* name, PyRef arguments) {
  PyObject* function = PyDict_GetItemString(space, name);  // borrowed
  if (!function) {
    PyErr_Format(PyExc_NameError, "%s", name);
    return {};
  }
  if (!arguments) arguments = PyRef(PyTuple_New(0));
  if (!arguments) return {};
  return PyRef(PyObject_Call(function, arguments.get(), nullptr));
}

}  // namespace brood
