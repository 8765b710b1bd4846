#include "client/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/attention/tensor.h"

namespace attnd {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are written as they lie in memory");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;

struct Descr {
  std::string_view text;
  StoredType dtype;
};
constexpr std::array kDescrs = {
    Descr{"<f2", StoredType::kF16},  Descr{"<f4", StoredType::kF32}, Descr{"<f8", StoredType::kF64},
    Descr{"|b1", StoredType::kBool}, Descr{"|u1", StoredType::kU8},  Descr{"<i4", StoredType::kI32},
    Descr{"<i8", StoredType::kI64},
};

absl::Status BadFile(const std::string& file, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", problem));
}

// What the header's dictionary says.
struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;
};

// Reads the Python dictionary literal of a header, as far as NumPy writes it:
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
// Each Read* method consumes what it found, after blanks, and says whether it did.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : rest_(text) {}

  std::optional<Header> Read() {
    Header header;
    if (!Skip('{')) return std::nullopt;
    while (!Skip('}')) {
      std::string key;
      if (!ReadString(&key) || !Skip(':') || !ReadValue(key, &header)) return std::nullopt;
      if (!Skip(',') && !Peek('}')) return std::nullopt;
    }
    SkipBlanks();
    if (!rest_.empty()) return std::nullopt;
    return header;
  }

 private:
  bool ReadValue(const std::string& key, Header* header) {
    if (key == "descr") return ReadDescr(&header->descr.emplace());
    if (key == "fortran_order") return ReadBool(&header->fortran_order.emplace());
    if (key == "shape") return ReadTuple(&header->shape.emplace());
    return false;
  }

  // The descr of a structured array is a list; it is kept as "[".
  bool ReadDescr(std::string* descr) {
    if (!Peek('[')) return ReadString(descr);
    descr->assign(1, '[');
    const size_t end = rest_.rfind(']');
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    return end != std::string_view::npos;
  }

  bool ReadString(std::string* text) {
    SkipBlanks();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return false;
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return false;
    *text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return true;
  }

  bool ReadBool(bool* value) {
    SkipBlanks();
    *value = rest_.starts_with("True");
    if (!*value && !rest_.starts_with("False")) return false;
    rest_.remove_prefix(*value ? 4 : 5);
    return true;
  }

  bool ReadTuple(std::vector<int64_t>* numbers) {
    if (!Skip('(')) return false;
    while (!Skip(')')) {
      if (!ReadNumber(&numbers->emplace_back())) return false;
      if (!Skip(',') && !Peek(')')) return false;
    }
    return true;
  }

  bool ReadNumber(int64_t* number) {
    SkipBlanks();
    const size_t end = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    if (!absl::SimpleAtoi(std::string(rest_.substr(0, end)), number)) return false;
    rest_.remove_prefix(end);
    return true;
  }

  void SkipBlanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n\t"), rest_.size())); }
  bool Peek(char c) {
    SkipBlanks();
    return rest_.starts_with(c);
  }
  bool Skip(char c) {
    if (!Peek(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::string_view rest_;
};

// The header's text and where the elements begin.
struct Location {
  std::string_view header;
  size_t data = 0;
};

absl::StatusOr<Location> LocateHeader(std::string_view contents, const std::string& file) {
  const size_t version_at = kMagic.size();
  if (!contents.starts_with(kMagic) || contents.size() < version_at + 2) {
    return BadFile(file, "not a .npy file (NumPy's np.save writes one)");
  }
  const int version = static_cast<unsigned char>(contents[version_at]);
  if (version < 1 || version > 3) {
    return BadFile(file, absl::StrCat(".npy version ", version, "; known are 1, 2 and 3"));
  }

  const size_t length_at = version_at + 2;
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (contents.size() < length_at + length_bytes) return BadFile(file, "truncated in the header");
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) {
    length |= size_t{static_cast<unsigned char>(contents[length_at + i])} << (8 * i);
  }
  const size_t header_at = length_at + length_bytes;
  if (length > contents.size() - header_at) return BadFile(file, "truncated in the header");
  return Location{contents.substr(header_at, length), header_at + length};
}

absl::StatusOr<StoredType> ReadType(const std::string& descr, const std::string& file) {
  const auto* const known =
      std::find_if(kDescrs.begin(), kDescrs.end(), [&descr](const Descr& d) { return d.text == descr; });
  if (known != kDescrs.end()) return known->dtype;
  if (descr.starts_with('>')) {
    return BadFile(
        file, absl::StrCat("big-endian elements ('", descr, "'); save array.astype('<", descr.substr(1), "') instead"));
  }
  const std::string what = descr == "[" ? "a structured array" : absl::StrCat("elements of type '", descr, "'");
  return BadFile(
      file, absl::StrCat(what, "; save array.astype('<f4') instead, or '<i8' for whole numbers, or bool for a mask"));
}

}  // namespace

