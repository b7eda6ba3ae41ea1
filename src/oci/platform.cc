#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "oci/image_spec.h"

namespace davit::oci {
namespace {

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string Name(const Platform& platform) {
  std::string name = fmt::format("{}/{}", platform.os, platform.architecture);
  if (!platform.variant.empty()) name += "/" + platform.variant;
  return Printable(name, 64);
}

// 7 of "v7"; nullopt for what is not a version.
std::optional<uint64_t> VariantNumber(const Platform& platform) {
  if (platform.variant.size() < 2 || platform.variant[0] != 'v') return std::nullopt;
  return ParseUint64(std::string_view(platform.variant).substr(1));
}

bool IsArm(const Platform& platform) { return platform.architecture == "arm" || platform.architecture == "arm64"; }

// How well code for `offer` runs on `wanted` (both in normal form): 0 not at all, more is better.
uint64_t Rank(const Platform& offer, const Platform& wanted) {
  if (offer.os != wanted.os || offer.architecture != wanted.architecture) return 0;
  if (offer.variant == wanted.variant) return UINT64_MAX;
  if (!IsArm(wanted)) return 0;
  std::optional<uint64_t> have = VariantNumber(offer);
  std::optional<uint64_t> limit = VariantNumber(wanted);
  return have && limit && *have < *limit ? *have + 1 : 0;
}

// For the error: what the index has, without repeats, a few of them.
std::string Offers(const Index& index) {
  std::vector<std::string> names;
  for (const Descriptor& entry : index.manifests) {
    std::string name = entry.platform ? Name(*entry.platform) : "(none named)";
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    if (names.size() == 16) {
      names.emplace_back("...");
      break;
    }
    names.push_back(std::move(name));
  }
  return names.empty() ? "nothing" : Join(names, ", ");
}

}  // namespace

Platform HostPlatform() {
  Platform host;
  host.os = "linux";
#if defined(__x86_64__)
  host.architecture = "amd64";
#elif defined(__aarch64__)
  host.architecture = "arm64";
  host.variant = "v8";
#elif defined(__arm__)
  host.architecture = "arm";
  host.variant = "v7";
#elif defined(__i386__)
  host.architecture = "386";
#elif defined(__riscv) && __riscv_xlen == 64
  host.architecture = "riscv64";
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  host.architecture = "ppc64le";
#elif defined(__s390x__)
  host.architecture = "s390x";
#elif defined(__loongarch64)
  host.architecture = "loong64";
#else
#error "name this architecture as Go does"
#endif
  return host;
}

Platform NormalizePlatform(Platform platform) {
  platform.os = Lower(std::move(platform.os));
  platform.architecture = Lower(std::move(platform.architecture));
  platform.variant = Lower(std::move(platform.variant));
  std::string& arch = platform.architecture;
  if (arch == "x86_64" || arch == "x86-64") arch = "amd64";
  if (arch == "i386" || arch == "i686") arch = "386";
  if (arch == "aarch64") arch = "arm64";
  if (arch == "armhf") arch = "arm";
  if (arch == "armel") {
    arch = "arm";
    platform.variant = "v6";
  }
  if (!platform.variant.empty() && ParseUint64(platform.variant)) platform.variant.insert(0, "v");
  if (arch == "arm64" && platform.variant.empty()) platform.variant = "v8";
  if (arch == "arm" && platform.variant.empty()) platform.variant = "v7";
  // The baseline of x86-64 is written both ways.
  if (arch == "amd64" && platform.variant == "v1") platform.variant.clear();
  return platform;
}

Result<Descriptor> SelectPlatform(const Index& index, const Platform& wanted) {
  Platform target = NormalizePlatform(wanted);
  const Descriptor* best = nullptr;
  uint64_t best_rank = 0;
  const Descriptor* unnamed = nullptr;
  size_t unnamed_count = 0;
  for (const Descriptor& entry : index.manifests) {
    if (!IsManifestMediaType(entry.media_type) && !IsIndexMediaType(entry.media_type)) continue;
    if (!entry.platform) {
      unnamed = &entry;
      ++unnamed_count;
      continue;
    }
    uint64_t rank = Rank(NormalizePlatform(*entry.platform), target);
    if (rank > best_rank) {
      best = &entry;
      best_rank = rank;
    }
  }
  if (best != nullptr) return *best;
  if (unnamed_count == 1) return *unnamed;
  return NotFound(fmt::format("no image for {}: the index offers {}", Name(wanted), Offers(index)));
}

}  // namespace davit::oci
