// Errors of the API: {"cause": …, "message": …, "response": status}, the body that Docker's clients (message) and
// Podman's (all three) read.
#pragma once

#include <string>
#include <string_view>

#include "api/exchange.h"
#include "base/status.h"

namespace davit::api {

// The status that fits the code: 400, 403, 404, 409, 501, 503 or 500. Texts end with their cause, and so it is taken
// from there: "…: no such container".
Reply ErrorReply(const Status& status);
Reply ErrorReply(int http_status, std::string_view message);
int HttpStatusOf(StatusCode code);
std::string_view CauseOf(std::string_view message);

// What several calls say alike. `libpod` chooses the words of Podman, else Docker's.
Status NoSuchContainer(bool libpod, std::string_view name);
Status NoSuchImage(bool libpod, std::string_view name);
Status NoSuchPod(std::string_view name);
Status NoSuchVolume(bool libpod, std::string_view name);
Status NoSuchNetwork(bool libpod, std::string_view name);
// kUnimplemented: what this server cannot do in front of a runtime that has CRI alone.
Status NeedsDavit(std::string_view what);
// kPermissionDenied naming the setting.
Status KubernetesOwns(std::string_view what, std::string_view name);

}  // namespace davit::api
