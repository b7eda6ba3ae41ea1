// OutOfMemoryAsStatus: where the library's only exception that input can bring about ends. davit-pull ends after it,
// and says why: one that leaves a thread's function, or passes through libcurl's frames, aborts without a word.
#pragma once

#include <new>
#include <type_traits>

#include "base/status.h"

namespace davit::image {

// In a catch block: must not throw again, and a message of more than 15 bytes is memory too (libstdc++'s own room).
inline Status OutOfMemory() {
  try {
    return ResourceExhausted("davit-pull is out of memory");
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

// `work` returns a Status or a Result.
template <class Work>
std::invoke_result_t<Work> OutOfMemoryAsStatus(Work&& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  }
}

}  // namespace davit::image
