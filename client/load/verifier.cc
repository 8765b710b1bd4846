#include "client/load/verifier.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/load/answer.h"
#include "client/load/oracle.h"
#include "client/messages.h"
#include "core/runtime/mutex.h"

namespace attnd::load {
namespace {

// Answers that wait to be looked at; further ones of the share are let go.
constexpr size_t kMostWaiting = 64;
constexpr size_t kMostWaitingBytes = size_t{256} << 20;

// Reads one slice without allocating, and more with.
template <typename Use>
auto WithPieces(const grpc::ByteBuffer& answer, const Use& use) -> decltype(use(codec::MessagePieces())) {
  grpc::Slice slice;
  if (answer.TrySingleSlice(&slice).ok()) {
    const std::string_view piece(reinterpret_cast<const char*>(slice.begin()), slice.size());
    return use(codec::MessagePieces(&piece, 1));
  }
  const auto slices = SlicesOf(answer);
  if (!slices.ok()) return slices.status();
  const auto pieces = PiecesOf(*slices);
  return use(codec::MessagePieces(pieces));
}

absl::StatusOr<codec::MultiHeadReply> Decode(const Work& work, const grpc::ByteBuffer& answer) {
  return WithPieces(answer, [&work](codec::MessagePieces pieces) { return DecodeAnswer(work, pieces); });
}

enum class Check {
  // The first answer: shape, local computation, oracle.
  kFirst,
  // One of the share: oracle.
  kSample,
  // One whose bits are not the first's: says where.
  kDifference,
};

// An answer that waits to be looked at.
struct Item {
  Check check = Check::kFirst;
  size_t work = 0;
  grpc::ByteBuffer answer;
  // kFirst: who computed it. kDifference: the first answer.
  std::string numerics_id;
  grpc::ByteBuffer first;
};

// The first answer to a work by one arithmetic.
struct First {
  std::string numerics_id;
  uint64_t hash = 0;
  grpc::ByteBuffer answer;
};

// What the oracle says of a work, once it was asked.
struct Expectation {
  Mutex mutex;
  std::optional<absl::StatusOr<ExpectedOutput>> output ATTND_GUARDED_BY(mutex);
};

}  // namespace

class Verifier::Impl {
 public:
  Impl(const VerifierOptions& options, const std::vector<Work>& works)
      : options_(options), works_(works), firsts_(works.size()), expectations_(works.size()) {
    if (options_.enabled) thread_ = std::thread([this] { RunChecks(); });
  }

