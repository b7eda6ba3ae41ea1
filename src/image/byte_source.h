// ByteSource: a stream of bytes handed out in pieces, without a copy. What the tar reader reads from.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace davit::image {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // The next piece, never empty before the end; empty at the end. The view is into the source and lasts
  // until the next call. After an error every call returns it again.
  virtual Result<std::string_view> Next() = 0;
  // Leaves out so many of the bytes that Next would give; false: it cannot, and nothing is left out. What is behind the
  // end may be left out too.
  virtual bool Skip(uint64_t) { return false; }
};

}  // namespace davit::image
