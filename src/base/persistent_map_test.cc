#include "base/persistent_map.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace davit {
namespace {

using Map = PersistentMap<std::string, int>;

void ExpectEqual(const Map& map, const std::map<std::string, int>& model) {
  ASSERT_EQ(map.size(), model.size());
  auto it = map.begin();
  for (const auto& [key, value] : model) {
    ASSERT_NE(it, map.end());
    ASSERT_EQ(it->first, key);
    ASSERT_EQ(it->second, value);
    ++it;
  }
  EXPECT_EQ(it, map.end());
}

TEST(PersistentMapTest, IsAMap) {
  std::mt19937 chance(7);  // NOLINT(cert-msc51-cpp): the same every time
  Map map;
  std::map<std::string, int> model;
  for (int step = 0; step < 20'000; ++step) {
    const std::string key = std::to_string(chance() % 700);
    if (chance() % 5 < 3) {
      map.Set(key, step);
      model[key] = step;
    } else {
      EXPECT_EQ(map.Erase(key), model.erase(key) == 1);
    }
    const std::string other = std::to_string(chance() % 1000);
    ASSERT_EQ(map.count(other), model.count(other));
    const auto bound = model.lower_bound(other);
    ASSERT_EQ(map.lower_bound(other) == map.end(), bound == model.end());
    if (bound != model.end()) {
      ASSERT_EQ(map.lower_bound(other)->first, bound->first);
    }
  }
  ExpectEqual(map, model);
  for (auto left = model; !left.empty();) {
    map.Erase(left.begin()->first);
    left.erase(left.begin());
  }
  ExpectEqual(map, {});
}

TEST(PersistentMapTest, CopiesSeeNothingOfWhatComesAfter) {
  Map map;
  std::map<std::string, int> model;
  std::vector<std::pair<Map, std::map<std::string, int>>> kept;
  for (int i = 0; i < 500; ++i) {
    const std::string key = std::to_string(i * 7919 % 500);
    map.Set(key, i);
    model[key] = i;
    if (i % 3 == 0) {
      map.Erase(std::to_string(i / 2));
      model.erase(std::to_string(i / 2));
    }
    if (i % 50 == 0) kept.emplace_back(map, model);
  }
  for (const auto& [copy, then] : kept) ExpectEqual(copy, then);
  ExpectEqual(map, model);
}

TEST(PersistentMapTest, GrowsAtItsEndsToo) {
  Map up;
  Map down;
  std::map<std::string, int> model;
  for (int i = 1000; i < 1300; ++i) {
    up.Set(std::to_string(i), i);
    down.Set(std::to_string(2299 - i), 2299 - i);
    model[std::to_string(i)] = i;
  }
  ExpectEqual(up, model);
  ExpectEqual(down, model);
}

}  // namespace
}  // namespace davit
