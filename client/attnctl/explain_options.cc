#include "client/attnctl/explain_options.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "core/attention/simd_rows.h"

namespace attnd::attnctl {
namespace {

std::string WindowText(const Window& window) {
  std::string text = "a window keeps";
  if (window.left) absl::StrAppend(&text, " ", *window.left, " keys before a query");
  if (window.left && window.right) absl::StrAppend(&text, " and");
  if (window.right) absl::StrAppend(&text, " ", *window.right, " keys after it");
  return text;
}

bool HidesKeys(const ExplainedHead& head) {
  for (int64_t q = 0; q < head.queries_used; ++q) {
    for (int64_t k = 0; k < head.visible.columns; ++k) {
      if (!head.Sees(q, k)) return true;
    }
  }
  return false;
}

}  // namespace

std::vector<std::string> AddedBy(const AttentionOptions& options) {
  std::vector<std::string> added;
  if (options.biases.size() == 1) added.emplace_back("a bias");
  if (options.biases.size() > 1) added.push_back(absl::StrCat(options.biases.size(), " biases"));
  if (options.alibi_slopes) {
    added.emplace_back("ALiBi, -slope times the distance of the positions of query and key");
  }
  return added;
}

std::vector<std::string> HiddenBy(const AttentionRequest& request, const ExplainedHead& head) {
  const AttentionOptions& options = request.options;
  std::vector<std::string> hidden;
  if (!HidesKeys(head)) return hidden;
  if (options.causal && options.prefix_lengths.empty()) hidden.emplace_back("causal hides the keys after a query");
  if (options.causal && !options.prefix_lengths.empty()) {
    hidden.emplace_back("causal hides the keys after a query, but for those of the prefix");
  }
  if (options.window) hidden.push_back(WindowText(*options.window));
  // Those of PACKED say where sequences begin.
  if ((request.layout != Layout::kPacked && !options.kv_lengths.empty()) || !options.kv_starts.empty()) {
    hidden.emplace_back("only the keys inside kv_starts and kv_lengths are used");
  }
  if (!options.masks.empty()) hidden.emplace_back(options.masks.size() > 1 ? "masks hide keys" : "a mask hides keys");
  if (options.documents) hidden.emplace_back("a query sees the keys of its own document only");
  if (!options.biases.empty()) hidden.emplace_back("a bias of -inf hides a key");
  return hidden;
}

std::optional<float> SinkOf(const AttentionOptions& options, int64_t head) {
  if (!options.sinks) return std::nullopt;
  const TensorView& sinks = *options.sinks;
  std::vector<std::byte> bytes(sinks.bytes.size());
  sinks.bytes.CopyTo(bytes.data());
  const auto element = static_cast<size_t>(ElementBytes(sinks.dtype));
  float sink = 0;
  simd::LoadRow(bytes.data() + static_cast<size_t>(head) * element, sinks.dtype, 1, &sink);
  return sink;
}

}  // namespace attnd::attnctl
