// The numbers behind ListPodSandboxMetrics: everything that a cgroup tells, and what its processes hold open.
#include "base/time.h"
#include "engine/state.h"
#include "engine/stats.h"
#include "sys/process_files.h"

namespace davit::engine {
namespace {

// Past these a container gets no such number: one that opens everything must not slow the others' answer.
constexpr size_t kMaxProcesses = 1024;
constexpr size_t kMaxDescriptors = 65536;

void CountFiles(const std::vector<pid_t>& pids, ContainerNumbers& numbers) {
  if (pids.size() > kMaxProcesses) return;
  uint64_t descriptors = 0;
  uint64_t sockets = 0;
  for (pid_t pid : pids) {
    Result<sys::ProcessFiles> files = sys::CountProcessFiles(pid, kMaxDescriptors - descriptors);
    if (files.code() == StatusCode::kNotFound) continue;  // has ended meanwhile
    if (!files.ok()) return;
    descriptors += files->descriptors;
    sockets += files->sockets;
  }
  numbers.descriptors = descriptors;
  numbers.sockets = sockets;
}

}  // namespace

ContainerNumbers Engine::State::NumbersOf(const ContainerPtr& record) {
  ContainerNumbers numbers;
  numbers.record = record;
  numbers.timestamp = WallNanos();
  if (Result<sys::CgroupDetail> detail = cgroup_stats->ReadDetail(record->cgroup); detail.ok()) {
    numbers.timestamp = detail->stats.timestamp;
    numbers.cgroup = *std::move(detail);
  }
  if (Result<std::vector<pid_t>> pids = sys::ListProcesses(cgroups, record->cgroup); pids.ok()) {
    numbers.processes = pids->size();
    CountFiles(*pids, numbers);
  }
  if (record->pid > 0) numbers.open_files_limit = sys::OpenFilesLimit(static_cast<pid_t>(record->pid));
  numbers.writable = WritableOf(record->id);
  return numbers;
}

PodNumbers Engine::State::NumbersOf(const PodQuestion& question) {
  PodNumbers numbers;
  numbers.record = question.pod;
  numbers.timestamp = WallNanos();
  if (!question.shared_cgroup) {
    if (Result<sys::CgroupDetail> detail = cgroup_stats->ReadDetail(question.pod->cgroup); detail.ok()) {
      numbers.timestamp = detail->stats.timestamp;
      numbers.cgroup = *std::move(detail);
    }
    if (Result<uint64_t> count = cgroup_stats->CountProcesses(question.pod->cgroup); count.ok()) {
      numbers.processes = *count;
    }
  }
  numbers.network = NetworkOf(*question.pod);
  for (const ContainerPtr& one : question.running) numbers.containers.push_back(NumbersOf(one));
  return numbers;
}

}  // namespace davit::engine
