// davit build: buildah in a root of its own, and its image into davitd's store.
#include <fmt/format.h>

#include "cli/everyday.h"

namespace davit::cli {

Result<int> Build(const Context&, const BuildOptions&) {
  return Unimplemented(
      "build: not in this version: build with buildah and give it over: buildah push IMAGE "
      "docker-archive:/dev/stdout | davit load");
}

}  // namespace davit::cli
