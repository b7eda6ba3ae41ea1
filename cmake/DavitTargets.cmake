# davit_library(NAME SOURCES ... DEPS ... LIBS ...)
#   The static library davit_NAME of one folder. DEPS are other folders (davit_* targets): the only
#   arrows that tools/check_includes.py allows. LIBS are packages. Every header is compiled on its own
#   (self-contained check) through CMake's header sets.
# davit_test(NAME SOURCES ... DEPS ... LIBS ... [ROOT])
#   A GoogleTest program. Tests in suites named Root* need root and get the ctest label "root"; all
#   others are the fast lane, label "unit".

set(DAVIT_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)

function(davit_options target)
  target_compile_options(${target} PRIVATE ${DAVIT_WARNINGS})
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  if(DAVIT_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${DAVIT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
    target_link_options(${target} PUBLIC -fsanitize=${DAVIT_SANITIZE})
    # Protobuf's headers lay out messages with maps otherwise where they see this macro, and the packaged library and
    # the generated code have not seen it: requests would be read at wrong offsets.
    if(DAVIT_SANITIZE MATCHES "thread")
      target_compile_options(${target} PRIVATE -U__SANITIZE_THREAD__ -DDAVIT_TSAN=1)
    endif()
  endif()
endfunction()

function(davit_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_library(davit_${name} STATIC ${ARG_SOURCES})
  davit_options(davit_${name})
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(davit_${name} PUBLIC davit_${dep})
  endforeach()
  target_link_libraries(davit_${name} PUBLIC ${ARG_LIBS})
endfunction()

function(davit_test name)
  if(NOT DAVIT_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS;DEFINES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  davit_options(${name})
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(${name} PRIVATE davit_${dep})
  endforeach()
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE ${ARG_DEFINES})
  # Two ctest entries for one program, so that "ctest -L unit" needs no root.
  add_test(NAME ${name} COMMAND ${name} --gtest_filter=-Root*)
  set_tests_properties(${name} PROPERTIES LABELS unit)
  add_test(NAME ${name}.root COMMAND ${name} --gtest_filter=Root*)
  set_tests_properties(${name}.root PROPERTIES LABELS root)
endfunction()
