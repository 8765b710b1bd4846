// Who computes products with weights.
#ifndef ATTND_CORE_LINEAR_LINEAR_ENGINE_H_
#define ATTND_CORE_LINEAR_LINEAR_ENGINE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace attnd {

// The engine never changes a result: what bits a product has is defined (packed_matrix.h), and
// oneDNN computes only where it has been seen to give them.
enum class LinearEngine {
  // Our kernel, for everything.
  kOwn,
  // oneDNN's matmul for whole blocks of 128 rows without gaps and all columns of matrices whose
  // shape passes OnednnHasOurBits; our kernel for all else. Those matrices are held twice.
  kOnednn,
};

// What "auto" means. Measured on a Zen 4 core with oneDNN 2.6.3, at 128 and 512 rows of 768 to
// 768 and 3072 and of 3072 to 768, in shares of the FMA peak: ours .90-.97 with AVX-512 and
// .89-.95 with AVX2, oneDNN .87-.95 and .42-.88; with 16 rows ours .86-.97, oneDNN .38-.90.
// Its bits are the defined ones with AVX-512 up to a depth of 512 and with AVX2 for some shapes
// up to 256, not beyond.
inline constexpr LinearEngine kAutoLinearEngine = LinearEngine::kOwn;

// "own", "onednn".
const char* LinearEngineName(LinearEngine engine);
// Names accepted by ParseLinearEngine, `auto` first.
std::vector<std::string> LinearEngineNames();
// The engine of that name. kInvalidArgument if there is none.
absl::StatusOr<LinearEngine> ParseLinearEngine(std::string_view name);

// The process's engine, for matrices packed from now on; kAutoLinearEngine at first. To be
// chosen before the first matrix is packed: what PackedMatrix::BytesFor says depends on it.
// Thread-safe.
void SetLinearEngine(LinearEngine engine);
LinearEngine CurrentLinearEngine();

// Whether oneDNN's products of 128 rows with a matrix of this shape have exactly the bits that
// ours have, tried with random numbers once for each shape. At most about 20 ms: shapes for
// which trying takes longer do not pass. Thread-safe.
bool OnednnHasOurBits(int64_t in, int64_t out);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_LINEAR_ENGINE_H_
