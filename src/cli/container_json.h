// Objects as `davit inspect` shows them: the keys that Docker's inspect has and people's scripts ask for.
#pragma once

#include <string>

#include "base/result.h"

namespace davit::control::v1 {
class Container;
class Network;
class Pod;
class StoredImage;
class Volume;
}  // namespace davit::control::v1

namespace davit::cli {

// JSON texts. `pod` may be null.
std::string ContainerJson(const control::v1::Container& container, const control::v1::Pod* pod);
std::string PodJson(const control::v1::Pod& pod, const std::string& containers_json);
std::string ImageJson(const control::v1::StoredImage& image);
std::string VolumeJson(const control::v1::Volume& volume);
std::string NetworkJson(const control::v1::Network& network);

// The JSON, two blanks for each level.
std::string Indented(const std::string& json);

// "{{.State.Status}} {{json .Config}}" with the values of a JSON object: strings as they are, all else as JSON.
// kInvalidArgument for a template that asks for more than that, kNotFound for a key that is not there.
Result<std::string> Formatted(const std::string& json, const std::string& format);

}  // namespace davit::cli
