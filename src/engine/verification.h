// Verification: whether the images on the node are what their digests say (`davit image verify`), in the background.
//
// A manifest or config is hashed; a layer is compared with what store/layer_check.h has of it. What is damaged is taken
// out of use (Images::SetAsideLayer, Images::Forget): the next pull of the image fetches just that, for the sound
// layers of a forgotten image are held for an hour. Two threads of idle priority: one for requests, and one for what a
// start after an unclean stop has to verify, which rests nine times as long as it works. Decision: docs/adr/0026.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/images.h"
#include "sched/idle_worker.h"
#include "store/database.h"
#include "store/layer_check.h"

namespace davit::store {
class Content;
}

namespace davit::engine {

struct Damage {
  enum class Kind { kLayer, kManifest, kConfig };
  Kind kind = Kind::kLayer;
  std::string digest;
  std::vector<std::string> images;          // names, or ids of those without one
  std::vector<store::LayerDamage> damaged;  // of a layer: the first paths
  uint64_t damages = 0;
  // Containers need it, so it is where it was, and new containers are refused. Otherwise it is out of the way.
  bool in_use = false;
  std::string quarantine;  // where a layer is now; empty: nowhere
};

struct VerifyProgress {
  uint32_t layers_done = 0;
  uint32_t layers_total = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_total = 0;  // about
};

struct VerifyReport {
  uint32_t images = 0;
  uint32_t layers = 0;
  uint64_t bytes_read = 0;
  // Of these there was only their record to compare with, and now is a list of checksums.
  uint32_t first_time = 0;
  std::vector<Damage> damage;
  std::vector<std::string> unchecked;  // what could not be looked at, and why
};

// Thread-safe.
class Verification {
 public:
  struct Callbacks {
    std::function<void(const VerifyProgress&)> progress;  // on the verifying thread; may be empty
    std::function<bool()> wanted;                         // false: it ends with kCancelled; may be empty
  };
  // The references outlive this.
  Verification(store::Database& database, store::Content& content, store::LayerDriver& layers, image::Images& images);

  // Before anything else: is told the ids of images that were damaged and are forgotten. On verifying threads.
  void OnForgotten(std::function<void(const std::string& image)> tell) { on_forgotten_ = std::move(tell); }

  // `texts`: references or ids, none: all images. `done` is called once, on the verifying thread, or at once: kNotFound
  // naming an image, kCancelled, kUnavailable when the engine ends.
  void Start(const std::vector<std::string>& texts, Callbacks callbacks,
             std::function<void(const Result<VerifyReport>&)> done);

  // Once, at the start, after recovery. `boot_id`: of the running kernel. When davitd was running as another boot
  // ended, every layer is to be verified; what an earlier start did not get to is gone on with.
  Status ResumeAfter(const std::string& boot_id);
  // At an orderly end: the next start has nothing to verify.
  void NoteCleanStop();

  // Lets go of layers of images that are there again, and, `all`, of the others too.
  void Release(bool all);

 private:
  struct Run;
  Result<VerifyReport> Verify(const std::vector<image::ImageRecord>& images, const Callbacks& callbacks);
  void VerifyContent(const image::ImageRecord& record, Run& run);
  Status VerifyLayer(const std::string& name, Run& run);
  Status VerifyEntered(const std::string& name, Run& run);
  Status OnDamage(const store::Layer& layer, store::LayerFindings findings, Run& run);
  // One verification of a layer at a time: the first makes its list of checksums, which another one that has begun
  // would take for a file too many. False: nobody wants the verification any more.
  bool Enter(const std::string& layer, Run& run);
  void Leave(const std::string& layer);
  struct Held {
    std::vector<std::string> names;  // of the image
    std::vector<std::string> layers;
    image::LayerHold hold;
  };
  Held HoldRest(const image::ImageRecord& record, const std::string& but);
  void Keep(const std::string& image, Held held);
  // Takes a layer out of what is held; the names of the images that it was held for.
  std::vector<std::string> LetGo(const std::string& layer);
  void VerifyPending(sched::IdleWorker::Pace& pace);
  Status Forget(const std::string& layer);  // that it is pending

  store::Database& database_;
  store::Content& content_;
  store::LayerDriver& layers_;
  image::Images& images_;
  const std::vector<std::unique_ptr<store::LayerVerifier>> verifiers_;
  std::function<void(const std::string&)> on_forgotten_;
  std::mutex mutex_;
  std::map<std::string, Held> held_;  // by the image's id
  bool release_set_ = false;          // the end of all holds
  std::set<std::string> pending_;     // layers that a start has to verify
  std::set<std::string> verifying_;   // layers that a thread is at
  std::condition_variable left_;      // one of them less
  // Last: they end before what their tasks use.
  sched::IdleWorker requests_{"davit-verify"};
  sched::IdleWorker start_{"davit-verify-bg"};
};

}  // namespace davit::engine
