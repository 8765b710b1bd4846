// Keys, or values, of one head as strips read them: a block at a time, as floats, or where they lie.
#ifndef ATTND_CORE_ATTENTION_TOKEN_BLOCK_H_
#define ATTND_CORE_ATTENTION_TOKEN_BLOCK_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "core/attention/float_rows.h"
#include "core/attention/visibility.h"

namespace attnd {

// Thread-compatible.
class TokenBlock {
 public:
  // Turns to the tokens of a head, which must outlive their use. `in_pairs`: they are read as by
  // simd_pairs.h, which can do without conversion.
  void Begin(const TokenRows& tokens, bool in_pairs);
  // Turns to the tokens of a block.
  void Turn(KeyRange block);

  // What is needed before tokens of the block are read. What is there already is not loaded again.
  absl::Status Load();
  absl::Status LoadFloats();
  // From `key` of the block on: after Load, tokens; after LoadFloats, or Load without pairs, floats.
  [[nodiscard]] TokenRows TokensFrom(int64_t key) const;
  [[nodiscard]] FloatRows FloatsFrom(int64_t key) const;

  // Whether Load has nothing to convert.
  [[nodiscard]] bool in_place() const { return in_place_; }
  // Whether the elements of tokens `keys`, of any block, are finite.
  [[nodiscard]] bool AllFinite(KeyRange keys) const;
  // Where tokens are from `key` on, or nullptr if they do not lie one behind the other.
  [[nodiscard]] const std::byte* MemoryFrom(int64_t key) const;

 private:
  [[nodiscard]] const std::byte* At(int64_t key) const {
    return tokens_.base + key * tokens_.stride * ElementBytes(tokens_.dtype);
  }

  TokenRows tokens_;
  bool in_place_ = false;
  KeyRange block_;
  FloatRowsLoader loader_;
  FloatRows floats_;
  bool loaded_ = false;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_TOKEN_BLOCK_H_
