#include "core/attention/engine.h"

#include <gnu/libc-version.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/attention/onednn_engine.h"
#include "core/attention/simd.h"

namespace attnd {

const char* EngineName(EngineKind kind) {
  switch (kind) {
    case EngineKind::kOnednn:
      return "onednn";
  }
  return "?";
}

std::vector<std::string> EngineNames() { return {"auto", EngineName(EngineKind::kOnednn)}; }

absl::StatusOr<EngineKind> ParseEngine(std::string_view name) {
  if (name == "auto" || name == EngineName(EngineKind::kOnednn)) return EngineKind::kOnednn;
  return absl::InvalidArgumentError(absl::StrCat("unknown attention engine \"", std::string(name), "\"; one of ",
                                                 absl::StrJoin(EngineNames(), ", "), " is allowed"));
}

TileEngine& EngineForThisThread(EngineKind kind) {
  switch (kind) {
    case EngineKind::kOnednn:
      break;
  }
  thread_local const std::unique_ptr<TileEngine> onednn = NewOnednnEngine();
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete): the analyzer takes thread_local for a local.
  return *onednn;
}

int64_t RowsPerTile(EngineKind kind, const AttentionPlan& /*plan*/) {
  switch (kind) {
    case EngineKind::kOnednn:
      return kOnednnRowsPerTile;
  }
  return kOnednnRowsPerTile;
}

std::string KernelIsa() {
  const std::string target = simd::TargetName();
  return absl::StartsWith(target, "AVX3") ? "AVX512" : target;
}

std::string OnednnVersion() { return OnednnLibraryVersion(); }

std::string NumericsId(EngineKind kind) {
  return absl::StrCat("attnd-", ATTND_VERSION, "/", EngineName(kind), "/onednn-", OnednnLibraryVersion(), "-",
                      OnednnIsa(), "/", simd::TargetName(), "/libc-", gnu_get_libc_version());
}

}  // namespace attnd
