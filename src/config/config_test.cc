#include "config/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "sys/atomic_file.h"

namespace davit::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

static_assert(!fmt::is_formattable<Secret>::value, "a secret must not be printable");

std::string ErrorOf(std::string_view text) {
  Config config;
  Status status = Apply(config, text, "f.toml");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text;
  return status.message();
}

TEST(ConfigTest, EveryKeyIsRead) {
  Config config;
  Status status = Apply(config, R"(
root = "/r/"
state = "/s"
log_level = "debug"
[api]
listen = "unix:///run/x.sock"
[stream]
address = "::1"
port = 10010
idle_timeout_seconds = 5
max_sessions = 6
[runtime]
default = "kata"
cgroup_driver = "systemd"
monitor_path = "/m"
init_path = "/i"
max_log_line_bytes = "32 KiB"
pids_limit = 4096
default_capabilities = ["chown", "CAP_KILL"]
cdi_spec_dirs = []
[runtime.handlers.kata]
path = "/usr/bin/kata-runtime"
root = "/run/kata"
arguments = ["--debug", "--network=host"]
privileged_without_host_devices = true
allowed_annotations = ["umask.crio.io"]
allowed_devices = []
monitor_path = "/m"
max_log_line_bytes = "1 KiB"
[image]
pull_path = "/p"
max_parallel_layers = 8
max_layer_bytes = 100
max_image_bytes = "1 TiB"
max_entries = 7
stall_timeout_seconds = 8
default_registry = "localhost:5000"
pinned = ["registry.k8s.io/pause:*"]
[image.registries."docker.io"]
mirrors = ["http://127.0.0.1:5000", "https://m.example/dockerhub/"]
fallback = false
[image.registries."localhost:5000"]
plain_http = true
skip_verify = true
ca_file = "/ca.pem"
username = "u"
password = "secret"
[image.registries.quay]
auth_file = "/root/.docker/config.json"
[network]
conf_dir = "/c"
bin_dirs = ["/b1", "/b2"]
plugin_timeout_seconds = 9
builtin = false
)",
                        "f.toml");
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(config.root, "/r");
  EXPECT_EQ(config.log_level, LogLevel::kDebug);
  EXPECT_EQ(config.api.listen, "/run/x.sock");
  EXPECT_EQ(config.stream.port, 10010);
  EXPECT_EQ(config.runtime.default_handler, "kata");
  EXPECT_EQ(config.runtime.max_log_line_bytes, 32768);
  EXPECT_THAT(*config.runtime.default_capabilities, ElementsAre("CAP_CHOWN", "CAP_KILL"));
  EXPECT_EQ(config.runtime.handlers.size(), 4u);
  EXPECT_THAT(config.runtime.cdi_spec_dirs, ElementsAre());
  const RuntimeHandlerConfig& kata = config.runtime.handlers["kata"];
  EXPECT_EQ(kata.path, "/usr/bin/kata-runtime");
  EXPECT_THAT(kata.arguments, ElementsAre("--debug", "--network=host"));
  EXPECT_TRUE(kata.privileged_without_host_devices);
  EXPECT_THAT(kata.allowed_annotations, ElementsAre("umask.crio.io"));
  EXPECT_THAT(kata.allowed_devices, ElementsAre());
  EXPECT_EQ(kata.monitor_path, "/m");
  EXPECT_EQ(kata.max_log_line_bytes, 1024);
  EXPECT_EQ(config.image.max_image_bytes, int64_t{1} << 40);
  EXPECT_THAT(config.image.registries["docker.io"].mirrors,
              ElementsAre("http://127.0.0.1:5000", "https://m.example/dockerhub"));
  EXPECT_FALSE(config.image.registries["docker.io"].fallback);
  EXPECT_EQ(config.image.registries["localhost:5000"].password.Reveal(), "secret");
  EXPECT_EQ(config.image.registries["quay"].auth_file, "/root/.docker/config.json");
  EXPECT_THAT(config.network.bin_dirs, ElementsAre("/b1", "/b2"));
  EXPECT_FALSE(config.network.builtin);
  EXPECT_TRUE(Resolve(config).ok());
}

TEST(ConfigTest, AnEmptyFileChangesNothing) {
  Config config;
  ASSERT_TRUE(Apply(config, "", "f.toml").ok());
  EXPECT_EQ(Dump(config), Dump(Config()));
}

