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
