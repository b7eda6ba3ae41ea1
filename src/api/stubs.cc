#include "api/api.h"
namespace davit::api {
void AddBuildRoutes(Router&) {}
}  // namespace davit::api
