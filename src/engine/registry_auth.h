// Credentials that the configuration gives for a registry host, used when a pull request brings none.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "config/config.h"
#include "image/pull_options.h"

namespace davit::engine {

// username and password of the host's entry, else its auth_file, read anew each time so that rotated
// secrets work. Empty credentials when there is nothing. kInvalidArgument when the file is malformed.
Result<image::Credentials> ConfiguredCredentials(const std::map<std::string, config::RegistryConfig>& registries,
                                                 const std::string& host);

// The entry of `host` in the text of a docker config.json ({"auths": {"host": {"auth": "base64"}}}); hosts may
// be written with a scheme and path. Empty credentials when it has none.
Result<image::Credentials> CredentialsFromDockerConfig(std::string_view text, const std::string& host);

}  // namespace davit::engine
