#include "core/linear/onednn.h"

#include <new>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/scratch.h"
#include "oneapi/dnnl/dnnl.hpp"

// oneDNN's OpenMP. Declared here because clang has no omp.h for GCC's library.
extern "C" void omp_set_num_threads(int threads);

namespace attnd {
namespace {

using dnnl::memory;

constexpr auto kFloat32 = memory::data_type::f32;

absl::Status ToStatus(dnnl_status_t status, const std::string& what) {
  if (status == dnnl_success) return absl::OkStatus();
  if (status == dnnl_out_of_memory) return absl::ResourceExhaustedError("oneDNN has no memory for a product");
  return absl::InternalError(absl::StrCat("oneDNN failed with status ", static_cast<int>(status), " in ", what));
}

// Runs `body`, which may throw what oneDNN throws.
template <typename Body>
absl::Status Guarded(const char* what, const Body& body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    return ToStatus(error.status, what);
  } catch (const std::bad_alloc&) {
    return ToStatus(dnnl_out_of_memory, what);
  }
}

const dnnl::engine& Cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& StreamOfThisThread() {
  static thread_local dnnl::stream stream(Cpu());
  return stream;
}

memory::desc Rows(int64_t rows, int64_t columns) { return {{rows, columns}, kFloat32, memory::format_tag::ab}; }

// Memory that oneDNN only reads is not const to it.
memory Borrow(const memory::desc& desc, const float* data) { return {desc, Cpu(), const_cast<float*>(data)}; }

// The product of kRows rows with weights that lie as `weights` says.
dnnl::matmul::primitive_desc Describe(int64_t in, int64_t out, const memory::desc& weights, bool with_bias) {
  const memory::desc x = Rows(OnednnMatrix::kRows, in);
  const memory::desc y = Rows(OnednnMatrix::kRows, out);
  const memory::desc bias = Rows(1, out);
  dnnl::primitive_attr attributes;
  // Its own scratchpad would make a primitive one thread's.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  if (!with_bias) return {Cpu(), x, weights, y, attributes};
  return {Cpu(), x, weights, bias, y, attributes};
#else
  if (!with_bias) return {dnnl::matmul::desc(x, weights, y), attributes, Cpu()};
  return {dnnl::matmul::desc(x, weights, bias, y), attributes, Cpu()};
#endif
}

memory::desc PreferredLayout(int64_t in, int64_t out) {
  return Describe(in, out, memory::desc({in, out}, kFloat32, memory::format_tag::any), /*with_bias=*/true)
      .weights_desc();
}

struct Product {
  explicit Product(const dnnl::matmul::primitive_desc& description)
      : primitive(description), scratchpad(description.scratchpad_desc()) {}

  dnnl::matmul primitive;
  memory::desc scratchpad;
};

class MatmulMatrix final : public OnednnMatrix {
 public:
  // Throws.
  MatmulMatrix(const float* rows, int64_t in, int64_t out)
      : in_(in),
        out_(out),
        weights_(PreferredLayout(in, out), Cpu()),
        plain_(Describe(in, out, weights_.get_desc(), /*with_bias=*/false)),
        biased_(Describe(in, out, weights_.get_desc(), /*with_bias=*/true)) {
    memory source = Borrow(Rows(in, out), rows);
    memory destination = weights_;
    dnnl::reorder(source, destination).execute(StreamOfThisThread(), source, destination);
    StreamOfThisThread().wait();
  }

  absl::Status Multiply(const float* x, const float* bias, float* y) const override {
    UseOnednnOnThisThreadOnly();
    static thread_local Scratch scratch;
    const Product& product = bias == nullptr ? plain_ : biased_;
    const auto floats = static_cast<int64_t>(product.scratchpad.get_size() / sizeof(float)) + 1;
    if (absl::Status status = scratch.Reserve(floats); !status.ok()) return status;
    return Guarded("matmul", [&] {
      std::unordered_map<int, memory> arguments = {
          {DNNL_ARG_SRC, Borrow(Rows(kRows, in_), x)},
          {DNNL_ARG_WEIGHTS, weights_},
          {DNNL_ARG_DST, memory(Rows(kRows, out_), Cpu(), y)},
          {DNNL_ARG_SCRATCHPAD, memory(product.scratchpad, Cpu(), scratch.data())}};
      if (bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, Borrow(Rows(1, out_), bias));
      product.primitive.execute(StreamOfThisThread(), arguments);
      StreamOfThisThread().wait();
    });
  }

 private:
  const int64_t in_;
  const int64_t out_;
  const memory weights_;
  const Product plain_;
  const Product biased_;
};

}  // namespace

std::string OnednnLibraryVersion() {
  const dnnl_version_t* version = dnnl_version();
  return absl::StrCat(version->major, ".", version->minor, ".", version->patch);
}

std::string OnednnIsa() { return absl::StrCat("0x", absl::Hex(static_cast<unsigned>(dnnl_get_effective_cpu_isa()))); }

void UseOnednnOnThisThreadOnly() { omp_set_num_threads(1); }

absl::Status OnednnSgemm(bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride,
                         const float* b, int64_t b_stride, float beta, float* c, int64_t c_stride) {
  const dnnl_status_t status =
      dnnl_sgemm('N', transpose_b ? 'T' : 'N', m, n, k, 1.0F, a, a_stride, b, b_stride, beta, c, c_stride);
  if (status == dnnl_success) return absl::OkStatus();
  return ToStatus(status, absl::StrCat("dnnl_sgemm for m=", m, " n=", n, " k=", k));
}

absl::StatusOr<std::unique_ptr<OnednnMatrix>> OnednnMatrix::Pack(const float* rows, int64_t in, int64_t out) {
  UseOnednnOnThisThreadOnly();
  std::unique_ptr<OnednnMatrix> matrix;
  absl::Status status = Guarded("packing", [&] { matrix = std::make_unique<MatmulMatrix>(rows, in, out); });
  if (!status.ok()) return status;
  return matrix;
}

absl::StatusOr<int64_t> OnednnMatrix::BytesFor(int64_t in, int64_t out) {
  int64_t bytes = 0;
  absl::Status status = Guarded("layout", [&] { bytes = static_cast<int64_t>(PreferredLayout(in, out).get_size()); });
  if (!status.ok()) return status;
  return bytes;
}

}  // namespace attnd
