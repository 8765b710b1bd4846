#include "core/linear/weight_store.h"

#include <algorithm>
#include <iterator>
#include <list>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/linear/weights_id.h"
#include "core/runtime/mutex.h"

namespace attnd {
namespace {

// Requests take milliseconds; a few of them later some weights are likely to be free.
constexpr std::chrono::milliseconds kRetryAfter{500};

absl::Status Unknown(std::string_view what, std::string_view name) {
  constexpr size_t kMostShown = 256;
  return absl::NotFoundError(absl::StrCat("no weights of ", std::string(what), " '",
                                          absl::CHexEscape(std::string(name.substr(0, kMostShown))),
                                          "' are registered (any more); register them and try again"));
}

std::vector<WeightTensorInfo> TensorsOf(const ProjectionWeights& weights) {
  std::vector<WeightTensorInfo> tensors;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (tensor.has_value()) tensors.push_back({info.role, tensor->dtype, tensor->shape});
  }
  return tensors;
}

}  // namespace

// Invariants, whenever the lock is free:
//  - used_ and sets_ hold the same entries, used_ in the order of use, last used first
//  - an entry is packed (`weights` set) or being packed by one thread, and then not pinned
//  - aliases_ and the entries' own names agree; an entry that is not in sets_ has none
//  - resident_ is the sum of bytes of packed entries, deleted ones that are pinned
//    included; reserved_ of those being packed; together they are within the budget
class WeightStore::Impl : public std::enable_shared_from_this<WeightStore::Impl> {
 public:
  Impl(const Options& options, const Clock& clock) : options_(options), clock_(clock) {}

  absl::StatusOr<PinnedWeights> Find(std::string_view id, std::string_view alias) ATTND_EXCLUDES(mutex_);
  absl::Status CheckFits(const WeightShapes& shapes) const;
  absl::StatusOr<RegisteredWeights> Register(std::string_view id, const ProjectionWeights& weights,
                                             const WeightShapes& shapes, std::string_view alias) ATTND_EXCLUDES(mutex_);
  absl::StatusOr<bool> Reuse(std::string_view id, std::string_view alias) ATTND_EXCLUDES(mutex_);
  absl::StatusOr<WeightsInfo> Describe(std::string_view name) const ATTND_EXCLUDES(mutex_);
  std::vector<WeightsInfo> List() const ATTND_EXCLUDES(mutex_);
  absl::StatusOr<std::string> Delete(std::string_view name) ATTND_EXCLUDES(mutex_);
  absl::StatusOr<std::string> SetAlias(std::string_view name, std::string_view alias) ATTND_EXCLUDES(mutex_);
  WeightStoreStats Stats() const ATTND_EXCLUDES(mutex_);

 private:
  struct Entry {
    // Lower-case hexadecimal; `aliases`, `tensors` are for Describe.
    std::string id;
    std::set<std::string, std::less<>> aliases;
    Orientation orientation = Orientation::kUnset;
    std::vector<WeightTensorInfo> tensors;
    int64_t bytes = 0;
    std::shared_ptr<const PackedWeights> weights;
    int64_t pins = 0;
    Time used;
    // In used_; unset once evicted or deleted.
    std::optional<std::list<std::shared_ptr<Entry>>::iterator> place;
  };
  using EntryPtr = std::shared_ptr<Entry>;

  // What a PinnedWeights shares with its copies.
  struct Pin {
    Pin(std::shared_ptr<Impl> store, EntryPtr pinned) : impl(std::move(store)), entry(std::move(pinned)) {}
    ~Pin() { impl->Unpin(*entry); }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

    const std::shared_ptr<Impl> impl;
    const EntryPtr entry;
  };

  void Unpin(Entry& entry) ATTND_EXCLUDES(mutex_);
  // Packed or not; nullptr if there is none.
  EntryPtr FindEntry(std::string_view id) const ATTND_REQUIRES(mutex_);
  // Packed, by id or alias.
  absl::StatusOr<EntryPtr> FindPacked(std::string_view name) const ATTND_REQUIRES(mutex_);
  void Touch(Entry& entry) ATTND_REQUIRES(mutex_);
  // The entry with this id that is packed, waiting for who is packing it; nullptr if none.
  EntryPtr AwaitPacked(std::string_view id) ATTND_REQUIRES(mutex_);
  absl::Status MakeRoom(int64_t bytes) ATTND_REQUIRES(mutex_);
  EntryPtr Insert(std::string_view id, const ProjectionWeights& weights, int64_t bytes) ATTND_REQUIRES(mutex_);
  // Takes the entry and its names out of the books; frees it unless it is pinned.
  void Remove(const EntryPtr& entry) ATTND_REQUIRES(mutex_);
  absl::Status CheckRoomForAlias(const Entry* entry, std::string_view alias) const ATTND_REQUIRES(mutex_);
  void GiveAlias(Entry& entry, std::string_view alias) ATTND_REQUIRES(mutex_);
  WeightsInfo InfoOf(const Entry& entry) const ATTND_REQUIRES(mutex_);

