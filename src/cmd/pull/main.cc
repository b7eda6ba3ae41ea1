// davit-pull: fetches and unpacks one image, then exits. Started by davitd for each pull; not for people.
// A job and commands as JSON lines on stdin, events on stdout (docs/formats/pull-protocol.md), and for
// whoever reads davitd's log a line on stderr when it cannot even begin. With --verify it looks at signatures
// instead, with --tree at the files of a container.
#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string_view>

#include "image/out_of_memory.h"
#include "image/pull_session.h"
#include "image/tree_session.h"
#include "privileges.h"
#include "trust/verify_session.h"

int main(int argc, char** argv) {
  const bool verify = argc == 2 && std::string_view(argv[1]) == "--verify";
  const bool tree = argc == 2 && std::string_view(argv[1]) == "--tree";
  if (argc > 1 && !verify && !tree) {
    if (std::string_view(argv[1]) == "--version") {
      fmt::print("davit-pull, pull protocol 1\n");
      return 0;
    }
    fmt::print(stderr, "davit-pull is started by davitd and takes no arguments\n");
    return 2;
  }
  ::umask(0);  // modes come from the layers
  ::signal(SIGPIPE, SIG_IGN);
  if (davit::Status status = davit::image::OutOfMemoryAsStatus(davit::pull::DropPrivileges); !status.ok()) {
    fmt::print(stderr, "drop privileges: {}\n", status.ToString());
    return 1;
  }
  if (verify) {
    davit::pull::LeaveNetwork();
    return davit::trust::RunVerifySession(STDIN_FILENO, STDOUT_FILENO).ok() ? 0 : 1;
  }
  if (tree) {
    return davit::image::OutOfMemoryAsStatus(davit::image::RunTreeSession).ok() ? 0 : 1;
  }
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    fmt::print(stderr, "curl_global_init failed\n");
    return 1;
  }
  davit::Status status = davit::image::RunPullSession(STDIN_FILENO, STDOUT_FILENO);
  // Not exit(): threads may still be in curl or OpenSSL, whose atexit handlers would pull the rug from
  // under them. All output has been written.
  ::_exit(status.ok() ? 0 : 1);
}
