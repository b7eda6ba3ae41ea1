// SaveImages: the images of this node as an archive.

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "engine/state.h"
#include "image/image_export.h"

namespace davit::engine {
namespace {

constexpr size_t kMaxImages = 1000;  // of an archive (image/archive.h)

// Best effort: of the calling thread, whose pool has no other work. Reading all of an image must not slow the node's
// containers. ioprio_set(2) has no wrapper; class 3 is "idle".
void BecomeIdle() {
  sched_param param{};
  ::sched_setscheduler(0, SCHED_BATCH, &param);
  ::setpriority(PRIO_PROCESS, 0, 19);
  ::syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 3 << 13);
}

// Each image once, with all names that it was asked for by. By id it has all of its own.
Result<std::vector<image::ExportImage>> Find(const image::Images& images, const std::vector<std::string>& names,
                                             const std::string& default_registry) {
  std::vector<image::ExportImage> found;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(image::ImageRecord record, images.Resolve(name));
    auto same = std::find_if(found.begin(), found.end(),
                             [&](const image::ExportImage& other) { return other.record.id == record.id; });
    if (same == found.end()) same = found.insert(found.end(), {std::move(record), {}});
    Result<image::Reference> reference = image::Reference::Parse(name, default_registry);
    std::vector<std::string> tags = same->record.repo_tags;
    const bool by_tag = reference.ok() && reference->digest().empty() &&
                        std::find(tags.begin(), tags.end(), reference->TaggedName()) != tags.end();
    if (by_tag) tags = {reference->TaggedName()};
    if (reference.ok() && !reference->digest().empty()) tags.clear();
    for (std::string& tag : tags) {
      if (std::find(same->names.begin(), same->names.end(), tag) == same->names.end())
        same->names.push_back(std::move(tag));
    }
  }
  return found;
}

}  // namespace

void Engine::SaveImages(const std::vector<std::string>& names, bool docker, bool gzip,
                        std::shared_ptr<image::ExportSink> sink, PullWanted wanted, Done<Nothing> done) {
  State* state = state_.get();
  state->save_pool.Post(
      [state, names, docker, gzip, sink = std::move(sink), wanted = std::move(wanted), done = std::move(done)] {
        BecomeIdle();
        Status saved = [&]() -> Status {
          if (names.empty()) return InvalidArgument("no image is named");
          if (names.size() > kMaxImages) return ResourceExhausted(fmt::format("more than {} images", kMaxImages));
          const std::string& registry = state->config.image.default_registry;
          ASSIGN_OR_RETURN(std::vector<image::ExportImage> images, Find(*state->images, names, registry));
          std::vector<std::string> held;
          for (const image::ExportImage& image : images) {
            held.insert(held.end(), {image.record.id, image.record.manifest_digest});
            held.insert(held.end(), image.record.layers.begin(), image.record.layers.end());
          }
          const image::LayerHold hold = state->images->Hold(held);
          // What was removed before the hold is gone.
          for (const image::ExportImage& image : images) RETURN_IF_ERROR(state->images->Find(image.record.id).status());
          image::ExportOptions options;
          options.docker = docker;
          options.gzip = gzip;
          options.spool = state->config.root;
          options.go_on = [&wanted] { return !wanted || wanted() ? Status() : Cancelled("the client has gone"); };
          return image::ExportImages(*state->content, *state->layers, images, options, *sink);
        }();
        if (saved.ok()) {
          LogInfo("saved {}", Printable(Join(names, ", "), 300));
          done(Nothing{});
        } else {
          done(saved.Annotate("save images"));
        }
      });
}

}  // namespace davit::engine
