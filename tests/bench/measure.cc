#include "tests/bench/measure.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>

#include "core/attention/attention_job.h"
#include "core/attention/engine.h"
#include "core/runtime/clock.h"
#include "tests/bench/option_run.h"
#include "tests/support/attention_problem.h"

namespace attnd::bench {
namespace {

constexpr auto kEngine = EngineKind::kOnednn;
constexpr double kYardstickSeconds = 0.003;

ProblemSpec SpecOf(const Row& row) {
  ProblemSpec spec;
  spec.dims = row.dims;
  spec.options.causal = row.causal;
  spec.options.alignment = row.causal ? Alignment::kBottomRight : Alignment::kUnset;
  return spec;
}

// Bytes of key and value.
double CacheBytes(const Dims& d) {
  return static_cast<double>(d.batch * d.kv_heads * d.kv_len * (d.head_dim + d.value_dim)) * sizeof(float);
}

double WallSeconds() { return Seconds(Clock::Real().Now().time_since_epoch()); }

// The kernel alone on this thread: tiles one after the other.
class KernelRun {
 public:
  explicit KernelRun(const Row& row)
      : problem_(SpecOf(row)),
        buffers_(problem_.plan()),
        data_(buffers_.Bind(problem_.Inputs())),
        tiles_(TilesOf(problem_.plan(), RowsPerTile(kEngine, problem_.plan()))) {}

  void operator()() {
    TileEngine& engine = EngineForThisThread(kEngine);
    for (const Tile& tile : tiles_) {
      if (!engine.Run(problem_.plan(), data_, tile).ok()) failed_ = true;
    }
  }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  const AttentionProblem problem_;
  OutputBuffers buffers_;
  const AttentionData data_;
  const std::vector<Tile> tiles_;
  bool failed_ = false;
};

// A whole request through an executor: gather, tiles, result.
class ServiceRun {
 public:
  ServiceRun(const Row& row, int workers) : problem_(SpecOf(row)), executor_(OptionsOf(workers), Clock::Real()) {}

  void operator()() {
    // The callback may come after this call gave up waiting, so it keeps nothing of it.
    const auto job = NewAttentionJob(problem_.Request(), problem_.plan(), kEngine, &pool_,
                                     [](const absl::StatusOr<AttentionResult>&, const JobTimings&) {});
    if (executor_.Submit(job, AttentionJobSpec(problem_.plan(), kEngine)).ok()) {
      (void)executor_.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(10));
    }
  }

 private:
  static Executor::Options OptionsOf(int workers) {
    Executor::Options options;
    options.workers = workers;
    options.nice = 0;
    return options;
  }