absl::StatusOr<NpyArray> ReadNpy(const std::string& path) {
  auto contents = ReadFile(path);
  if (!contents.ok()) return contents.status();
  return ParseNpy(*std::move(contents), path);
}

absl::StatusOr<NpyArray> ParseNpy(FileContents contents, const std::string& name) {
  auto owned = std::make_shared<const FileContents>(std::move(contents));
  const auto all = owned->bytes();
  const auto location = LocateHeader({reinterpret_cast<const char*>(all.data()), all.size()}, name);
  if (!location.ok()) return location.status();
  auto header = HeaderReader(location->header).Read();
  if (!header.has_value() || !header->descr.has_value() || !header->fortran_order.has_value() ||
      !header->shape.has_value()) {
    return BadFile(name, "the .npy header is not one that NumPy writes");
  }
  const auto dtype = ReadType(*header->descr, name);
  if (!dtype.ok()) return dtype.status();
  if (*header->fortran_order) {
    return BadFile(name, "the array is in Fortran order; save np.ascontiguousarray(array) instead");
  }

  NpyArray array{*dtype, *std::move(header->shape), all.subspan(location->data), owned};
  const auto needed = StoredBytes(array.dtype, array.shape);
  if (needed != array.bytes.size()) {
    return BadFile(name, absl::StrCat(StoredTypeName(array.dtype), " of shape ", ShapeString(array.shape), " needs ",
                                      needed.has_value() ? absl::StrCat(*needed) : "too many", " bytes, the file has ",
                                      array.bytes.size()));
  }
  return array;
}

absl::Status WriteNpy(const std::string& path, const StoredTensor& array) {
  const auto* const descr =
      std::find_if(kDescrs.begin(), kDescrs.end(), [&array](const Descr& d) { return d.dtype == array.dtype; });
  if (descr == kDescrs.end()) {
    return BadFile(path, absl::StrCat(".npy has no ", StoredTypeName(array.dtype), " elements"));
  }
  if (StoredBytes(array.dtype, array.shape) != array.bytes.size()) {
    return BadFile(path, absl::StrCat("shape ", ShapeString(array.shape), " does not have ",
                                      array.bytes.size() / StoredTypeSize(array.dtype), " elements"));
  }
  std::string dictionary =
      absl::StrCat("{'descr': '", std::string(descr->text), "', 'fortran_order': False, 'shape': (");
  for (const int64_t extent : array.shape) absl::StrAppend(&dictionary, extent, ", ");
  dictionary += "), }";

  // Version 1: magic, version, length in two bytes, dictionary, blanks up to the alignment.
  const size_t prefix_size = kMagic.size() + 4;
  const size_t header_end = (prefix_size + dictionary.size() + kAlignment) / kAlignment * kAlignment;
  const size_t length = header_end - prefix_size;
  std::string header(kMagic);
  header += {1, 0, static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  header += dictionary;
  header.resize(header_end - 1, ' ');
  header += '\n';
  const std::array parts = {std::as_bytes(std::span<const char>(header)), array.bytes};
  return WriteFile(path, parts);
}

absl::Status WriteNpy(const std::string& path, std::span<const int64_t> shape, std::span<const float> values) {
  return WriteNpy(path, {"", StoredType::kF32, {shape.begin(), shape.end()}, std::as_bytes(values)});
}

}  // namespace attnd
