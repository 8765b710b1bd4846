#include "core/attention/plan_options.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/attention/tensor_checks.h"
#include "core/errors.h"

namespace attnd {
namespace {

// Batch entries that have lengths or offsets of their own: bounds what planning takes.
constexpr size_t kMaxListedEntries = size_t{1} << 18;
// Masks or biases: each is looked at for every pair.
constexpr size_t kMaxBroadcasts = 64;
constexpr int64_t kMaxPosition = int64_t{1} << 60;
// Farther than any two positions are apart: offsets differ by 2^61 at most, tokens by less
// than 2^60.
constexpr int64_t kMaxDistance = int64_t{3} << 60;
static_assert(kMaxDistance < Visibility::kUnbounded);

std::string Indexed(std::string_view list, size_t i) { return absl::StrCat(std::string(list), "[", i, "]"); }

// What the elements of a list may be: [0, high], or any position.
struct Bounds {
  bool positions = false;
  PerEntry high = kMaxPosition;
  // What `high` is.
  std::string_view name = {};

  [[nodiscard]] int64_t low() const { return positions ? -kMaxPosition : 0; }
  [[nodiscard]] std::string Text(int64_t b) const {
    if (positions) return "-2^60 to 2^60 is allowed";
    return absl::StrCat("0 to ", std::string(name), " = ", high[b], " is allowed");
  }
};

// A list with one element per batch entry, or one for all.
absl::StatusOr<PerEntry> ReadPerEntry(std::string_view field, const std::vector<int64_t>& list, PerEntry unset,
                                      const AttentionPlan& plan, const Bounds& bounds) {
  if (list.empty()) return unset;
  const int64_t batch = plan.dims.batch;
  if (list.size() != 1 && static_cast<int64_t>(list.size()) != batch) {
    return InvalidField(field, absl::StrCat("has ", list.size(), " elements; 1 or batch = ", batch, " are allowed"));
  }
  if (list.size() > kMaxListedEntries) {
    return InvalidField(field, absl::StrCat("has ", list.size(), " elements; at most ", kMaxListedEntries,
                                            " batch entries may differ"));
  }
  // One element for all is checked against every entry that has bounds of its own.
  const int64_t checks = list.size() == 1 && !bounds.high.uniform() ? batch : static_cast<int64_t>(list.size());
  for (int64_t b = 0; b < checks; ++b) {
    const int64_t element = list[list.size() == 1 ? 0 : static_cast<size_t>(b)];
    if (element < bounds.low() || element > bounds.high[b]) {
      return InvalidField(field, absl::StrCat("has ", element, checks > 1 ? absl::StrCat(" for batch entry ", b) : "",
                                              "; ", bounds.Text(b)));
    }
  }
  return list.size() == 1 ? PerEntry(list[0]) : PerEntry(list);
}

absl::Status PlanLengths(const AttentionOptions& options, AttentionPlan& plan) {
  plan.q_used = plan.queries.count;
  plan.visibility.kv_end = plan.keys.count;
  // A packed request's lengths are its shape.
  if (plan.layout != Layout::kPacked) {
    auto q = ReadPerEntry("options.q_lengths", options.q_lengths, plan.queries.count, plan,
                          {.high = plan.queries.count, .name = "q_len"});
    if (!q.ok()) return q.status();
    plan.q_used = *std::move(q);
    auto kv = ReadPerEntry("options.kv_lengths", options.kv_lengths, plan.keys.count, plan,
                           {.high = plan.keys.count, .name = "kv_len"});
    if (!kv.ok()) return kv.status();
    plan.visibility.kv_end = *std::move(kv);
  }
  auto starts = ReadPerEntry("options.kv_starts", options.kv_starts, 0, plan,
                             {.high = plan.visibility.kv_end, .name = "the kv length"});
  if (!starts.ok()) return starts.status();
  plan.visibility.kv_begin = *std::move(starts);
  return absl::OkStatus();
}

struct Positions {
  PerEntry query;
  PerEntry key;
};

// Whether alignment must be said where lengths differ.
bool LengthsDiffer(const AttentionPlan& plan) {
  if (plan.layout != Layout::kPacked) return plan.dims.q_len != plan.dims.kv_len;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    if (plan.queries.count[b] != plan.keys.count[b]) return true;
  }
  return false;
}

const char* OptionThatUsesPositions(const AttentionOptions& options) {
  if (options.causal) return "options.causal";
  if (options.window.has_value()) return "options.window";
  if (options.alibi_slopes.has_value()) return "options.alibi_slopes";
  const bool all_given =
      options.rope.has_value() && !options.rope->query_positions.empty() && !options.rope->key_positions.empty();
  return options.rope.has_value() && !all_given ? "options.rope" : nullptr;
}

absl::StatusOr<Positions> PlanPositions(const AttentionOptions& options, const AttentionPlan& plan) {
  Positions positions;
  for (const auto& [field, offsets, position] : {std::tuple{"options.q_offset", &options.q_offset, &positions.query},
                                                 std::tuple{"options.k_offset", &options.k_offset, &positions.key}}) {
    if (!offsets->empty() && options.alignment != Alignment::kOffset) {
      return InvalidField(field, "is given, but options.alignment is not OFFSET");
    }
    auto read = ReadPerEntry(field, *offsets, 0, plan, {.positions = true});
    if (!read.ok()) return read.status();
    *position = *std::move(read);
  }
  const char* user = OptionThatUsesPositions(options);
  if (options.alignment == Alignment::kUnset && user != nullptr && LengthsDiffer(plan)) {
    return InvalidField("options.alignment",
                        absl::StrCat("is not set, but ", user, " is and q_len = ", plan.dims.q_len,
                                     " differs from kv_len = ", plan.dims.kv_len,
                                     plan.layout == Layout::kPacked ? " or does so within a sequence" : "",
                                     "; say TOP_LEFT, BOTTOM_RIGHT or OFFSET"));
  }
  if (options.alignment == Alignment::kBottomRight) {
    positions.query = PerEntry::Map([](int64_t kv, int64_t q) { return kv - q; }, plan.visibility.kv_end, plan.q_used);
  }
  return positions;
}

absl::Status PlanWindow(const Window& window, Visibility& visibility) {
  if (!window.left.has_value() && !window.right.has_value()) {
    return InvalidField("options.window", "has neither left nor right; set at least one of them");
  }
  for (const auto& [field, from, to] : {std::tuple{"options.window.left", &window.left, &visibility.left},
                                        std::tuple{"options.window.right", &window.right, &visibility.right}}) {
    if (!from->has_value()) continue;
    if (**from < 0) return InvalidField(field, absl::StrCat("is ", **from, "; at least 0 is allowed"));
    *to = std::min(**from, kMaxDistance);
  }
  return absl::OkStatus();
}

absl::Status PlanPrefix(const AttentionOptions& options, AttentionPlan& plan) {
  if (!options.prefix_lengths.empty() && !options.causal) {
    return InvalidField("options.prefix_lengths",
                        "is given, but options.causal is not set: without it every key is visible to all queries");
  }
  auto prefix = ReadPerEntry("options.prefix_lengths", options.prefix_lengths, 0, plan,
                             {.high = plan.keys.count, .name = "kv_len"});
  if (!prefix.ok()) return prefix.status();
  plan.visibility.prefix = *std::move(prefix);
  return absl::OkStatus();
}

// Number of tokens of all entries. The tensors that have them are known to fit.
int64_t Tokens(const TokenSpans& spans, int64_t batch) {
  return spans.starts.empty() ? batch * spans.count[0] : spans.starts.back();
}

absl::Status CheckTokenList(std::string_view field, size_t size, const TokenSpans& spans, const AttentionPlan& plan,
                            std::string_view tokens) {
  const int64_t wanted = Tokens(spans, plan.dims.batch);
  if (static_cast<int64_t>(size) == wanted) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("has ", size, " elements; one for each of the ", wanted, " ",
                                          std::string(tokens), " (", plan.dims.batch, " batch entries) is needed"));
}

