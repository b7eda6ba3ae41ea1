// Image references as clients write them: what is accepted is in normal form, and every form that is shown
// to people names the same image again.
#include <string>

#include "fuzz.h"
#include "image/reference.h"
#include "oci/digest.h"

using davit::image::Reference;

namespace {

// Parts go into URLs and paths: nothing that is a separator there.
bool IsPlain(std::string_view text) {
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:[]") ==
         std::string_view::npos;
}

void Check(const Reference& reference) {
  FUZZ_REQUIRE(!reference.domain().empty() && !reference.repository().empty());
  FUZZ_REQUIRE(!reference.tag().empty() || !reference.digest().empty());
  FUZZ_REQUIRE(reference.Name().size() <= 255 && reference.tag().size() <= 128);
  FUZZ_REQUIRE(IsPlain(reference.String().substr(0, reference.Name().size())));
  FUZZ_REQUIRE(reference.repository().front() != '/' && reference.repository().find("..") == std::string::npos);
  FUZZ_REQUIRE(reference.repository().find("//") == std::string::npos);
  FUZZ_REQUIRE(reference.digest().empty() || davit::oci::Digest::Parse(reference.digest()).ok());

  auto again = Reference::Parse(reference.String());
  FUZZ_REQUIRE(again.ok() && *again == reference);
  auto familiar = Reference::Parse(reference.FamiliarName());
  FUZZ_REQUIRE(familiar.ok() && familiar->Name() == reference.Name());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  auto reference = Reference::Parse(text);
  if (reference.ok()) Check(*reference);
  // With "sha256:" in front an id is also a repository and a tag, which is why ids are looked up first.
  if (davit::image::IsImageId(text)) {
    FUZZ_REQUIRE(davit::image::IsImageIdPrefix(text));
    FUZZ_REQUIRE(!reference.ok() || text.starts_with("sha256:"));
  }

  auto digest = davit::oci::Digest::Parse(text);
  if (digest.ok()) {
    FUZZ_REQUIRE(digest->ToString() == text);
    FUZZ_REQUIRE(digest->hex().size() == 2 * davit::oci::DigestSize(digest->algorithm()));
  }
  return 0;
}