  const Options options_;
  const Clock& clock_;
  mutable Mutex mutex_;
  CondVar packed_;
  std::list<EntryPtr> used_ ATTND_GUARDED_BY(mutex_);
  std::map<std::string, EntryPtr, std::less<>> sets_ ATTND_GUARDED_BY(mutex_);
  std::map<std::string, EntryPtr, std::less<>> aliases_ ATTND_GUARDED_BY(mutex_);
  int64_t resident_ ATTND_GUARDED_BY(mutex_) = 0;
  int64_t reserved_ ATTND_GUARDED_BY(mutex_) = 0;
  int64_t evictions_ ATTND_GUARDED_BY(mutex_) = 0;
};

absl::StatusOr<PinnedWeights> WeightStore::Impl::Find(std::string_view id, std::string_view alias) {
  const MutexLock lock(mutex_);
  EntryPtr entry;
  if (alias.empty()) {
    entry = FindEntry(id);
  } else if (const auto it = aliases_.find(alias); it != aliases_.end()) {
    entry = it->second;
  }
  if (entry == nullptr || entry->weights == nullptr) {
    return alias.empty() ? Unknown("id", id) : Unknown("alias", alias);
  }
  ++entry->pins;
  Touch(*entry);
  const PackedWeights* weights = entry->weights.get();
  return PinnedWeights(std::make_shared<Pin>(shared_from_this(), std::move(entry)), weights);
}

void WeightStore::Impl::Unpin(Entry& entry) {
  const MutexLock lock(mutex_);
  --entry.pins;
  if (entry.place.has_value()) {
    Touch(entry);
  } else if (entry.pins == 0) {
    entry.weights.reset();
    resident_ -= entry.bytes;
  }
}

WeightStore::Impl::EntryPtr WeightStore::Impl::FindEntry(std::string_view id) const {
  const auto it = sets_.find(id);
  return it == sets_.end() ? nullptr : it->second;
}

absl::StatusOr<WeightStore::Impl::EntryPtr> WeightStore::Impl::FindPacked(std::string_view name) const {
  EntryPtr entry = FindEntry(name);
  if (entry == nullptr) {
    if (const auto it = aliases_.find(name); it != aliases_.end()) entry = it->second;
  }
  if (entry == nullptr || entry->weights == nullptr) return Unknown(IsWeightsId(name) ? "id" : "alias", name);
  return entry;
}

void WeightStore::Impl::Touch(Entry& entry) {
  entry.used = clock_.Now();
  used_.splice(used_.begin(), used_, *entry.place);
}

absl::Status WeightStore::Impl::CheckFits(const WeightShapes& shapes) const {
  const int64_t bytes = PackedWeights::BytesFor(shapes);
  if (bytes <= options_.budget_bytes) return absl::OkStatus();
  return InvalidField("weights", absl::StrCat("they take ", bytes, " bytes in float32; the server's budget for all is ",
                                              options_.budget_bytes, " (--weights-budget)"));
}

WeightStore::Impl::EntryPtr WeightStore::Impl::AwaitPacked(std::string_view id) {
  for (;;) {
    EntryPtr entry = FindEntry(id);
    if (entry == nullptr || entry->weights != nullptr) return entry;
    packed_.Wait(mutex_);
  }
}

