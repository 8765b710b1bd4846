#include "core/linear/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/attention/tensor.h"

namespace attnd {
namespace {

using nlohmann::json;

constexpr char kMetadata[] = "__metadata__";

struct TypeFacts {
  StoredType dtype;
  const char* name;
  size_t size;
};

// In the order of the enumeration.
constexpr std::array kTypes = {
    TypeFacts{StoredType::kBool, "BOOL", 1},      TypeFacts{StoredType::kU8, "U8", 1},
    TypeFacts{StoredType::kI8, "I8", 1},          TypeFacts{StoredType::kF8E4M3, "F8_E4M3", 1},
    TypeFacts{StoredType::kF8E5M2, "F8_E5M2", 1}, TypeFacts{StoredType::kU16, "U16", 2},
    TypeFacts{StoredType::kI16, "I16", 2},        TypeFacts{StoredType::kF16, "F16", 2},
    TypeFacts{StoredType::kBf16, "BF16", 2},      TypeFacts{StoredType::kU32, "U32", 4},
    TypeFacts{StoredType::kI32, "I32", 4},        TypeFacts{StoredType::kF32, "F32", 4},
    TypeFacts{StoredType::kU64, "U64", 8},        TypeFacts{StoredType::kI64, "I64", 8},
    TypeFacts{StoredType::kF64, "F64", 8},
};

const TypeFacts& Facts(StoredType dtype) { return kTypes.at(static_cast<size_t>(dtype)); }

absl::Status BadFile(const std::string& file, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", problem));
}

absl::Status BadTensor(const std::string& file, const std::string& tensor, const std::string& problem) {
  return BadFile(file, absl::StrCat("tensor ", QuotedName(tensor), ": ", problem));
}

// Notices what a parsed document no longer shows: names given twice, and nesting deeper
// than the format has, which is kept out of memory so. A pass of its own: the parser's
// callbacks take time in the square of an object's size.
class HeaderWatch final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_integer(number_integer_t /*value*/) override { return true; }
  bool number_unsigned(number_unsigned_t /*value*/) override { return true; }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return true; }
  bool string(string_t& /*value*/) override { return true; }
  bool binary(binary_t& /*value*/) override { return true; }
  bool start_object(size_t /*elements*/) override {
    names_.emplace_back();
    return Deeper();
  }
  bool end_object() override {
    names_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(size_t /*elements*/) override { return Deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (names_.back().insert(name).second) return true;
    problem_ = absl::StrCat("the header has ", QuotedName(name), " twice");
    return false;
  }
  bool parse_error(size_t /*position*/, const std::string& /*token*/, const json::exception& /*error*/) override {
    problem_ = "the header is not valid JSON";
    return false;
  }

  // Empty if nothing was noticed.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  static constexpr int kMaxDepth = 3;

  bool Deeper() {
    if (++depth_ <= kMaxDepth) return true;
    problem_ = "the header is nested deeper than the format allows";
    return false;
  }

  int depth_ = 0;
  // Of the objects that are open, innermost last.
  std::vector<std::set<std::string>> names_;
  std::string problem_;
};

absl::StatusOr<json> ParseHeader(std::span<const std::byte> header, const std::string& file) {
  const auto* text = reinterpret_cast<const char*>(header.data());
  HeaderWatch watch;
  (void)json::sax_parse(text, text + header.size(), &watch);
  if (!watch.problem().empty()) return BadFile(file, watch.problem());
  json document = json::parse(text, text + header.size(), nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return BadFile(file, "the header is not valid JSON");
  if (!document.is_object()) return BadFile(file, "the header is not a JSON object");
  return document;
}

// The header's bytes, which follow their length.
absl::StatusOr<std::span<const std::byte>> LocateHeader(std::span<const std::byte> contents, const std::string& file) {
  constexpr size_t kPrefix = sizeof(uint64_t);
  if (contents.size() < kPrefix) {
    return BadFile(file, absl::StrCat("not a safetensors file: it has ", contents.size(), " bytes"));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefix; ++i) length |= std::to_integer<uint64_t>(contents[i]) << (8 * i);
  if (length > Safetensors::kMaxHeaderBytes) {
    return BadFile(file, absl::StrCat("not a safetensors file: header of ", length, " bytes, allowed are ",
                                      Safetensors::kMaxHeaderBytes));
  }
  if (length > contents.size() - kPrefix) {
    return BadFile(file, absl::StrCat("truncated: header of ", length, " bytes in a file of ", contents.size()));
  }
  const auto header = contents.subspan(kPrefix, static_cast<size_t>(length));
  if (header.empty() || header.front() != std::byte{'{'}) {
    return BadFile(file, "not a safetensors file: no JSON object after the header's length");
  }
  return header;
}

absl::StatusOr<std::map<std::string, std::string>> ReadMetadata(const json& entry, const std::string& file) {
  std::map<std::string, std::string> metadata;
  if (!entry.is_object()) return BadFile(file, "__metadata__ is not a JSON object");
  for (const auto& [key, value] : entry.items()) {
    const auto* text = value.get_ptr<const std::string*>();
    if (text == nullptr) return BadFile(file, absl::StrCat("__metadata__ ", QuotedName(key), " is not a string"));
    metadata.emplace(key, *text);
  }
  return metadata;
}

// The elements of a JSON array of integers in 0..2^63 - 1, if it is one.
std::optional<std::vector<int64_t>> ReadNaturals(const json& object, const char* key) {
  const auto entry = object.find(key);
  if (entry == object.end() || !entry->is_array()) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const json& element : *entry) {
    const auto* number = element.get_ptr<const json::number_unsigned_t*>();
    if (number == nullptr || *number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    numbers.push_back(static_cast<int64_t>(*number));
  }
  return numbers;
}

absl::StatusOr<StoredTensor> ReadTensor(const std::string& name, const json& entry, std::span<const std::byte> data,
                                        const std::string& file) {
  StoredTensor tensor;
  tensor.name = name;
  if (!entry.is_object()) return BadTensor(file, name, "its entry is not a JSON object");

  const auto dtype = entry.find("dtype");
  const auto* dtype_name = dtype == entry.end() ? nullptr : dtype->get_ptr<const std::string*>();
  if (dtype_name == nullptr) return BadTensor(file, name, "dtype is missing or not a string");
  const auto known = StoredTypeFromName(*dtype_name);
  if (!known.has_value()) return BadTensor(file, name, absl::StrCat("unknown dtype ", QuotedName(*dtype_name)));
  tensor.dtype = *known;

  auto shape = ReadNaturals(entry, "shape");
  if (!shape.has_value()) return BadTensor(file, name, "shape is missing or not a list of integers >= 0");
  tensor.shape = *std::move(shape);

  const auto offsets = ReadNaturals(entry, "data_offsets");
  if (!offsets.has_value() || offsets->size() != 2) {
    return BadTensor(file, name, "data_offsets is missing or not two integers >= 0");
  }
  const auto begin = static_cast<size_t>(offsets->front());
  const auto end = static_cast<size_t>(offsets->back());
  if (begin > end || end > data.size()) {
    return BadTensor(file, name,
                     absl::StrCat("data_offsets [", begin, ", ", end, "] are not a range within the ", data.size(),
                                  " bytes of data"));
  }
  const auto size = StoredBytes(tensor.dtype, tensor.shape);
  if (size != end - begin) {
    const std::string needed = size.has_value() ? absl::StrCat(*size) : "too many";
    return BadTensor(file, name,
                     absl::StrCat(*dtype_name, " of shape ", ShapeString(tensor.shape), " needs ", needed,
                                  " bytes, data_offsets give ", end - begin));
  }
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

// Checks that `tensors`, in the order of their bytes, fill `data`: no overlap, no hole.
absl::Status CheckCoverage(std::span<const StoredTensor> tensors, std::span<const std::byte> data,
                           const std::string& file) {
  const std::byte* end = data.data();
  for (const StoredTensor& tensor : tensors) {
    if (tensor.bytes.data() < end) return BadTensor(file, tensor.name, "its bytes overlap another tensor's");
    if (tensor.bytes.data() > end) return BadTensor(file, tensor.name, "there is a hole before its bytes");
    end += tensor.bytes.size();
  }
  const auto left = static_cast<size_t>(data.data() + data.size() - end);
  if (left != 0) return BadFile(file, absl::StrCat(left, " bytes at the end belong to no tensor"));
  return absl::OkStatus();
}

bool BytesBefore(const StoredTensor& a, const StoredTensor& b) {
  return std::make_tuple(a.bytes.data(), a.bytes.size()) < std::make_tuple(b.bytes.data(), b.bytes.size());
}

absl::Status CheckWritable(const std::string& path, std::span<const StoredTensor> tensors) {
  std::set<std::string> names;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.name == kMetadata) return BadTensor(path, tensor.name, "this name is the format's own");
    if (!names.insert(tensor.name).second) return BadTensor(path, tensor.name, "given twice");
    if (StoredBytes(tensor.dtype, tensor.shape) != tensor.bytes.size()) {
      return BadTensor(path, tensor.name,
                       absl::StrCat(StoredTypeName(tensor.dtype), " of shape ", ShapeString(tensor.shape),
                                    " does not have ", tensor.bytes.size(), " bytes"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string QuotedName(std::string_view name) {
  constexpr size_t kMostShown = 200;
  const std::string shown = absl::Utf8SafeCEscape(std::string(name.substr(0, kMostShown)));
  return absl::StrCat("'", shown, name.size() > kMostShown ? "...'" : "'");
}

const char* StoredTypeName(StoredType dtype) { return Facts(dtype).name; }

size_t StoredTypeSize(StoredType dtype) { return Facts(dtype).size; }

std::optional<StoredType> StoredTypeFromName(std::string_view name) {
  const auto* const facts =
      std::find_if(kTypes.begin(), kTypes.end(), [name](const auto& t) { return name == t.name; });
  if (facts == kTypes.end()) return std::nullopt;
  return facts->dtype;
}

std::optional<size_t> StoredBytes(StoredType dtype, std::span<const int64_t> shape) {
  if (std::any_of(shape.begin(), shape.end(), [](int64_t extent) { return extent < 0; })) return std::nullopt;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  size_t bytes = StoredTypeSize(dtype);
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(extent), &bytes)) return std::nullopt;
  }
  return bytes;
}

absl::StatusOr<Safetensors> Safetensors::Read(const std::string& path) {
  auto contents = ReadFile(path);
  if (!contents.ok()) return contents.status();
  return Parse(*std::move(contents), path);
}

absl::StatusOr<Safetensors> Safetensors::Parse(FileContents contents, const std::string& name) {
  Safetensors file;
  auto owned = std::make_shared<const FileContents>(std::move(contents));
  const auto header = LocateHeader(owned->bytes(), name);
  if (!header.ok()) return header.status();
  const auto document = ParseHeader(*header, name);
  if (!document.ok()) return document.status();

  const auto data = owned->bytes().subspan(sizeof(uint64_t) + header->size());
  for (const auto& [key, entry] : document->items()) {
    if (key == kMetadata) {
      auto metadata = ReadMetadata(entry, name);
      if (!metadata.ok()) return metadata.status();
      file.metadata_ = *std::move(metadata);
      continue;
    }
    auto tensor = ReadTensor(key, entry, data, name);
    if (!tensor.ok()) return tensor.status();
    file.tensors_.push_back(*std::move(tensor));
  }
  std::sort(file.tensors_.begin(), file.tensors_.end(), BytesBefore);
  if (auto status = CheckCoverage(file.tensors_, data, name); !status.ok()) return status;
  file.contents_ = std::move(owned);
  return file;
}

const StoredTensor* Safetensors::Find(std::string_view name) const {
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [name](const StoredTensor& t) { return t.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

absl::Status WriteSafetensors(const std::string& path, std::span<const StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata) {
  if (auto status = CheckWritable(path, tensors); !status.ok()) return status;

  // Widest elements first: then each tensor starts at a multiple of its element size.
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return StoredTypeSize(a->dtype) > StoredTypeSize(b->dtype);
  });

  json header = json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  size_t offset = 0;
  for (const StoredTensor* tensor : order) {
    const size_t end = offset + tensor->bytes.size();
    header[tensor->name] = {
        {"dtype", StoredTypeName(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');

  std::array<std::byte, sizeof(uint64_t)> length{};
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<std::byte>(uint64_t{text.size()} >> (8 * i));
  std::vector<std::span<const std::byte>> parts = {length, std::as_bytes(std::span(text))};
  for (const StoredTensor* tensor : order) parts.push_back(tensor->bytes);
  return WriteFile(path, parts);
}

}  // namespace attnd
