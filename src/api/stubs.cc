#include "api/api.h"
namespace davit::api {
void AddKubeRoutes(Router&) {}
}  // namespace davit::api
