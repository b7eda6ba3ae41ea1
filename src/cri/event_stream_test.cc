#include "cri/event_stream.h"

#include <gtest/gtest.h>

#include <thread>

#include "runtime/v1/cri.grpc.pb.h"

namespace davit::cri {
namespace {

namespace v1 = ::runtime::v1;

class Service final : public v1::RuntimeService::CallbackService {
 public:
  explicit Service(engine::EventLog& log) : log_(log) {}
  ::grpc::ServerWriteReactor<v1::ContainerEventResponse>* GetContainerEvents(::grpc::CallbackServerContext*,
                                                                             const v1::GetEventsRequest*) override {
    return StreamEvents(log_);
  }

 private:
  engine::EventLog& log_;
};

// The stream over a real transport; the snapshots stand for the engine's records.
class EventStreamTest : public ::testing::Test {
 protected:
  explicit EventStreamTest(engine::EventOptions options = {}) : log_(std::move(options)), service_(log_) {
    log_.EndRecovery();
    ::grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ::grpc::ChannelArguments arguments;
    stub_ = v1::RuntimeService::NewStub(server_->InProcessChannel(arguments));
  }
  ~EventStreamTest() override {
    log_.Close();
    server_->Shutdown();  // returns once every stream is done
  }

  // A pod that is born and dies: four events.
  std::string Live(size_t label_bytes = 0) {
    auto pod = std::make_shared<pod::PodRecord>();
    pod->id = PodId::Mint();
    pod->phase = pod::Phase::kReady;
    if (label_bytes > 0) pod->spec.annotations["a"] = std::string(label_bytes, 'x');
    engine::Snapshot none;
    engine::Snapshot some;
    some.Put(pod);
    log_.Note(none, some, pod->id);
    log_.Note(some, none, pod->id);
    log_.Deliver();
    return pod->id.str();
  }

  engine::EventLog log_;
  Service service_;
  std::unique_ptr<::grpc::Server> server_;
  std::unique_ptr<v1::RuntimeService::Stub> stub_;
};

TEST_F(EventStreamTest, WhoHasTheHeadersMissesNothing) {
  ::grpc::ClientContext context;
  auto reader = stub_->GetContainerEvents(&context, {});
  reader->WaitForInitialMetadata();
  std::string id = Live();
  for (v1::ContainerEventType type : {v1::CONTAINER_CREATED_EVENT, v1::CONTAINER_STARTED_EVENT,
                                      v1::CONTAINER_STOPPED_EVENT, v1::CONTAINER_DELETED_EVENT}) {
    v1::ContainerEventResponse event;
    ASSERT_TRUE(reader->Read(&event));
    EXPECT_EQ(event.container_id(), id);
    EXPECT_EQ(event.container_event_type(), type);
    EXPECT_EQ(event.pod_sandbox_status().id(), id);
    EXPECT_GT(event.created_at(), 0);
  }
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), ::grpc::StatusCode::CANCELLED);
}

TEST_F(EventStreamTest, ManyThreadsPublishAndEachSubscriberGetsAll) {
  constexpr int kPods = 200;
  ::grpc::ClientContext contexts[3];
  std::unique_ptr<::grpc::ClientReader<v1::ContainerEventResponse>> readers[3];
  for (int i = 0; i < 3; ++i) {
    readers[i] = stub_->GetContainerEvents(&contexts[i], {});
    readers[i]->WaitForInitialMetadata();
  }
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([this] {
      for (int n = 0; n < kPods / 2; ++n) Live();
    });
  }
  for (auto& reader : readers) {
    std::map<std::string, int> next;
    for (int n = 0; n < kPods * 4; ++n) {
      v1::ContainerEventResponse event;
      ASSERT_TRUE(reader->Read(&event));
      EXPECT_EQ(static_cast<int>(event.container_event_type()), next[event.container_id()]++);
    }
    EXPECT_EQ(next.size(), static_cast<size_t>(kPods));
  }
  for (std::thread& writer : writers) writer.join();
  for (auto& context : contexts) context.TryCancel();
}

TEST_F(EventStreamTest, AClientThatHasGoneIsForgotten) {
  {
    ::grpc::ClientContext context;
    auto reader = stub_->GetContainerEvents(&context, {});
    reader->WaitForInitialMetadata();
    EXPECT_EQ(log_.counters().subscribers, 1u);
    context.TryCancel();
    reader->Finish();
  }
  server_->Shutdown();
  EXPECT_EQ(log_.counters().subscribers, 0u);
}

TEST_F(EventStreamTest, TheEndOfTheEngineEndsTheStream) {
  ::grpc::ClientContext context;
  auto reader = stub_->GetContainerEvents(&context, {});
  reader->WaitForInitialMetadata();
  log_.Close();
  v1::ContainerEventResponse event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), ::grpc::StatusCode::UNAVAILABLE);
}

class SlowEventStreamTest : public EventStreamTest {
 protected:
  SlowEventStreamTest() : EventStreamTest({.queue = 8, .subscribers = 1}) {}
};

TEST_F(SlowEventStreamTest, AClientThatDoesNotReadIsToldWhatItHasLost) {
  ::grpc::ClientContext context;
  auto reader = stub_->GetContainerEvents(&context, {});
  reader->WaitForInitialMetadata();
  // More than the transport and the queue can hold while nobody reads.
  uint64_t lives = 0;
  while (log_.counters().lost == 0 && lives < 1000) {
    Live(size_t{64} << 10);
    ++lives;
  }
  ASSERT_GT(log_.counters().lost, 0u);
  uint64_t got = 0;
  v1::ContainerEventResponse event;
  while (reader->Read(&event)) ++got;
  ::grpc::Status end = reader->Finish();
  EXPECT_EQ(end.error_code(), ::grpc::StatusCode::OUT_OF_RANGE);
  uint64_t lost = lives * 4 - got;
  EXPECT_EQ(lost, log_.counters().lost);
  EXPECT_NE(end.error_message().find(std::to_string(lost) + " events were lost"), std::string::npos)
      << end.error_message();
  // It subscribes again, as it was told.
  ::grpc::ClientContext again;
  auto second = stub_->GetContainerEvents(&again, {});
  second->WaitForInitialMetadata();
  Live();
  EXPECT_TRUE(second->Read(&event));
  again.TryCancel();
}

TEST_F(SlowEventStreamTest, OneTooManyIsRefused) {
  ::grpc::ClientContext first;
  auto reader = stub_->GetContainerEvents(&first, {});
  reader->WaitForInitialMetadata();
  ::grpc::ClientContext second;
  auto refused = stub_->GetContainerEvents(&second, {});
  v1::ContainerEventResponse event;
  EXPECT_FALSE(refused->Read(&event));
  EXPECT_EQ(refused->Finish().error_code(), ::grpc::StatusCode::RESOURCE_EXHAUSTED);
  first.TryCancel();
}

}  // namespace
}  // namespace davit::cri
