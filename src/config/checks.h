// Checks of single values: kInvalidArgument saying what is wrong with the value, without the key's name
// (the reader puts file, line and key in front). A non-const parameter is brought into normal form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::config {

// Absolute, without "..", "." and empty components; loses a trailing slash.
Status CheckAbsolutePath(std::string& path);
Status CheckOptionalPath(std::string& path);  // or empty
Status CheckPaths(std::vector<std::string>& paths);
// A path or unix:///path, short enough for sun_path.
Status CheckSocketPath(std::string& path);
Status CheckOptionalSocketPath(std::string& path);  // the same, or empty
Status CheckRange(int64_t number, int64_t low, int64_t high);
Status CheckOneOf(const std::string& word, const std::vector<std::string>& allowed);
// An IPv4 or IPv6 address without brackets or zone.
Status CheckIpAddress(const std::string& text);
// "192.0.2.1:9537", "[2001:db8::1]:9537", "unix:///path", or empty.
Status CheckListenAddress(const std::string& text);
// "host" or "host:port", lower case.
Status CheckRegistryHost(const std::string& text);
// "http://host[:port][/prefix]" or https; no user, query or fragment; loses a trailing slash.
Status CheckMirrors(std::vector<std::string>& urls);
// "CHOWN" or "CAP_CHOWN", in any case; stored as "CAP_CHOWN".
Status CheckCapabilities(std::vector<std::string>& names);
// Options of a program: "--name" or "--name=value", printable.
Status CheckArguments(const std::vector<std::string>& arguments);
// Not empty, printable, no blanks.
Status CheckGlobs(const std::vector<std::string>& globs);

// "4096", "64 MiB", "2GB": bytes.
Result<int64_t> ParseSize(std::string_view text);

}  // namespace davit::config