absl::Status WeightStore::Impl::MakeRoom(int64_t bytes) {
  int64_t missing = resident_ + reserved_ + bytes - options_.budget_bytes;
  int64_t missing_sets = static_cast<int64_t>(sets_.size()) + 1 - options_.max_sets;
  std::vector<EntryPtr> victims;
  for (auto it = used_.rbegin(); it != used_.rend() && (missing > 0 || missing_sets > 0); ++it) {
    if ((*it)->pins > 0 || (*it)->weights == nullptr) continue;
    missing -= (*it)->bytes;
    --missing_sets;
    victims.push_back(*it);
  }
  if (missing > 0 || missing_sets > 0) {
    return Overloaded(
        missing > 0 ? absl::StrCat("weights: ", bytes,
                                   " bytes are needed, and requests and registrations in progress "
                                   "hold all but ",
                                   bytes - missing, " of the ", options_.budget_bytes, " there are (--weights-budget)")
                    : absl::StrCat("weights: all of the ", options_.max_sets, " sets there may be are in use"),
        kRetryAfter);
  }
  for (const EntryPtr& victim : victims) Remove(victim);
  evictions_ += static_cast<int64_t>(victims.size());
  return absl::OkStatus();
}

WeightStore::Impl::EntryPtr WeightStore::Impl::Insert(std::string_view id, const ProjectionWeights& weights,
                                                      int64_t bytes) {
  auto entry = std::make_shared<Entry>();
  entry->id = id;
  entry->orientation = weights.orientation;
  entry->tensors = TensorsOf(weights);
  entry->bytes = bytes;
  used_.push_front(entry);
  entry->place = used_.begin();
  sets_.emplace(entry->id, entry);
  reserved_ += bytes;
  return entry;
}

void WeightStore::Impl::Remove(const EntryPtr& entry) {
  for (const std::string& alias : entry->aliases) aliases_.erase(alias);
  entry->aliases.clear();
  used_.erase(*entry->place);
  entry->place.reset();
  sets_.erase(entry->id);
  if (entry->weights == nullptr) {
    reserved_ -= entry->bytes;
  } else if (entry->pins == 0) {
    // Before the bytes are given to others.
    entry->weights.reset();
    resident_ -= entry->bytes;
  }
}

absl::StatusOr<RegisteredWeights> WeightStore::Impl::Register(std::string_view id, const ProjectionWeights& weights,
                                                              const WeightShapes& shapes, std::string_view alias) {
  if (absl::Status s = CheckFits(shapes); !s.ok()) return s;
  EntryPtr entry;
  {
    const MutexLock lock(mutex_);
    if (const EntryPtr there = AwaitPacked(id)) {
      if (absl::Status s = CheckRoomForAlias(there.get(), alias); !s.ok()) return s;
      Touch(*there);
      GiveAlias(*there, alias);
      return RegisteredWeights{there->id, true};
    }
    if (absl::Status s = CheckRoomForAlias(nullptr, alias); !s.ok()) return s;
    const int64_t bytes = PackedWeights::BytesFor(shapes);
    if (absl::Status s = MakeRoom(bytes); !s.ok()) return s;
    entry = Insert(id, weights, bytes);
  }
  auto packed = PackedWeights::Pack(weights, shapes);
  const MutexLock lock(mutex_);
  packed_.SignalAll();
  if (!packed.ok()) {
    Remove(entry);
    return packed.status();
  }
  entry->weights = *std::move(packed);
  reserved_ -= entry->bytes;
  resident_ += entry->bytes;
  Touch(*entry);
  GiveAlias(*entry, alias);
  return RegisteredWeights{entry->id, false};
}

absl::StatusOr<bool> WeightStore::Impl::Reuse(std::string_view id, std::string_view alias) {
  const MutexLock lock(mutex_);
  const EntryPtr entry = FindEntry(id);
  if (absl::Status s = CheckRoomForAlias(entry.get(), alias); !s.ok()) return s;
  if (entry == nullptr || entry->weights == nullptr) return false;
  Touch(*entry);
  GiveAlias(*entry, alias);
  return true;
}

// `entry` may be nullptr: one to come.
absl::Status WeightStore::Impl::CheckRoomForAlias(const Entry* entry, std::string_view alias) const {
  if (alias.empty()) return absl::OkStatus();
  if (absl::Status s = CheckAlias("alias", alias); !s.ok()) return s;
  if (entry == nullptr || entry->aliases.contains(alias) ||
      static_cast<int64_t>(entry->aliases.size()) < options_.max_aliases) {
    return absl::OkStatus();
  }
  return InvalidField("alias", absl::StrCat("the weights have ", entry->aliases.size(), " names; at most ",
                                            options_.max_aliases, " are allowed"));
}

