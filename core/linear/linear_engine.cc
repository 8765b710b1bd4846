#include "core/linear/linear_engine.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/tensor.h"
#include "core/linear/onednn.h"
#include "core/linear/pack_panels.h"
#include "core/linear/simd_linear.h"
#include "core/runtime/mutex.h"

namespace attnd {
namespace {

std::atomic<LinearEngine> g_engine = kAutoLinearEngine;

constexpr int64_t kRows = OnednnMatrix::kRows;
// Multiply-adds of a trial that take about 5 ms.
constexpr int64_t kMostElements = int64_t{1} << 20;

// In [-1, 1), of all exponents that a sum meets: their rounding shows its order.
void FillRandom(uint64_t seed, int64_t n, float* floats) {
  for (int64_t i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    floats[i] = static_cast<float>(static_cast<int64_t>(seed) >> 40) * 0x1p-23F;
  }
}

bool SameBits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

// Multiplies the same random numbers both ways. False as well if either fails.
bool TryShape(int64_t in, int64_t out) {
  const int64_t panel_floats = in * simd::PanelsOf(out) * simd::kPanelColumns;
  Scratch x;
  Scratch rows;
  Scratch panels;
  Scratch bias;
  Scratch ours;
  Scratch theirs;
  Scratch scratch;
  if (!x.Reserve(kRows * in).ok() || !rows.Reserve(in * out).ok() || !panels.Reserve(panel_floats).ok() ||
      !bias.Reserve(out).ok() || !ours.Reserve(kRows * out).ok() || !theirs.Reserve(kRows * out).ok() ||
      !scratch.Reserve(simd::PanelScratch(kRows, in)).ok()) {
    return false;
  }
  FillRandom(1, kRows * in, x.data());
  FillRandom(2, in * out, rows.data());
  FillRandom(3, out, bias.data());
  TensorView view;
  view.shape = {in, out};
  view.bytes = Fragments(std::as_bytes(std::span(rows.data(), static_cast<size_t>(in * out))));
  if (!PackPanels(view, Orientation::kInOut, panels.data()).ok()) return false;
  const auto matrix = OnednnMatrix::Pack(rows.data(), in, out);
  if (!matrix.ok()) return false;
  const auto same = [&](const float* b) {
    simd::MultiplyPanels({x.data(), in, kRows, panels.data(), in, 0, out, b, ours.data(), out}, scratch.data());
    return (*matrix)->Multiply(x.data(), b, theirs.data()).ok() &&
           std::equal(ours.data(), ours.data() + kRows * out, theirs.data(), SameBits);
  };
  return same(bias.data()) && same(nullptr);
}

}  // namespace

const char* LinearEngineName(LinearEngine engine) { return engine == LinearEngine::kOwn ? "own" : "onednn"; }

std::vector<std::string> LinearEngineNames() {
  return {"auto", LinearEngineName(LinearEngine::kOnednn), LinearEngineName(LinearEngine::kOwn)};
}

absl::StatusOr<LinearEngine> ParseLinearEngine(std::string_view name) {
  if (name == "auto") return kAutoLinearEngine;
  for (const LinearEngine engine : {LinearEngine::kOwn, LinearEngine::kOnednn}) {
    if (name == LinearEngineName(engine)) return engine;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown linear engine \"", std::string(name), "\"; one of ",
                                                 absl::StrJoin(LinearEngineNames(), ", "), " is allowed"));
}

void SetLinearEngine(LinearEngine engine) { g_engine = engine; }
LinearEngine CurrentLinearEngine() { return g_engine; }

bool OnednnHasOurBits(int64_t in, int64_t out) {
  if (in > kMostElements / out) return false;
  static Mutex mutex;
  // Tests change the instruction set of a process.
  static auto* const known = new std::map<std::tuple<int64_t, int64_t, std::string>, bool>;
  const auto key = std::make_tuple(in, out, std::string(simd::TargetName()));
  {
    const MutexLock lock(mutex);
    if (const auto found = known->find(key); found != known->end()) return found->second;
  }
  // Where a depth does not pass, one panel shows it.
  const bool same = TryShape(in, simd::kPanelColumns) && TryShape(in, out);
  const MutexLock lock(mutex);
  return known->emplace(key, same).first->second;
}

}  // namespace attnd
