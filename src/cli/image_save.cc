// davit image save.

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>

#include "base/strings.h"
#include "cli/archive_output.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/terminal.h"
#include "davit/control/v1/control.pb.h"

namespace davit::cli {
namespace {

// One line on standard error, drawn again some times a second; nothing where that is no terminal.
class SaveDisplay {
 public:
  explicit SaveDisplay(bool quiet) : size_(quiet ? std::nullopt : SizeOf(STDERR_FILENO)) {}
  ~SaveDisplay() {
    if (drawn_) std::fputs("\r\x1b[K", stderr);
  }
  void Update(uint64_t done, uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!size_ || now < next_) return;
    next_ = now + std::chrono::milliseconds(200);
    std::fputs(fmt::format("\r\x1b[Ksaved {} of {}", HumanBytes(done), HumanBytes(total)).c_str(), stderr);
    drawn_ = true;
  }

 private:
  const std::optional<WindowSize> size_;
  std::chrono::steady_clock::time_point next_;
  bool drawn_ = false;
};

}  // namespace

Result<int> ImageSave(const Context& context, const ImageSaveOptions& options) {
  const bool directory = options.format == "oci-dir";
  if (directory && options.output == "-") return InvalidArgument("--format oci-dir needs a directory: -o DIRECTORY");
  if (options.output == "-" && ::isatty(STDOUT_FILENO) != 0) {
    return InvalidArgument(
        "standard output is a terminal: name a file (davit image save -o FILE IMAGE), or pipe it on");
  }
  control::v1::SaveImagesRequest request;
  for (const std::string& image : options.images) request.add_images(image);
  request.set_docker(options.format == "docker-archive");
  request.set_gzip(options.compress);
  // Made with the first message: a wrong name leaves no file.
  std::unique_ptr<ArchiveOutput> output;
  SaveDisplay display(options.quiet);
  uint64_t done = 0, total = 0;
  RETURN_IF_ERROR(context.client.Save(request, [&](const control::v1::SaveImagesChunk& chunk) -> Status {
    if (!output) {
      ASSIGN_OR_RETURN(output, directory ? MakeDirectoryOutput(options.output) : MakeTarOutput(options.output));
    }
    if (chunk.total_bytes() > 0) total = chunk.total_bytes();
    if (!chunk.path().empty()) return output->Begin(chunk.path(), chunk.size());
    if (chunk.data().empty()) return {};
    done += chunk.data().size();
    display.Update(done, total);
    return output->Write(chunk.data());
  }));
  if (!output) return DataLoss("the server sent no archive");
  RETURN_IF_ERROR(output->Finish());
  return 0;
}

}  // namespace davit::cli