  ~Impl() {
    {
      const MutexLock lock(mutex_);
      stop_ = true;
      waiting_.clear();
    }
    changed_.SignalAll();
    if (thread_.joinable()) thread_.join();
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  absl::StatusOr<ServerTimings> Take(size_t work, const grpc::ByteBuffer& answer) {
    auto summary =
        WithPieces(answer, [this](codec::MessagePieces pieces) { return SummarizeAnswer(pieces, options_.enabled); });
    if (!options_.enabled) return summary.ok() ? absl::StatusOr<ServerTimings>(summary->timings) : summary.status();
    const bool sampled = IsSampled();
    bool wakes = false;
    {
      const MutexLock lock(mutex_);
      if (!summary.ok()) {
        CountOracle(work, std::string(summary.status().message()));
        return summary.status();
      }
      wakes = Note(work, answer, *summary, sampled);
    }
    if (wakes) changed_.SignalAll();
    return summary->timings;
  }

  Verification Finish() {
    SetPriority(SCHED_OTHER);
    std::optional<Item> item;
    while ((item = Next()).has_value()) Look(*item);
    const MutexLock lock(mutex_);
    while (under_way_ > 0) changed_.Wait(mutex_);
    SetPriority(SCHED_IDLE);
    return std::exchange(counts_, {});
  }

 private:
  // Whether this answer is one of the share, which is spread evenly.
  bool IsSampled() {
    if (options_.share <= 0) return false;
    const auto n = static_cast<double>(taken_.fetch_add(1, std::memory_order_relaxed));
    return std::floor((n + 1) * options_.share) > std::floor(n * options_.share);
  }

  // Compares bits with the first answer's and keeps what is to be looked at; whether there is.
  bool Note(size_t work, const grpc::ByteBuffer& answer, const AnswerSummary& summary, bool sampled)
      ATTND_REQUIRES(mutex_) {
    std::vector<First>& firsts = firsts_[work];
    const auto first = std::find_if(firsts.begin(), firsts.end(),
                                    [&](const First& known) { return known.numerics_id == summary.numerics_id; });
    if (first == firsts.end()) {
      firsts.push_back({summary.numerics_id, summary.hash, answer});
      return Push({Check::kFirst, work, answer, summary.numerics_id, {}});
    }
    ++counts_.against_first;
    if (first->hash != summary.hash && ++counts_.identity_failures == 1) {
      return Push({Check::kDifference, work, answer, {}, first->answer});
    }
    if (!sampled || waiting_.size() >= kMostWaiting || waiting_bytes_ >= kMostWaitingBytes) return false;
    return Push({Check::kSample, work, answer, {}, {}});
  }

  bool Push(Item item) ATTND_REQUIRES(mutex_) {
    waiting_bytes_ += item.answer.Length();
    waiting_.push_back(std::move(item));
    return true;
  }

  // Takes an answer that waits; Look is to follow.
  std::optional<Item> Next() {
    const MutexLock lock(mutex_);
    if (waiting_.empty()) return std::nullopt;
    Item item = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= item.answer.Length();
    ++under_way_;
    return item;
  }

  void RunChecks() {
    // Refused where there is no such thing: then at the usual priority.
    const sched_param none{};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    while (true) {
      if (auto item = Next(); item.has_value()) {
        Look(*item);
        continue;
      }
      const MutexLock lock(mutex_);
      if (stop_) return;
      if (waiting_.empty()) changed_.Wait(mutex_);
    }
  }

  // Of the thread that looks at answers. Raising it may be forbidden; it takes longer then.
  void SetPriority(int policy) {
    const sched_param none{};
    if (thread_.joinable()) pthread_setschedparam(thread_.native_handle(), policy, &none);
  }

  void Look(const Item& item) {
    const Work& work = works_[item.work];
    const auto answer = Decode(work, item.answer);
    if (!answer.ok()) {
      const MutexLock lock(mutex_);
      CountOracle(item.work, std::string(answer.status().message()));
    } else if (item.check == Check::kDifference) {
      ExplainDifference(item, *answer);
    } else {
      CompareWithOracle(item.work, answer->attention.output, item.check == Check::kFirst);
      if (item.check == Check::kFirst) CompareWithLocal(item, *answer);
    }
    const MutexLock lock(mutex_);
    --under_way_;
    changed_.SignalAll();
  }

  void ExplainDifference(const Item& item, const codec::MultiHeadReply& answer) {
    std::string difference = "bits that are no element's differ";
    if (const auto first = Decode(works_[item.work], item.first); first.ok()) {
      difference = FirstDifference(answer, *first).value_or(difference);
    }
    const MutexLock lock(mutex_);
    NoteFailure(item.work, absl::StrCat("two answers to the same request: ", difference));
  }

  void CompareWithOracle(size_t work, const codec::ReplyTensor& output, bool is_first) {
    if (!IsComputable(works_[work])) return;
    Comparison comparison;
    if (works_[work].flops <= options_.max_flops) {
      const auto& expected = Expect(work);
      if (!expected.ok()) return;
      comparison = Compare(output, *expected);
    } else {
      const auto expected = ExpectShape(works_[work]);
      if (!is_first || !expected.ok()) return;
      comparison = Compare(output, *expected);
      if (comparison.problem.empty()) return;
    }
    const MutexLock lock(mutex_);
    CountOracle(work, comparison.problem);
    counts_.worst_error = std::max(counts_.worst_error, comparison.worst_error);
  }

  // The oracle's output, computed by whoever asks first.
  const absl::StatusOr<ExpectedOutput>& Expect(size_t work) {
    Expectation& expectation = expectations_[work];
    const MutexLock lock(expectation.mutex);
    if (!expectation.output.has_value()) expectation.output = ExpectOutput(works_[work]);
    // It does not change any more.
    return *expectation.output;
  }

  void CompareWithLocal(const Item& item, const codec::MultiHeadReply& answer) {
    const Work& work = works_[item.work];
    const auto engine = EngineOfNumerics(item.numerics_id);
    if (!options_.local || !engine.has_value() || !IsComputable(work) || work.flops > options_.max_flops) return;
    const auto message = ComputeAnswer(work, *engine);
    if (!message.ok()) return;
    const std::string_view piece = *message;
    const auto local = DecodeAnswer(work, codec::MessagePieces(&piece, 1));
    if (!local.ok()) return;
    const auto difference = FirstDifference(answer, *local);
    const MutexLock lock(mutex_);
    ++counts_.against_local;
    if (!difference.has_value()) return;
    ++counts_.local_failures;
    NoteFailure(item.work, absl::StrCat("computed here by the same arithmetic: ", *difference));
  }

  void CountOracle(size_t work, const std::string& problem) ATTND_REQUIRES(mutex_) {
    ++counts_.against_oracle;
    if (problem.empty()) return;
    ++counts_.oracle_failures;
    NoteFailure(work, problem);
  }

  void NoteFailure(size_t work, const std::string& what) ATTND_REQUIRES(mutex_) {
    if (counts_.first_failure.empty()) counts_.first_failure = absl::StrCat(works_[work].name, ": ", what);
  }

  const VerifierOptions options_;
  const std::vector<Work>& works_;
  std::atomic<int64_t> taken_ = 0;

  Mutex mutex_;
  CondVar changed_;
  // By work.
  std::vector<std::vector<First>> firsts_ ATTND_GUARDED_BY(mutex_);
  std::deque<Item> waiting_ ATTND_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ATTND_GUARDED_BY(mutex_) = 0;
  // Answers that somebody looks at.
  int under_way_ ATTND_GUARDED_BY(mutex_) = 0;
  bool stop_ ATTND_GUARDED_BY(mutex_) = false;
  Verification counts_ ATTND_GUARDED_BY(mutex_);
  // By work.
  std::vector<Expectation> expectations_;

  std::thread thread_;
};

Verifier::Verifier(const VerifierOptions& options, const std::vector<Work>& works)
    : impl_(std::make_unique<Impl>(options, works)) {}
Verifier::~Verifier() = default;

absl::StatusOr<ServerTimings> Verifier::Take(size_t work, const grpc::ByteBuffer& answer) {
  return impl_->Take(work, answer);
}

Verification Verifier::Finish() { return impl_->Finish(); }

}  // namespace attnd::load