// The keys' ids, or the queries' that stand in for them.
const std::vector<int32_t>& KeyIds(const Documents& documents, const AttentionPlan& plan) {
  const bool stand_in = documents.key_ids.empty() && Tokens(plan.keys, plan.dims.batch) > 0;
  return stand_in ? documents.query_ids : documents.key_ids;
}

absl::Status PlanDocuments(const Documents& documents, AttentionPlan& plan) {
  if (absl::Status s =
          CheckTokenList("options.documents.query_ids", documents.query_ids.size(), plan.queries, plan, "queries");
      !s.ok()) {
    return s;
  }
  const bool stand_in = documents.key_ids.empty() && Tokens(plan.keys, plan.dims.batch) > 0;
  if (stand_in && LengthsDiffer(plan)) {
    return InvalidField("options.documents.key_ids",
                        absl::StrCat("is not given and query_ids cannot stand in: q_len = ", plan.dims.q_len,
                                     " differs from kv_len = ", plan.dims.kv_len));
  }
  const auto& key_ids = KeyIds(documents, plan);
  if (absl::Status s = CheckTokenList("options.documents.key_ids", key_ids.size(), plan.keys, plan, "keys"); !s.ok()) {
    return s;
  }
  plan.has_documents = plan.rows > 0;
  return absl::OkStatus();
}

