// SIF files: whatever is accepted lies within the file, and labels, environments and the squashfs superblock are read.
#include "fuzz.h"
#include "sif/sif.h"

namespace sif = davit::sif;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = davit::fuzz::View(data, size);
  const sif::ReadAt read = [&](uint64_t offset, size_t bytes) -> davit::Result<std::string> {
    FUZZ_REQUIRE(offset <= text.size() && bytes <= text.size() - offset);
    return std::string(text.substr(offset, bytes));
  };
  if (const auto image = sif::Parse(read, text.size()); image.ok()) {
    for (const sif::Object& object : image->objects) {
      FUZZ_REQUIRE(object.offset <= text.size() && object.size <= text.size() - object.offset);
      (void)sif::TypeName(object.type);
      const auto content = sif::ReadObject(read, object);
      if (!content.ok()) continue;
      (void)sif::ParseLabels(*content).ok();
      (void)sif::KindOfSignature(*content);
    }
    if (const auto root = sif::RootPartition(*image); root.ok()) {
      FUZZ_REQUIRE(root->partition && root->partition->filesystem == sif::Filesystem::kSquashfs);
      const auto content = sif::ReadObject(read, *root);
      if (content.ok()) (void)sif::ParseSquashfs(*content, root->size).ok();
    }
  }
  if (const auto squashfs = sif::ParseSquashfs(text, text.size()); squashfs.ok()) {
    FUZZ_REQUIRE(squashfs->bytes <= text.size());
  }
  (void)sif::ParseLabels(text).ok();
  for (const std::string& assignment : sif::PlainAssignments(text)) {
    FUZZ_REQUIRE(assignment.find('=') != std::string::npos && assignment.find('\0') == std::string::npos);
  }
  return 0;
}
