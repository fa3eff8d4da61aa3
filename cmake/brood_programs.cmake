# bin/brood (+ brood-python), bin/broodd, libexec/brood/brood-tool, lib/brood/_brood.abi3.so.
# They find each other relative to their own place, so the build tree is laid out like PREFIX.

add_custom_target(product ALL)

function(brood_program target source directory)
  cmake_parse_arguments(arg "MODULE" "NAME" "LINK" ${ARGN})
  if(arg_MODULE)
    add_library(${target} MODULE src/main/${source})
  else()
    add_executable(${target} src/main/${source})
  endif()
  target_link_libraries(${target} PRIVATE ${arg_LINK})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${arg_NAME}
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${directory}
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${directory})
  brood_tidy(${target})
  add_dependencies(product ${target})
  install(TARGETS ${target} DESTINATION ${directory})
endfunction()

brood_program(brood brood_main.cc bin NAME brood
  LINK brood_flags_thin brood_launch_thin)

brood_program(broodd broodd_main.cc bin NAME broodd
  LINK brood_flags_host brood_http brood_native brood_session brood_auth brood_launch brood_daemon
    CLI11::CLI11)
file(GLOB serve_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/main/serve*.cc)
target_sources(broodd PRIVATE ${serve_sources})

brood_program(brood_tool brood_tool_main.cc libexec/brood NAME brood-tool
  LINK brood_flags_host brood_daemon brood_slap brood_launch brood_auth brood_client CLI11::CLI11
    edit)

# one file for each group of commands
file(GLOB tool_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/main/tool_*.cc)
target_sources(brood_tool PRIVATE ${tool_sources})

brood_program(brood_module brood_module.cc lib/brood MODULE NAME _brood.abi3
  LINK brood_flags_module brood_pygateway_module brood_zygote_module brood_worker_module
    brood_python)
set_target_properties(brood_module PROPERTIES PREFIX "")

file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
file(CREATE_LINK brood ${PROJECT_BINARY_DIR}/bin/brood-python SYMBOLIC)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/brood)
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/examples/environments
  ${PROJECT_BINARY_DIR}/share/brood/environments SYMBOLIC)
