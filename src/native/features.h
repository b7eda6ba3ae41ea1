// What this runtime can do, as `features` tells it, and a specification to begin with, as `spec` writes it.
//
// Source: OCI runtime-spec 1.3, features.md and features-linux.md.
#pragma once

#include <string>

namespace davit::native {

// Of this program, whatever machine it is on: features.md wants to know what is compiled in.
std::string FeaturesJson();

// config.json of a container that runs a shell. `rootless`: in a user namespace of the caller's.
std::string ExampleSpec(bool rootless);

}  // namespace davit::native
