#include "core/linear/weights_id.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"

namespace attnd {
namespace {

constexpr size_t kIdLength = 64;
constexpr size_t kMaxAlias = 256;

}  // namespace

struct WeightsHash::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  bool ok = context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1;

  State() = default;
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

WeightsHash::WeightsHash() : state_(std::make_unique<State>()) {}
WeightsHash::~WeightsHash() = default;

void WeightsHash::Append(std::span<const std::byte> bytes) {
  state_->ok = state_->ok && EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1;
}

void WeightsHash::Append(std::string_view text) { Append(std::as_bytes(std::span(text))); }

void WeightsHash::BeginTensor(const WeightRoleInfo& info, const TensorView& tensor, Orientation orientation) {
  constexpr std::string_view kZero("\0", 1);
  for (const std::string& word :
       {std::string(info.name), std::string(DataTypeName(tensor.dtype)), absl::StrJoin(tensor.shape, ",")}) {
    Append(word);
    Append(kZero);
  }
  if (info.kind == WeightKind::kMatrix) Append(orientation == Orientation::kInOut ? "IN_OUT" : "OUT_IN");
  Append(kZero);
}

absl::StatusOr<std::string> WeightsHash::Finish() {
  std::array<unsigned char, kIdLength / 2> digest{};
  state_->ok = state_->ok && EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) == 1;
  if (!state_->ok) return absl::InternalError("OpenSSL cannot compute a SHA-256");
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

absl::StatusOr<std::string> WeightsId(const ProjectionWeights& weights) {
  WeightsHash hash;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (!tensor.has_value()) continue;
    hash.BeginTensor(info, *tensor, weights.orientation);
    for (const auto piece : tensor->bytes.pieces()) hash.Append(piece);
  }
  return hash.Finish();
}

bool IsWeightsId(std::string_view text) {
  return text.size() == kIdLength && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

absl::Status CheckAlias(std::string_view field, std::string_view alias) {
  if (alias.empty() || alias.size() > kMaxAlias) {
    return InvalidField(field, absl::StrCat("has ", alias.size(), " bytes; 1 to ", kMaxAlias, " are allowed"));
  }
  constexpr std::string_view kOthers = "._-/:";
  const auto* const bad = std::find_if(alias.begin(), alias.end(), [kOthers](char c) {
    return !absl::ascii_isalnum(static_cast<unsigned char>(c)) && kOthers.find(c) == std::string_view::npos;
  });
  if (bad != alias.end()) {
    return InvalidField(field, absl::StrCat("has '", absl::CHexEscape(std::string(1, *bad)),
                                            "'; letters, digits, '.', '_', '-', '/' and ':' are allowed"));
  }
  const bool hexadecimal = std::all_of(alias.begin(), alias.end(),
                                       [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); });
  if (alias.size() == kIdLength && hexadecimal) {
    return InvalidField(field, "has the form of a content id, which a name must not have");
  }
  return absl::OkStatus();
}

}  // namespace attnd
