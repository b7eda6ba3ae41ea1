#include <fmt/format.h>
#include <unistd.h>

#include "base/strings.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "davit/control/v1/control.pb.h"
#include "runtime/v1/cri.pb.h"
#include "sys/unique_fd.h"

namespace davit::cli {
namespace {

constexpr size_t kMaxCredentials = 64 * 1024;

// "user:password"; the text never reaches an error.
Result<cri::AuthConfig> ParseCredentials(std::string_view text) {
  cri::AuthConfig auth;
  text = Trim(text);
  if (text.empty()) return auth;
  size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0) return InvalidArgument("credentials are not user:password");
  auth.set_username(std::string(text.substr(0, colon)));
  auth.set_password(std::string(text.substr(colon + 1)));
  return auth;
}

// Shows a pull: one line that is drawn again on a terminal (standard error, so that standard output has
// only the result), nothing but the beginning and the end elsewhere.
class PullDisplay {
 public:
  explicit PullDisplay(const std::string& reference) : size_(SizeOf(STDERR_FILENO)) {
    std::fputs(fmt::format("pulling {}\n", Sanitise(reference)).c_str(), stderr);
  }
  ~PullDisplay() {
    if (drawn_) std::fputs("\r\x1b[K", stderr);
  }
  void Update(const control::v1::PullImageProgress& now) {
    if (!size_) return;
    PullState state;
    state.fetched = now.fetched_bytes();
    state.total = now.total_bytes();
    state.unpacked = now.unpacked_bytes();
    state.layers_done = now.layers_done();
    state.layers_total = now.layers_total();
    state.retries = now.retries();
    std::fputs(("\r\x1b[K" + PullLine(state, size_->columns - 1u)).c_str(), stderr);
    drawn_ = true;
  }

 private:
  const std::optional<WindowSize> size_;
  bool drawn_ = false;
};

}  // namespace

Result<std::string> PullWithProgress(const Context& context, const std::string& reference,
                                     const std::string& credentials) {
  ASSIGN_OR_RETURN(cri::AuthConfig auth, ParseCredentials(credentials));
  PullDisplay display(reference);
  control::v1::PullImageRequest request;
  request.mutable_image()->set_image(reference);
  if (!credentials.empty()) *request.mutable_auth() = auth;
  Result<std::string> id = context.client.Pull(request, [&](const auto& progress) { display.Update(progress); });
  if (id.code() != StatusCode::kUnimplemented) return id;
  cri::PullImageRequest plain;
  *plain.mutable_image() = request.image();
  if (!credentials.empty()) *plain.mutable_auth() = auth;
  ASSIGN_OR_RETURN(cri::PullImageResponse response, context.client.Call(plain));
  return response.image_ref();
}

Result<int> ImagePull(const Context& context, const ImagePullOptions& options) {
  std::string credentials = options.credentials;
  if (!options.credentials_file.empty()) {
    ASSIGN_OR_RETURN(credentials, options.credentials_file == "-"
                                      ? sys::ReadAll(STDIN_FILENO, kMaxCredentials)
                                      : sys::ReadFile(options.credentials_file, kMaxCredentials));
  }
  ASSIGN_OR_RETURN(std::string id, PullWithProgress(context, options.reference, credentials));
  PrintLine(id);
  return 0;
}

Result<int> ImageList(const Context& context, const std::string& filter, bool quiet) {
  cri::ListImagesRequest request;
  if (!filter.empty()) request.mutable_filter()->mutable_image()->set_image(filter);
  ASSIGN_OR_RETURN(cri::ListImagesResponse response, context.client.Call(request));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  std::sort(response.mutable_images()->begin(), response.mutable_images()->end(), [](const auto& a, const auto& b) {
    auto name = [](const cri::Image& image) {
      return image.repo_tags().empty() ? std::string("~") : image.repo_tags(0);
    };
    return std::tuple(name(a), a.id()) < std::tuple(name(b), b.id());
  });
  Table table({"IMAGE", "TAG", "IMAGE ID", "SIZE"});
  for (const cri::Image& image : response.images()) {
    if (quiet) {
      PrintLine(image.id());
      continue;
    }
    std::vector<std::string> names(image.repo_tags().begin(), image.repo_tags().end());
    if (names.empty()) names.push_back(image.repo_digests().empty() ? "<none>" : image.repo_digests(0));
    for (const std::string& name : names) {
      size_t at = name.find('@');
      size_t colon = name.rfind(':');
      bool tagged = at == std::string::npos && colon != std::string::npos && name.find('/', colon) == std::string::npos;
      table.AddRow({name.substr(0, tagged ? colon : at), tagged ? name.substr(colon + 1) : "<none>",
                    DisplayId(image.id(), context.out.full), HumanBytes(image.size())});
    }
  }
  if (!quiet) Print(table.Render(context.out.colour));
  return 0;
}

Result<int> ImageStatus(const Context& context, const std::string& reference) {
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(reference);
  request.set_verbose(context.out.json);
  ASSIGN_OR_RETURN(cri::ImageStatusResponse response, context.client.Call(request));
  if (!response.has_image()) {
    return NotFound(fmt::format("no image \"{}\" (davit image pull {})", Printable(reference), Printable(reference)));
  }
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  const cri::Image& image = response.image();
  Fields fields;
  fields.Add("ID", image.id());
  fields.Add("Tags", Join({image.repo_tags().begin(), image.repo_tags().end()}, "\n"));
  fields.Add("Digests", Join({image.repo_digests().begin(), image.repo_digests().end()}, "\n"));
  fields.Add("Size", HumanBytes(image.size()));
  fields.Add("User", image.has_uid() ? std::to_string(image.uid().value()) : image.username());
  fields.Add("Pinned", image.pinned() ? "yes" : "no");
  Print(fields.Render());
  return 0;
}

Result<int> ImageRemove(const Context& context, const std::vector<std::string>& references) {
  for (const std::string& reference : references) {
    cri::ImageStatusRequest status;
    status.mutable_image()->set_image(reference);
    // RemoveImage of what is not there succeeds: a person should hear of a misspelt name.
    ASSIGN_OR_RETURN(cri::ImageStatusResponse response, context.client.Call(status));
    if (!response.has_image()) return NotFound(fmt::format("no image \"{}\"", Printable(reference)));
    cri::RemoveImageRequest request;
    request.mutable_image()->set_image(reference);
    RETURN_IF_ERROR(context.client.Call(request).status());
    PrintLine(reference);
  }
  return 0;
}

}  // namespace davit::cli
