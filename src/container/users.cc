#include "container/users.h"

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "sys/rooted.h"

namespace davit::container {
namespace {

constexpr size_t kMaxIdentityFile = 10 << 20;
constexpr int64_t kMaxId = 0x7fffffff;

struct PasswdEntry {
  std::string name;
  int64_t uid = 0;
  int64_t gid = 0;
  std::string home;
};

struct GroupEntry {
  std::string name;
  int64_t gid = 0;
  std::vector<std::string> members;
};

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Lines that do not parse are skipped, as libc does: an image with one broken line must still start.
template <class Entry, class Parse>
std::vector<Entry> ParseLines(const std::string& text, const Parse& parse) {
  std::vector<Entry> entries;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::vector<std::string> fields = Split(std::string_view(text).substr(begin, end - begin), ':');
    if (std::optional<Entry> entry = parse(fields)) entries.push_back(std::move(*entry));
    begin = end + 1;
  }
  return entries;
}

std::optional<PasswdEntry> ParsePasswdFields(const std::vector<std::string>& fields) {
  if (fields.size() < 6) return std::nullopt;
  Result<int64_t> uid = ParseUserNumber(fields[2]);
  Result<int64_t> gid = ParseUserNumber(fields[3]);
  if (!uid.ok() || !gid.ok()) return std::nullopt;
  return PasswdEntry{fields[0], *uid, *gid, fields[5]};
}

std::optional<GroupEntry> ParseGroupFields(const std::vector<std::string>& fields) {
  if (fields.size() < 3) return std::nullopt;
  Result<int64_t> gid = ParseUserNumber(fields[2]);
  if (!gid.ok()) return std::nullopt;
  GroupEntry entry{fields[0], *gid, {}};
  if (fields.size() > 3) entry.members = Split(fields[3], ',');
  return entry;
}

// An absent file is empty; one that is a FIFO, a device or too large is an error.
Result<std::string> ReadIdentityFile(int rootfs_fd, const std::string& path) {
  Result<std::string> text = sys::ReadFileInRoot(rootfs_fd, path, kMaxIdentityFile);
  if (!text.ok() && text.code() == StatusCode::kNotFound) return std::string();
  return text;
}

class Identities {
 public:
  static Result<Identities> Load(int rootfs_fd) {
    Identities loaded;
    ASSIGN_OR_RETURN(std::string passwd, ReadIdentityFile(rootfs_fd, "/etc/passwd"));
    ASSIGN_OR_RETURN(std::string group, ReadIdentityFile(rootfs_fd, "/etc/group"));
    loaded.users_ = ParseLines<PasswdEntry>(passwd, ParsePasswdFields);
    loaded.groups_ = ParseLines<GroupEntry>(group, ParseGroupFields);
    return loaded;
  }

  [[nodiscard]] const PasswdEntry* UserByName(std::string_view name) const {
    auto it = std::find_if(users_.begin(), users_.end(), [&](const PasswdEntry& e) { return e.name == name; });
    return it == users_.end() ? nullptr : &*it;
  }
  [[nodiscard]] const PasswdEntry* UserById(int64_t uid) const {
    auto it = std::find_if(users_.begin(), users_.end(), [&](const PasswdEntry& e) { return e.uid == uid; });
    return it == users_.end() ? nullptr : &*it;
  }
  [[nodiscard]] const GroupEntry* GroupByName(std::string_view name) const {
    auto it = std::find_if(groups_.begin(), groups_.end(), [&](const GroupEntry& e) { return e.name == name; });
    return it == groups_.end() ? nullptr : &*it;
  }
  [[nodiscard]] bool HasGroup(int64_t gid) const {
    return std::any_of(groups_.begin(), groups_.end(), [&](const GroupEntry& e) { return e.gid == gid; });
  }
  [[nodiscard]] std::vector<int64_t> GroupsOf(const std::string& user) const {
    std::vector<int64_t> ids;
    for (const GroupEntry& group : groups_) {
      if (std::find(group.members.begin(), group.members.end(), user) != group.members.end()) ids.push_back(group.gid);
    }
    return ids;
  }

