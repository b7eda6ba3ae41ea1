// Copies out of an image's tree into a directory of our own, with owners, modes, times and extended attributes.
#pragma once

#include <cstdint>
#include <string>

#include "base/deadline.h"
#include "base/result.h"

namespace davit::sys {

struct CopyLimits {
  uint64_t entries = 200'000;
  uint64_t bytes = uint64_t{4} << 30;
};

// Both are directories opened for reading; `to` is empty and nobody else's, and gets the owner and mode of
// `from`. Nothing is followed: a link is copied as a link, sockets are left out, a file with several links
// becomes several files. kResourceExhausted past a limit, more than 100 levels included;
// kDeadlineExceeded. What was copied by then stays.
Status CopyTree(int from, int to, const CopyLimits& limits, Deadline deadline);

// One file, link or device `name` of the directory `from` as `as` in the directory `to`, where that must not be.
// Nothing is followed; the rest as CopyTree. kInvalidArgument for a directory, kNotFound.
Status CopyFileAt(int from, const std::string& name, int to, const std::string& as, const CopyLimits& limits,
                  Deadline deadline);

}  // namespace davit::sys
