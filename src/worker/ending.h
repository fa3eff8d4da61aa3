// The interpreter's part of a program's end, without a Python frame of ours: a trace or profile
// function that the program leaves set sees what it would see under python. Worker process, GIL
// held, after the program's code. `space`: program.py's namespace. None leaves an exception set.
#pragma once

#include <vector>

#include "worker/py.h"

namespace brood {

// python takes a script's name away again before it leaves.
void forget_file_name(PyObject* space);

// What is preloaded, but was never asked for by the program, does not take part in the end when
// somebody watches (sys.settrace, sys.setprofile, cProfile, sys.monitoring): its exit functions are
// withdrawn. False: threading itself has nothing to wait for either.
bool withdraw_preloaded(PyObject* space);

// Identifiers of the threads of Python that are still there, but for this one.
std::vector<unsigned long> other_threads();

// Nothing of ours holds the program any longer.
void forget_main(PyObject* space);

// The interpreter lets go of the program. As finalize_modules_delete_special() in CPython's
// pylifecycle.c, and what the program added to builtins.
void delete_special(PyObject* space);

// A list: the names of the modules that came with the program, in the order of their import. What
// was preloaded stands before them and is not even looked at.
PyRef own_modules(PyObject* space);

// Files which the program opened and a preloaded module holds. python closes them when that module
// goes.
void flush_survivors(PyObject* space);

}  // namespace brood