// Whether indexing documents is quick. Whoever plans may have others waiting.
bool QuickToIndex(const Documents& documents) {
  constexpr size_t kManyTokens = size_t{1} << 18;
  constexpr size_t kManyRuns = size_t{1} << 14;
  if (documents.query_ids.size() + documents.key_ids.size() > kManyTokens) return false;
  const auto& ids = documents.key_ids.empty() ? documents.query_ids : documents.key_ids;
  size_t runs = 0;
  for (size_t i = 1; i < ids.size(); ++i) runs += ids[i] != ids[i - 1] ? 1 : 0;
  return runs < kManyRuns;
}

// `tensor` broadcast from the right over [batch, heads, q_len, kv_len].
absl::StatusOr<BroadcastPlan> PlanBroadcast(const std::string& name, const TensorView& tensor, TensorUse use,
                                            const AttentionPlan& plan) {
  if (absl::Status s = CheckTensor(name, tensor, use); !s.ok()) return s;
  const Dims& dims = plan.dims;
  const int64_t full[] = {dims.batch, dims.heads, dims.q_len, dims.kv_len};
  int64_t shape[] = {1, 1, 1, 1};
  const size_t rank = tensor.shape.size();
  bool fits = rank <= 4;
  for (size_t i = 0; i < rank && fits; ++i) {
    const size_t at = 4 - rank + i;
    shape[at] = tensor.shape[i];
    fits = shape[at] == 1 || shape[at] == full[at];
  }
  if (!fits) {
    return InvalidField(
        FieldPath(name, "shape"),
        absl::StrCat("is ", ShapeString(tensor.shape), ", which does not broadcast over ", ShapeString(full),
                     " [batch, heads, q_len, kv_len]; each extent is that or 1",
                     plan.layout == Layout::kPacked ? " (q_len and kv_len of the longest sequence)" : ""));
  }
  BroadcastPlan broadcast;
  broadcast.dtype = tensor.dtype;
  broadcast.per_key = shape[3] == dims.kv_len;
  broadcast.bytes = static_cast<int64_t>(tensor.bytes.size());
  // Products of extents of a tensor that is there.
  if (broadcast.bytes == 0) return broadcast;
  const int64_t row = TensorBytes(tensor.dtype, {&shape[3], 1}).value_or(0);
  broadcast.query = shape[2] == 1 ? 0 : row;
  broadcast.head = shape[1] == 1 ? 0 : shape[2] * row;
  broadcast.batch = shape[0] == 1 ? 0 : shape[1] * shape[2] * row;
  return broadcast;
}

absl::Status PlanMasksAndBiases(const AttentionOptions& options, AttentionPlan& plan) {
  for (const auto& [field, count] :
       {std::pair{"options.masks", options.masks.size()}, std::pair{"options.biases", options.biases.size()}}) {
    if (count > kMaxBroadcasts) {
      return InvalidField(field, absl::StrCat("has ", count, " elements; at most ", kMaxBroadcasts, " are allowed"));
    }
  }
  for (size_t i = 0; i < options.masks.size(); ++i) {
    const std::string name = Indexed("options.masks", i);
    if (options.masks[i].polarity == Polarity::kUnset) {
      return InvalidField(FieldPath(name, "polarity"),
                          "is not set; say KEEP (1 = the key takes part) or DROP (1 = the key is ignored)");
    }
    auto broadcast = PlanBroadcast(FieldPath(name, "tensor"), options.masks[i].tensor, TensorUse::kMask, plan);
    if (!broadcast.ok()) return broadcast.status();
    broadcast->keep = options.masks[i].polarity == Polarity::kKeep;
    plan.masks.push_back(*broadcast);
  }
  for (size_t i = 0; i < options.biases.size(); ++i) {
    auto broadcast = PlanBroadcast(Indexed("options.biases", i), options.biases[i], TensorUse::kNumbers, plan);
    if (!broadcast.ok()) return broadcast.status();
    plan.biases.push_back(*broadcast);
  }
  return absl::OkStatus();
}

