// Statistics: files of cgroups and counters of network namespaces, read at the moment of the question by two
// threads at most. Nothing here takes a strand, walks a directory tree or waits for a verb.
#include "engine/stats.h"

#include <atomic>
#include <unordered_map>

#include "base/time.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

constexpr std::chrono::seconds kWritableMaxAge{10};
constexpr size_t kOneThreadItems = 8;  // a second thread costs more than it saves

// Runs `one` for each item, on two threads when there are many; then `done`, on the last of them.
template <class In, class Out>
void InParallel(sched::ThreadPool& pool, std::vector<In> items, std::function<Out(const In&)> one,
                Done<std::vector<Out>> done) {
  struct Job {
    std::vector<In> items;
    std::vector<Out> results;
    std::function<Out(const In&)> one;
    Done<std::vector<Out>> done;
    std::atomic<size_t> next = 0;
    std::atomic<size_t> running = 0;
  };
  auto job = std::make_shared<Job>();
  job->items = std::move(items);
  job->results.resize(job->items.size());
  job->one = std::move(one);
  job->done = std::move(done);
  const size_t threads = job->items.size() > kOneThreadItems ? 2 : 1;
  job->running = threads;
  for (size_t i = 0; i < threads; ++i) {
    pool.Post([job] {
      for (size_t at = job->next++; at < job->items.size(); at = job->next++) {
        job->results[at] = job->one(job->items[at]);
      }
      if (--job->running == 0) job->done(std::move(job->results));
    });
  }
}

std::optional<uint64_t> Rate(CpuRates& rates, const std::string& cgroup, const sys::CgroupStats& stats) {
  if (!stats.cpu_usage_nanos) return std::nullopt;
  return rates.Sample(cgroup, *stats.cpu_usage_nanos, CpuRates::Clock::now());
}

void Add(std::optional<uint64_t>& sum, const std::optional<uint64_t>& value) {
  if (sum && value) {
    *sum += *value;
  } else {
    sum.reset();
  }
}

}  // namespace

sys::CgroupStats Sum(const std::vector<ContainerStats>& containers) {
  sys::CgroupStats sum;
  for (auto field : {&sys::CgroupStats::cpu_usage_nanos, &sys::CgroupStats::memory_usage_bytes,
                     &sys::CgroupStats::memory_working_set_bytes, &sys::CgroupStats::memory_rss_bytes,
                     &sys::CgroupStats::page_faults, &sys::CgroupStats::major_page_faults,
                     &sys::CgroupStats::swap_usage_bytes, &sys::CgroupStats::pids}) {
    std::optional<uint64_t> total = 0;
    for (const ContainerStats& one : containers) {
      if (one.cgroup) Add(total, (*one.cgroup).*field);  // one that has ended uses nothing
    }
    sum.*field = total;
  }
  return sum;
}

std::optional<WritableLayer> Engine::State::WritableOf(const ContainerId& id) {
  std::optional<store::WritableUsage> last = rootfs->LastUsage(id);
  if (!last || std::chrono::steady_clock::now() - last->measured_at > kWritableMaxAge) writable_usage->Want(id);
  if (!last) return std::nullopt;
  return WritableLayer{last->disk.bytes, last->disk.inodes, last->wall_nanos};
}

ContainerStats Engine::State::StatsOf(const ContainerPtr& record) {
  ContainerStats stats;
  stats.record = record;
  stats.timestamp = WallNanos();
  if (Result<sys::CgroupStats> read = cgroup_stats->Read(record->cgroup); read.ok()) {
    stats.timestamp = read->timestamp;
    stats.cpu_nano_cores = Rate(cpu_rates, record->cgroup, *read);
    stats.cgroup = *std::move(read);
  }
  stats.writable = WritableOf(record->id);
  return stats;
}

