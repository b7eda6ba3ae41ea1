// Images as tools look at them: tags, and what docker rmi and docker images want to know.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/strings.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

bool Contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// The name of the image that a text means; empty: it is (the beginning of) an ID.
std::string NameMeant(const image::ImageRecord& record, const std::string& text, const image::ShortNames& names) {
  const Result<std::vector<image::Reference>> meanings = names.Candidates(text);
  if (!meanings.ok()) return {};
  for (const image::Reference& meaning : *meanings) {
    if (!meaning.digest().empty()) {
      if (Contains(record.repo_digests, meaning.DigestedName())) return meaning.DigestedName();
    } else if (Contains(record.repo_tags, meaning.TaggedName())) {
      return meaning.TaggedName();
    }
  }
  return {};
}

}  // namespace

std::vector<std::string> Engine::State::UsersOfImage(const std::string& id) const {
  std::vector<std::string> users;
  const SnapshotPtr view = View();
  for (const auto& [container, record] : view->containers()) {
    const auto& mounts = record->image_volumes;
    const bool mounted =
        std::any_of(mounts.begin(), mounts.end(), [&](const auto& mount) { return mount.second.image_id == id; });
    if (mounted || record->image_id == id) users.push_back(container.str());
  }
  return users;
}

void Engine::TagImage(const std::string& image, const std::string& reference, Done<Nothing> done) {
  State* state = state_.get();
  state->image_pool.Post([state, image, reference, done = std::move(done)] {
    done(ToResult([&]() -> Status {
      ASSIGN_OR_RETURN(std::vector<image::Reference> meanings, state->images->names().Candidates(reference));
      // The first of its meanings: what the name is looked up by from then on.
      if (!meanings.front().digest().empty()) {
        return InvalidArgument("\"" + Printable(reference, 300) + "\" has a digest, which is nobody's to give");
      }
      ASSIGN_OR_RETURN(const image::ImageRecord tagged, state->images->Tag(image, meanings.front()));
      state->activity.Add({"image", "tag", tagged.id, 0, {{"name", meanings.front().TaggedName()}}, true});
      return {};
    }()));
  });
}

Result<Engine::RemovedImage> Engine::State::RemoveStoredImageNow(const std::string& text, bool force) {
  ASSIGN_OR_RETURN(const image::ImageRecord record, images->Resolve(text));
  const std::string name = NameMeant(record, text, images->names());
  RemovedImage removed;
  const bool is_tag = Contains(record.repo_tags, name);
  if (!name.empty() && record.repo_tags.size() > (is_tag ? 1U : 0U)) {
    RETURN_IF_ERROR(images->Untag(name));
    activity.Add({"image", "untag", record.id, 0, {{"name", name}}, true});
    removed.untagged = {name};
    return removed;
  }
  if (name.empty() && record.repo_tags.size() > 1 && !force) {
    return FailedPrecondition(fmt::format("image {} has {} tags: remove them by name, or force it",
                                          record.id.substr(0, 19), record.repo_tags.size()));
  }
  if (const std::vector<std::string> users = UsersOfImage(record.id); !users.empty() && !force) {
    return FailedPrecondition(fmt::format("image {} is used by container {}{}", record.id.substr(0, 19),
                                          users.front().substr(0, 12),
                                          users.size() > 1 ? fmt::format(" and {} more", users.size() - 1) : ""));
  }
  // Forced, and in use: its names go and it stays, so that its containers can be started again. Docker's rule, and so
  // is that its ID is not enough against one that runs.
  const std::vector<std::string> kept_for = UsersOfImage(record.id);
  if (name.empty()) {
    for (const std::string& user : kept_for) {
      Result<ContainerPtr> container = View().FindContainer(user);
      if (!container.ok() || (*container)->phase != container::Phase::kRunning) continue;
      return FailedPrecondition(
          fmt::format("image {} is used by container {}, which runs", record.id.substr(0, 19), user.substr(0, 12)));
    }
  }
  RETURN_IF_ERROR(kept_for.empty() ? images->Remove(record.id) : images->Unname(record.id));
  for (const std::string& tag : record.repo_tags) {
    activity.Add({"image", "untag", record.id, 0, {{"name", tag}}, true});
  }
  removed.untagged = record.repo_tags;
  removed.untagged.insert(removed.untagged.end(), record.repo_digests.begin(), record.repo_digests.end());
  if (!kept_for.empty()) return removed;
  activity.Add({"image", "delete", record.id, 0, {}, true});
  removed.deleted = record.id;
  return removed;
}

void Engine::RemoveStoredImage(const std::string& image, bool force, Done<RemovedImage> done) {
  State* state = state_.get();
  state->image_pool.Post(
      [state, image, force, done = std::move(done)] { done(state->RemoveStoredImageNow(image, force)); });
}

Result<std::vector<Engine::StoredImage>> Engine::StoredImages(const std::vector<std::string>& names, bool full) const {
  const image::ImageList all = state_->images->List();
  std::vector<image::ImageRecord> wanted;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(image::ImageRecord record, state_->images->Resolve(name));
    wanted.push_back(std::move(record));
  }
  if (names.empty()) wanted = *all;
  std::map<std::string, uint32_t> images_of_layer;
  for (const image::ImageRecord& record : *all) {
    for (const std::string& layer : std::set<std::string>(record.layers.begin(), record.layers.end())) {
      ++images_of_layer[layer];
    }
  }
  std::map<std::string, uint32_t> containers;
  const SnapshotPtr view = View();
  for (const auto& [id, record] : view->containers()) {
    std::set<std::string> used = {record->image_id};
    for (const auto& [mount, volume] : record->image_volumes) used.insert(volume.image_id);
    for (const std::string& image : used) ++containers[image];
  }
  std::vector<StoredImage> images;
  for (image::ImageRecord& record : wanted) {
    StoredImage image;
    for (const std::string& layer : record.layers) {
      Result<oci::Digest> digest = oci::Digest::Parse(layer);
      Result<store::Layer> found = digest.ok() ? state_->layers->Find(*digest) : Result<store::Layer>(digest.status());
      image.layer_sizes.push_back(found.ok() ? found->info.size : 0);
      if (images_of_layer[layer] > 1) image.shared_size += image.layer_sizes.back();
    }
    image.containers = containers[record.id];
    if (record.artifact_type.empty()) {
      // One that is damaged is listed all the same: so that it can be removed.
      if (auto config = state_->images->Config(record); config.ok()) image.config = *config;
      Result<oci::Digest> digest = oci::Digest::Parse(record.ConfigDigest());
      if (full && digest.ok()) image.config_json = state_->content->Get(*digest).value_or("");
    }
    image.record = std::move(record);
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace davit::engine
