// Credentials that the node has for an image, used when a pull request brings none.
//
// An entry belongs to what its key names: a registry, or a namespace or repository of one. The longest name that the
// image lies under wins, and an entry of another namespace is never taken, also where it is the only one of the
// registry. Source: containers-auth.json(5), docker's config.json and its credential helper protocol.
#pragma once

#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"
#include "config/config.h"
#include "image/pull_options.h"
#include "image/reference.h"

namespace davit::engine {

// A helper is a program that may take half a minute.
enum class Helpers { kRun, kNone };

struct FoundCredentials {
  image::Credentials credentials;  // empty: there are none
  bool ask_helper = false;         // with Helpers::kNone: a helper has to be asked before anything else that there is
  std::string source;              // for people: the file and its entry, or the key of davit.toml; no secret in it
};

// In this order, the first that has something for the image: NAMESPACE.json of image.auth_dir, username and password
// or auth_file of the registry's entry, image.auth_file. Files are read anew each time, so that rotated secrets work.
// Blocks while a credential helper runs. kInvalidArgument for a malformed file, kFailedPrecondition for a helper that
// failed; either names the file.
Result<FoundCredentials> ConfiguredCredentials(const config::ImageConfig& config, const image::Reference& reference,
                                               const std::string& pod_namespace, Deadline deadline,
                                               Helpers helpers = Helpers::kRun);

// Out of the text of a config.json or auth.json: the helper that credHelpers names for the registry; else the entry of
// auths with the longest matching key, which may have a scheme and the path of an API ("https://index.docker.io/v1/");
// else the helper of credsStore. `file` is what messages name.
Result<FoundCredentials> CredentialsFromDockerConfig(std::string_view text, const image::Reference& reference,
                                                     const std::string& file, Deadline deadline,
                                                     Helpers helpers = Helpers::kRun);

}  // namespace davit::engine
