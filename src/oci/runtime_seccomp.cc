#include "oci/runtime_seccomp.h"

#include "oci/json_writer.h"

namespace davit::oci {
namespace {

void Write(JsonWriter& out, const SeccompRule& rule) {
  out.BeginObject().Strings("names", rule.names).Field("action", rule.action);
  out.Optional("errnoRet", rule.errno_ret);
  if (!rule.args.empty()) {
    out.Key("args").BeginArray();
    for (const SeccompArgument& argument : rule.args) {
      out.BeginObject().Field("index", argument.index).Field("value", argument.value);
      if (argument.value_two != 0) out.Field("valueTwo", argument.value_two);
      out.Field("op", argument.op).EndObject();
    }
    out.EndArray();
  }
  out.EndObject();
}

}  // namespace

std::string ToJson(const Seccomp& seccomp) {
  JsonWriter out;
  out.BeginObject().Field("defaultAction", seccomp.default_action);
  out.Optional("defaultErrnoRet", seccomp.default_errno_ret);
  out.NonEmpty("architectures", seccomp.architectures).NonEmpty("flags", seccomp.flags);
  out.NonEmpty("listenerPath", seccomp.listener_path).NonEmpty("listenerMetadata", seccomp.listener_metadata);
  if (!seccomp.syscalls.empty()) {
    out.Key("syscalls").BeginArray();
    for (const SeccompRule& rule : seccomp.syscalls) Write(out, rule);
    out.EndArray();
  }
  out.EndObject();
  return std::move(out).Take();
}

}  // namespace davit::oci
