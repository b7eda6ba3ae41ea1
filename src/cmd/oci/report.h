// What davit-oci tells: errors on stderr and, with --log, as lines of a file that containerd, podman and davitd read.
//
//   text: time="2026-11-22T10:00:00Z" level=error msg="..."
//   json: {"level":"error","msg":"...","time":"2026-11-22T10:00:00Z"}
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "cmd/oci/verbs.h"

namespace davit::oci_cli {

// Opens --log and makes it the sink of base/log.h. Without --log, stderr is the log.
Status OpenLog(const Globals& globals);
// The verb's error: into the log, and in plain words on stderr where that is not the log.
void ReportError(const Status& error);
// To stdout, whole; what fails there is an error as any other.
Status Print(std::string_view text);
// Compact JSON with line ends and two blanks a level, for people.
std::string Indented(std::string_view json);

}  // namespace davit::oci_cli
