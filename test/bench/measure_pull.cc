// Pulls, with the CPU that they take.
#include <chrono>

#include "measure.h"
#include "processes.h"
#include "runtime/v1/cri.pb.h"

namespace davit::bench {
namespace {

namespace cri = ::runtime::v1;

Status RemoveImage(Engine& engine, const std::string& image) {
  cri::RemoveImageRequest request;
  request.mutable_image()->set_image(image);
  return engine.client().Call(request).status();
}

}  // namespace

Status Bench::OnePull(Engine& engine) {
  RETURN_IF_ERROR(RemoveImage(engine, plan_.pull_image));
  double cpu = engine.daemon() != 0 ? CpuSeconds(ReadProcesses(), engine.daemon()) : 0;
  auto begin = std::chrono::steady_clock::now();
  cri::PullImageRequest request;
  request.mutable_image()->set_image(plan_.pull_image);
  RETURN_IF_ERROR(engine.client().Call(request).status());
  auto end = std::chrono::steady_clock::now();
  report_.Add("pull", "s", engine.name(), std::chrono::duration<double>(end - begin).count());
  if (engine.daemon() != 0)
    report_.Add("pull, CPU", "s", engine.name(), CpuSeconds(ReadProcesses(), engine.daemon()) - cpu);
  return {};
}

Status Bench::Pull() {
  if (plan_.pull_image.empty()) return InvalidArgument("pull needs --pull-image");
  for (int i = 0; i < plan_.pulls && !stop_; ++i) {
    for (Engine* engine : Order(i)) RETURN_IF_ERROR(OnePull(*engine).Annotate(engine->name()));
  }
  for (Engine* engine : engines_) RETURN_IF_ERROR(RemoveImage(*engine, plan_.pull_image));
  return {};
}

}  // namespace davit::bench
