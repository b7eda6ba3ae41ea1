// The command line of davit-oci: flags to options, errors to exit codes.
#pragma once

namespace davit::oci_cli {

// The program's own exit code for run and exec; 255 for an error of exec, as with runc; 1 for any other error.
int Main(int argc, char** argv);

}  // namespace davit::oci_cli
