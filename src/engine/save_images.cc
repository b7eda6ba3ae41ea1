// SaveImages: the images of this node as an archive.

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "engine/state.h"
#include "image/image_export.h"
#include "sched/idle_worker.h"

namespace davit::engine {
namespace {

constexpr size_t kMaxImages = 1000;  // of an archive (image/archive.h)

// Each image once, with all names that it was asked for by. By id it has all of its own.
Result<std::vector<image::ExportImage>> Find(const image::Images& images, const std::vector<std::string>& names) {
  std::vector<image::ExportImage> found;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(image::ImageRecord record, images.Resolve(name));
    auto same = std::find_if(found.begin(), found.end(),
                             [&](const image::ExportImage& other) { return other.record.id == record.id; });
    if (same == found.end()) same = found.insert(found.end(), {std::move(record), {}});
    std::vector<std::string> tags = same->record.repo_tags;
    const Result<std::vector<image::Reference>> meanings = images.names().Candidates(name);
    for (size_t i = 0; meanings.ok() && i < meanings->size(); ++i) {
      const image::Reference& meaning = (*meanings)[i];
      if (!meaning.digest().empty()) {
        tags.clear();
      } else if (std::find(tags.begin(), tags.end(), meaning.TaggedName()) != tags.end()) {
        tags = {meaning.TaggedName()};
        break;
      }
    }
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
        sched::BecomeIdle("davit-save");  // its pool has no other work
        Status saved = [&]() -> Status {
          if (names.empty()) return InvalidArgument("no image is named");
          if (names.size() > kMaxImages) return ResourceExhausted(fmt::format("more than {} images", kMaxImages));
          ASSIGN_OR_RETURN(std::vector<image::ExportImage> images, Find(*state->images, names));
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
