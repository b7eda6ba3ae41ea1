// Files of containers: docker cp, export and diff.
#include <fmt/format.h>
#include <sys/stat.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/json_out.h"
#include "client/client.h"
#include "davit/control/v1/files.pb.h"
#include "http/base64.h"

namespace davit::api {
namespace {

namespace json = boost::json;

constexpr size_t kPiece = 256 * 1024;

// Bits of Go's os.FileMode that are not those of st_mode (fs.FileMode).
uint32_t GoMode(uint32_t mode) {
  uint32_t out = mode & 0777;
  if (S_ISDIR(mode)) out |= 1u << 31;
  if (S_ISLNK(mode)) out |= 1u << 27;
  if (S_ISBLK(mode)) out |= 1u << 26;
  if (S_ISCHR(mode)) out |= (1u << 26) | (1u << 21);
  if (S_ISFIFO(mode)) out |= 1u << 25;
  if (S_ISSOCK(mode)) out |= 1u << 24;
  if ((mode & S_ISUID) != 0) out |= 1u << 23;
  if ((mode & S_ISGID) != 0) out |= 1u << 22;
  if ((mode & S_ISVTX) != 0) out |= 1u << 20;
  return out;
}

std::pair<std::string, std::string> StatHeader(const control::StatPathResponse& stat) {
  json::object shown = {{"name", stat.name()},           {"size", stat.size()},
                        {"mode", GoMode(stat.mode())},   {"mtime", GoTime(stat.modified_at())},
                        {"isDir", S_ISDIR(stat.mode())}, {"linkTarget", stat.link_target()}};
  return {"X-Docker-Container-Path-Stat", http::Base64Encode(json::serialize(shown))};
}

template <class Response>
Status Said(Api& api, const Result<Response>& response) {
  return api.engine().files.Missing(response.status()) ? NeedsDavit("files of containers") : response.status();
}

Result<control::StatPathResponse> Look(Api& api, const Entry& entry, const std::string& path) {
  control::StatPathRequest call;
  call.set_container(entry.container.id());
  call.set_path(path);
  Result<control::StatPathResponse> stat = api.client().Call(call);
  if (stat.code() == StatusCode::kNotFound) {
    return NotFound(
        fmt::format("Could not find the file {} in container {}: no such file or directory", path, entry.name));
  }
  RETURN_IF_ERROR(Said(api, stat));
  return stat;
}

Result<std::string> PathOf(const Request& request) {
  std::string path = request.Query("path");
  if (path.empty()) return InvalidArgument("missing path: bad parameter");
  if (!path.starts_with("/")) path.insert(0, "/");
  return path;
}

Result<Reply> Stat(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(std::string path, PathOf(request));
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  ASSIGN_OR_RETURN(control::StatPathResponse stat, Look(api, entry, path));
  Reply reply = EmptyReply(200);
  reply.headers.push_back(StatHeader(stat));
  return reply;
}

// Sends a tar; `head` is completed with the first message.
Status SendArchive(Api& api, const ExchangePtr& exchange, const Entry& entry, const std::string& path, bool with_stat) {
  control::ReadArchiveRequest call;
  call.set_container(entry.container.id());
  call.set_path(path);
  bool begun = false;
  Status read = api.client().ReadArchive(call, [&](const control::ArchiveChunk& chunk) {
    if (!begun) {
      Reply head;
      head.content_type = "application/x-tar";
      if (with_stat) head.headers.push_back(StatHeader(chunk.stat()));
      exchange->Begin(head);
      begun = true;
    }
    if (!chunk.data().empty() && !exchange->WriteAndWait(chunk.data())) return Cancelled("the client went away");
    return Status();
  });
  if (api.engine().files.Missing(read)) return NeedsDavit("files of containers");
  if (!read.ok() && !begun) return read;
  if (!begun) exchange->Begin(Reply());
  // Without its end the client sees that the archive is not whole.
  if (read.ok()) exchange->End();
  return {};
}

Status Get(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(std::string path, PathOf(request));
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  RETURN_IF_ERROR(Look(api, entry, path).status());
  return SendArchive(api, exchange, entry, path, true);
}

Status Export(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  return SendArchive(api, exchange, entry, "", false);
}

Result<Reply> PutReply(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(std::string path, PathOf(request));
  ASSIGN_OR_RETURN(bool no_overwrite, request.QueryBool("noOverwriteDirNonDir", false));
  ASSIGN_OR_RETURN(bool copy_ids, request.QueryBool("copyUIDGID", request.libpod));
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  RETURN_IF_ERROR(Engine::MayChange(entry, api.options().allow_kubernetes_changes, "copy into"));
  bool first = true;
  bool ended = false;
  std::string held;
  Status written = api.client().WriteArchive([&](control::WriteArchiveRequest& message) -> Result<bool> {
    if (first) {
      first = false;
      message.set_container(entry.container.id());
      message.set_path(path);
      message.set_no_overwrite_dir_non_dir(no_overwrite);
      message.set_copy_ids(copy_ids);
      return true;
    }
    while (held.empty() && !ended) {
      ASSIGN_OR_RETURN(held, request.stream->Read());
      ended = held.empty();
    }
    if (held.empty()) return false;
    message.set_data(held.substr(0, kPiece));
    held.erase(0, kPiece);
    return true;
  });
  if (api.engine().files.Missing(written)) return NeedsDavit("files of containers");
  RETURN_IF_ERROR(written);
  return EmptyReply(200);
}

Result<Reply> Changes(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  control::ListChangesRequest call;
  call.set_container(entry.container.id());
  Result<control::ListChangesResponse> changes = api.client().Call(call);
  RETURN_IF_ERROR(Said(api, changes));
  json::array out;
  for (const control::ListChangesResponse::Change& change : changes->changes()) {
    out.push_back({{"Path", change.path()}, {"Kind", change.kind()}});
  }
  return JsonReply(out);
}

}  // namespace

void AddArchiveRoutes(Router& router) {
  RouteOptions slow{false, true};
  router.Add(Flavour::kBoth, "HEAD", "/containers/{name}/archive", Stat);
  router.Stream(Flavour::kBoth, "GET", "/containers/{name}/archive", Get, slow);
  router.Add(Flavour::kBoth, "PUT", "/containers/{name}/archive", PutReply, RouteOptions{true, true});
  router.Stream(Flavour::kBoth, "GET", "/containers/{name}/export", Export, slow);
  router.Add(Flavour::kBoth, "GET", "/containers/{name}/changes", Changes, slow);
}

}  // namespace davit::api