std::optional<NetworkUse> Engine::State::NetworkOf(const pod::PodRecord& record) {
  if (record.spec.network == pod::NamespaceMode::kNode) return std::nullopt;
  const PodId& id = record.id;
  Result<std::vector<sys::InterfaceUse>> interfaces =
      pod_interfaces.Read(id, sandboxes->paths().Namespace(id, "net"), [&] {
        PodPtr now = Pod(id);
        return now && now->phase == pod::Phase::kReady;
      });
  if (!interfaces.ok()) return std::nullopt;  // it is being stopped
  return NetworkUse{WallNanos(), *std::move(interfaces)};
}

PodStats Engine::State::StatsOf(const PodPtr& record, const std::vector<ContainerPtr>& running, bool shared_cgroup) {
  PodStats stats;
  stats.record = record;
  stats.timestamp = WallNanos();
  for (const ContainerPtr& one : running) stats.containers.push_back(StatsOf(one));
  if (shared_cgroup) {
    stats.cgroup = Sum(stats.containers);
    stats.processes = 0;
    for (const ContainerPtr& one : running) {
      *stats.processes += cgroup_stats->CountProcesses(one->cgroup).value_or(uint64_t{0});
    }
  } else {
    if (Result<sys::CgroupStats> read = cgroup_stats->Read(record->cgroup); read.ok()) {
      stats.timestamp = read->timestamp;
      stats.cgroup = *std::move(read);
    }
    if (Result<uint64_t> count = cgroup_stats->CountProcesses(record->cgroup); count.ok()) stats.processes = *count;
  }
  if (stats.cgroup) stats.cpu_nano_cores = Rate(cpu_rates, "pod " + record->id.str(), *stats.cgroup);
  stats.network = NetworkOf(*record);
  return stats;
}

std::vector<Engine::State::PodQuestion> Engine::State::QuestionsAbout(const std::vector<PodPtr>& pods) {
  SnapshotPtr view = View();
  std::unordered_map<std::string_view, int> users;  // views of the snapshot's records
  for (const auto& [id, record] : view->pods()) {
    if (record->phase == pod::Phase::kReady) ++users[record->cgroup];
  }
  std::map<PodId, std::vector<ContainerPtr>> running;
  for (const auto& [id, record] : view->containers()) {
    if (record->phase == container::Phase::kRunning) running[record->pod].push_back(record);
  }
  std::vector<PodQuestion> questions;
  questions.reserve(pods.size());
  for (const PodPtr& pod : pods) {
    PodQuestion question;
    question.pod = pod;
    // The root cgroup is the whole machine.
    question.shared_cgroup = pod->cgroup.empty() || users[pod->cgroup] > 1;
    if (auto found = running.find(pod->id); found != running.end()) question.running = std::move(found->second);
    questions.push_back(std::move(question));
  }
  return questions;
}

void Engine::Stats(std::vector<ContainerPtr> containers, Done<std::vector<ContainerStats>> done) {
  State* state = state_.get();
  InParallel<ContainerPtr, ContainerStats>(
      state->stats_pool, std::move(containers), [state](const ContainerPtr& record) { return state->StatsOf(record); },
      std::move(done));
}

void Engine::StatsOfPods(const std::vector<PodPtr>& pods, Done<std::vector<PodStats>> done) {
  State* state = state_.get();
  InParallel<State::PodQuestion, PodStats>(
      state->stats_pool, state->QuestionsAbout(pods),
      [state](const State::PodQuestion& question) {
        return state->StatsOf(question.pod, question.running, question.shared_cgroup);
      },
      std::move(done));
}

void Engine::NumbersOfPods(const std::vector<PodPtr>& pods, Done<std::vector<PodNumbers>> done) {
  State* state = state_.get();
  InParallel<State::PodQuestion, PodNumbers>(
      state->stats_pool, state->QuestionsAbout(pods),
      [state](const State::PodQuestion& question) { return state->NumbersOf(question); }, std::move(done));
}

}  // namespace davit::engine
