#include "core/attention/engine.h"

#include <gnu/libc-version.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/attention/fused_engine.h"
#include "core/attention/onednn_engine.h"
#include "core/attention/simd.h"
#include "core/linear/onednn.h"

namespace attnd {

namespace {

constexpr auto kAutoEngine = EngineKind::kFused;

}  // namespace

absl::StatusOr<RowCounts> TileEngine::RunParts(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                               const KeyParts& parts) {
  const int64_t rows = tile.row_end - tile.row_begin;
  const int64_t multiple = simd::kRowMultiple;
  const int64_t stride = (plan.dims.value_dim + multiple - 1) / multiple * multiple;
  if (absl::Status status = merged_.Reserve(rows * (stride + 2)); !status.ok()) return status;
  float* max = merged_.data() + rows * stride;
  const simd::RowState merged{max, max + rows, merged_.data(), stride};
  ClearState(rows, merged);
  int64_t pairs = 0;
  for (int64_t part = 0; part < parts.count; ++part) {
    const auto more = AddPart(plan, data, tile, parts.keys(part), merged);
    if (!more.ok()) return more.status();
    pairs += *more;
  }
  absl::StatusOr<RowCounts> counts = Finish(plan, data, tile, merged);
  if (counts.ok()) counts->pairs = pairs;
  return counts;
}

const char* EngineName(EngineKind kind) {
  switch (kind) {
    case EngineKind::kOnednn:
      return "onednn";
    case EngineKind::kFused:
      return "fused";
  }
  return "?";
}

std::vector<std::string> EngineNames() {
  return {"auto", EngineName(EngineKind::kOnednn), EngineName(EngineKind::kFused)};
}

absl::StatusOr<EngineKind> ParseEngine(std::string_view name) {
  if (name == "auto") return kAutoEngine;
  for (const EngineKind kind : {EngineKind::kOnednn, EngineKind::kFused}) {
    if (name == EngineName(kind)) return kind;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown attention engine \"", std::string(name), "\"; one of ",
                                                 absl::StrJoin(EngineNames(), ", "), " is allowed"));
}

// NOLINTBEGIN(clang-analyzer-cplusplus.NewDelete): the analyzer takes thread_local for a local.
TileEngine& EngineForThisThread(EngineKind kind) {
  if (kind == EngineKind::kOnednn) {
    thread_local const std::unique_ptr<TileEngine> onednn = NewOnednnEngine();
    return *onednn;
  }
  thread_local const std::unique_ptr<TileEngine> fused = NewFusedEngine();
  return *fused;
}
// NOLINTEND(clang-analyzer-cplusplus.NewDelete)

int64_t ComputedRows(EngineKind kind, int64_t rows) {
  if (kind == EngineKind::kFused) return FusedComputedRows(rows);
  return (rows + kOnednnRowsPerTile - 1) / kOnednnRowsPerTile * kOnednnRowsPerTile;
}

int64_t RowsPerTile(EngineKind kind, const AttentionPlan& plan) {
  return kind == EngineKind::kOnednn ? kOnednnRowsPerTile : FusedRowsPerTile(plan);
}

std::string KernelIsa() {
  const std::string target = simd::TargetName();
  return absl::StartsWith(target, "AVX3") ? "AVX512" : target;
}

std::string OnednnVersion() { return OnednnLibraryVersion(); }

std::string NumericsId(EngineKind kind) {
  std::string id = absl::StrCat("attnd-", ATTND_VERSION, "/", EngineName(kind));
  if (kind == EngineKind::kOnednn) absl::StrAppend(&id, "/onednn-", OnednnLibraryVersion(), "-", OnednnIsa());
  absl::StrAppend(&id, "/", simd::TargetName(), "/libc-", gnu_get_libc_version());
  return id;
}

}  // namespace attnd
