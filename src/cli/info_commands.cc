#include <boost/json.hpp>

#include "base/strings.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {

Result<int> Info(const Context& context) {
  cri::StatusRequest request;
  request.set_verbose(true);
  ASSIGN_OR_RETURN(cri::StatusResponse response, context.client.Call(request));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  ASSIGN_OR_RETURN(cri::VersionResponse version, context.client.Call(cri::VersionRequest()));
  Fields fields;
  fields.Add("Runtime", version.runtime_name() + " " + version.runtime_version());
  fields.Add("CRI", version.runtime_api_version());
  fields.Add("Socket", context.client.socket_path());
  for (const cri::RuntimeCondition& condition : response.status().conditions()) {
    std::string text = condition.status() ? "yes" : "no";
    for (const std::string& more : {condition.reason(), condition.message()}) {
      if (!more.empty()) text += ": " + more;
    }
    fields.Add(condition.type(), text);
  }
  if (auto preload = response.info().find("preload"); preload != response.info().end()) {
    boost::json::error_code error;
    const boost::json::value parsed = boost::json::parse(preload->second, error);
    const boost::json::object* object = error ? nullptr : parsed.if_object();
    const boost::json::value* summary = object == nullptr ? nullptr : object->if_contains("summary");
    if (summary != nullptr && summary->is_string()) fields.Add("Preload", Sanitise(summary->as_string()));
  }
  std::vector<std::string> handlers;
  for (const cri::RuntimeHandler& handler : response.runtime_handlers()) {
    handlers.push_back(handler.name().empty() ? "(default)" : handler.name());
  }
  if (!handlers.empty()) fields.Add("Handlers", Join(handlers, ", "));
  Print(fields.Render());
  return 0;
}

Result<int> RuntimeVersion(const Context& context) {
  ASSIGN_OR_RETURN(cri::VersionResponse version, context.client.Call(cri::VersionRequest()));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(version));
    return 0;
  }
  Fields fields;
  fields.Add("Runtime", version.runtime_name());
  fields.Add("Version", version.runtime_version());
  fields.Add("API", version.runtime_api_version());
  Print(fields.Render());
  return 0;
}

}  // namespace davit::cli
