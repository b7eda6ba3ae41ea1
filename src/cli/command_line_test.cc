// The command line against a CRI server made here: what is asked of the server, what is printed, exit codes.
#include "cli/command_line.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "davit/control/v1/control.grpc.pb.h"
#include "runtime/v1/cri.grpc.pb.h"

namespace davit::cli {
namespace {

namespace cri = ::runtime::v1;
using ::grpc::ServerContext;
using GrpcStatus = ::grpc::Status;

const std::string kPodA = "a1" + std::string(62, '0');
const std::string kPodB = "a2" + std::string(62, '0');
const std::string kCtr = "c1" + std::string(62, '0');

class FakeRuntime final : public cri::RuntimeService::Service {
 public:
  GrpcStatus Version(ServerContext*, const cri::VersionRequest*, cri::VersionResponse* out) override {
    out->set_runtime_name("fake");
    out->set_runtime_version("9.9");
    out->set_runtime_api_version("v1");
    return GrpcStatus::OK;
  }
  GrpcStatus Status(ServerContext*, const cri::StatusRequest*, cri::StatusResponse* out) override {
    auto* condition = out->mutable_status()->add_conditions();
    condition->set_type("NetworkReady");
    condition->set_reason("NoNetwork");
    return GrpcStatus::OK;
  }
  GrpcStatus ListPodSandbox(ServerContext*, const cri::ListPodSandboxRequest* in,
                            cri::ListPodSandboxResponse* out) override {
    pod_filter = in->filter();
    int64_t created = 1'700'000'000'000'000'000;
    for (const auto& [id, name] : {std::pair(kPodA, "web"), std::pair(kPodB, "db")}) {
      auto* pod = out->add_items();
      pod->set_id(id);
      pod->mutable_metadata()->set_name(name);
      pod->set_created_at(created += 1'000'000'000);
    }
    return GrpcStatus::OK;
  }
  GrpcStatus RunPodSandbox(ServerContext*, const cri::RunPodSandboxRequest* in,
                           cri::RunPodSandboxResponse* out) override {
    run = *in;
    out->set_pod_sandbox_id(kPodA);
    return GrpcStatus::OK;
  }
  GrpcStatus GetContainerEvents(ServerContext*, const cri::GetEventsRequest*,
                                ::grpc::ServerWriter<cri::ContainerEventResponse>* out) override {
    cri::ContainerEventResponse event;
    event.set_container_id(kPodA);
    event.set_created_at(1'700'000'000'000'000'000);
    event.mutable_pod_sandbox_status()->set_id(kPodA);
    event.mutable_pod_sandbox_status()->mutable_metadata()->set_name("web");
    event.mutable_pod_sandbox_status()->mutable_metadata()->set_namespace_("default");
    out->Write(event);
    event.set_container_id(kCtr);
    event.set_container_event_type(cri::CONTAINER_STOPPED_EVENT);
    auto* status = event.add_containers_statuses();
    status->set_id(kCtr);
    status->mutable_metadata()->set_name("c\033[0m");
    status->set_exit_code(137);
    status->set_reason("OOMKilled");
    out->Write(event);
    return {::grpc::StatusCode::OUT_OF_RANGE, "7 events were lost"};
  }
  GrpcStatus UpdateContainerResources(ServerContext*, const cri::UpdateContainerResourcesRequest* in,
                                      cri::UpdateContainerResourcesResponse*) override {
    update = *in;
    return GrpcStatus::OK;
  }
  GrpcStatus StopPodSandbox(ServerContext*, const cri::StopPodSandboxRequest* in,
                            cri::StopPodSandboxResponse*) override {
    stopped.push_back(in->pod_sandbox_id());
    return GrpcStatus::OK;
  }
  GrpcStatus RemovePodSandbox(ServerContext*, const cri::RemovePodSandboxRequest* in,
                              cri::RemovePodSandboxResponse*) override {
    removed.push_back(in->pod_sandbox_id());
    return GrpcStatus::OK;
  }
  GrpcStatus PodSandboxStatus(ServerContext*, const cri::PodSandboxStatusRequest* in,
                              cri::PodSandboxStatusResponse* out) override {
    out->mutable_status()->set_id(in->pod_sandbox_id());
    out->mutable_status()->mutable_network()->set_ip("10.88.0.7");
    out->mutable_status()->mutable_metadata()->set_name("web");
    return GrpcStatus::OK;
  }
  GrpcStatus CreateContainer(ServerContext*, const cri::CreateContainerRequest* in,
                             cri::CreateContainerResponse* out) override {
    create = *in;
    if (create_error.error_code() != ::grpc::StatusCode::OK) return create_error;
    out->set_container_id(kCtr);
    return GrpcStatus::OK;
  }
  GrpcStatus StartContainer(ServerContext*, const cri::StartContainerRequest*, cri::StartContainerResponse*) override {
    std::string directory = create.sandbox_config().log_directory();
    std::filesystem::create_directories(directory);
    std::ofstream(directory + "/0.log") << "2026-11-22T10:00:00.000000000Z stdout P from \n"
                                           "2026-11-22T10:00:00.000000000Z stdout F inside\n"
                                           "2026-11-22T10:00:00.000000000Z stderr F oops\n";
    return GrpcStatus::OK;
  }
  GrpcStatus ListContainers(ServerContext*, const cri::ListContainersRequest*,
                            cri::ListContainersResponse* out) override {
    auto* container = out->add_containers();
    container->set_id(kCtr);
    container->set_pod_sandbox_id(kPodA);
    container->mutable_metadata()->set_name("web\x1b[31m");
    container->set_state(cri::CONTAINER_RUNNING);
    return GrpcStatus::OK;
  }
  GrpcStatus ContainerStatus(ServerContext*, const cri::ContainerStatusRequest* in,
                             cri::ContainerStatusResponse* out) override {
    out->mutable_status()->set_id(in->container_id());
    out->mutable_status()->set_state(cri::CONTAINER_EXITED);
    out->mutable_status()->set_exit_code(7);
    out->mutable_status()->set_log_path(log_path);
    return GrpcStatus::OK;
  }
  GrpcStatus ExecSync(ServerContext*, const cri::ExecSyncRequest* in, cri::ExecSyncResponse* out) override {
    exec = *in;
    out->set_stdout("out\n");
    out->set_stderr("err\n");
    out->set_exit_code(5);
    return GrpcStatus::OK;
  }

  cri::PodSandboxFilter pod_filter;
  cri::RunPodSandboxRequest run;
  cri::UpdateContainerResourcesRequest update;
  cri::CreateContainerRequest create;
  GrpcStatus create_error;
  cri::ExecSyncRequest exec;
  std::vector<std::string> stopped;
  std::vector<std::string> removed;
  std::string log_path;
};

class FakeImages final : public cri::ImageService::Service {
 public:
  GrpcStatus ListImages(ServerContext*, const cri::ListImagesRequest*, cri::ListImagesResponse* out) override {
    auto* image = out->add_images();
    image->set_id("sha256:" + std::string(64, 'f'));
    image->add_repo_tags("registry.example:5000/team/app:v1");
    image->set_size(1'500'000);
    return GrpcStatus::OK;
  }
  GrpcStatus ImageStatus(ServerContext*, const cri::ImageStatusRequest* in, cri::ImageStatusResponse* out) override {
    if (present) out->mutable_image()->set_id(in->image().image());
    return GrpcStatus::OK;
  }
  GrpcStatus PullImage(ServerContext*, const cri::PullImageRequest* in, cri::PullImageResponse* out) override {
    pull = *in;
    out->set_image_ref("sha256:pulled");
    return GrpcStatus::OK;
  }

