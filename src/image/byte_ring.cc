#include "image/byte_ring.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace davit::image {

ByteRing::ByteRing(uint64_t max_bytes) : max_bytes_(max_bytes) {}

Result<OutputSink::Space> ByteRing::GetSpace() {
  if (fill_ == 0) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return pushed_ - popped_ < kBuffers || !stopped_.ok(); });
    if (!stopped_.ok()) return stopped_;
  }
  Buffer& buffer = buffers_[pushed_ % kBuffers];
  if (!buffer.data) buffer.data.reset(new char[kBufferBytes]);  // small layers never need all eight
  return Space{buffer.data.get() + fill_, kBufferBytes - fill_};
}

Status ByteRing::Produced(size_t bytes) {
  Buffer& buffer = buffers_[pushed_ % kBuffers];
  hash_.Update({buffer.data.get() + fill_, bytes});
  fill_ += bytes;
  total_ += bytes;
  if (total_ > max_bytes_) return ResourceExhausted(fmt::format("unpacks to more than {}", HumanBytes(max_bytes_)));
  if (fill_ == kBufferBytes) Push();
  return {};
}

void ByteRing::Push() {
  if (fill_ == 0) return;
  std::lock_guard lock(mutex_);
  buffers_[pushed_ % kBuffers].size = fill_;
  fill_ = 0;
  ++pushed_;
  changed_.notify_all();
}

void ByteRing::Close() {
  Push();
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void ByteRing::Fail(Status status) {
  std::lock_guard lock(mutex_);
  if (failed_.ok()) failed_ = std::move(status);
  changed_.notify_all();
}

Result<std::string_view> ByteRing::Next() {
  std::unique_lock lock(mutex_);
  if (taken_) {
    taken_ = false;
    ++popped_;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return pushed_ != popped_ || closed_ || !failed_.ok(); });
  if (!failed_.ok()) return failed_;
  if (pushed_ == popped_) return std::string_view();
  taken_ = true;
  const Buffer& buffer = buffers_[popped_ % kBuffers];
  return std::string_view(buffer.data.get(), buffer.size);
}

void ByteRing::Stop(Status status) {
  std::lock_guard lock(mutex_);
  if (stopped_.ok()) stopped_ = std::move(status);
  changed_.notify_all();
}

}  // namespace davit::image