void WeightStore::Impl::GiveAlias(Entry& entry, std::string_view alias) {
  if (alias.empty()) return;
  EntryPtr& owner = aliases_[std::string(alias)];
  if (owner != nullptr) owner->aliases.erase(std::string(alias));
  owner = sets_.find(entry.id)->second;
  owner->aliases.emplace(alias);
}

WeightsInfo WeightStore::Impl::InfoOf(const Entry& entry) const {
  return {.id = entry.id,
          .aliases = {entry.aliases.begin(), entry.aliases.end()},
          .bytes = entry.bytes,
          .requests = entry.pins,
          .idle = clock_.Now() - entry.used,
          .orientation = entry.orientation,
          .tensors = entry.tensors};
}

absl::StatusOr<WeightsInfo> WeightStore::Impl::Describe(std::string_view name) const {
  const MutexLock lock(mutex_);
  const auto entry = FindPacked(name);
  if (!entry.ok()) return entry.status();
  return InfoOf(**entry);
}

std::vector<WeightsInfo> WeightStore::Impl::List() const {
  const MutexLock lock(mutex_);
  std::vector<WeightsInfo> all;
  for (const EntryPtr& entry : used_) {
    if (entry->weights != nullptr) all.push_back(InfoOf(*entry));
  }
  return all;
}

absl::StatusOr<std::string> WeightStore::Impl::Delete(std::string_view name) {
  const MutexLock lock(mutex_);
  const auto entry = FindPacked(name);
  if (!entry.ok()) return entry.status();
  Remove(*entry);
  return (*entry)->id;
}

absl::StatusOr<std::string> WeightStore::Impl::SetAlias(std::string_view name, std::string_view alias) {
  if (absl::Status s = CheckAlias("alias", alias); !s.ok()) return s;
  const MutexLock lock(mutex_);
  const auto entry = FindPacked(name);
  if (!entry.ok()) return entry.status();
  if (absl::Status s = CheckRoomForAlias(entry->get(), alias); !s.ok()) return s;
  GiveAlias(**entry, alias);
  return (*entry)->id;
}

WeightStoreStats WeightStore::Impl::Stats() const {
  const MutexLock lock(mutex_);
  return {.sets = static_cast<int64_t>(sets_.size()),
          .resident_bytes = resident_,
          .reserved_bytes = reserved_,
          .budget_bytes = options_.budget_bytes,
          .evictions = evictions_};
}

WeightStore::WeightStore(const Options& options, const Clock& clock) : impl_(std::make_shared<Impl>(options, clock)) {}
WeightStore::~WeightStore() = default;

absl::StatusOr<PinnedWeights> WeightStore::FindById(std::string_view id) { return impl_->Find(id, {}); }
absl::StatusOr<PinnedWeights> WeightStore::FindByAlias(std::string_view alias) {
  return alias.empty() ? Unknown("alias", alias) : impl_->Find({}, alias);
}
absl::Status WeightStore::CheckFits(const WeightShapes& shapes) const { return impl_->CheckFits(shapes); }

absl::StatusOr<RegisteredWeights> WeightStore::Register(const ProjectionWeights& weights, std::string_view alias) {
  const auto shapes = CheckWeights(weights, "");
  if (!shapes.ok()) return shapes.status();
  if (absl::Status s = CheckFits(*shapes); !s.ok()) return s;
  const auto id = WeightsId(weights);
  if (!id.ok()) return id.status();
  return RegisterAs(*id, weights, *shapes, alias);
}

absl::StatusOr<RegisteredWeights> WeightStore::RegisterAs(std::string_view id, const ProjectionWeights& weights,
                                                          const WeightShapes& shapes, std::string_view alias) {
  return impl_->Register(id, weights, shapes, alias);
}

absl::StatusOr<bool> WeightStore::Reuse(std::string_view id, std::string_view alias) { return impl_->Reuse(id, alias); }
absl::StatusOr<WeightsInfo> WeightStore::Describe(std::string_view name) const { return impl_->Describe(name); }
std::vector<WeightsInfo> WeightStore::List() const { return impl_->List(); }
absl::StatusOr<std::string> WeightStore::Delete(std::string_view name) { return impl_->Delete(name); }
absl::StatusOr<std::string> WeightStore::SetAlias(std::string_view name, std::string_view alias) {
  return impl_->SetAlias(name, alias);
}
WeightStoreStats WeightStore::Stats() const { return impl_->Stats(); }

}  // namespace attnd
