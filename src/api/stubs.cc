#include "api/api.h"
namespace davit::api {
void AddKubeRoutes(Router&) {}
void AddBuildRoutes(Router&) {}
}  // namespace davit::api
