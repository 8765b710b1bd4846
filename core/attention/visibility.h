// Which keys a query may see by the rules that are known before any tensor is read:
// lengths, causal with its prefix, window and documents. They leave one range of keys per
// query (documents whose keys lie apart, and masks, hide more inside it). Engines skip
// keys outside the ranges of a whole tile, and pay for hiding only where rows differ.
#ifndef ATTND_CORE_ATTENTION_VISIBILITY_H_
#define ATTND_CORE_ATTENTION_VISIBILITY_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/attention/per_entry.h"

namespace attnd {

// Keys [begin, end); empty if begin >= end.
struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;

  [[nodiscard]] int64_t size() const { return std::max<int64_t>(0, end - begin); }
  [[nodiscard]] bool empty() const { return begin >= end; }
  [[nodiscard]] KeyRange Intersect(KeyRange other) const {
    return {std::max(begin, other.begin), std::min(end, other.end)};
  }
  friend bool operator==(const KeyRange&, const KeyRange&) = default;
};

// Where entries begin in per-token lists, and how many tokens they have there.
struct TokenSpans {
  PerEntry count;
  // First token of an entry; unset: entry b's is b * count.
  std::vector<int64_t> starts;

  [[nodiscard]] int64_t begin(int64_t b) const {
    return starts.empty() ? b * count[b] : starts[static_cast<size_t>(b)];
  }
};

// Documents by token: query i of an entry sees key j only if their ids are equal.
// Thread-compatible; immutable.
class DocumentIndex {
 public:
  // Ids entry after entry. Takes O(tokens log(tokens)) time and O(tokens) memory.
  DocumentIndex(std::vector<int32_t> query_ids, std::vector<int32_t> key_ids, TokenSpans queries, TokenSpans keys,
                int64_t batch);

  // From the first to the last key of query `q`'s document.
  [[nodiscard]] KeyRange Keys(int64_t b, int64_t q) const {
    return ranges_[static_cast<size_t>(queries_.begin(b) + q)];
  }
  // Whether some document of entry `b` has keys of others between its own, so that ids
  // must be compared.
  [[nodiscard]] bool scattered(int64_t b) const { return scattered_[static_cast<size_t>(b)]; }
  [[nodiscard]] int32_t QueryId(int64_t b, int64_t q) const {
    return query_ids_[static_cast<size_t>(queries_.begin(b) + q)];
  }
  // Ids of the keys [keys.begin, keys.end).
  [[nodiscard]] const int32_t* KeyIds(int64_t b, int64_t key) const { return key_ids_.data() + keys_.begin(b) + key; }

 private:
  std::vector<int32_t> query_ids_;
  std::vector<int32_t> key_ids_;
  TokenSpans queries_;
  TokenSpans keys_;
  std::vector<KeyRange> ranges_;
  std::vector<bool> scattered_;
};

// Thread-compatible; immutable once set up.
struct Visibility {
  // Bound of a window that has none; larger than any distance of positions.
  static constexpr int64_t kUnbounded = int64_t{1} << 62;

  // Keys that take part, 0 <= begin <= end <= kv_len.
  PerEntry kv_begin;
  PerEntry kv_end;
  // pos_q - pos_k of query 0 and key 0; |shift| <= 2^61.
  PerEntry shift;
  bool causal = false;
  // Keys visible whatever `causal` says.
  PerEntry prefix;
  // pos_q - left <= pos_k <= pos_q + right.
  int64_t left = kUnbounded;
  int64_t right = kUnbounded;
  std::shared_ptr<const DocumentIndex> documents;

  // Whether all queries of an entry see the same keys by these rules.
  [[nodiscard]] bool same_for_all_queries() const {
    return !causal && left == kUnbounded && right == kUnbounded && documents == nullptr;
  }

  // The range of keys that query `q` of entry `b` may see; {0, 0} if there is none.
  [[nodiscard]] KeyRange Keys(int64_t b, int64_t q) const {
    KeyRange keys{kv_begin[b], kv_end[b]};
    const int64_t position = q + shift[b];
    if (causal) keys.end = std::min(keys.end, std::max(position + 1, prefix[b]));
    keys.begin = std::max(keys.begin, position - left);
    // right < kUnbounded is below 2^62, so nothing overflows.
    if (right < kUnbounded) keys.end = std::min(keys.end, position + right + 1);
    if (documents != nullptr) keys = keys.Intersect(documents->Keys(b, q));
    return keys.empty() ? KeyRange{0, 0} : keys;
  }

  // Number of (query, key) pairs in the ranges of queries [0, q_count) of entry `b`:
  // exact up to `most_looked_at` queries, estimated from a sample beyond. A double, as it
  // may pass 2^63.
  [[nodiscard]] double Pairs(int64_t b, int64_t q_count, int64_t most_looked_at = 4096) const;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_VISIBILITY_H_
