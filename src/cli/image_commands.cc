#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>
#include <utility>

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
  // "pulling", "loading".
  PullDisplay(std::string_view verb, const std::string& what) : size_(SizeOf(STDERR_FILENO)) {
    std::fputs(fmt::format("{} {}\n", verb, Sanitise(what)).c_str(), stderr);
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

namespace {

// `attempts`: who was asked, also when the pull fails; null: nobody wants to know.
Result<std::string> PullTold(const Context& context, const std::string& reference, const std::string& credentials,
                             std::vector<control::v1::PullAttempt>* attempts) {
  ASSIGN_OR_RETURN(cri::AuthConfig auth, ParseCredentials(credentials));
  PullDisplay display("pulling", reference);
  control::v1::PullImageRequest request;
  request.mutable_image()->set_image(reference);
  if (!credentials.empty()) *request.mutable_auth() = auth;
  request.set_explain(attempts != nullptr);
  Result<std::string> id = context.client.Pull(request, [&](const control::v1::PullImageProgress& progress) {
    display.Update(progress);
    if (attempts != nullptr && progress.attempts_size() > 0) {
      attempts->assign(progress.attempts().begin(), progress.attempts().end());
    }
  });
  if (id.code() != StatusCode::kUnimplemented) return id;
  if (attempts != nullptr) {
    return Unimplemented("--explain: this socket is another runtime's, which does not tell whom it asks");
  }
  cri::PullImageRequest plain;
  *plain.mutable_image() = request.image();
  if (!credentials.empty()) *plain.mutable_auth() = auth;
  ASSIGN_OR_RETURN(cri::PullImageResponse response, context.client.Call(plain));
  return response.image_ref();
}

void PrintAttempts(const std::vector<control::v1::PullAttempt>& attempts) {
  Table table({"ENDPOINT", "CONFIGURED BY", "CREDENTIALS", "ASKED FOR", "VERDICT"});
  for (const control::v1::PullAttempt& attempt : attempts) {
    table.AddRow({attempt.endpoint(), attempt.configured_by().empty() ? "-" : attempt.configured_by(),
                  attempt.credentials().empty() ? "none" : attempt.credentials(), attempt.asked_for(),
                  attempt.verdict()});
  }
  Print(table.Render());
  if (attempts.empty()) PrintLine("nobody was asked: what the name means is on the node, or is refused before");
}

std::string AttemptsJson(const Result<std::string>& id, const std::vector<control::v1::PullAttempt>& attempts) {
  boost::json::array list;
  for (const control::v1::PullAttempt& attempt : attempts) {
    list.push_back(boost::json::object{{"endpoint", attempt.endpoint()},
                                       {"configuredBy", attempt.configured_by()},
                                       {"credentials", attempt.credentials()},
                                       {"askedFor", attempt.asked_for()},
                                       {"verdict", attempt.verdict()}});
  }
  boost::json::object out{{"attempts", std::move(list)}};
  if (id.ok()) out["id"] = *id;
  if (!id.ok()) out["error"] = Sanitise(id.status().message());
  return boost::json::serialize(out);
}

}  // namespace

Result<std::string> PullWithProgress(const Context& context, const std::string& reference,
                                     const std::string& credentials) {
  return PullTold(context, reference, credentials, nullptr);
}

Result<int> ImagePull(const Context& context, const ImagePullOptions& options) {
  std::string credentials = options.credentials;
  if (!options.credentials_file.empty()) {
    ASSIGN_OR_RETURN(credentials, options.credentials_file == "-"
                                      ? sys::ReadAll(STDIN_FILENO, kMaxCredentials)
                                      : sys::ReadFile(options.credentials_file, kMaxCredentials));
  }
  std::vector<control::v1::PullAttempt> attempts;
  Result<std::string> id = PullTold(context, options.reference, credentials, options.explain ? &attempts : nullptr);
  if (options.explain && context.out.json) {
    PrintLine(AttemptsJson(id, attempts));
  } else {
    if (options.explain) PrintAttempts(attempts);
    if (id.ok()) PrintLine(*id);
  }
  if (!id.ok()) return id.status();
  return 0;
}

namespace {

// Standard input as a file that davitd can read: it wants to look into an archive more than once.
class Spool {
 public:
  static Result<Spool> OfStdin() {
    Spool spool;
    const char* folder = std::getenv("TMPDIR");
    spool.path_ = std::string(folder != nullptr && *folder == '/' ? folder : "/var/tmp") + "/davit-load-XXXXXX";
    sys::UniqueFd file(::mkostemp(spool.path_.data(), O_CLOEXEC));
    if (!file.valid()) {
      const std::string path = std::exchange(spool.path_, "");
      return ErrnoError(errno, "make " + path);
    }
    std::string buffer(size_t{1} << 20, '\0');
    while (true) {
      ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read standard input");
      if (n == 0) return spool;
      RETURN_IF_ERROR(sys::WriteAll(file.get(), std::string_view(buffer.data(), static_cast<size_t>(n))));
    }
  }
  Spool(Spool&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  Spool& operator=(Spool&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~Spool() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  Spool() = default;
  std::string path_;
};

// As davitd sees it; `spool` keeps what came from standard input. `command`: the words before a file's name.
Result<std::string> ArchivePath(const std::string& input, std::string_view command, std::optional<Spool>& spool) {
  const std::string verb(command.substr(0, command.find(' ')));
  if (input == "-") {
    if (::isatty(STDIN_FILENO) != 0) {
      return InvalidArgument(
          fmt::format("standard input is a terminal: name a file (davit image {} FILE), or pipe one in", command));
    }
    ASSIGN_OR_RETURN(spool, Spool::OfStdin());
    return spool->path();
  }
  char* absolute = ::realpath(input.c_str(), nullptr);
  if (absolute == nullptr) return ErrnoError(errno, verb + " " + Printable(input));
  std::string path = absolute;
  std::free(absolute);
  return path;
}

}  // namespace

Result<int> ImageLoad(const Context& context, const std::string& input, bool quiet) {
  std::optional<Spool> spool;
  control::v1::LoadImageRequest request;
  ASSIGN_OR_RETURN(*request.mutable_archive(), ArchivePath(input, "load -i", spool));
  boost::json::array loaded;
  for (uint32_t number = 0, images = 1; number < images; ++number) {
    request.set_image(number);
    std::optional<PullDisplay> display;
    if (!quiet) display.emplace("loading", input == "-" ? "standard input" : input);
    ASSIGN_OR_RETURN(control::v1::PullImageProgress last, context.client.Load(request, [&](const auto& progress) {
      if (display) display->Update(progress);
    }));
    display.reset();
    images = last.archive_images();
    if (context.out.json) {
      boost::json::array names(last.names().begin(), last.names().end());
      loaded.push_back(boost::json::object{{"id", last.image_ref()}, {"names", std::move(names)}});
      continue;
    }
    for (const std::string& name : last.names()) PrintLine(quiet ? name : "Loaded image: " + name);
    if (last.names().empty()) PrintLine(quiet ? last.image_ref() : "Loaded image ID: " + last.image_ref());
  }
  if (context.out.json) PrintLine(boost::json::serialize(loaded));
  return 0;
}

Result<int> ImageImport(const Context& context, const ImageImportOptions& options) {
  if (options.input.find("://") != std::string::npos) {
    return InvalidArgument(fmt::format("\"{}\" is a URL: fetch it and pipe it in (curl -L {} | davit image import -)",
                                       Printable(options.input), Printable(options.input)));
  }
  std::optional<Spool> spool;
  control::v1::ImportImageRequest request;
  ASSIGN_OR_RETURN(*request.mutable_archive(), ArchivePath(options.input, "import", spool));
  for (const std::string& change : options.changes) request.add_changes(change);
  request.set_message(options.message.empty() && spool ? "imported from a pipe" : options.message);
  request.set_platform(options.platform);
  request.set_reference(options.reference);
  std::optional<PullDisplay> display;
  if (!options.quiet) display.emplace("importing", spool ? "standard input" : options.input);
  ASSIGN_OR_RETURN(control::v1::PullImageProgress last, context.client.Import(request, [&](const auto& progress) {
    if (display) display->Update(progress);
  }));
  display.reset();
  if (context.out.json) {
    boost::json::array names(last.names().begin(), last.names().end());
    PrintLine(boost::json::serialize(boost::json::object{{"id", last.image_ref()}, {"names", std::move(names)}}));
  } else {
    PrintLine(last.image_ref());
  }
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
