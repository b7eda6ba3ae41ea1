#include "engine/preload.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "oci/json.h"

namespace davit::engine {
namespace {

constexpr std::string_view kPrefix = "preload/";
constexpr size_t kMaxFiles = 10'000;
constexpr size_t kMaxErrors = 20;

// What a file was when it was loaded. `images`: their ids.
Result<boost::json::object> IdentityOf(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return ErrnoError(errno, "look at it");
  if (S_ISDIR(info.st_mode) && ::stat((path + "/index.json").c_str(), &info) != 0) {
    if (errno != ENOENT) return ErrnoError(errno, "look at its index.json");
    return InvalidArgument("it is a directory without index.json: no OCI layout");
  }
  return boost::json::object{{"version", 1},
                             {"size", info.st_size},
                             {"mtime", info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec},
                             {"inode", info.st_ino}};
}

bool SameFile(const std::string& recorded, const boost::json::object& now) {
  Result<boost::json::value> document = oci::ParseJson(recorded);
  if (!document.ok() || !document->is_object()) return false;
  const boost::json::object& then = document->as_object();
  return std::all_of(now.begin(), now.end(), [&](const auto& item) {
    const boost::json::value* value = then.if_contains(item.key());
    return value != nullptr && boost::json::serialize(*value) == boost::json::serialize(item.value());
  });
}

}  // namespace

Preload::Preload(store::Database& database, std::string directory, Load load, std::unique_ptr<image::PullCancel> cancel)
    : database_(database),
      directory_(std::move(directory)),
      load_(std::move(load)),
      cancel_(std::move(cancel)),
      pool_(std::make_unique<sched::ThreadPool>("davit-preload", 1)) {}

Result<std::unique_ptr<Preload>> Preload::Create(store::Database& database, std::string directory, Load load) {
  ASSIGN_OR_RETURN(std::unique_ptr<image::PullCancel> cancel, image::PullCancel::Create());
  return std::unique_ptr<Preload>(new Preload(database, std::move(directory), std::move(load), std::move(cancel)));
}

Preload::~Preload() {
  ending_ = true;
  cancel_->Cancel();
  pool_.reset();
}

void Preload::Start() {
  struct stat info {};
  if (directory_.empty()) return;
  if (::stat(directory_.c_str(), &info) != 0 && errno == ENOENT) return;
  {
    std::lock_guard lock(mutex_);
    state_.running = true;
  }
  pool_->Post([this] { Run(); });
}

Result<std::vector<std::string>> Preload::Names() const {
  struct stat info {};
  if (::stat(directory_.c_str(), &info) != 0) return ErrnoError(errno, "look at " + directory_);
  if (info.st_uid != ::geteuid() || (info.st_mode & 022) != 0) {
    return FailedPrecondition(directory_ +
                              " belongs to somebody else, or others may write to it: chown root, chmod 0755");
  }
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(directory_.c_str()), ::closedir);
  if (!directory) return ErrnoError(errno, "open " + directory_);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    if (names.size() == kMaxFiles)
      return ResourceExhausted(fmt::format("{} has more than {} files", directory_, kMaxFiles));
    names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void Preload::Run() {
  {
    std::lock_guard lock(mutex_);
    state_ = State();
    state_.running = true;
  }
  Result<std::vector<std::string>> names = Names();
  if (!names.ok()) Fail("", names.status());
  if (names.ok()) {
    std::lock_guard lock(mutex_);
    state_.files = static_cast<uint32_t>(names->size());
  }
  for (const std::string& name : names.value_or(std::vector<std::string>())) {
    if (ending_) return;
    if (Status status = One(name); !status.ok()) Fail(name, status);
  }
  // Files that are gone may come again, and are new then.
  Result<std::vector<store::Record>> intents = database_.LoadAll(store::Kind::kIntent);
  for (const store::Record& intent : intents.value_or(std::vector<store::Record>())) {
    if (!names.ok() || !intent.id.starts_with(kPrefix)) continue;
    const std::string name = intent.id.substr(kPrefix.size());
    if (std::binary_search(names->begin(), names->end(), name)) continue;
    IgnoreError(database_.Delete(store::Kind::kIntent, intent.id, store::Durability::kAtomic));
  }
  std::lock_guard lock(mutex_);
  state_.running = false;
  state_.current.clear();
}

Status Preload::One(const std::string& name) {
  const std::string path = directory_ + "/" + name;
  {
    std::lock_guard lock(mutex_);
    state_.current = name;
  }
  ASSIGN_OR_RETURN(boost::json::object identity, IdentityOf(path));
  const std::string id = std::string(kPrefix) + name;
  Result<std::string> recorded = database_.Get(store::Kind::kIntent, id);
  if (recorded.ok() && SameFile(*recorded, identity)) {
    std::lock_guard lock(mutex_);
    ++state_.known;
    return {};
  }
  boost::json::array ids;
  for (uint32_t image = 0, images = 1; image < images; ++image) {
    ASSIGN_OR_RETURN(image::Puller::Loaded loaded, load_(path, image, *cancel_));
    images = loaded.images;
    ids.emplace_back(loaded.record.id);
    LogInfo("preloaded {} from {}", loaded.names.empty() ? loaded.record.id : Join(loaded.names, ", "),
            Printable(name, 300));
    std::lock_guard lock(mutex_);
    ++state_.images;
  }
  FaultPoint("engine.preload.loaded");
  // Changed while it was loaded: what it is now comes at the next start.
  ASSIGN_OR_RETURN(boost::json::object after, IdentityOf(path));
  if (after != identity) return Unavailable("it changed while it was loaded");
  identity["images"] = std::move(ids);
  RETURN_IF_ERROR(
      database_.Put(store::Kind::kIntent, id, boost::json::serialize(identity), store::Durability::kDurable));
  std::lock_guard lock(mutex_);
  ++state_.loaded;
  return {};
}

void Preload::Fail(const std::string& name, const Status& why) {
  if (ending_) return;
  const std::string text = name.empty() ? why.message() : Printable(name, 200) + ": " + why.message();
  LogWarning("preload: {}", text);
  std::lock_guard lock(mutex_);
  ++state_.failed;
  if (state_.errors.size() < kMaxErrors) state_.errors.push_back(text);
}

Preload::State Preload::Read() const {
  std::lock_guard lock(mutex_);
  return state_;
}

std::string Preload::Summary() const {
  const State now = Read();
  if (now.files == 0 && now.errors.empty()) return {};
  std::string text = fmt::format("{} of {} files are loaded", now.known + now.loaded, now.files);
  if (now.running) text += fmt::format(", now {}", Printable(now.current, 200));
  for (const std::string& error : now.errors) text += "; " + error;
  if (now.failed > now.errors.size()) text += fmt::format("; and {} more", now.failed - now.errors.size());
  return text;
}

std::string Preload::Hint() const {
  const State now = Read();
  if (!now.running) return {};
  return fmt::format(" ({} is still being loaded: {} of {} files)", directory_, now.known + now.loaded, now.files);
}

void Preload::ImageLost(const std::string& id) {
  Result<std::vector<store::Record>> intents = database_.LoadAll(store::Kind::kIntent);
  bool any = false;
  for (const store::Record& intent : intents.value_or(std::vector<store::Record>())) {
    if (!intent.id.starts_with(kPrefix) || intent.body.find('"' + id + '"') == std::string::npos) continue;
    any = database_.Delete(store::Kind::kIntent, intent.id, store::Durability::kDurable).ok() || any;
  }
  if (any) Start();
}

}  // namespace davit::engine
