#include "tests/bench/measure.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "core/runtime/clock.h"
#include "tests/bench/layers.h"
#include "tests/bench/memory.h"
#include "tests/bench/runs.h"

namespace attnd::bench {
namespace {

constexpr double kYardstickSeconds = 0.003;

double WallSeconds() { return Seconds(Clock::Real().Now().time_since_epoch()); }

// Takes a turn: returns seconds per run.
using Turn = std::function<double()>;

struct Subject {
  Turn turn;
  // FLOPs on visible pairs of a run, once there has been one.
  std::function<double()> flops;
};

// A subject, and the seconds that its work takes at the yardstick or takes what it is compared with.
struct Contest {
  Subject subject;
  Turn limit;
  // What `limit` was computed from by dividing, or 1 if it is compared itself.
  std::function<double()> work;
};

Turn TurnOf(const std::function<void()>& run, double (*clock)(), double turn_seconds) {
  return [=] {
    int runs = 0;
    double elapsed = 0;
    const double begin = clock();
    while (elapsed < turn_seconds) {
      run();
      elapsed = clock() - begin;
      ++runs;
    }
    return elapsed / runs;
  };
}

Subject KernelSubject(const Row& row, const MeasureOptions& options) {
  const auto run = std::make_shared<KernelRun>(row, options.engine);
  return {TurnOf([run] { (*run)(); }, ThreadSeconds, options.turn_seconds), [run] { return run->flops(); }};
}

Subject RequestSubject(const Row& row, int workers, const MeasureOptions& options) {
  const auto run = std::make_shared<RequestRun>(row, options.engine, workers);
  return {TurnOf([run] { (*run)(); }, workers == 0 ? ThreadSeconds : WallSeconds, options.turn_seconds),
          [run] { return run->flops(); }};
}

// The tiles of whole requests, without the gathering before and the reply after.
Subject ComputeSubject(const Row& row, const MeasureOptions& options) {
  const auto run = std::make_shared<RequestRun>(row, options.engine, row.workers);
  const Turn turn = [run, least = options.turn_seconds] {
    int runs = 0;
    double elapsed = 0;
    for (; elapsed < least; ++runs) {
      (*run)();
      elapsed += run->compute_seconds();
    }
    return elapsed / runs;
  };
  return {turn, [run] { return run->flops(); }};
}

template <typename Run>
Subject SubjectOfRun(const std::shared_ptr<Run>& run, double (*clock)(), const MeasureOptions& options) {
  return {TurnOf([run] { (*run)(); }, clock, options.turn_seconds), [run] { return run->flops(); }};
}

Subject LayerSubject(const Row& row, int workers, int requests, const MeasureOptions& options) {
  return SubjectOfRun(std::make_shared<LayerRun>(row, options.engine, workers, requests),
                      workers == 0 ? ThreadSeconds : WallSeconds, options);
}

// A request by weights id against its products and an Attend of what they give.
Contest OverParts(const Row& row, const MeasureOptions& options) {
  const int64_t width = row.dims.heads * row.dims.head_dim;
  std::vector<std::shared_ptr<LinearRun>> products;
  for (const int64_t out : {3 * width, width}) {
    Row product = row;
    product.in = width;
    product.out = out;
    products.push_back(std::make_shared<LinearRun>(product));
  }
  Row attend = row;
  attend.work = Work::kAttention;
  const auto attention = std::make_shared<RequestRun>(attend, options.engine, 0);
  const Turn parts = TurnOf(
      [products, attention] {
        for (const auto& product : products) (*product)();
        (*attention)();
      },
      ThreadSeconds, options.turn_seconds);
  return {LayerSubject(row, 0, 1, options), parts, nullptr};
}

// Requests at a time against one with the rows of all.
Contest OverOne(const Row& row, const MeasureOptions& options) {
  Row one = row;
  one.dims.q_len *= row.requests;
  one.dims.kv_len *= row.requests;
  const Subject many = LayerSubject(row, row.workers, row.requests, options);
  return {many, LayerSubject(one, row.workers, 1, options).turn, nullptr};
}

Subject SubjectOf(const Row& row, const MeasureOptions& options) {
  if (row.work == Work::kLinear) return SubjectOfRun(std::make_shared<LinearRun>(row), ThreadSeconds, options);
  if (row.work != Work::kAttention) return LayerSubject(row, 0, 1, options);
  return row.workers > 1 ? ComputeSubject(row, options) : KernelSubject(row, options);
}

// Bytes of key and value.
double CacheBytes(const Row& row) {
  const Dims& d = row.dims;
  return static_cast<double>(d.batch * d.kv_heads * d.kv_len * (d.head_dim + d.value_dim) * ElementBytes(row.dtype));
}

Contest OverPlain(const Row& row, const MeasureOptions& options) {
  Row plain = row;
  plain.option = Option::kNone;
  plain.dtype = DataType::kFloat32;
  if (row.option == Option::kRope) {
    return {RequestSubject(row, 0, options), RequestSubject(plain, 0, options).turn, nullptr};
  }
  return {SubjectOf(row, options), SubjectOf(plain, options).turn, nullptr};
}

Contest OverShort(const Row& row, const MeasureOptions& options) {
  Row brief = row;
  brief.dims.q_len = kShortTokens;
  brief.dims.kv_len = kShortTokens;
  const Subject subject = SubjectOf(row, options);
  const Subject reference = SubjectOf(brief, options);
  // A long row has few turns, so a short one that something disturbed must not count.
  const Turn limit = [subject, reference] {
    std::vector<double> seconds(5);
    for (double& s : seconds) s = reference.turn();
    return Median(seconds) * subject.flops() / reference.flops();
  };
  return {subject, limit, nullptr};
}

Contest ShareOf(const Row& row, const ReadYardstick& read, const MeasureOptions& options) {
  const Subject subject = SubjectOf(row, options);
  const int threads = row.workers;
  if (row.measure == Measure::kShareOfBandwidth) {
    const double bytes = CacheBytes(row);
    return {subject, [&read, threads, bytes] { return bytes / read.BytesPerSecond(threads); },
            [bytes] { return bytes; }};
  }
  return {subject, [subject, threads] { return subject.flops() / FmaPeak(threads, kYardstickSeconds); }, subject.flops};
}

Contest ContestOf(const Row& row, const ReadYardstick& read, const MeasureOptions& options) {
  switch (row.measure) {
    case Measure::kWorkersRatio:
      return {RequestSubject(row, row.workers, options), RequestSubject(row, 1, options).turn, nullptr};
    case Measure::kOverPlain:
      return OverPlain(row, options);
    case Measure::kOverShort:
      return OverShort(row, options);
    case Measure::kOverParts:
      return OverParts(row, options);
    case Measure::kOverOne:
      return OverOne(row, options);
    case Measure::kShareOfPeak:
    case Measure::kShareOfBandwidth:
    case Measure::kExtraMemory:
      break;
  }
  return ShareOf(row, read, options);
}

// A peer on a row, turn by turn.
struct Rival {
  Peer* peer;
  std::vector<double> shares;
  std::vector<double> ratios;
};

std::vector<Rival> RivalsOn(const Row& row, const Peers& peers) {
  std::vector<Rival> rivals;
  for (const auto& peer : peers.started) {
    if (peer->Open(row)) rivals.push_back({peer.get(), {}, {}});
  }
  return rivals;
}

// Every turn stands between two of the limit and is divided by their mean.
void TakeTurns(const Contest& contest, const Peers& peers, const MeasureOptions& options, RowResult& result) {
  std::vector<double> values;
  std::vector<double> limits;
  std::vector<double> seconds;
  // Memory, code and clock are warm from here on, and FLOPs are known.
  (void)contest.subject.turn();
  std::vector<Rival> rivals = RivalsOn(result.row, peers);
  const double enough = options.row_seconds * static_cast<double>(1 + rivals.size());
  const double begin = WallSeconds();
  double before = contest.limit();
  const auto mean_limit = [&contest, &before] {
    const double after = contest.limit();
    return (std::exchange(before, after) + after) / 2;
  };
  for (int i = 0; i < options.most_rounds; ++i) {
    if (i >= options.least_rounds && WallSeconds() - begin > enough) break;
    seconds.push_back(contest.subject.turn());
    limits.push_back(mean_limit());
    values.push_back(limits.back() / seconds.back());
    for (Rival& rival : rivals) {
      const double taken = rival.peer->Turn(options.turn_seconds);
      const double limit = mean_limit();
      if (taken <= 0) continue;
      rival.shares.push_back(limit / taken);
      rival.ratios.push_back(taken / seconds.back());
    }
  }
  result.value = Median(values);
  result.seconds = Median(seconds);
  result.baseline = contest.work ? contest.work() / Median(limits) : Median(limits);
  result.runs = static_cast<int>(values.size());
  for (const Rival& rival : rivals) {
    if (rival.shares.empty()) continue;
    result.peers[rival.peer->name()] = Median(rival.shares);
    result.over_peers[rival.peer->name()] = Median(rival.ratios);
  }
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

MachineResult MeasureMachine(const ReadYardstick& read, const MeasureOptions& options) {
  MachineResult machine;
  for (const int threads : {1, 2}) {
    std::vector<double> peaks;
    std::vector<double> bandwidths;
    for (int i = 0; i < options.most_rounds; ++i) {
      peaks.push_back(FmaPeak(threads, 4 * kYardstickSeconds));
      bandwidths.push_back(read.BytesPerSecond(threads));
    }
    machine.fma_peak[threads] = Median(peaks);
    machine.read_bandwidth[threads] = Median(bandwidths);
  }
  std::vector<double> cycles(static_cast<size_t>(options.most_rounds));
  for (double& c : cycles) c = CyclesPerSecond();
  machine.cycles_per_second = Median(cycles);
  return machine;
}

RowResult MeasureRow(const Row& row, const ReadYardstick& read, const Peers& peers, const MeasureOptions& options) {
  RowResult result;
  result.row = row;
  result.engine = options.engine;
  result.target = YardstickIsa() == "AVX512" ? row.target.avx512 : row.target.avx2;
  if (row.measure == Measure::kExtraMemory) {
    const MemoryUse use = MeasureMemory(row, options.engine);
    result.value = use.extra_mib;
    result.baseline = use.tensor_mib;
    result.seconds = use.seconds;
    result.runs = 1;
    result.met = use.extra_mib >= 0 && use.extra_mib <= result.target;
    return result;
  }
  TakeTurns(ContestOf(row, read, options), peers, options, result);
  result.met = result.value >= result.target;
  return result;
}

}  // namespace attnd::bench
