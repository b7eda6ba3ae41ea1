// PersistentMap: an ordered map whose copies cost nothing and share what they have in common, for values that many hold
// while one changes them: a change copies O(sqrt n) pointers, never a key or a value, and no copy made before sees it.
//
// Entries stand in chunks of at most kMost, sorted; the map is the list of chunks. Packaged persistent maps are hashed
// (immer) or not packaged in Debian; the order by key is what lists show and what a beginning of an id is looked for
// in.
//
// Threads: as with std::map. Copies are independent of each other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace davit {

template <class Key, class Value>
class PersistentMap {
 public:
  using key_type = Key;
  using mapped_type = Value;
  using value_type = std::pair<const Key, Value>;

 private:
  using Entry = std::shared_ptr<const value_type>;
  using Chunk = std::vector<Entry>;  // never empty
  using Chunks = std::vector<std::shared_ptr<const Chunk>>;

 public:
  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = PersistentMap::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = const value_type&;

    const_iterator() = default;
    reference operator*() const { return *(*(*chunks_)[chunk_])[at_]; }
    pointer operator->() const { return &**this; }
    const_iterator& operator++() {
      if (++at_ == (*chunks_)[chunk_]->size()) {
        at_ = 0;
        ++chunk_;
      }
      return *this;
    }
    const_iterator operator++(int) {
      const_iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const const_iterator& other) const { return chunk_ == other.chunk_ && at_ == other.at_; }

   private:
    friend class PersistentMap;
    const_iterator(const Chunks* chunks, size_t chunk, size_t at) : chunks_(chunks), chunk_(chunk), at_(at) {}
    const Chunks* chunks_ = nullptr;
    size_t chunk_ = 0;
    size_t at_ = 0;
  };

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  // Good until this object, not a copy of it, is changed or gone.
  [[nodiscard]] const_iterator begin() const { return {chunks_.get(), 0, 0}; }
  [[nodiscard]] const_iterator end() const { return {chunks_.get(), chunks_->size(), 0}; }
  // The first whose key is not less.
  [[nodiscard]] const_iterator lower_bound(const Key& key) const {
    const auto [chunk, at] = Place(key);
    return {chunks_.get(), chunk, at};
  }
  [[nodiscard]] const_iterator find(const Key& key) const {
    const const_iterator it = lower_bound(key);
    return it != end() && !(key < it->first) ? it : end();
  }
  [[nodiscard]] size_t count(const Key& key) const { return find(key) == end() ? 0 : 1; }
  // The key is there.
  [[nodiscard]] const Value& at(const Key& key) const { return find(key)->second; }

  // Adds, or replaces.
  void Set(const Key& key, Value value) {
    auto entry = std::make_shared<const value_type>(key, std::move(value));
    auto chunks = std::make_shared<Chunks>(*chunks_);
    if (chunks->empty()) {
      chunks->push_back(std::make_shared<const Chunk>(1, std::move(entry)));
      ++size_;
    } else {
      auto [index, at] = Place(key);
      if (index == chunks->size()) at = (*chunks)[--index]->size();  // past the last: it grows
      auto chunk = std::make_shared<Chunk>(*(*chunks)[index]);
      if (at < chunk->size() && !(key < (*chunk)[at]->first)) {
        (*chunk)[at] = std::move(entry);
      } else {
        chunk->insert(chunk->begin() + static_cast<std::ptrdiff_t>(at), std::move(entry));
        ++size_;
      }
      if (chunk->size() > kMost) {
        const auto middle = chunk->begin() + static_cast<std::ptrdiff_t>(chunk->size() / 2);
        chunks->insert(chunks->begin() + static_cast<std::ptrdiff_t>(index) + 1,
                       std::make_shared<const Chunk>(middle, chunk->end()));
        chunk->erase(middle, chunk->end());
      }
      (*chunks)[index] = std::move(chunk);
    }
    chunks_ = std::move(chunks);
  }

  // False when it is not there.
  bool Erase(const Key& key) {
    const const_iterator it = find(key);
    if (it == end()) return false;
    auto chunks = std::make_shared<Chunks>(*chunks_);
    auto chunk = std::make_shared<Chunk>(*(*chunks)[it.chunk_]);
    chunk->erase(chunk->begin() + static_cast<std::ptrdiff_t>(it.at_));
    if (chunk->empty()) {
      chunks->erase(chunks->begin() + static_cast<std::ptrdiff_t>(it.chunk_));
    } else {
      (*chunks)[it.chunk_] = std::move(chunk);
    }
    chunks_ = std::move(chunks);
    --size_;
    return true;
  }

 private:
  // For a thousand entries a change copies about as many chunks as entries of one.
  static constexpr size_t kMost = 64;

  // Of the first entry that is not less: chunk and position; {number of chunks, 0} when all are less.
  [[nodiscard]] std::pair<size_t, size_t> Place(const Key& key) const {
    const auto chunk =
        std::partition_point(chunks_->begin(), chunks_->end(),
                             [&](const std::shared_ptr<const Chunk>& one) { return one->back()->first < key; });
    const auto index = static_cast<size_t>(chunk - chunks_->begin());
    if (chunk == chunks_->end()) return {index, 0};
    const auto entry =
        std::partition_point((*chunk)->begin(), (*chunk)->end(), [&](const Entry& one) { return one->first < key; });
    return {index, static_cast<size_t>(entry - (*chunk)->begin())};
  }

  std::shared_ptr<const Chunks> chunks_ = std::make_shared<const Chunks>();
  size_t size_ = 0;
};

}  // namespace davit
