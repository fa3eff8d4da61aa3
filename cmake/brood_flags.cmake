# Options, warnings and sanitizers, as three interface targets:
#   brood_flags_host    programs and libraries with everything C++ offers
#   brood_flags_thin    the thin client: static, no exceptions, no RTTI, only what is used is linked
#   brood_flags_module  the CPython extension: position independent, nothing visible but its entry

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_OPTIMIZE_DEPENDENCIES ON)  # do not wait for libraries that are only linked
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# The compilers that CI uses are known to be clean; a newer one may warn without breaking the build.
if((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.")
   OR (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^14\\."))
  set(werror_default ON)
else()
  set(werror_default OFF)
endif()

option(BROOD_WERROR "Warnings are errors" ${werror_default})
option(BROOD_TIDY "Run clang-tidy on every source that is shipped, as it is compiled" OFF)
option(BROOD_FUZZ "Build the fuzz targets (clang only)" OFF)
set(BROOD_SANITIZE "" CACHE STRING "Sanitizers: empty, address,undefined or thread")

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

if(BROOD_TIDY)
  find_program(CLANG_TIDY clang-tidy REQUIRED)
endif()
function(brood_tidy target)
  if(BROOD_TIDY)
    set_target_properties(${target} PROPERTIES CXX_CLANG_TIDY "${CLANG_TIDY};--quiet")
  endif()
endfunction()

add_library(brood_flags INTERFACE)
target_include_directories(brood_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(brood_flags INTERFACE BROOD_VERSION="${PROJECT_VERSION}")
target_compile_options(brood_flags INTERFACE
  -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=
  -Wall -Wextra -Wconversion $<$<BOOL:${BROOD_WERROR}>:-Werror>)
if(BROOD_SANITIZE OR CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(brood_flags INTERFACE _GLIBCXX_ASSERTIONS)
endif()

set(sanitize "")
if(BROOD_SANITIZE)
  set(sanitize -fsanitize=${BROOD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()
set(fuzz "")
if(BROOD_FUZZ)
  set(fuzz -fsanitize=fuzzer-no-link)
endif()

add_library(brood_flags_host INTERFACE)
target_link_libraries(brood_flags_host INTERFACE brood_flags)
target_compile_options(brood_flags_host INTERFACE ${sanitize} ${fuzz})
target_link_options(brood_flags_host INTERFACE ${sanitize})
if(NOT BROOD_SANITIZE AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_options(brood_flags_host INTERFACE
    -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
endif()

add_library(brood_flags_thin INTERFACE)
target_link_libraries(brood_flags_thin INTERFACE brood_flags)
target_compile_options(brood_flags_thin INTERFACE
  -fno-exceptions -fno-rtti -ffunction-sections -fdata-sections ${sanitize})
target_link_options(brood_flags_thin INTERFACE -Wl,--gc-sections)
if(BROOD_SANITIZE)  # the sanitizers' run-time libraries cannot be linked statically
  target_link_options(brood_flags_thin INTERFACE ${sanitize})
else()
  target_compile_options(brood_flags_thin INTERFACE -fno-pie -fno-asynchronous-unwind-tables)
  target_link_options(brood_flags_thin INTERFACE -static)
endif()

# The extension is loaded into interpreters that know nothing of AddressSanitizer or
# ThreadSanitizer, and a zygote replaces its own memory; undefined behaviour traps there instead.
add_library(brood_flags_module INTERFACE)
target_link_libraries(brood_flags_module INTERFACE brood_flags)
target_compile_options(brood_flags_module INTERFACE
  -fPIC -fvisibility=hidden -fvisibility-inlines-hidden)
target_link_options(brood_flags_module INTERFACE -static-libstdc++ -static-libgcc)
if(BROOD_SANITIZE MATCHES "undefined")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(brood_flags_module INTERFACE
      -fsanitize=undefined -fsanitize-trap=undefined)
  else()
    target_compile_options(brood_flags_module INTERFACE
      -fsanitize=undefined -fsanitize-undefined-trap-on-error)
  endif()
endif()
