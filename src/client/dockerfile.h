// What a Dockerfile says of images, for builds that have to bring them first.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace davit::client {

// The images that it builds on or copies from (FROM, COPY --from, RUN --mount=from), in its order and each once, with
// the ARGs before the first FROM put in, `arguments` over their defaults. Neither its own stages nor "scratch".
std::vector<std::string> ImagesOfDockerfile(std::string_view text, const std::map<std::string, std::string>& arguments);

}  // namespace davit::client
