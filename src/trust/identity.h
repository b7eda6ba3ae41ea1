// Whether the name in a signature is the name that was asked for.
#pragma once

#include <string_view>

#include "base/status.h"
#include "image/reference.h"
#include "trust/policy.h"

namespace davit::trust {

// `asked`: what is pulled. `claimed`: the docker-reference of a signature, from outside. kPermissionDenied naming both.
Status MatchIdentity(const SignedIdentity& rule, const image::Reference& asked, std::string_view claimed);

}  // namespace davit::trust
