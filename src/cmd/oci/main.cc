// davit-oci: an OCI runtime on the command line, as runc(8) and crun(1) are.
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "cmd/oci/command_line.h"
#include "cmd/oci/report.h"
#include "native/own_executable.h"

namespace {

// Whether a process of this program may be seen from inside a container, which could execute it again or write to it
// (CVE-2019-5736). Only these verbs make one. A word that is the same, an id say, protects for nothing: it costs two
// milliseconds, which the verbs that only write to a socket or a file save.
bool MayBeSeenFromInside(int argc, char** argv) {
  return std::any_of(argv, argv + argc,
                     [](std::string_view word) { return word == "create" || word == "run" || word == "exec"; });
}

}  // namespace

int main(int argc, char** argv) {
  // Before anything else.
  if (MayBeSeenFromInside(argc, argv)) {
    davit::Status protected_self = davit::native::ProtectSelf(argv, environ);
    if (!protected_self.ok()) {
      davit::oci_cli::ReportError(protected_self.Annotate("protect the program"));
      return 1;
    }
  }
  return davit::oci_cli::Main(argc, argv);
}