TEST(ConfigTest, UnknownKeysNameFileLineAndTheNearest) {
  EXPECT_EQ(ErrorOf("\n[image]\nmax_paralel_layers = 3\n"),
            "f.toml:3: unknown key \"image.max_paralel_layers\"; did you mean \"max_parallel_layers\"?");
  EXPECT_EQ(ErrorOf("[imagee]\n"), "f.toml:1: unknown key \"imagee\"; did you mean \"image\"?");
  EXPECT_EQ(ErrorOf("conf_dir = '/x'"), "f.toml:1: unknown key \"conf_dir\"; did you mean \"network.conf_dir\"?");
  EXPECT_EQ(ErrorOf("[image.registries.'h']\nmirror = []\n"),
            "f.toml:2: unknown key \"image.registries.h.mirror\"; did you mean \"mirrors\"?");
  EXPECT_EQ(ErrorOf("[runtime.handler.x]\n"), "f.toml:1: unknown key \"runtime.handler\"; did you mean \"handlers\"?");
  EXPECT_EQ(ErrorOf("zzzzzzzz = 1"), "f.toml:1: unknown key \"zzzzzzzz\"");
}

TEST(ConfigTest, WrongTypesNameLineAndExpectation) {
  EXPECT_EQ(ErrorOf("root = 1"), "f.toml:1: root: expected a string, found an integer");
  EXPECT_EQ(ErrorOf("[stream]\nport = \"80\""), "f.toml:2: stream.port: expected an integer, found a string");
  EXPECT_EQ(ErrorOf("[stream]\nport = 80.0"),
            "f.toml:2: stream.port: expected an integer, found a number with a fraction");
  EXPECT_EQ(ErrorOf("stream = 1"), "f.toml:1: stream: expected a table, found an integer");
  EXPECT_EQ(ErrorOf("[image]\npinned = \"x\""), "f.toml:2: image.pinned: expected a list of strings, found a string");
  EXPECT_EQ(ErrorOf("[image]\npinned = [\n\"x\",\n1]"), "f.toml:2: image.pinned: expected a string, found an integer");
  EXPECT_EQ(ErrorOf("[image.registries.x]\nfallback = 1"),
            "f.toml:2: image.registries.x.fallback: expected true or false, found an integer");
  EXPECT_THAT(ErrorOf("[image]\nmax_layer_bytes = true"),
              HasSubstr("expected an integer or a size such as \"64 MiB\""));
  EXPECT_THAT(ErrorOf("[runtime.handlers]\ncrun = '/usr/bin/crun'"),
              HasSubstr("runtime.handlers.crun: expected a table, found a string"));
  EXPECT_THAT(ErrorOf("[[api]]\n"), HasSubstr("api: expected a table, found a list"));
}

TEST(ConfigTest, ValuesAreChecked) {
  EXPECT_EQ(ErrorOf("root = 'var'"), "f.toml:1: root: \"var\" is not an absolute path");
  EXPECT_EQ(ErrorOf("log_level = 'loud'"), "f.toml:1: log_level: \"loud\" is none of debug, info, warning, error");
  EXPECT_EQ(ErrorOf("[stream]\nport = 65536"), "f.toml:2: stream.port: 65536 is not in the range 0 to 65535");
  EXPECT_THAT(ErrorOf("[runtime]\ncgroup_driver = 'x'"), HasSubstr("none of auto, cgroupfs, systemd"));
  EXPECT_THAT(ErrorOf("[image.registries.h]\nmirrors = ['h:5000']"),
              HasSubstr("does not begin with http:// or https://"));
  EXPECT_THAT(ErrorOf("[image.registries.'https://h']\n"), HasSubstr("f.toml:1: image.registries: \"https://h\""));
  EXPECT_THAT(ErrorOf("[runtime.handlers.'../x']\n"), HasSubstr("is not a handler name"));
  EXPECT_THAT(ErrorOf("[runtime.handlers.h]\narguments = ['network']\n"), HasSubstr("is no option"));
  EXPECT_THAT(ErrorOf("[runtime.handlers.h]\nmax_log_line_bytes = 1\n"), HasSubstr("not in the range 256"));
  EXPECT_THAT(ErrorOf("[runtime.handlers.h]\nallowed_devices = ['dev/x']\n"), HasSubstr("absolute"));
  EXPECT_THAT(ErrorOf("[runtime]\ncdi_spec_dirs = ['x']\n"), HasSubstr("absolute"));
  EXPECT_THAT(ErrorOf("root = \"/a\\u0000b\""), HasSubstr("NUL"));
}

TEST(ConfigTest, SeveralProblemsAreReportedTogether) {
  EXPECT_EQ(
      ErrorOf("root = 1\nstatee = 2\n"),
      "f.toml:1: root: expected a string, found an integer; f.toml:2: unknown key \"statee\"; did you mean \"state\"?");
  std::string many;
  for (int i = 0; i < 30; ++i) many += fmt::format("zzzzzzz{} = 1\n", i);
  EXPECT_THAT(ErrorOf(many), EndsWith("; and 20 more"));
}

