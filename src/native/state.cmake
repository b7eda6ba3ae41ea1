# What stands around the first process: state, cgroup, hooks. Apart, since davit-monitor needs the core alone.
set(Boost_USE_STATIC_LIBS ON)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
davit_library(native_state
  SOURCES cgroups.cc device_filter.cc features.cc hooks.cc intel_rdt.cc network_devices.cc resource_files.cc state.cc
    stats_json.cc
  DEPS native oci sys base
  LIBS Boost::json)

davit_test(native_state_test
  SOURCES cgroups_test.cc device_filter_test.cc features_test.cc hooks_test.cc state_test.cc
  DEPS native_state
  LIBS Boost::json)
