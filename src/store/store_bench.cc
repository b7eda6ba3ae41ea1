// What a commit costs on this disk. Not run by ctest.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <string>

#include "store/database.h"
#include "sys/atomic_file.h"

namespace davit::store {
namespace {

// $TMPDIR decides which disk is measured.
std::string MakeDirectory() {
  const char* base = ::getenv("TMPDIR");
  std::string path = std::string(base != nullptr ? base : "/tmp") + "/davit-bench-XXXXXX";
  return ::mkdtemp(path.data()) != nullptr ? path : "";
}

void BM_Put(benchmark::State& state) {
  std::string dir = MakeDirectory();
  Result<std::unique_ptr<Database>> database = Database::Open(dir + "/davit.db");
  if (!database.ok()) {
    state.SkipWithError(database.status().ToString().c_str());
    return;
  }
  Durability durability = state.range(0) == 0 ? Durability::kAtomic : Durability::kDurable;
  std::string body(2500, 'x');
  uint64_t n = 0;
  for (auto _ : state) {
    body[n % body.size()] = static_cast<char>('a' + n % 26);
    Status put = (*database)->Put(Kind::kContainer, "container" + std::to_string(n % 300), body, durability);
    if (!put.ok()) state.SkipWithError(put.ToString().c_str());
    ++n;
  }
  database->reset();
  IgnoreError(sys::RemoveTree(dir));  // a temporary directory
}
BENCHMARK(BM_Put)->ArgName("durable")->Arg(0)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace davit::store

BENCHMARK_MAIN();
