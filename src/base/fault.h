// FaultPoint: a named step at which a test can stop the process as SIGKILL would.
//
// The crash tests (test/integration) run every use case once with DAVIT_FAULT_TRACE=FILE, which
// appends each step's name to FILE, and then once per name with DAVIT_FAULT_KILL=NAME, which ends
// the process at that step with SIGKILL: no destructor, no flush, no rollback. NAME#3 means the third
// time that the step is passed (start-up may pass one before the request does). With neither variable
// set a FaultPoint costs one load. Names are "use-case.step", e.g. "pod.run.netns".
#pragma once

#include <string_view>

namespace davit {

void FaultPoint(std::string_view step);

}  // namespace davit
