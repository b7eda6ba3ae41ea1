// What can be said about a request from its message alone: every answer is kInvalidArgument naming the
// field by its path in the request's configuration ("linux.security_context.masked_paths[0]: why").
// What needs the node, the image or the records is checked where those are (container/, pod/, engine/).
#pragma once

#include <vector>

#include "base/result.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cri {

namespace v1 = ::runtime::v1;

Status CheckPodConfig(const v1::PodSandboxConfig& config);
Status CheckContainerConfig(const v1::ContainerConfig& config);
Status CheckFilter(const v1::PodSandboxFilter& filter);
Status CheckFilter(const v1::ContainerFilter& filter);
// Exec and Attach: at least one stream; no standard error apart from a terminal, which has one stream.
Status CheckStreams(bool tty, bool want_stdin, bool want_stdout, bool want_stderr);
// The words of a command: at least one, the first not empty, none with a NUL byte.
Status CheckCommand(const ::google::protobuf::RepeatedPtrField<std::string>& command);

// Well-formed UTF-8 (RFC 3629: no surrogates, nothing above U+10FFFF, shortest forms).
bool IsUtf8(std::string_view text);

}  // namespace davit::cri