TEST(ConfigTest, MalformedTomlNamesTheLine) {
  EXPECT_THAT(ErrorOf("root = \"/x\"\nstate = \n"), HasSubstr("f.toml:2: "));
  EXPECT_THAT(ErrorOf("root = '/a'\nroot = '/b'\n"), HasSubstr("f.toml:2: "));
  EXPECT_FALSE(ErrorOf("\xff\xfe").empty());
}

// Letters that the TOML library's table of blanks does not list: fuzzing found undefined behaviour there.
TEST(ConfigTest, LettersOutsideAsciiAreNoBlanks) {
  for (const char* text : {"i\xcb\x99"
                           "1",
                           "root\xcb\x99= \"/a\"", "root =\xcd\xb4 \"/a\""}) {
    EXPECT_THAT(ErrorOf(text), HasSubstr("f.toml:1: ")) << text;
  }
}

TEST(ConfigTest, HostileNestingIsRefused) {
  std::string dotted = "a";
  for (int i = 0; i < 400000; ++i) dotted += ".a";
  EXPECT_THAT(ErrorOf(dotted + " = 1"), HasSubstr("f.toml:1: dotted key with too many parts"));
  EXPECT_THAT(ErrorOf("\n[" + dotted + "]"), HasSubstr("f.toml:2: dotted key with too many parts"));
  std::string quoted = "\"a b\"";
  for (int i = 0; i < 100000; ++i) quoted += " . 'a b'";
  EXPECT_THAT(ErrorOf(quoted + " = 1"), HasSubstr("too many parts"));
  EXPECT_FALSE(ErrorOf("a = " + std::string(500000, '[')).empty());
  Config config;
  EXPECT_EQ(Apply(config, std::string(kMaxFileBytes + 1, ' '), "f.toml").code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(Apply(config, "# .........................................................\n", "f.toml").ok());
}

TEST(ConfigTest, ResolveChecksAcrossKeys) {
  Config config;
  config.runtime.default_handler = "kata";
  EXPECT_EQ(Resolve(config).message(), "runtime.default: \"kata\" is none of the handlers crun, native, runc");
  config = Config();
  config.image.registries["h"].fallback = false;
  EXPECT_THAT(Resolve(config).message(), HasSubstr("nothing is left to pull from"));
  config = Config();
  config.image.registries["h"].password = Secret("hunter2");
  EXPECT_THAT(Resolve(config).message(), AllOf(HasSubstr("go together"), Not(HasSubstr("hunter2"))));
}

TEST(ConfigTest, ResolveFillsHandlers) {
  Config config;
  config.state = "/run/other";
  config.runtime.handlers["no-such-runtime-program"] = {};
  config.runtime.handlers["sh"] = {};
  config.runtime.handlers["runc"] = {"/opt/runc", "/run/runc"};
  ASSERT_TRUE(Resolve(config).ok());
  EXPECT_EQ(config.runtime.handlers["sh"].root, "/run/other/runtime/sh");
  EXPECT_THAT(config.runtime.handlers["sh"].path, EndsWith("/sh"));
  EXPECT_EQ(config.runtime.handlers["no-such-runtime-program"].path, "");
  EXPECT_EQ(config.runtime.handlers["runc"].path, "/opt/runc");
  EXPECT_EQ(config.runtime.handlers["runc"].root, "/run/runc");
}

TEST(ConfigTest, DumpReadsBackAndHidesSecrets) {
  Config config;
  config.runtime.default_capabilities = {"CAP_KILL"};
  config.image.registries["h:5000"].username = "u\"\\\n";
  config.image.registries["h:5000"].password = Secret("hunter2");
  config.image.pinned = {"a/*", "b"};
  std::string text = Dump(config);
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
  EXPECT_THAT(text, HasSubstr("[image.registries.\"h:5000\"]"));
  EXPECT_THAT(text, HasSubstr("password = \"***\""));
  Config again;
  Status status = Apply(again, text, "dump");
  ASSERT_TRUE(status.ok()) << status.ToString() << text;
  EXPECT_EQ(Dump(again), text);
}

TEST(ConfigTest, DescribesEveryKeyOnce) {
  std::set<std::string> seen;
  for (const KeyHelp& key : DescribeKeys()) {
    EXPECT_TRUE(seen.insert(key.key).second) << key.key;
    EXPECT_FALSE(key.help.empty()) << key.key;
    EXPECT_THAT(key.help, Not(EndsWith("."))) << key.key;
    EXPECT_FALSE(key.type.empty());
  }
  EXPECT_EQ(seen.count("image.registries.HOST.plain_http"), 1u);
  EXPECT_EQ(seen.count("runtime.handlers.NAME.path"), 1u);
  auto keys = DescribeKeys();
  auto port =
      std::find_if(keys.begin(), keys.end(), [](const KeyHelp& k) { return k.key == "stream.idle_timeout_seconds"; });
  ASSERT_NE(port, keys.end());
  EXPECT_EQ(port->default_value, "14400");
  EXPECT_EQ(port->type, "integer");
}

class ConfigFilesTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(::mkdtemp(directory_.data()), nullptr); }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(directory_).ok()); }
  void Write(const std::string& name, const std::string& text) {
    std::string path = directory_ + "/" + name;
    ASSERT_TRUE(sys::MakeDirectories(path.substr(0, path.rfind('/')), 0700).ok());
    ASSERT_TRUE(sys::WriteFileAtomic(path, text, 0600, sys::Durability::kAtomic).ok());
  }
  Result<Config> LoadAll() { return Load(Main(), DropinDirectory(Main())); }
  [[nodiscard]] std::string Main() const { return directory_ + "/davit.toml"; }

  std::string directory_ = ::testing::TempDir() + "davit-config-XXXXXX";
};

