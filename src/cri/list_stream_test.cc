#include "cri/list_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/v1/cri.grpc.pb.h"

namespace davit::cri {
namespace {

namespace v1 = ::runtime::v1;

using Messages = v1::StreamContainersResponse;
using Stream = ListStream<Messages, std::shared_ptr<const std::string>>;

// A server whose one call streams the strings it was given, through a real transport.
class Service final : public v1::RuntimeService::CallbackService {
 public:
  ::grpc::ServerWriteReactor<Messages>* StreamContainers(::grpc::CallbackServerContext*,
                                                         const v1::StreamContainersRequest*) override {
    auto add = [this](const std::shared_ptr<const std::string>& item, Messages* message) {
      ++converted;
      message->add_containers()->set_id(*item);
    };
    if (!async) return Stream::Start(items, add);
    return Stream::StartAsync(
        items,
        [this, add](std::vector<std::shared_ptr<const std::string>> batch, Messages* message, Stream::Ended done) {
          std::lock_guard lock(mutex);
          workers.emplace_back([this, add, batch, message, done] {
            for (const auto& item : batch) add(item, message);
            done(fail_after >= 0 && converted >= fail_after ? Unavailable("the numbers are gone") : ::davit::Status());
          });
        },
        10);
  }

  std::vector<std::shared_ptr<const std::string>> items;
  bool async = false;
  int fail_after = -1;
  std::atomic<int> converted{0};
  std::mutex mutex;
  std::vector<std::thread> workers;  // each ends one conversion
};

class ListStreamTest : public ::testing::Test {
 protected:
  ListStreamTest() {
    ::grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ::grpc::ChannelArguments arguments;
    stub_ = v1::RuntimeService::NewStub(server_->InProcessChannel(arguments));
  }
  ~ListStreamTest() override {
    server_->Shutdown();
    for (std::thread& worker : service_.workers) worker.join();
  }

  void Fill(int count, size_t bytes) {
    for (int i = 0; i < count; ++i) {
      service_.items.push_back(std::make_shared<const std::string>(std::to_string(i) + ":" + std::string(bytes, 'x')));
    }
  }

  struct Got {
    std::vector<std::string> ids;
    std::vector<size_t> message_items;
    std::vector<size_t> message_bytes;
    ::grpc::Status status;
  };
  Got Read() {
    Got got;
    ::grpc::ClientContext context;
    auto reader = stub_->StreamContainers(&context, {});
    Messages message;
    while (reader->Read(&message)) {
      got.message_items.push_back(static_cast<size_t>(message.containers_size()));
      got.message_bytes.push_back(message.ByteSizeLong());
      for (const auto& item : message.containers()) got.ids.push_back(item.id().substr(0, item.id().find(':')));
    }
    got.status = reader->Finish();
    return got;
  }
  static std::vector<std::string> Numbers(int count) {
    std::vector<std::string> numbers;
    for (int i = 0; i < count; ++i) numbers.push_back(std::to_string(i));
    return numbers;
  }

  Service service_;
  std::unique_ptr<::grpc::Server> server_;
  std::unique_ptr<v1::RuntimeService::Stub> stub_;
};

TEST_F(ListStreamTest, EachItemComesOnceAndInOrder) {
  Fill(1000, 10);
  Got got = Read();
  EXPECT_TRUE(got.status.ok()) << got.status.error_message();
  EXPECT_EQ(got.ids, Numbers(1000));
  for (size_t items : got.message_items) EXPECT_LE(items, kStreamBatchItems);
  EXPECT_EQ(got.message_items.size(), 8u);
}

TEST_F(ListStreamTest, NothingIsAnEndWithoutMessages) {
  Got got = Read();
  EXPECT_TRUE(got.status.ok());
  EXPECT_TRUE(got.message_items.empty());
}

TEST_F(ListStreamTest, LargeItemsMakeMoreMessages) {
  constexpr size_t kItem = size_t{64} << 10;
  Fill(100, kItem);
  Got got = Read();
  EXPECT_EQ(got.ids, Numbers(100));
  for (size_t bytes : got.message_bytes) EXPECT_LE(bytes, kStreamBatchBytes + kMeasureEvery * (kItem + 64));
}

TEST_F(ListStreamTest, AClientThatGoesAwayEndsTheConversion) {
  Fill(200, size_t{256} << 10);
  ::grpc::ClientContext context;
  auto reader = stub_->StreamContainers(&context, {});
  Messages message;
  ASSERT_TRUE(reader->Read(&message));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), ::grpc::StatusCode::CANCELLED);
  server_->Shutdown();  // returns once every stream has deleted itself
  EXPECT_LT(service_.converted, 200);
}

TEST_F(ListStreamTest, ConversionsOnAnotherThreadKeepTheOrder) {
  service_.async = true;
  Fill(95, 10);
  Got got = Read();
  EXPECT_TRUE(got.status.ok());
  EXPECT_EQ(got.ids, Numbers(95));
  EXPECT_EQ(got.message_items.size(), 10u);
}

TEST_F(ListStreamTest, AConversionThatFailsEndsTheStreamWithItsError) {
  service_.async = true;
  service_.fail_after = 20;
  Fill(95, 10);
  Got got = Read();
  EXPECT_EQ(got.ids, Numbers(10));
  EXPECT_EQ(got.status.error_code(), ::grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace davit::cri