 private:
  std::vector<PasswdEntry> users_;
  std::vector<GroupEntry> groups_;
};

struct Chosen {
  User user;
  std::string name;  // empty when the uid has no entry
};

Result<Chosen> ChooseUser(const Identities& identities, const std::string& text) {
  Chosen chosen;
  const PasswdEntry* entry = nullptr;
  if (text.empty() || AllDigits(text)) {
    if (!text.empty()) {
      ASSIGN_OR_RETURN_WITH(chosen.user.uid, ParseUserNumber(text), "user");
    }
    entry = identities.UserById(chosen.user.uid);
  } else {
    entry = identities.UserByName(text);
    if (entry == nullptr) return NotFound("user \"" + Printable(text) + "\" is not in the image's /etc/passwd");
  }
  if (entry != nullptr) {
    chosen.user.uid = entry->uid;
    chosen.user.gid = entry->gid;
    chosen.name = entry->name;
    chosen.user.has_entry = true;
    if (!entry->home.empty()) chosen.user.home = entry->home;
  } else if (chosen.user.uid == 0) {
    chosen.name = "root";
    chosen.user.home = "/root";
  }
  return chosen;
}

Result<int64_t> ChooseGroup(const Identities& identities, const std::string& text) {
  if (AllDigits(text)) return ParseUserNumber(text);
  const GroupEntry* entry = identities.GroupByName(text);
  if (entry == nullptr) return NotFound("group \"" + Printable(text) + "\" is not in the image's /etc/group");
  return entry->gid;
}

Result<Chosen> ChooseFromRequest(const Identities& identities, const SecurityContext& security,
                                 const std::string& image_user) {
  if (security.run_as_user) {
    if (*security.run_as_user < 0 || *security.run_as_user > kMaxId) {
      return InvalidArgument("linux.security_context.run_as_user " + std::to_string(*security.run_as_user) +
                             " is not in 0..2147483647");
    }
    return ChooseUser(identities, std::to_string(*security.run_as_user));
  }
  if (!security.run_as_username.empty()) {
    Result<Chosen> named = ChooseUser(identities, security.run_as_username);
    if (!named.ok()) return named.status().Annotate("linux.security_context.run_as_username");
    return named;
  }

  size_t colon = image_user.find(':');
  ASSIGN_OR_RETURN_WITH(Chosen chosen, ChooseUser(identities, image_user.substr(0, colon)), "image user");
  if (colon != std::string::npos && colon + 1 < image_user.size()) {
    ASSIGN_OR_RETURN_WITH(chosen.user.gid, ChooseGroup(identities, image_user.substr(colon + 1)), "image user");
  }
  return chosen;
}

}  // namespace

Result<int64_t> ParseUserNumber(std::string_view text) {
  std::optional<uint64_t> number = ParseUint64(text);
  if (!number || *number > static_cast<uint64_t>(kMaxId)) {
    return InvalidArgument("id \"" + Printable(text) + "\" is not a number in 0..2147483647");
  }
  return static_cast<int64_t>(*number);
}

Result<User> ResolveUser(int rootfs_fd, const SecurityContext& security, const std::string& image_user) {
  if (security.run_as_group && !security.run_as_user && security.run_as_username.empty()) {
    return InvalidArgument("linux.security_context.run_as_group is set without run_as_user or run_as_username");
  }
  ASSIGN_OR_RETURN(Identities identities, Identities::Load(rootfs_fd));
  ASSIGN_OR_RETURN(Chosen chosen, ChooseFromRequest(identities, security, image_user));
  User& user = chosen.user;
  if (security.run_as_group) {
    if (*security.run_as_group < 0 || *security.run_as_group > kMaxId) {
      return InvalidArgument("linux.security_context.run_as_group " + std::to_string(*security.run_as_group) +
                             " is not in 0..2147483647");
    }
    user.gid = *security.run_as_group;
  }
  if (security.supplemental_groups_policy == GroupsPolicy::kMerge && !chosen.name.empty()) {
    user.groups = identities.GroupsOf(chosen.name);
  }
  for (int64_t group : security.supplemental_groups) {
    if (group < 0 || group > kMaxId) {
      return InvalidArgument("linux.security_context.supplemental_groups: " + std::to_string(group) +
                             " is not in 0..2147483647");
    }
    user.groups.push_back(group);
  }
  // The primary group belongs to the set too: without it a negative group permission could be dodged
  // (CVE-2022-2995, CVE-2023-25173).
  user.groups.push_back(user.gid);
  std::sort(user.groups.begin(), user.groups.end());
  user.groups.erase(std::unique(user.groups.begin(), user.groups.end()), user.groups.end());
  user.group_has_entry = identities.HasGroup(user.gid);
  return chosen.user;
}

}  // namespace davit::container
