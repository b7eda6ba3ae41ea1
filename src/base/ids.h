// Strong identifiers: a pod's id cannot be passed where a container's is meant, and no id reaches a
// path or an argv without having been minted or parsed here.
//
// Ids are 64 lower-case hex digits (256 random bits), the form that crictl, the kubelet's log
// symlinks and cAdvisor parse.
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit {

// True for exactly 64 digits of [0-9a-f].
bool IsFullId(std::string_view text);

// 64 hex digits from getrandom(2). Never fails once the kernel's pool is seeded.
std::string MintId();

template <class Tag>
class Id {
 public:
  Id() = default;  // empty: "none"

  static Id Mint() { return Id(MintId()); }

  // kInvalidArgument naming the text when it is not a full id.
  static Result<Id> Parse(std::string_view text) {
    if (!IsFullId(text)) {
      return InvalidArgument(std::string(Tag::kName) + " id \"" + std::string(text.substr(0, 128)) +
                             "\" is not 64 hex digits");
    }
    return Id(std::string(text));
  }

  [[nodiscard]] const std::string& str() const { return text_; }
  [[nodiscard]] bool empty() const { return text_.empty(); }
  // The first 13 digits, as tables show them.
  [[nodiscard]] std::string Short() const { return text_.substr(0, 13); }

  friend auto operator<=>(const Id&, const Id&) = default;

 private:
  explicit Id(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

struct PodTag {
  static constexpr std::string_view kName = "pod sandbox";
};
struct ContainerTag {
  static constexpr std::string_view kName = "container";
};
using PodId = Id<PodTag>;
using ContainerId = Id<ContainerTag>;

}  // namespace davit

template <class Tag>
struct std::hash<davit::Id<Tag>> {
  size_t operator()(const davit::Id<Tag>& id) const { return std::hash<std::string>()(id.str()); }
};