  const AttentionProblem problem_;
  BufferPool pool_{{}};
  Executor executor_;
};

// Something to measure, and the clock that tells how long it takes.
struct Subject {
  std::function<void()> run;
  double (*clock)();
};

struct Turns {
  std::vector<double> values;
  std::vector<double> baselines;
  std::vector<double> seconds;
  int runs = 0;
};

// Times the subject, repeated until a turn is long enough; returns seconds per run.
double TimeTurn(const Subject& subject, const MeasureOptions& options, Turns& turns) {
  int runs = 0;
  double elapsed = 0;
  const double begin = subject.clock();
  while (elapsed < options.turn_seconds) {
    subject.run();
    elapsed = subject.clock() - begin;
    ++runs;
  }
  turns.runs += runs;
  return elapsed / runs;
}

// Every run stands between two yardsticks and is divided by their mean.
Turns ShareTurns(const Subject& subject, double work, const std::function<double()>& yardstick,
                 const MeasureOptions& options) {
  Turns turns;
  subject.run();  // memory, code and clock are warm from here on
  double before = yardstick();
  for (int i = 0; i < options.rounds; ++i) {
    const double seconds = TimeTurn(subject, options, turns);
    const double after = yardstick();
    turns.baselines.push_back((before + after) / 2);
    turns.seconds.push_back(seconds);
    turns.values.push_back(work / seconds / turns.baselines.back());
    before = after;
  }
  return turns;
}

// Every run of `subject` stands between two of `baseline`.
Turns PairedTurns(const Subject& baseline, const Subject& subject, const MeasureOptions& options) {
  baseline.run();
  subject.run();
  Turns turns;
  double before = TimeTurn(baseline, options, turns);
  for (int i = 0; i < options.rounds; ++i) {
    const double seconds = TimeTurn(subject, options, turns);
    const double after = TimeTurn(baseline, options, turns);
    turns.baselines.push_back((before + after) / 2);
    turns.seconds.push_back(seconds);
    turns.values.push_back(turns.baselines.back() / seconds);
    before = after;
  }
  return turns;
}

Turns WorkersTurns(const Row& row, const MeasureOptions& options) {
  ServiceRun one(row, 1);
  ServiceRun many(row, row.workers);
  return PairedTurns({[&one] { one(); }, WallSeconds}, {[&many] { many(); }, WallSeconds}, options);
}

Turns OverPlainTurns(const Row& row, const MeasureOptions& options) {
  Row without = row;
  without.option = Option::kNone;
  OptionRun plain(without);
  OptionRun with(row);
  return PairedTurns({[&plain] { plain(); }, ThreadSeconds}, {[&with] { with(); }, ThreadSeconds}, options);
}

Turns MeasureTurns(const Row& row, const ReadYardstick& read, const MeasureOptions& options) {
  const auto peak = [&row] { return FmaPeak(row.workers, kYardstickSeconds); };
  const auto bandwidth = [&row, &read] { return read.BytesPerSecond(row.workers); };
  if (row.measure == Measure::kWorkersRatio) return WorkersTurns(row, options);
  if (row.measure == Measure::kOverPlain) return OverPlainTurns(row, options);
  if (row.option != Option::kNone || row.dtype != DataType::kFloat32) {
    OptionRun run(row);
    run();
    return ShareTurns({[&run] { run(); }, ThreadSeconds}, run.flops(), peak, options);
  }
  if (row.workers > 1) {
    ServiceRun run(row, row.workers);
    return ShareTurns({[&run] { run(); }, WallSeconds}, WorkOf(row), peak, options);
  }
  KernelRun run(row);
  const auto yardstick = row.measure == Measure::kShareOfPeak ? std::function<double()>(peak) : bandwidth;
  return ShareTurns({[&run] { run(); }, ThreadSeconds}, WorkOf(row), yardstick, options);
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double WorkOf(const Row& row) {
  if (row.measure == Measure::kShareOfBandwidth) return CacheBytes(row.dims);
  const Dims& d = row.dims;
  Visibility visibility;
  visibility.kv_end = d.kv_len;
  visibility.causal = row.causal;
  visibility.shift = d.kv_len - d.q_len;
  return 2 * visibility.Pairs(0, d.q_len) * static_cast<double>(d.batch * d.heads * (d.head_dim + d.value_dim));
}

MachineResult MeasureMachine(const ReadYardstick& read, const MeasureOptions& options) {
  MachineResult machine;
  for (const int threads : {1, 2}) {
    std::vector<double> peaks;
    std::vector<double> bandwidths;
    for (int i = 0; i < options.rounds; ++i) {
      peaks.push_back(FmaPeak(threads, 4 * kYardstickSeconds));
      bandwidths.push_back(read.BytesPerSecond(threads));
    }
    machine.fma_peak[threads] = Median(peaks);
    machine.read_bandwidth[threads] = Median(bandwidths);
  }
  std::vector<double> cycles(static_cast<size_t>(options.rounds));
  for (double& c : cycles) c = CyclesPerSecond();
  machine.cycles_per_second = Median(cycles);
  return machine;
}

RowResult MeasureRow(const Row& row, const ReadYardstick& read, const MeasureOptions& options) {
  const Turns turns = MeasureTurns(row, read, options);
  RowResult result;
  result.row = row;
  result.value = Median(turns.values);
  result.baseline = Median(turns.baselines);
  result.seconds = Median(turns.seconds);
  result.runs = turns.runs;
  result.target = YardstickIsa() == "AVX512" ? row.target_avx512 : row.target_avx2;
  return result;
}

}  // namespace attnd::bench
