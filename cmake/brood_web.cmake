# brood_page: the page of `brood serve` as a static library with one table (src/http/page.h).
# npm builds web/ in the build tree, so that the source tree stays clean; once for the packages,
# which change rarely, and once for the page.

find_program(NPM npm)
if(NOT NPM)
  message(FATAL_ERROR "npm is missing: run 'make deps'")
endif()

set(web ${PROJECT_SOURCE_DIR}/web)
set(web_build ${PROJECT_BINARY_DIR}/web)
set(web_settings package.json package-lock.json .npmrc tsconfig.json vite.config.ts index.html)

file(GLOB web_files CONFIGURE_DEPENDS ${web}/src/* ${web}/public/*)
list(TRANSFORM web_settings PREPEND ${web}/ OUTPUT_VARIABLE web_setting_files)

add_custom_command(OUTPUT ${web_build}/packages.stamp
  COMMAND ${CMAKE_COMMAND} -E make_directory ${web_build}
  COMMAND ${CMAKE_COMMAND} -E copy
    ${web}/package.json ${web}/package-lock.json ${web}/.npmrc ${web_build}
  COMMAND ${NPM} ci --ignore-scripts --no-progress --loglevel=error --prefix ${web_build}
  COMMAND ${CMAKE_COMMAND} -E touch ${web_build}/packages.stamp
  DEPENDS ${web}/package.json ${web}/package-lock.json ${web}/.npmrc
  WORKING_DIRECTORY ${PROJECT_BINARY_DIR}
  COMMENT "The page's packages" VERBATIM)

add_custom_command(OUTPUT ${web_build}/page_files.cc
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${web_build}/src ${web_build}/public ${web_build}/dist
  COMMAND ${CMAKE_COMMAND} -E copy_directory ${web}/src ${web_build}/src
  COMMAND ${CMAKE_COMMAND} -E copy_directory ${web}/public ${web_build}/public
  COMMAND ${CMAKE_COMMAND} -E copy ${web_setting_files} ${web_build}
  COMMAND ${NPM} run build --silent --prefix ${web_build} -- --logLevel warn
  COMMAND ${BROOD_BUILD_PYTHON} -I ${PROJECT_SOURCE_DIR}/tools/embed_page.py
    ${web_build}/dist ${web_build}/page_files.cc
  DEPENDS ${web_build}/packages.stamp ${web_files} ${web_setting_files}
    ${PROJECT_SOURCE_DIR}/tools/embed_page.py
  WORKING_DIRECTORY ${PROJECT_BINARY_DIR}
  COMMENT "The page" VERBATIM)

add_library(brood_page STATIC EXCLUDE_FROM_ALL ${web_build}/page_files.cc)
target_link_libraries(brood_page PRIVATE brood_flags_host)
