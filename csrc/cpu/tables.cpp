// Checks integer CDFs and builds what the decoder needs to look symbols up.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "../coder.h"

namespace lvc {

namespace {

[[noreturn]] void reject(size_t table, const std::string& what) {
  throw std::invalid_argument("table " + std::to_string(table) + ": " + what);
}

}  // namespace

Tables::Tables(const uint32_t* cdf, size_t n_tables, size_t stride, const uint32_t* lengths,
               const int32_t* offsets, uint32_t precision)
    : precision_(precision), bucket_bits_(std::min(precision, kBucketBits)) {
  if (precision < kMinPrecision || precision > kMaxPrecision)
    throw std::invalid_argument("precision must be from " + std::to_string(kMinPrecision) + " to " +
                                std::to_string(kMaxPrecision) + ", not " + std::to_string(precision));
  if (n_tables == 0 || n_tables > 65536)
    throw std::invalid_argument("there must be 1 to 65536 tables, not " + std::to_string(n_tables));
  const uint32_t total = uint32_t{1} << precision;
  for (size_t t = 0; t < n_tables; ++t) {
    const uint32_t* source = cdf + t * stride;
    const size_t length = lengths[t];
    if (length < 3 || length > stride || length > size_t{total} + 1)
      reject(t, "its length must be from 3 to " + std::to_string(std::min<size_t>(stride, size_t{total} + 1)) +
                    " entries, not " + std::to_string(length));
    if (source[0] != 0) reject(t, "it must start with 0, not " + std::to_string(source[0]));
    if (source[length - 1] != total)
      reject(t, "it must end with " + std::to_string(total) + ", not " + std::to_string(source[length - 1]));
    for (size_t i = 1; i < length; ++i)
      if (source[i] <= source[i - 1]) reject(t, "it must rise at entry " + std::to_string(i));
    const int64_t last = int64_t{offsets[t]} + static_cast<int64_t>(length) - 3;
    if (last > INT32_MAX) reject(t, "its values exceed 32 bits");
    if (cdf_.size() + length > UINT32_MAX) throw std::invalid_argument("the tables have too many entries");
    row_.push_back(static_cast<uint32_t>(cdf_.size()));
    n_symbols_.push_back(static_cast<uint32_t>(length - 1));
    offset_.push_back(offsets[t]);
    cdf_.insert(cdf_.end(), source, source + length);
    uint32_t s = 0;
    for (uint32_t b = 0; b < uint32_t{1} << bucket_bits_; ++b) {
      const uint32_t slot = b << (precision - bucket_bits_);
      while (source[s + 1] <= slot) ++s;
      bucket_.push_back(static_cast<uint16_t>(s));
    }
  }
}

TablesView Tables::view() const {
  return {cdf_.data(),    row_.data(), n_symbols_.data(), offset_.data(),
          bucket_.data(), static_cast<uint32_t>(row_.size()), precision_, bucket_bits_};
}

}  // namespace lvc
