#include "client/attnctl/case_extent.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/attention/layout.h"

namespace attnd::attnctl {
namespace {

absl::StatusOr<CaseExtent> PackedExtent(int64_t heads, const AttentionOptions& options) {
  if (options.q_lengths.size() != options.kv_lengths.size() || options.q_lengths.empty()) {
    return absl::InvalidArgumentError("packed: as many q_lengths as kv_lengths are needed");
  }
  CaseExtent extent{heads, static_cast<int64_t>(options.q_lengths.size()), {}, /*packed=*/true};
  for (size_t i = 0; i < options.q_lengths.size(); ++i) {
    extent.lengths.push_back({options.q_lengths[i], options.kv_lengths[i]});
  }
  return extent;
}

absl::StatusOr<CaseExtent> AttendExtent(const AttentionRequest& request) {
  const auto query = DimsOf("query", request.query, request.layout, "heads", request.heads);
  if (!query.ok()) return query.status();
  if (request.layout == Layout::kPacked) return PackedExtent(query->heads, request.options);
  const auto key = DimsOf("key", request.key, request.layout, "kv_heads", request.kv_heads);
  if (!key.ok()) return key.status();
  return CaseExtent{query->heads, query->batch, {{query->len, key->len}}};
}

// [len, width] or [batch, len, width].
absl::StatusOr<CaseExtent> MultiHeadExtent(const MultiHeadRequest& request) {
  if (request.layout == Layout::kPacked) return PackedExtent(request.heads, request.options);
  const auto& query = request.query.shape;
  const auto& key = request.key.has_value() ? request.key->shape : query;
  for (const auto* shape : {&query, &key}) {
    if (shape->size() == 2 || shape->size() == 3) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("embeddings are [len, width] or [batch, len, width], not ", ShapeString(*shape)));
  }
  return CaseExtent{request.heads, query.size() == 3 ? query[0] : 1, {{query[query.size() - 2], key[key.size() - 2]}}};
}

}  // namespace

absl::StatusOr<CaseExtent> ExtentOf(const Case& input) {
  return input.kind == CaseKind::kAttend ? AttendExtent(input.request) : MultiHeadExtent(input.multihead.request);
}

}  // namespace attnd::attnctl
