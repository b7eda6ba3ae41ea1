// The command line of `davit`: flags to options, errors to exit codes.
#pragma once

namespace davit::cli {

// Exit codes: the container's own for exec and run; 125 for davit's own errors in run; 2 for a wrong
// command line; 1 for every other error.
int Main(int argc, char** argv);

}  // namespace davit::cli
