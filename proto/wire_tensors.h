// Tensors between the wire and core, payloads untouched. Used inside proto/.
#ifndef ATTND_PROTO_WIRE_TENSORS_H_
#define ATTND_PROTO_WIRE_TENSORS_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "attnd/v1/tensor.pb.h"
#include "core/attention/result_tensor.h"
#include "core/attention/tensor.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "proto/skeleton.h"

namespace attnd::codec {

// Makes `view` of the tensor of a request that errors call `name`. It refers to what
// `skeleton` refers to. InvalidField if it is not `present`, its dtype is not of the
// contract, or `data` and `values` do not go together.
absl::Status ReadTensor(const std::string& name, bool present, const v1::Tensor& tensor, const Skeleton& skeleton,
                        TensorView& view);

// The same where a tensor may be left out.
absl::Status ReadOptionalTensor(const std::string& name, bool present, const v1::Tensor& tensor,
                                const Skeleton& skeleton, std::optional<TensorView>& view);

// Whether the tensor came as `values`.
bool CameAsValues(const v1::Tensor& tensor, const Skeleton& skeleton);

// Keeps the message and what was copied out of it alive.
std::shared_ptr<const void> OwnerOf(std::shared_ptr<const void> message, Skeleton skeleton);

// Adds `tensor` as a sub-message in `field`, its bytes as `data`.
void WriteTensor(int field, const TensorView& tensor, ChunkWriter& out);

// The same with the bytes as `values`, if asked for and the elements are float32.
void WriteTensor(int field, const ResultTensor& tensor, bool as_values, ChunkWriter& out);

// Copies the tensor of a response that errors call `name`. kInternal if it is none.
absl::Status ReadReplyTensor(const char* name, const v1::Tensor& wire, const Skeleton& skeleton, ReplyTensor& tensor);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_WIRE_TENSORS_H_
