// SpecFields: reads members of a JSON document into typed fields and keeps the first error, so that a reader of forty
// fields is forty lines. For the readers of the runtime-spec; include it from .cc files only.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "oci/json.h"

namespace davit::oci {

class SpecFields {
 public:
  [[nodiscard]] bool ok() const { return status_.ok(); }
  [[nodiscard]] const Status& status() const { return status_; }

  // A member that is absent leaves `out` as it is.
  void Read(const JsonNode& at, std::string& out) {
    if (!Present(at)) return;
    if (Take(at.String(), out)) CheckText(at, out);
  }
  void Read(const JsonNode& at, bool& out) {
    if (Present(at)) Take(at.Bool(), out);
  }
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) void Read(const JsonNode& at, T& out) {
    if (!Present(at)) return;
    std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t> number = 0;
    bool read = false;
    if constexpr (std::is_signed_v<T>)
      read = Take(at.Int64(), number);
    else
      read = Take(at.Uint64(), number);
    if (!read) return;
    if (number < std::numeric_limits<T>::min() || number > std::numeric_limits<T>::max()) {
      return Fail(at, fmt::format("{} is out of range", number));
    }
    out = static_cast<T>(number);
  }
  template <class T>
  void Read(const JsonNode& at, std::optional<T>& out) {
    if (Present(at)) Read(at, out.emplace());
  }
  void Read(const JsonNode& at, std::vector<std::string>& out) {
    if (!Present(at) || !Take(at.Strings(), out)) return;
    for (size_t i = 0; i < out.size() && ok(); ++i) {
      if (out[i].find('\0') != std::string::npos) Fail(at, i, "holds a NUL byte");
    }
  }
  void Read(const JsonNode& at, std::map<std::string, std::string>& out) {
    if (!Present(at) || !Take(at.StringMap(), out)) return;
    for (const auto& [key, value] : out) {
      if (key.find('\0') != std::string::npos) return Fail(at, "a name in it holds a NUL byte");
      CheckText(at.Key(key), value);
    }
  }
  // Required.
  template <class T>
  void Need(const JsonNode& at, T& out) {
    if (ok() && !at.present()) return Fail(at, at.status().ok() ? "missing" : "");
    Read(at, out);
  }
  // A list, each element by `read(node, element)`.
  template <class T, class Reader>
  void Each(const JsonNode& at, std::vector<T>& out, Reader read, size_t max = kMaxJsonEntries) {
    std::vector<JsonNode> nodes;
    if (!Present(at) || !Take(at.Elements(max), nodes)) return;
    out.reserve(nodes.size());
    for (const JsonNode& node : nodes) {
      if (!Object(node)) return;
      read(node, out.emplace_back());
      if (!ok()) return;
    }
  }
  // True for an object; an error for null and anything else.
  bool Object(const JsonNode& at) {
    if (ok() && !at.is_object()) {
      // Members() says what stands there instead.
      Status wrong = at.present() ? at.Members().status() : at.status();
      status_ = wrong.ok() ? at.Error("expected an object") : wrong;
    }
    return ok();
  }
  // True when the member is there and no error has happened.
  bool Present(const JsonNode& at) {
    if (ok()) status_ = at.status();
    return ok() && at.present();
  }

  void Fail(const JsonNode& at, std::string_view problem) {
    if (ok()) status_ = at.status().ok() ? at.Error(problem) : at.status();
  }
  void Fail(const JsonNode& at, size_t index, std::string_view problem) {
    if (ok()) status_ = InvalidArgument(fmt::format("{}[{}]: {}", at.path(), index, problem));
  }
  void Add(Status status) {
    if (ok()) status_ = std::move(status);
  }

 private:
  template <class T>
  bool Take(Result<T> result, T& out) {
    if (!result.ok()) {
      status_ = result.status();
      return false;
    }
    out = *std::move(result);
    return true;
  }
  void CheckText(const JsonNode& at, const std::string& text) {
    if (text.find('\0') != std::string::npos) Fail(at, "holds a NUL byte");
  }

  Status status_;
};

// Readers of the parts, one file each; all leave their error in `fields`.
struct Process;
struct Resources;
struct Seccomp;
void ReadProcess(SpecFields& fields, const JsonNode& at, Process& out);
void ReadResources(SpecFields& fields, const JsonNode& at, Resources& out);
void ReadSeccomp(SpecFields& fields, const JsonNode& at, Seccomp& out);

// Checks of the parts; errors begin with `at`.
Status ValidateProcess(const Process& process, std::string_view at);
Status ValidateSeccomp(const Seccomp& seccomp, std::string_view at);

// --- for the checks ---
// kInvalidArgument `at: "value" is none of a, b, c` unless it is one of them.
Status OneOf(std::string_view at, std::string_view value, std::initializer_list<std::string_view> names);
Status FieldError(std::string_view at, std::string_view problem);
std::string Indexed(std::string_view at, size_t index);
// "0-3,7" with numbers below 65536; kInvalidArgument otherwise.
Status CheckCpuList(std::string_view at, std::string_view text);

}  // namespace davit::oci
