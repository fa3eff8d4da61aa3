# Unit tests (src/**/*_test.cc), micro-benchmarks (bench/*.cc) and fuzz targets
# (fuzz/*_fuzz.cc). None of them is part of `product`; each is skipped when its library is missing.

set(host_libraries brood_pygateway brood_master brood_gateway brood_slap brood_client brood_http
  brood_native brood_tls brood_auth brood_scram brood_session brood_daemon brood_zygote brood_worker
  brood_launch brood_wire brood_base)
add_custom_target(host_libraries)  # what clang-tidy looks at, with `product`
foreach(library IN LISTS host_libraries)
  get_target_property(type ${library} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    add_dependencies(host_libraries ${library})
  endif()
endforeach()

# --- unit tests ----------------------------------------------------------------------------------
find_package(GTest QUIET)
file(GLOB_RECURSE unit_tests CONFIGURE_DEPENDS src/*_test.cc)
if(GTest_FOUND AND unit_tests)
  ask_python(python_libdir "s.get_config_var('LIBDIR')")
  ask_python(python_library "'libpython' + s.get_config_var('LDVERSION') + '.so'")

  add_executable(brood_unit_tests ${unit_tests})
  target_link_libraries(brood_unit_tests PRIVATE brood_flags_host ${host_libraries} brood_python
    ${python_libdir}/${python_library} GTest::gtest GTest::gtest_main)
  target_compile_definitions(brood_unit_tests PRIVATE BROOD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  set_target_properties(brood_unit_tests PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin-test)

  enable_testing()
  include(GoogleTest)
  gtest_discover_tests(brood_unit_tests DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 60)
endif()

# --- micro-benchmarks ----------------------------------------------------------------------------
find_package(benchmark QUIET)
file(GLOB benchmarks CONFIGURE_DEPENDS bench/*_bench.cc)
if(benchmark_FOUND AND benchmarks)
  add_executable(brood_micro_bench ${benchmarks})
  target_link_libraries(brood_micro_bench PRIVATE brood_flags_host brood_launch nlohmann_json::nlohmann_json
    benchmark::benchmark benchmark::benchmark_main)
  target_compile_definitions(brood_micro_bench PRIVATE BROOD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  set_target_properties(brood_micro_bench PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)
endif()

add_executable(channel_echo EXCLUDE_FROM_ALL bench/channel_echo.cc)
target_link_libraries(channel_echo PRIVATE brood_flags_host brood_gateway)
set_target_properties(channel_echo PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)

# --- fuzz targets --------------------------------------------------------------------------------
if(BROOD_FUZZ)
  add_custom_target(fuzz_targets)
  file(GLOB fuzzers CONFIGURE_DEPENDS fuzz/*_fuzz.cc)
  foreach(source IN LISTS fuzzers)
    cmake_path(GET source STEM name)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_link_libraries(${name} PRIVATE brood_flags_host brood_daemon brood_launch brood_session
      brood_auth brood_client brood_http brood_native brood_gateway brood_master)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${name} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
    add_dependencies(fuzz_targets ${name})
  endforeach()
endif()
