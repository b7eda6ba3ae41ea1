#include "store/root_usage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/ids.h"
#include "store/directory.h"
#include "store/tree_usage.h"
#include "sys/atomic_file.h"

namespace davit::store {
namespace {

// What a directory or file right below the root is. Directories whose entries have owners of their own are in
// RootWalk::Begin.
std::optional<Owner> OwnerOf(const std::string& name) {
  if (name.starts_with("davit.db")) return Owner::kDatabase;
  if (name == "content") return Owner::kContent;
  if (name == "records" || name == "networks") return Owner::kRecords;
  if (name == "trash") return Owner::kTrash;
  if (name == "overlay-probe" || name == "commits") return Owner::kStaging;
  return std::nullopt;
}

// nullopt: gone meanwhile, or no directory.
std::optional<std::vector<std::string>> NamesIn(const std::string& path) {
  Result<Directory> directory = Directory::OpenBelow(AT_FDCWD, path);
  if (!directory.ok()) return std::nullopt;
  std::vector<std::string> names;
  while (true) {
    Result<std::optional<std::string>> name = directory->Next();
    if (!name.ok() || !*name) return names;
    names.push_back(std::move(**name));
  }
}

}  // namespace

const char* OwnerName(Owner owner) {
  switch (owner) {
    case Owner::kDatabase:
      return "database";
    case Owner::kContent:
      return "content";
    case Owner::kStaging:
      return "staging";
    case Owner::kContainer:
      return "container";
    case Owner::kVolume:
      return "volume";
    case Owner::kRecords:
      return "records";
    case Owner::kQuarantine:
      return "quarantine";
    case Owner::kTrash:
      return "trash";
    case Owner::kDirectories:
      return "directories";
    case Owner::kUnknown:
      break;
  }
  return "unknown";
}

struct RootWalk::State {
  struct Place {
    std::string path;
    size_t part;
  };
  std::string root;
  std::vector<OwnedBytes> parts;
  std::vector<Place> places;  // one or more for a part
  size_t next = 0;
  std::optional<TreeWalk> walk;  // of places[next]
  DiskUsage before;              // of its part, in the places before
  bool cut = false;              // something of its part was left out

  void Add(Owner owner, std::string name, std::string path) {
    parts.push_back({owner, std::move(name), {}, true});
    places.push_back({std::move(path), parts.size() - 1});
  }
  // The directory itself, without what is in it.
  void AddDirectory(const std::string& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) == 0) Count(parts.front(), info);
  }
  static void Count(OwnedBytes& part, const struct stat& info) {
    part.disk.bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    part.disk.inodes += 1;
  }
  // `all`: nothing of the place was left out.
  void Finish(bool all) {
    const size_t part = places[next].part;
    walk.reset();
    before = parts[part].disk;
    cut = cut || !all;
    ++next;
    if (next < places.size() && places[next].part == part) return;
    parts[part].lower_bound = cut;
    before = {};
    cut = false;
  }
};

RootWalk::RootWalk(std::unique_ptr<State> state) : state_(std::move(state)) {}
RootWalk::RootWalk(RootWalk&&) noexcept = default;
RootWalk& RootWalk::operator=(RootWalk&&) noexcept = default;
RootWalk::~RootWalk() = default;

Result<RootWalk> RootWalk::Begin(const std::string& root, const std::vector<std::string>& layers) {
  auto state = std::make_unique<State>();
  state->root = root;
  state->parts.push_back({Owner::kDirectories, "", {}, false});
  state->AddDirectory(root);
  const std::set<std::string> known(layers.begin(), layers.end());
  std::optional<std::vector<std::string>> top = NamesIn(root);
  if (!top) return NotFound("measure " + root + ": it cannot be read");
  std::vector<std::string> databases;
  std::vector<std::string> records;  // and the lists of layers, which were made after the layers were measured
  for (const std::string& name : *top) {
    const std::string path = root + "/" + name;
    if (name == "layers" || name == "containers" || name == "quarantine" || name == "volumes") {
      state->AddDirectory(path);
      for (const std::string& entry : NamesIn(path).value_or(std::vector<std::string>())) {
        std::string below = path;
        below.append("/").append(entry);
        if (name == "quarantine") {
          state->Add(Owner::kQuarantine, entry, below);
        } else if (name == "volumes") {
          const bool making = entry.starts_with(sys::kTemporaryPrefix);
          state->Add(making ? Owner::kStaging : Owner::kVolume, making ? name + "/" + entry : entry, below);
        } else if (name == "containers" && ContainerId::Parse(entry).ok()) {
          state->Add(Owner::kContainer, entry, below);
        } else if (name == "layers" && entry.starts_with(".staging-")) {
          state->Add(Owner::kStaging, entry, below);
        } else if (name != "layers" || known.count(entry) == 0) {
          state->Add(Owner::kUnknown, name + "/" + entry, below);
        } else {
          records.push_back(below + "/checksums");
        }
      }
      continue;
    }
    const std::optional<Owner> owner = OwnerOf(name);
    if (owner == Owner::kDatabase) {
      databases.push_back(path);
    } else if (owner == Owner::kRecords) {
      records.push_back(path);
    } else if (owner) {
      state->Add(*owner, *owner == Owner::kStaging ? name : "", path);
    } else {
      state->Add(Owner::kUnknown, name, path);
    }
  }
  // One after the other: they are one part.
  for (auto& [owner, paths] : {std::pair(Owner::kDatabase, &databases), std::pair(Owner::kRecords, &records)}) {
    if (!paths->empty()) state->parts.push_back({owner, "", {}, true});
    for (std::string& path : *paths) state->places.push_back({std::move(path), state->parts.size() - 1});
  }
  return RootWalk(std::move(state));
}

bool RootWalk::Step(size_t max) {
  State& s = *state_;
  while (s.next < s.places.size()) {
    OwnedBytes& part = s.parts[s.places[s.next].part];
    if (!s.walk) {
      if (max-- == 0) return false;
      struct stat info {};
      if (::lstat(s.places[s.next].path.c_str(), &info) != 0) {  // gone meanwhile
        s.Finish(true);
        continue;
      }
      if (!S_ISDIR(info.st_mode)) {
        State::Count(part, info);
        s.Finish(true);
        continue;
      }
      Result<TreeWalk> begun = TreeWalk::Begin(s.places[s.next].path);
      if (!begun.ok()) {
        s.Finish(begun.code() == StatusCode::kNotFound);
        continue;
      }
      s.walk = std::move(*begun);
    }
    const bool whole = s.walk->Step(max);
    const TreeUsage usage = s.walk->usage();
    part.disk = {s.before.bytes + usage.disk.bytes, s.before.inodes + usage.disk.inodes};
    if (!whole) return false;
    s.Finish(!usage.truncated);
    max -= std::min<uint64_t>(max, usage.disk.inodes);
  }
  return true;
}

const std::vector<OwnedBytes>& RootWalk::parts() const { return state_->parts; }

}  // namespace davit::store
