// TakeOver: images that another engine on this node holds, given to davitd without a registry.
//
// The stores of other engines are private to them and change with their versions, so their own tools read them:
// skopeo for containers-storage (podman, buildah, CRI-O), ctr for containerd. Each image becomes an archive for the
// time of its loading.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace davit::cli {

struct Context;

struct TakeOverOptions {
  std::string from;  // "containers-storage" or "containerd"
  // Directory of containers-storage, or containerd's socket; empty: the usual one.
  std::string where;
  std::string name_space = "k8s.io";  // of containerd
  std::vector<std::string> images;    // names; empty: all that have one
  bool quiet = false;
};

// Goes on after an image that cannot be taken and says which; the exit code is then 1. kFailedPrecondition when the
// tool is not installed, kNotFound when the store is not there or has no image of a name.
Result<int> ImageTakeOver(const Context& context, const TakeOverOptions& options);

// The names in the text of containers-storage's images.json, sorted. kInvalidArgument for anything else.
Result<std::vector<std::string>> NamesInStorage(const std::string& text);

}  // namespace davit::cli
