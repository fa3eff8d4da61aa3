// _brood: the extension module that turns a plain interpreter into a zygote, and has the engine of
// gateways. Limited API: one file
// serves CPython 3.9 and later. Loaded by the daemon's bootstrap from its own path; nothing is
// installed into the user's environment.
#include "pygateway/objects.h"
#include "worker/py.h"
#include "zygote/image.h"
#include "zygote/zygote.h"

namespace {

PyObject* serve(PyObject*, PyObject* argument) {
  const long control = PyLong_AsLong(argument);
  if (control == -1 && PyErr_Occurred()) return nullptr;
  brood::serve(static_cast<int>(control));
}

PyObject* make_image(PyObject*, PyObject*) {
  brood::Result<brood::ImageReport> report = brood::make_image();
  if (report) return PyLong_FromSize_t(report->bytes);
  PyErr_SetString(PyExc_OSError, report.error().message.c_str());
  return nullptr;
}

PyMethodDef methods[] = {{"make_image", make_image, METH_NOARGS,
                          "make_image() -> int: replaces this process' private memory by an image "
                          "and returns its bytes; for benchmarks "
                          "and tests (zygote/image.h)."},
                         {"serve", serve, METH_O,
                          "serve(fd): be a zygote for the daemon on that socket. Does not return."},
                         {nullptr, nullptr, 0, nullptr}};

PyModuleDef module = {PyModuleDef_HEAD_INIT,
                      "_brood",
                      "brood's zygote, and the engine of its gateways.",
                      -1,
                      methods,
                      nullptr,
                      nullptr,
                      nullptr,
                      nullptr};

}  // namespace

extern "C" __attribute__((visibility("default"))) PyObject* PyInit__brood() {
  PyObject* made = PyModule_Create(&module);
  if (made != nullptr && !brood::pygateway::add_classes(made)) Py_CLEAR(made);
  return made;
}