  bool present = true;
  cri::PullImageRequest pull;
};

struct Outcome {
  int code = 0;
  std::string out;
  std::string err;
};

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    char name[] = "/tmp/davit-cli-XXXXXX";
    directory_ = ::mkdtemp(name);
    socket_ = directory_ + "/s";
    ::grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket_, ::grpc::InsecureServerCredentials());
    builder.RegisterService(&runtime_);
    builder.RegisterService(&images_);
    server_ = builder.BuildAndStart();
  }
  ~CommandLineTest() override {
    server_->Shutdown();
    std::filesystem::remove_all(directory_);
  }

  static Outcome RunLine(std::vector<std::string> words) {
    words.insert(words.begin(), "davit");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Outcome outcome;
    outcome.code = Main(static_cast<int>(words.size()), argv.data());
    outcome.out = testing::internal::GetCapturedStdout();
    outcome.err = testing::internal::GetCapturedStderr();
    return outcome;
  }
  Outcome Davit(std::vector<std::string> words) const {
    words.insert(words.begin(), {"--connect", "unix://" + socket_});
    return RunLine(std::move(words));
  }
  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ + "/" + name) << text;
    return directory_ + "/" + name;
  }

  std::string directory_;
  std::string socket_;
  FakeRuntime runtime_;
  FakeImages images_;
  std::unique_ptr<::grpc::Server> server_;
};

