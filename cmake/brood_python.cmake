# Headers of the system's Python. The extension uses the Limited API, so one build serves every
# CPython from 3.9 on; an interpreter that only happens to be first in PATH is of no interest.

set(BROOD_BUILD_PYTHON /usr/bin/python3 CACHE FILEPATH "Interpreter whose headers are used")

function(ask_python result code)
  execute_process(COMMAND ${BROOD_BUILD_PYTHON} -ISc "import sysconfig as s; print(${code})"
    OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(${result} ${answer} PARENT_SCOPE)
endfunction()

ask_python(python_include "s.get_path('include')")
if(NOT EXISTS ${python_include}/Python.h)
  message(FATAL_ERROR "${python_include}/Python.h is missing: run 'make deps'")
endif()

add_library(brood_python INTERFACE)
target_include_directories(brood_python SYSTEM INTERFACE ${python_include})
target_compile_definitions(brood_python INTERFACE Py_LIMITED_API=0x03090000)

# The package: PYTHONPATH=build/python for people, lib/brood/python as in an installed tree.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/python ${PROJECT_BINARY_DIR}/lib/brood)
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/python/brood ${PROJECT_BINARY_DIR}/python/brood SYMBOLIC)
file(CREATE_LINK ../../python ${PROJECT_BINARY_DIR}/lib/brood/python SYMBOLIC)
