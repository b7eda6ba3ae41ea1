// ListStream: answers a Stream* call of CRI (KEP-5825) from a list that was fixed when the call came in:
// every item exactly once, in order, then the end. An empty list is a stream without messages.
//
// Memory: the list holds pointers to records of a snapshot; messages are made one at a time, and only when
// the transport has taken the one before. So a slow client costs one message, and one that goes away nothing.
//
// Threads: gRPC's callback threads and whatever thread ends an asynchronous conversion; never two at once,
// because the next step begins where the last one has ended. gRPC calls OnDone only after Finish, and Finish
// is called only while no conversion runs: nothing can call into a stream that has deleted itself.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "cri/codes.h"

namespace davit::cri {

// One message's share of a list: well below what a client takes (4 MiB by default), with few round trips.
inline constexpr size_t kStreamBatchItems = 128;
inline constexpr size_t kStreamBatchBytes = size_t{256} << 10;
inline constexpr size_t kMeasureEvery = 8;  // a message's size costs a walk over all of it

template <class Response, class Item>
class ListStream final : public ::grpc::ServerWriteReactor<Response> {
 public:
  // Makes the message of one batch and calls `done` once, on any thread, also before it returns. Takes
  // `batch` by value: what it does may outlast the call.
  using Ended = std::function<void(const Status&)>;
  using Convert = std::function<void(std::vector<Item> batch, Response* message, Ended done)>;
  // Adds one item to a message, at once.
  using Add = std::function<void(const Item& item, Response* message)>;

  // For conversions that only copy: a batch ends at kStreamBatchItems items, or within kMeasureEvery items
  // after it has reached kStreamBatchBytes.
  static ListStream* Start(std::vector<Item> items, Add add) {
    auto* stream = new ListStream(std::move(items));
    stream->add_ = std::move(add);
    stream->Next();
    return stream;
  }

  // For conversions that read files on a pool: batches of at most `batch_items`.
  static ListStream* StartAsync(std::vector<Item> items, Convert convert, size_t batch_items = kStreamBatchItems) {
    auto* stream = new ListStream(std::move(items));
    stream->convert_ = std::move(convert);
    stream->batch_items_ = std::max<size_t>(batch_items, 1);
    stream->Next();
    return stream;
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      this->Finish(ToGrpc(Cancelled("the client has gone")));
      return;
    }
    Next();
  }

  // The step that is under way sees it and ends the stream: two Finish would abort the process.
  void OnCancel() override { cancelled_ = true; }

  void OnDone() override { delete this; }

 private:
  explicit ListStream(std::vector<Item> items) : items_(std::move(items)) {}
  ~ListStream() override = default;

  void Next() {
    if (cancelled_) {
      this->Finish(ToGrpc(Cancelled("the client has gone")));
      return;
    }
    if (next_ == items_.size()) {
      this->Finish(::grpc::Status::OK);
      return;
    }
    message_.Clear();
    if (convert_) {
      ConvertBatch();
      return;
    }
    size_t bytes = 0;
    for (size_t added = 1; next_ < items_.size() && added <= kStreamBatchItems && bytes < kStreamBatchBytes; ++added) {
      add_(items_[next_++], &message_);
      if (added % kMeasureEvery == 0) bytes = message_.ByteSizeLong();
    }
    this->StartWrite(&message_);
  }

  void ConvertBatch() {
    size_t count = std::min(batch_items_, items_.size() - next_);
    auto begin = items_.begin() + static_cast<std::ptrdiff_t>(next_);
    std::vector<Item> batch(begin, begin + static_cast<std::ptrdiff_t>(count));
    next_ += count;
    // A local copy: `done` may end the stream before the call returns.
    Convert convert = convert_;
    convert(std::move(batch), &message_, [this](const Status& status) {
      if (status.ok() && !cancelled_) {
        this->StartWrite(&message_);
      } else {
        this->Finish(ToGrpc(status.ok() ? Cancelled("the client has gone") : status));
      }
    });
  }

  std::vector<Item> items_;
  size_t next_ = 0;
  size_t batch_items_ = kStreamBatchItems;
  Add add_;
  Convert convert_;
  Response message_;  // the one being written
  std::atomic<bool> cancelled_{false};
};

}  // namespace davit::cri