absl::Status CheckPositive(std::string_view field, const std::optional<float>& number) {
  if (!number.has_value() || (std::isfinite(*number) && *number > 0)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", *number, "; a finite number > 0 is allowed"));
}

absl::Status PlanScores(const AttentionOptions& options, AttentionPlan& plan) {
  plan.scale = options.scale.value_or(static_cast<float>(1 / std::sqrt(static_cast<double>(plan.dims.head_dim))));
  if (!std::isfinite(plan.scale)) {
    return InvalidField("options.scale", absl::StrCat("is ", plan.scale, "; it must be finite"));
  }
  if (absl::Status s = CheckPositive("options.softcap", options.softcap); !s.ok()) return s;
  plan.softcap = options.softcap.value_or(0);
  if (absl::Status s = CheckPerHead("options.alibi_slopes", options.alibi_slopes, plan.dims.heads); !s.ok()) return s;
  if (absl::Status s = CheckPerHead("options.sinks", options.sinks, plan.dims.heads); !s.ok()) return s;
  plan.has_alibi = options.alibi_slopes.has_value();
  plan.has_sinks = options.sinks.has_value();
  return absl::OkStatus();
}

absl::Status PlanRope(const Rope& rope, AttentionPlan& plan) {
  RopePlan planned;
  if (rope.style == RopeStyle::kUnset) {
    return InvalidField("options.rope.style", "is not set; say HALF or INTERLEAVED, they are not interchangeable");
  }
  planned.style = rope.style;
  planned.rotary_dim = rope.rotary_dim.value_or(plan.dims.head_dim);
  if (planned.rotary_dim < 2 || planned.rotary_dim > plan.dims.head_dim || planned.rotary_dim % 2 != 0) {
    return InvalidField(
        "options.rope.rotary_dim",
        absl::StrCat(rope.rotary_dim.has_value() ? "is " : "is not set and would be head_dim = ", planned.rotary_dim,
                     "; even numbers from 2 to head_dim = ", plan.dims.head_dim, " are allowed"));
  }
  if (absl::Status s = CheckPositive("options.rope.theta", rope.theta); !s.ok()) return s;
  if (absl::Status s = CheckPositive("options.rope.scaling_factor", rope.scaling_factor); !s.ok()) return s;
  planned.theta = rope.theta.value_or(10000);
  planned.scaling_factor = rope.scaling_factor.value_or(1);
  for (const auto& [field, list, spans, tokens] :
       {std::tuple{"options.rope.query_positions", &rope.query_positions, &plan.queries, "queries"},
        std::tuple{"options.rope.key_positions", &rope.key_positions, &plan.keys, "keys"}}) {
    if (list->empty()) continue;
    if (absl::Status s = CheckTokenList(field, list->size(), *spans, plan, tokens); !s.ok()) return s;
    for (const int64_t position : *list) {
      if (position < -kMaxPosition || position > kMaxPosition) {
        return InvalidField(field, absl::StrCat("has ", position, "; -2^60 to 2^60 is allowed"));
      }
    }
  }
  planned.query_positions = rope.query_positions;
  planned.key_positions = rope.key_positions;
  plan.rope = std::move(planned);
  return absl::OkStatus();
}

}  // namespace

void IndexDocuments(const AttentionOptions& options, AttentionPlan& plan) {
  if (!plan.has_documents || plan.visibility.documents != nullptr) return;
  plan.visibility.documents = std::make_shared<const DocumentIndex>(
      options.documents->query_ids, KeyIds(*options.documents, plan), plan.queries, plan.keys, plan.dims.batch);
}

absl::Status PlanOptions(const AttentionOptions& options, AttentionPlan& plan) {
  if (absl::Status s = PlanScores(options, plan); !s.ok()) return s;
  if (absl::Status s = PlanLengths(options, plan); !s.ok()) return s;
  const auto positions = PlanPositions(options, plan);
  if (!positions.ok()) return positions.status();
  plan.q_position = positions->query;
  plan.k_position = positions->key;
  if (plan.diagnostics.has_value()) plan.diagnostics->aligned = options.alignment != Alignment::kUnset;
  Visibility& visibility = plan.visibility;
  visibility.causal = options.causal;
  visibility.shift = PerEntry::Map([](int64_t q, int64_t k) { return q - k; }, positions->query, positions->key);
  if (options.window.has_value()) {
    if (absl::Status s = PlanWindow(*options.window, visibility); !s.ok()) return s;
  }
  if (absl::Status s = PlanPrefix(options, plan); !s.ok()) return s;
  if (options.documents.has_value()) {
    if (absl::Status s = PlanDocuments(*options.documents, plan); !s.ok()) return s;
    if (QuickToIndex(*options.documents)) IndexDocuments(options, plan);
  }
  if (absl::Status s = PlanMasksAndBiases(options, plan); !s.ok()) return s;
  return options.rope.has_value() ? PlanRope(*options.rope, plan) : absl::OkStatus();
}

}  // namespace attnd
