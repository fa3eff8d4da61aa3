# The installed tree beside the programs themselves (brood_programs.cmake), and the Debian package.

install(FILES ${PROJECT_BINARY_DIR}/bin/brood-python DESTINATION bin)
install(DIRECTORY python/brood DESTINATION lib/brood/python
  FILES_MATCHING PATTERN "*.py" PATTERN __pycache__ EXCLUDE)
# Without byte code, every start of a local gateway compiles what it imports: people cannot write there. A Debian package
# gets it where it is installed (packaging/debian/postinst).
install(CODE "
  set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib/brood/python\")
  if(NOT folder MATCHES /_CPack_Packages/)
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${BROOD_BUILD_PYTHON} -ISm compileall -q
      -s \"\$ENV{DESTDIR}/\" -p / \"\${folder}\")
    file(GLOB_RECURSE compiled RELATIVE \"\${folder}\" \"\${folder}/*.pyc\")
    list(TRANSFORM compiled PREPEND \"\${CMAKE_INSTALL_PREFIX}/lib/brood/python/\")
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \${compiled})
  endif()")
install(FILES packaging/man/brood.1 packaging/man/brood-python.1 packaging/man/broodd.1
  DESTINATION share/man/man1)
install(FILES packaging/completion/brood DESTINATION share/bash-completion/completions)
install(FILES packaging/completion/brood RENAME brood-python
  DESTINATION share/bash-completion/completions)
install(DIRECTORY examples/environments DESTINATION share/brood
  PATTERN __pycache__ EXCLUDE)
install(PROGRAMS examples/gateways/socketserver.py examples/gateways/fileserver.py
  examples/gateways/triangle.py DESTINATION share/brood/gateways)
install(FILES LICENSE NOTICE DESTINATION share/doc/brood)
install(FILES packaging/debian/copyright DESTINATION share/doc/brood)

# The C++ libraries: one archive each of everything they are made of, their headers, and how builds
# find them.
function(brood_archive name)
  list(TRANSFORM ARGN REPLACE "(.+)" "$<TARGET_OBJECTS:brood_\\1>" OUTPUT_VARIABLE objects)
  add_library(${name}_archive STATIC ${objects})
  set_target_properties(${name}_archive PROPERTIES OUTPUT_NAME ${name} LINKER_LANGUAGE CXX
    ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
  add_dependencies(product ${name}_archive)
  install(TARGETS ${name}_archive ARCHIVE DESTINATION lib)
endfunction()
brood_archive(brood_client client tls scram wire base)
brood_archive(brood_gateway master gateway scram wire base)
install(FILES include/brood/client.h include/brood/gateway.h include/brood/channel.h
  include/brood/value.h DESTINATION include/brood)
foreach(name broodConfig.cmake broodConfigVersion.cmake brood.pc brood-gateway.pc)
  configure_file(cmake/${name}.in ${PROJECT_BINARY_DIR}/${name} @ONLY)
endforeach()
install(FILES ${PROJECT_BINARY_DIR}/broodConfig.cmake ${PROJECT_BINARY_DIR}/broodConfigVersion.cmake
  DESTINATION lib/cmake/brood)
install(FILES ${PROJECT_BINARY_DIR}/brood.pc ${PROJECT_BINARY_DIR}/brood-gateway.pc
  DESTINATION lib/pkgconfig)

# systemd wants an absolute path, and the prefix may be chosen as late as at installation. CPack
# installs into a directory of its own first; its packages are for /usr.
install(CODE "
  set(bindir \"\${CMAKE_INSTALL_PREFIX}/bin\")
  if(bindir MATCHES /_CPack_Packages/)
    set(bindir /usr/bin)
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/packaging/systemd/broodd.service.in
    ${PROJECT_BINARY_DIR}/systemd/broodd.service @ONLY)")
install(FILES packaging/systemd/broodd.socket ${PROJECT_BINARY_DIR}/systemd/broodd.service
  DESTINATION lib/systemd/user)

# --- cpack -G DEB ---------------------------------------------------------------------------------
set(CPACK_PACKAGE_NAME brood)
set(CPACK_PACKAGE_VENDOR "The brood authors")
set(CPACK_PACKAGE_CONTACT "The brood authors <maintainers@brood.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "drop-in python3 that starts from a warm interpreter")
set(CPACK_PACKAGE_DESCRIPTION
  "brood keeps Python interpreters warm, with the modules that programs import already loaded,
and hands out forks of them: a program starts in about the time of /bin/true and behaves as
under python3. When in doubt, the real python3 is executed.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION python)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "python3 (>= 3.9)")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/packaging/debian/postinst ${PROJECT_SOURCE_DIR}/packaging/debian/prerm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
