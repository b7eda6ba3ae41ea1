// ShortNames: what a name without a registry may mean on this node. One value for pull, status, create and removal, so
// that they read a name alike. Source: docker's reference normalisation; containers-registries.conf(5), "Short-name
// aliasing".
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/reference.h"

namespace davit::image {

class ShortNames {
 public:
  // All names without a registry are of this one.
  explicit ShortNames(std::string default_registry = "docker.io") : registries_({std::move(default_registry)}) {}
  // Aliases first ("name" without a tag -> "registry/repository"; an empty one is none), else each registry in order.
  // `ask_nobody`: a pull of a name that several registries may have is refused.
  ShortNames(std::vector<std::string> registries, std::map<std::string, std::string> aliases, bool ask_nobody)
      : registries_(std::move(registries)), aliases_(std::move(aliases)), ask_nobody_(ask_nobody) {}

  // All that the text may mean, in order, at least one. kInvalidArgument as Reference::Parse.
  [[nodiscard]] Result<std::vector<Reference>> Candidates(std::string_view text) const;
  // The same for a pull, with an error for what must not be guessed: kFailedPrecondition, naming the registries.
  [[nodiscard]] Result<std::vector<Reference>> ForPull(std::string_view text) const;
  // The ways to write a reference on this node: in full, and what Candidates() reads as it, with and without its tag.
  [[nodiscard]] std::vector<std::string> Spellings(const Reference& reference) const;

 private:
  std::vector<std::string> registries_;
  std::map<std::string, std::string> aliases_;
  bool ask_nobody_ = false;
};

}  // namespace davit::image
