// OpenSelinux: the policy of the running kernel, by libselinux. The library is opened with dlopen(3) and only
// where selinuxfs is mounted: linked in, it and the regular expressions that it brings would be in the memory of
// every davitd, and most nodes have no use for them. Its own header gives the types.

#include <dlfcn.h>
#include <selinux/selinux.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"
#include "container/selinux.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr const char* kLibrary = "libselinux.so.1";
constexpr const char* kSelinuxfs = "/sys/fs/selinux/enforce";

struct Functions {
  decltype(&::is_selinux_enabled) is_enabled = nullptr;
  decltype(&::selinux_lxc_contexts_path) lxc_contexts_path = nullptr;
  decltype(&::security_check_context_raw) check_context = nullptr;
  decltype(&::lsetfilecon_raw) set_file_context = nullptr;
};

template <class Function>
bool Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

class LibrarySelinux final : public Selinux {
 public:
  LibrarySelinux(const Functions& functions, SelinuxDefaults defaults)
      : functions_(functions), defaults_(std::move(defaults)) {}

  [[nodiscard]] const SelinuxDefaults& defaults() const override { return defaults_; }

  [[nodiscard]] Status Check(const std::string& label) const override {
    if (functions_.check_context(label.c_str()) == 0) return {};
    return InvalidArgument("the node's SELinux policy does not know the label \"" + Printable(label, 512) + "\"");
  }

  [[nodiscard]] Status SetFileLabel(const std::string& path, const std::string& label) const override {
    if (functions_.set_file_context(path.c_str(), label.c_str()) == 0) return {};
    // A file that has gone meanwhile, and file systems without labels (a volume over NFS): nothing to set.
    if (errno == ENOENT || errno == ENOTSUP) return {};
    return ErrnoError(errno, "set SELinux label " + Printable(label, 512));
  }

 private:
  Functions functions_;
  SelinuxDefaults defaults_;
};

}  // namespace

Result<std::shared_ptr<const Selinux>> OpenSelinux() {
  if (::access(kSelinuxfs, F_OK) != 0) return std::shared_ptr<const Selinux>();
  // Never closed: it lives as long as the process.
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return FailedPrecondition(std::string("SELinux is on, but ") + kLibrary + " cannot be loaded: " + ::dlerror());
  }
  Functions functions;
  bool complete = Find(library, "is_selinux_enabled", functions.is_enabled) &&
                  Find(library, "selinux_lxc_contexts_path", functions.lxc_contexts_path) &&
                  Find(library, "security_check_context_raw", functions.check_context) &&
                  Find(library, "lsetfilecon_raw", functions.set_file_context);
  if (!complete) return FailedPrecondition(std::string(kLibrary) + " is too old: a function is missing");
  if (functions.is_enabled() != 1) return std::shared_ptr<const Selinux>();
  const std::string path = functions.lxc_contexts_path();
  Result<std::string> text = sys::ReadFile(path, 1 << 16);
  if (!text.ok()) {
    return FailedPrecondition("SELinux is on, but its policy has no contexts for containers: " +
                              text.status().message());
  }
  Result<SelinuxDefaults> defaults = ParseLxcContexts(*text);
  if (!defaults.ok()) return FailedPrecondition(path + ": " + defaults.status().message());
  return std::shared_ptr<const Selinux>(std::make_shared<LibrarySelinux>(functions, std::move(*defaults)));
}

}  // namespace davit::container
