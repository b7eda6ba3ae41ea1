// ByteSource: a stream of bytes handed out in pieces, without a copy. What the tar reader reads from.
#pragma once

#include <string_view>

#include "base/result.h"

namespace davit::image {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // The next piece, never empty before the end; empty at the end. The view is into the source and lasts
  // until the next call. After an error every call returns it again.
  virtual Result<std::string_view> Next() = 0;
};

}  // namespace davit::image