TEST_F(ConfigFilesTest, NoFilesMeansDefaults) {
  auto config = LoadAll();
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->root, "/var/lib/davit");
  EXPECT_EQ(config->api.listen, "/run/davit/davit.sock");
  EXPECT_EQ(config->runtime.handlers.at("crun").root, "/run/davit/runtime/crun");
}

TEST_F(ConfigFilesTest, AFileThatWasNamedHasToBeThere) {
  Write("davit.toml.d/a.toml", "log_level = 'error'");
  Result<Config> config = Load(Main(), DropinDirectory(Main()), MainFile::kRequired);
  EXPECT_EQ(config.code(), StatusCode::kNotFound);
  EXPECT_THAT(config.status().message(), HasSubstr(Main()));
}

TEST_F(ConfigFilesTest, AMisspeltTableNamesTheNearest) {
  Write("davit.toml", "[image.registry.'localhost:5000']\nplain_http = true\n");
  EXPECT_THAT(LoadAll().status().message(), HasSubstr("did you mean \"registries\""));
}

TEST_F(ConfigFilesTest, DropinsOverrideKeyByKeyInOrder) {
  Write("davit.toml", "root = '/main'\nstate = '/main'\n[image]\npinned = ['a', 'b']\nmax_entries = 5\n");
  Write("davit.toml.d/20-b.toml", "state = '/b'\n[image]\npinned = ['c']\n");
  Write("davit.toml.d/10-a.toml", "state = '/a'\n[stream]\nport = 7\n");
  Write("davit.toml.d/30.toml.bak", "root = '/bak'");
  Write("davit.toml.d/.hidden.toml", "root = '/hidden'");
  auto config = LoadAll();
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->root, "/main");
  EXPECT_EQ(config->state, "/b");
  EXPECT_EQ(config->stream.port, 7);
  EXPECT_EQ(config->image.max_entries, 5);
  EXPECT_THAT(config->image.pinned, ElementsAre("c"));
}

TEST_F(ConfigFilesTest, DropinsWorkWithoutAMainFile) {
  Write("davit.toml.d/a.toml", "log_level = 'error'");
  auto config = LoadAll();
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->log_level, LogLevel::kError);
}

TEST_F(ConfigFilesTest, ErrorsNameTheDropin) {
  Write("davit.toml.d/a.toml", "\nlog_level = 1");
  EXPECT_THAT(LoadAll().status().message(), HasSubstr("/davit.toml.d/a.toml:2: log_level"));
}

TEST_F(ConfigFilesTest, CapsFilesAndTheirNumber) {
  Write("davit.toml", std::string(kMaxFileBytes + 1, '\n'));
  EXPECT_EQ(LoadAll().code(), StatusCode::kResourceExhausted);
  Write("davit.toml", "");
  for (size_t i = 0; i <= kMaxDropins; ++i) Write(fmt::format("davit.toml.d/{}.toml", i), "");
  EXPECT_EQ(LoadAll().code(), StatusCode::kResourceExhausted);
}

TEST_F(ConfigFilesTest, ADirectoryInPlaceOfTheFileIsAnError) {
  ASSERT_TRUE(sys::MakeDirectories(Main(), 0700).ok());
  EXPECT_FALSE(LoadAll().ok());
}

}  // namespace
}  // namespace davit::config
