// FetchInPieces: one large blob over several connections at once, given on in order as if it came over one.
//
// A single connection carries what its latency and the server's share for one connection allow, often less than a layer
// is unpacked at. Pieces are fetched ahead of the one that is wanted next, and no further than the memory for them
// allows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::image {

struct PiecesOptions {
  uint64_t begin = 0;  // bytes of the blob that are there already
  uint64_t size = 0;   // of the blob
  uint64_t piece = uint64_t{4} << 20;
  uint32_t connections = 2;  // at once; one more piece than that is held in memory
};

// Fetches the bytes [offset, offset + size); on a thread of its own, `connection` at a time. `go_on` is false once
// nobody wants it any more.
using FetchPiece = std::function<Result<std::string>(uint32_t connection, uint64_t offset, uint64_t size,
                                                     const std::function<bool()>& go_on)>;

// Gives all pieces to `sink`, on the calling thread. The first error of a piece whose turn it is, or the sink's; what
// was given on until then was right. Its threads have ended when it returns.
Status FetchInPieces(const PiecesOptions& options, const FetchPiece& fetch,
                     const std::function<Status(std::string_view)>& sink);

}  // namespace davit::image
