// ByteRing: a bounded ring of buffers between the thread that fetches and inflates and the one that
// unpacks. Eight buffers of 512 KiB keep both busy (measured) and are all the memory a layer takes.
//
// One producer, one consumer. Either side ends the other: Close and Fail from the producer, Stop from the
// consumer; nobody is left waiting (CVE-2021-20291).
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "image/byte_source.h"
#include "image/decompress.h"
#include "image/sha256.h"

namespace davit::image {

class ByteRing final : public OutputSink, public ByteSource {
 public:
  static constexpr size_t kBuffers = 8;
  static constexpr size_t kBufferBytes = 512 << 10;

  // kResourceExhausted once more than `max_bytes` have passed.
  explicit ByteRing(uint64_t max_bytes);

  // Producer. What it produced is hashed on its thread.
  Result<Space> GetSpace() override;
  Status Produced(size_t bytes) override;
  void Close();              // the end of the stream
  void Fail(Status status);  // the consumer's Next returns this
  // After Close.
  [[nodiscard]] oci::Digest Hash() { return hash_.Finish(); }
  [[nodiscard]] uint64_t bytes() const { return total_; }

  // Consumer.
  Result<std::string_view> Next() override;
  void Stop(Status status);  // the producer's GetSpace returns this

 private:
  struct Buffer {
    std::unique_ptr<char[]> data;
    size_t size = 0;
  };
  void Push();

  const uint64_t max_bytes_;
  uint64_t total_ = 0;  // producer's
  Sha256 hash_;
  std::array<Buffer, kBuffers> buffers_;
  size_t fill_ = 0;  // bytes in the buffer that the producer has

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t pushed_ = 0;  // buffers, ever
  uint64_t popped_ = 0;
  bool taken_ = false;  // the consumer reads buffer popped_
  bool closed_ = false;
  Status failed_;
  Status stopped_;
};

}  // namespace davit::image
