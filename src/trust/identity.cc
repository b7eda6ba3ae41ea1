#include "trust/identity.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace davit::trust {
namespace {

struct Name {
  image::Reference reference;
  bool tagged = false;  // a tag was written; Reference::Parse adds "latest" where none was
};

Result<Name> ParseName(std::string_view text) {
  Name out;
  ASSIGN_OR_RETURN(out.reference, image::Reference::Parse(text));
  const std::string_view plain = text.substr(0, text.find('@'));
  const size_t slash = plain.rfind('/');
  out.tagged = plain.find(':', slash == std::string_view::npos ? 0 : slash) != std::string_view::npos;
  return out;
}

// Equal in every part, and neither bare: a repository alone names no image.
bool Exact(const image::Reference& wanted, const Name& claimed) {
  if (wanted.Name() != claimed.reference.Name() || wanted.digest() != claimed.reference.digest()) return false;
  if (!claimed.tagged && claimed.reference.digest().empty()) return false;
  return wanted.tag() == (claimed.tagged ? claimed.reference.tag() : "");
}

bool RepoDigestOrExact(const image::Reference& wanted, const Name& claimed) {
  if (wanted.digest().empty()) return Exact(wanted, claimed);
  if (wanted.Name() != claimed.reference.Name()) return false;
  // Pulled by digest: the signature's digest is checked anyway, so any tag of the repository will do.
  if (claimed.reference.digest().empty()) return claimed.tagged;
  return claimed.reference.digest() == wanted.digest();
}

// The name with its prefix exchanged, or as it is when the prefix is another's.
Result<image::Reference> Remap(const SignedIdentity& rule, const image::Reference& asked) {
  const std::string name = asked.Name();
  const bool inside = name == rule.prefix || name.starts_with(rule.prefix + "/");
  if (!inside) return asked;
  return image::Reference::Parse(rule.signed_prefix + asked.String().substr(rule.prefix.size()));
}

}  // namespace

Status MatchIdentity(const SignedIdentity& rule, const image::Reference& asked, std::string_view claimed) {
  const Status refused =
      PermissionDenied(fmt::format("the signature is for \"{}\", not for {}", Printable(claimed, 300), asked.String()));
  Result<Name> name = ParseName(claimed);
  if (!name.ok()) return refused;
  bool fits = false;
  switch (rule.rule) {
    case IdentityRule::kMatchExact:
      fits = Exact(asked, *name);
      break;
    case IdentityRule::kMatchRepoDigestOrExact:
      fits = RepoDigestOrExact(asked, *name);
      break;
    case IdentityRule::kMatchRepository:
      fits = asked.Name() == name->reference.Name();
      break;
    case IdentityRule::kExactReference: {
      ASSIGN_OR_RETURN(Name wanted, ParseName(rule.reference));
      fits = Exact(wanted.reference, *name);
      break;
    }
    case IdentityRule::kExactRepository:
      fits = rule.reference == name->reference.Name();
      break;
    case IdentityRule::kRemapIdentity: {
      Result<image::Reference> remapped = Remap(rule, asked);
      if (!remapped.ok()) return refused;
      fits = RepoDigestOrExact(*remapped, *name);
      break;
    }
  }
  return fits ? Status() : refused;
}

}  // namespace davit::trust
