#include "core/attention/visibility.h"

#include <algorithm>
#include <utility>

namespace attnd {
namespace {

// Keys of a document: from its first to its last, and how many of them are its own.
struct DocumentKeys {
  int32_t id = 0;
  KeyRange range;
  int64_t count = 0;
};

// Keys by document, by id. Sorts runs of equal ids: a hash table would be slow for ids
// chosen to fall into one place.
std::vector<DocumentKeys> IndexKeys(std::span<const int32_t> ids) {
  std::vector<DocumentKeys> documents;
  const auto count = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < count;) {
    const int32_t id = ids[static_cast<size_t>(begin)];
    int64_t end = begin + 1;
    while (end < count && ids[static_cast<size_t>(end)] == id) ++end;
    documents.push_back({id, {begin, end}, end - begin});
    begin = end;
  }
  std::sort(documents.begin(), documents.end(), [](const DocumentKeys& a, const DocumentKeys& b) {
    return a.id != b.id ? a.id < b.id : a.range.begin < b.range.begin;
  });
  size_t kept = 0;
  for (size_t i = 1; i < documents.size(); ++i) {
    if (documents[i].id != documents[kept].id) {
      documents[++kept] = documents[i];
      continue;
    }
    documents[kept].range.end = documents[i].range.end;
    documents[kept].count += documents[i].count;
  }
  documents.resize(std::min(documents.size(), kept + 1));
  return documents;
}

KeyRange KeysOf(const std::vector<DocumentKeys>& documents, int32_t id) {
  const auto it = std::lower_bound(documents.begin(), documents.end(), id,
                                   [](const DocumentKeys& document, int32_t wanted) { return document.id < wanted; });
  return it != documents.end() && it->id == id ? it->range : KeyRange{0, 0};
}

}  // namespace

DocumentIndex::DocumentIndex(std::vector<int32_t> query_ids, std::vector<int32_t> key_ids, TokenSpans queries,
                             TokenSpans keys, int64_t batch)
    : query_ids_(std::move(query_ids)),
      key_ids_(std::move(key_ids)),
      queries_(std::move(queries)),
      keys_(std::move(keys)),
      ranges_(query_ids_.size()),
      scattered_(static_cast<size_t>(batch)) {
  for (int64_t b = 0; b < batch; ++b) {
    const auto entry_keys =
        std::span(key_ids_).subspan(static_cast<size_t>(keys_.begin(b)), static_cast<size_t>(keys_.count[b]));
    const auto documents = IndexKeys(entry_keys);
    scattered_[static_cast<size_t>(b)] = std::any_of(documents.begin(), documents.end(),
                                                     [](const DocumentKeys& d) { return d.count != d.range.size(); });
    const auto first = static_cast<size_t>(queries_.begin(b));
    const auto count = static_cast<size_t>(queries_.count[b]);
    for (size_t q = first; q < first + count; ++q) {
      const bool repeated = q > first && query_ids_[q] == query_ids_[q - 1];
      ranges_[q] = repeated ? ranges_[q - 1] : KeysOf(documents, query_ids_[q]);
    }
  }
}

double Visibility::Pairs(int64_t b, int64_t q_count, int64_t most_looked_at) const {
  if (q_count <= 0) return 0;
  if (same_for_all_queries()) return static_cast<double>(q_count) * static_cast<double>(Keys(b, 0).size());
  const int64_t samples = std::min(q_count, most_looked_at);
  double pairs = 0;
  for (int64_t i = 0; i < samples; ++i) {
    // The middle of each of `samples` equal stretches.
    const double middle = (static_cast<double>(i) + 0.5) * static_cast<double>(q_count) / static_cast<double>(samples);
    pairs += static_cast<double>(Keys(b, static_cast<int64_t>(middle)).size());
  }
  return pairs * (static_cast<double>(q_count) / static_cast<double>(samples));
}

}  // namespace attnd
