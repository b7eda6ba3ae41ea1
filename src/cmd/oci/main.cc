// davit-oci: an OCI runtime on the command line, as runc(8) and crun(1) are.
#include <unistd.h>

#include "cmd/oci/command_line.h"
#include "cmd/oci/report.h"
#include "native/own_executable.h"

int main(int argc, char** argv) {
  // Before anything else: what runs below may be executed again by a container (CVE-2019-5736).
  davit::Status protected_self = davit::native::ProtectSelf(argv, environ);
  if (!protected_self.ok()) {
    davit::oci_cli::ReportError(protected_self.Annotate("protect the program"));
    return 1;
  }
  return davit::oci_cli::Main(argc, argv);
}
