#include "api/error.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "oci/json_writer.h"

namespace davit::api {

int HttpStatusOf(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return 200;
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
      return 400;
    case StatusCode::kPermissionDenied:
    case StatusCode::kUnauthenticated:
      return 403;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kAlreadyExists:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kAborted:
      return 409;
    case StatusCode::kUnimplemented:
      return 501;
    case StatusCode::kUnavailable:
    case StatusCode::kResourceExhausted:
      return 503;
    default:
      return 500;
  }
}

std::string_view CauseOf(std::string_view message) {
  size_t colon = message.rfind(": ");
  return colon == std::string_view::npos ? message : message.substr(colon + 2);
}

Reply ErrorReply(int http_status, std::string_view message) {
  oci::JsonWriter out;
  out.BeginObject()
      .Field("cause", CauseOf(message))
      .Field("message", message)
      .Field("response", http_status)
      .EndObject();
  Reply reply;
  reply.status = http_status;
  reply.body = std::move(out).Take() + "\n";
  return reply;
}

Reply ErrorReply(const Status& status) { return ErrorReply(HttpStatusOf(status.code()), status.message()); }

Status NoSuchContainer(bool libpod, std::string_view name) {
  std::string shown = Printable(name);
  return NotFound(libpod ? fmt::format("no container with name or ID \"{}\" found: no such container", shown)
                         : fmt::format("No such container: {}", shown));
}

Status NoSuchImage(bool libpod, std::string_view name) {
  std::string shown = Printable(name, 512);
  return NotFound(libpod ? fmt::format("{}: image not known", shown) : fmt::format("No such image: {}", shown));
}

Status NoSuchPod(std::string_view name) {
  return NotFound(fmt::format("no pod with name or ID {} found: no such pod", Printable(name)));
}

Status NoSuchVolume(bool libpod, std::string_view name) {
  std::string shown = Printable(name);
  return NotFound(libpod ? fmt::format("no volume with name \"{}\" found: no such volume", shown)
                         : fmt::format("get {}: no such volume", shown));
}

Status NoSuchNetwork(bool libpod, std::string_view name) {
  std::string shown = Printable(name);
  return NotFound(libpod ? fmt::format("unable to find network with name or ID {}: network not found", shown)
                         : fmt::format("network {} not found", shown));
}

Status NeedsDavit(std::string_view what) {
  return Unimplemented(
      fmt::format("{}: the runtime behind this socket has CRI alone, and this needs davitd's control services", what));
}

Status KubernetesOwns(std::string_view what, std::string_view name) {
  return PermissionDenied(fmt::format(
      "{} {}: it belongs to Kubernetes, and davit-api runs without --allow-kubernetes-changes", what, Printable(name)));
}

}  // namespace davit::api
