# davit_suite(NAME SCRIPT SECONDS [arguments...])
#   A test suite in Python, SCRIPT below test/, as one ctest entry with the label "e2e". Its cases are counted
#   through DAVIT_TEST_NAME (test/integration/davit_test/report.py); exit code 77 means skipped.
include_guard()
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(davit_suite name script seconds)
  add_test(NAME ${name} COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/test/${script}
           --bin-dir ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${ARGN})
  # One at a time: they share the host's ports, and leftovers of one must not be laid at another's door.
  set_tests_properties(${name} PROPERTIES LABELS e2e SKIP_RETURN_CODE 77 TIMEOUT ${seconds} RUN_SERIAL TRUE
                       ENVIRONMENT "DAVIT_TEST_NAME=${name};PYTHONDONTWRITEBYTECODE=1")
endfunction()