TEST_F(CommandLineTest, RunsAPodFromAFile) {
  Outcome outcome =
      Davit({"pod", "run", "--config", File("p.json", R"({"metadata": {"name": "web"}})"), "--runtime", "crun"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, kPodA + "\n");
  EXPECT_EQ(runtime_.run.config().metadata().name(), "web");
  EXPECT_EQ(runtime_.run.runtime_handler(), "crun");
}

TEST_F(CommandLineTest, ListsWithFullIdsWhereNobodyReads) {
  Outcome outcome = Davit({"pod", "list", "--state", "ready", "--label", "a=b"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(outcome.out.starts_with("POD ID")) << outcome.out;
  EXPECT_LT(outcome.out.find(kPodB), outcome.out.find(kPodA)) << "the newest first";
  EXPECT_NE(outcome.out.find("2023-11-14T22:13:21.000000000Z"), std::string::npos) << outcome.out;
  EXPECT_EQ(runtime_.pod_filter.label_selector().at("a"), "b");
  EXPECT_TRUE(runtime_.pod_filter.has_state());
  EXPECT_EQ(Davit({"pod", "list", "-q"}).out, kPodB + "\n" + kPodA + "\n");
}

TEST_F(CommandLineTest, PrintsJsonWithTheFlagInEitherPlace) {
  EXPECT_NE(Davit({"pod", "list", "-o", "json"}).out.find("\"createdAt\""), std::string::npos);
  EXPECT_NE(Davit({"-o", "json", "runtimeversion"}).out.find("\"runtimeName\": \"fake\""), std::string::npos);
}

TEST_F(CommandLineTest, TakesIdsByFlagByPositionByBeginningAndByName) {
  EXPECT_EQ(Davit({"pod", "stop", "--id", kPodA}).out, kPodA + "\n");
  EXPECT_EQ(Davit({"pod", "stop", "a2", "web"}).out, kPodB + "\n" + kPodA + "\n");
  Outcome ambiguous = Davit({"pod", "stop", "a"});
  EXPECT_EQ(ambiguous.code, 1);
  EXPECT_EQ(ambiguous.err,
            "davit: pod \"a\" is ambiguous: a100000000000 (web), a200000000000 (db) (INVALID_ARGUMENT)\n");
}

TEST_F(CommandLineTest, EventsAreLinesUntilTheServerSaysWhy) {
  Outcome lines = Davit({"events"});
  EXPECT_EQ(lines.code, 1);
  EXPECT_EQ(lines.out, "2023-11-14T22:13:20.000000000Z pod created " + kPodA +
                           " default/web\n2023-11-14T22:13:20.000000000Z ctr stopped " + kCtr +
                           " default/web/c?[0m exit=137 reason=OOMKilled\n");
  EXPECT_NE(lines.err.find("7 events were lost (OUT_OF_RANGE)"), std::string::npos) << lines.err;
  Outcome json = Davit({"-o", "json", "events"});
  EXPECT_EQ(std::count(json.out.begin(), json.out.end(), '\n'), 2) << json.out;
  EXPECT_NE(json.out.find("\"containerEventType\":\"CONTAINER_STOPPED_EVENT\""), std::string::npos) << json.out;
}

TEST_F(CommandLineTest, UpdateSendsWhatIsGivenAndNothingElse) {
  EXPECT_EQ(Davit({"ctr", "update", "--memory", "64MiB", "--cpu-quota", "-1", kCtr}).out, kCtr + "\n");
  cri::UpdateContainerResourcesRequest expected;
  expected.set_container_id(kCtr);
  expected.mutable_linux()->set_memory_limit_in_bytes(64 << 20);
  expected.mutable_linux()->set_cpu_quota(-1);
  EXPECT_EQ(runtime_.update.SerializeAsString(), expected.SerializeAsString());
  EXPECT_EQ(Davit({"ctr", "update", kCtr}).code, 1);
}

TEST_F(CommandLineTest, RemovesByForceAfterStopping) {
  EXPECT_EQ(Davit({"pod", "remove", "-f", "web"}).code, 0);
  EXPECT_EQ(runtime_.stopped, std::vector<std::string>{kPodA});
  EXPECT_EQ(runtime_.removed, std::vector<std::string>{kPodA});
}

TEST_F(CommandLineTest, ShowsStatus) {
  Outcome outcome = Davit({"pod", "status", "--id", "web"});
  EXPECT_NE(outcome.out.find("10.88.0.7"), std::string::npos) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("State:        READY"), std::string::npos) << outcome.out;
  Outcome info = Davit({"info"});
  EXPECT_NE(info.out.find("NetworkReady:  no: NoNetwork"), std::string::npos) << info.out;
}

TEST_F(CommandLineTest, TellsTheServerThePodsIdentityAtCreate) {
  std::string config = File("c.json", R"({"metadata": {"name": "c"}, "envs": [{"key": "A", "value": "b"}]})");
  Outcome outcome = Davit({"ctr", "create", "--pod", "web", "--config", config});
  EXPECT_EQ(outcome.out, kCtr + "\n") << outcome.err;
  EXPECT_EQ(runtime_.create.sandbox_config().metadata().name(), "web");
  EXPECT_EQ(runtime_.create.config().envs(0).value(), "b");
}

TEST_F(CommandLineTest, KeepsEscapeSequencesFromTheTable) {
  Outcome outcome = Davit({"ctr", "list"});
  EXPECT_NE(outcome.out.find("web?[31m"), std::string::npos) << outcome.out;
}

TEST_F(CommandLineTest, ExecSyncPassesWordsOutputAndCode) {
  for (const char* first : {"execsync", "exec"}) {
    std::vector<std::string> words = {"ctr", first, "--timeout", "9", kCtr, "sh", "-c", "echo -t", "--id", "x"};
    if (std::string(first) == "exec") words.insert(words.begin() + 2, "-s");
    Outcome outcome = Davit(words);
    EXPECT_EQ(outcome.code, 5) << outcome.err;
    EXPECT_EQ(outcome.out, "out\n");
    EXPECT_EQ(outcome.err, "err\n");
    EXPECT_EQ(std::vector<std::string>(runtime_.exec.cmd().begin(), runtime_.exec.cmd().end()),
              (std::vector<std::string>{"sh", "-c", "echo -t", "--id", "x"}));
    EXPECT_EQ(runtime_.exec.timeout(), 9);
  }
  EXPECT_EQ(Davit({"ctr", "execsync", "--id", kCtr, "echo", "hello"}).code, 5);
  EXPECT_EQ(runtime_.exec.cmd(0), "echo");
  EXPECT_EQ(Davit({"ctr", "exec", "-s", kCtr, "--", "ls", "--", "-l"}).code, 5);
  EXPECT_EQ(std::vector<std::string>(runtime_.exec.cmd().begin(), runtime_.exec.cmd().end()),
            (std::vector<std::string>{"ls", "--", "-l"}));
}

TEST_F(CommandLineTest, PrintsLogs) {
  runtime_.log_path = File("0.log",
                           "2026-11-22T10:00:00.000000000Z stdout F one\n2026-11-22T10:00:01.000000000Z stderr F two\n"
                           "2026-11-22T10:00:02.000000000Z stdout F three\n");
  Outcome all = Davit({"ctr", "logs", kCtr});
  EXPECT_EQ(all.out, "one\nthree\n");
  EXPECT_EQ(all.err, "two\n");
  EXPECT_EQ(Davit({"ctr", "logs", "--tail", "1", "-f", kCtr}).out, "three\n");
  runtime_.log_path.clear();
  EXPECT_EQ(Davit({"ctr", "logs", kCtr}).code, 1);
}

TEST_F(CommandLineTest, ListsAndPullsImagesWithoutDavitControl) {
  Outcome list = Davit({"image", "list"});
  EXPECT_NE(list.out.find("registry.example:5000/team/app   v1"), std::string::npos) << list.out;
  EXPECT_NE(list.out.find("1.5 MB"), std::string::npos) << list.out;
  Outcome pull = Davit({"image", "pull", "app:v1", "--creds", "me:pass:word"});
  EXPECT_EQ(pull.out, "sha256:pulled\n") << pull.err;
  EXPECT_EQ(images_.pull.auth().username(), "me");
  EXPECT_EQ(images_.pull.auth().password(), "pass:word");
  images_.present = false;
  EXPECT_EQ(Davit({"image", "status", "nope"}).code, 1);
  EXPECT_EQ(Davit({"image", "remove", "nope"}).code, 1);
}

TEST_F(CommandLineTest, RunFollowsTheOutputPassesTheCodeAndRemoves) {
  images_.present = false;
  Outcome outcome = Davit(
      {"run", "--rm", "--name", "job", "-e", "A=1", "--log-dir", directory_ + "/logs", "busybox", "sh", "-c", "x"});
  EXPECT_EQ(outcome.code, 7) << outcome.err;
  EXPECT_EQ(outcome.out, "from inside\n");
  EXPECT_EQ(outcome.err, "pulling busybox\noops\n");
  EXPECT_EQ(images_.pull.image().image(), "busybox");
  EXPECT_EQ(runtime_.run.config().metadata().name(), "job");
  EXPECT_EQ(runtime_.create.config().args_size(), 3);
  EXPECT_EQ(runtime_.removed, std::vector<std::string>{kPodA});
  EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/logs"));
}

TEST_F(CommandLineTest, RunDetachedPrintsIdsAndRemovesNothing) {
  Outcome outcome = Davit({"run", "-d", "--log-dir", directory_ + "/logs", "busybox"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, kPodA + "\n" + kCtr + "\n");
  EXPECT_TRUE(runtime_.removed.empty());
}

TEST_F(CommandLineTest, RunWithoutRmKeepsThePod) {
  EXPECT_EQ(Davit({"run", "--log-dir", directory_ + "/logs", "busybox"}).code, 7);
  EXPECT_TRUE(runtime_.removed.empty());
}

TEST_F(CommandLineTest, RunTakesThePodDownWhenTheContainerCannotBeMade) {
  runtime_.create_error = GrpcStatus(::grpc::StatusCode::INVALID_ARGUMENT, "no such user");
  Outcome outcome = Davit({"run", "--log-dir", directory_ + "/logs", "busybox"});
  EXPECT_EQ(outcome.code, 125);
  EXPECT_NE(outcome.err.find("davit: create container: no such user (INVALID_ARGUMENT)"), std::string::npos)
      << outcome.err;
  EXPECT_EQ(runtime_.removed, std::vector<std::string>{kPodA});
}

TEST_F(CommandLineTest, WrongCommandLinesAreUsageErrors) {
  EXPECT_EQ(RunLine({}).code, 2);
  EXPECT_EQ(RunLine({"pod"}).code, 2);
  EXPECT_EQ(RunLine({"pod", "stop"}).code, 2);
  EXPECT_EQ(RunLine({"run"}).code, 2);
  EXPECT_EQ(RunLine({"run", "--no-such-flag", "busybox"}).code, 2);
  EXPECT_EQ(RunLine({"ctr", "exec", "web"}).code, 2);
  EXPECT_EQ(RunLine({"-o", "xml", "info"}).code, 2);
  EXPECT_EQ(RunLine({"--help"}).code, 0);
  EXPECT_EQ(RunLine({"--version"}).out, "davit 0.1.0\n");
  EXPECT_NE(RunLine({"run", "--help"}).out.find("IMAGE [COMMAND"), std::string::npos);
}

TEST_F(CommandLineTest, SaysWhatToDoWhenNobodyServes) {
  Outcome outcome = RunLine({"--connect", directory_ + "/none", "pod", "list"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find(directory_ + "/none"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("(UNAVAILABLE)"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("is davitd running?"), std::string::npos);
  EXPECT_EQ(RunLine({"--connect", "tcp://1.2.3.4:5", "pod", "list"}).code, 1);
}

// The server here has CRI alone, as other runtimes.
TEST_F(CommandLineTest, EverydayVerbsFallBackToCri) {
  EXPECT_EQ(Davit({"ps", "-q"}).out, kCtr + "\n");
  EXPECT_NE(Davit({"events"}).out.find("pod created"), std::string::npos);
  Outcome stop = Davit({"stop", "web"});
  EXPECT_EQ(stop.code, 1);
  EXPECT_NE(stop.err.find("davit pod, ctr and image"), std::string::npos) << stop.err;
  Outcome run = Davit({"run", "--restart", "always", "busybox"});
  EXPECT_EQ(run.code, 125);
  EXPECT_NE(run.err.find("--restart needs davitd"), std::string::npos) << run.err;
}

TEST_F(CommandLineTest, EverydayVerbsRefuseWrongWords) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"run"},
                                                {"run", "--wrong", "x"},
                                                {"rm"},
                                                {"exec", "x"},
                                                {"stop", "-t", "x", "y"},
                                                {"cp", "a"},
                                                {"inspect", "--type", "thing", "x"},
                                                {"logs", "--tail", "-1", "x"},
                                                {"volume"},
                                                {"network", "connect", "x"}}) {
    EXPECT_EQ(Davit(words).code, 2) << words.front();
  }
}

}  // namespace
}  // namespace davit::cli
