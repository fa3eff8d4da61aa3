# brood_embed(<target> <folder>): makes <folder>/x_py.h of every src/<folder>/x.py, a header with
# one raw string literal `brood::kPy_x`, so that the extension carries its Python part inside and
# nothing has to be found at run time.

function(brood_embed target folder)
  file(GLOB scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${folder}/*.py)
  foreach(script IN LISTS scripts)
    get_filename_component(stem ${script} NAME_WE)
    set(header ${PROJECT_BINARY_DIR}/generated/${folder}/${stem}_py.h)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${script})
    file(READ ${script} text)
    string(CONCAT content
      "// Made from src/${folder}/${stem}.py.\n#pragma once\nnamespace brood {\n"
      "inline constexpr char kPy_${stem}[] = R\"brood_py(${text})brood_py\";\n"
      "}  // namespace brood\n")
    file(CONFIGURE OUTPUT ${header} CONTENT "@content@" @ONLY)
  endforeach()
  if(scripts)
    target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/generated)
  endif()
endfunction()

# brood_embed_text(<target> <file> <variable>): makes <folder>/<stem>_<extension>.h of
# src/<folder>/<stem>.<extension>, a header with its text as `brood::<variable>`.
function(brood_embed_text target file variable)
  cmake_path(GET file PARENT_PATH folder)
  cmake_path(GET file FILENAME name)
  string(REPLACE "." "_" name ${name})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${file})
  file(READ ${PROJECT_SOURCE_DIR}/src/${file} text)
  string(CONCAT content
    "// Made from src/${file}.\n#pragma once\nnamespace brood {\n"
    "inline constexpr char ${variable}[] = R\"brood_text(${text})brood_text\";\n"
    "}  // namespace brood\n")
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/${folder}/${name}.h CONTENT "@content@"
    @ONLY)
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/generated)
endfunction()

# brood_embed_stage(<target>): makes master/stage.h, what brings brood into an interpreter that has
# nothing of it.
function(brood_embed_stage target)
  set(folder ${PROJECT_SOURCE_DIR}/python/brood/gateways/core)
  set(header ${PROJECT_BINARY_DIR}/generated/master/stage.h)
  set(script ${PROJECT_SOURCE_DIR}/cmake/embed_stage.py)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.py)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated/master)
  add_custom_command(OUTPUT ${header} DEPENDS ${script} ${sources} VERBATIM
    COMMAND ${BROOD_BUILD_PYTHON} -I ${script} ${folder} ${header})
  target_sources(${target} PRIVATE ${header})
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/generated)
endfunction()
