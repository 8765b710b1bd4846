// Numbers of which each batch entry has one, or all entries the same.
#ifndef ATTND_CORE_ATTENTION_PER_ENTRY_H_
#define ATTND_CORE_ATTENTION_PER_ENTRY_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace attnd {

// Thread-compatible; immutable.
class PerEntry {
 public:
  PerEntry() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a number for all is a PerEntry
  PerEntry(int64_t all) : all_(all) {}
  // One for each entry.
  explicit PerEntry(std::vector<int64_t> each) : each_(std::move(each)) {}

  [[nodiscard]] int64_t operator[](int64_t b) const { return each_.empty() ? all_ : each_[static_cast<size_t>(b)]; }
  // Whether all entries have the same without looking.
  [[nodiscard]] bool uniform() const { return each_.empty(); }

  // f(a[b]) for every entry.
  template <typename F>
  static PerEntry Map(F f, const PerEntry& a) {
    if (a.uniform()) return f(a.all_);
    std::vector<int64_t> each(a.each_.size());
    for (size_t b = 0; b < each.size(); ++b) each[b] = f(a.each_[b]);
    return PerEntry(std::move(each));
  }
  // f(a[b], c[b]) for every entry.
  template <typename F>
  static PerEntry Map(F f, const PerEntry& a, const PerEntry& c) {
    if (a.uniform() && c.uniform()) return f(a.all_, c.all_);
    std::vector<int64_t> each(a.uniform() ? c.each_.size() : a.each_.size());
    for (size_t b = 0; b < each.size(); ++b) each[b] = f(a[static_cast<int64_t>(b)], c[static_cast<int64_t>(b)]);
    return PerEntry(std::move(each));
  }

 private:
  int64_t all_ = 0;
  std::vector<int64_t> each_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_PER_ENTRY_H_
