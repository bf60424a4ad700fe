#include "../v1.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace lvc {
namespace v1 {

namespace {

constexpr uint64_t kInitialState = uint64_t{1} << 16;
// With words left, the state is refilled whenever it falls below this.
constexpr uint64_t kLowerBound = uint64_t{1} << 32;
constexpr uint32_t kBucketBits = 8;

[[noreturn]] void reject(size_t table, const std::string& what) {
  throw std::invalid_argument("table " + std::to_string(table) + ": " + what);
}

template <typename T>
uint32_t table_of(PerSymbol<T> index, size_t i) {
  return static_cast<uint32_t>(static_cast<int32_t>(index.index[i]));
}
uint32_t table_of(PerRun index, size_t i) { return static_cast<uint32_t>(i / index.run); }

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
    escape_.push_back(static_cast<uint32_t>(length - 2));
    first_.push_back(offsets[t]);
    cdf_.insert(cdf_.end(), source, source + length);
    uint32_t s = 0;
    for (uint32_t b = 0; b < uint32_t{1} << bucket_bits_; ++b) {
      const uint32_t slot = b << (precision - bucket_bits_);
      while (source[s + 1] <= slot) ++s;
      bucket_.push_back(static_cast<uint16_t>(s));
    }
  }
}

Decoder::Decoder(const uint8_t* data, size_t size) : state_(kInitialState), next_(data), end_(data) {
  if (size == 0) return;
  // The state takes as few bytes as it can: 5 to 8 if words follow, so the length tells how many.
  const size_t n_state = size <= 8 ? size : 5 + (size - 1) % 4;
  state_ = 0;
  for (size_t i = n_state; i-- > 0;) state_ = state_ << 8 | data[i];
  // An encoder that coded anything ends above its initial state, and writes no leading zero byte.
  if (state_ <= kInitialState || data[n_state - 1] == 0) status_ = Status::kBadLayout;
  next_ = data + n_state;
  end_ = data + size;
}

// Takes the symbol of [start, start + frequency) off the state. False: the data ended before this symbol.
bool Decoder::take(uint32_t slot, uint32_t start, uint32_t frequency, uint32_t precision) {
  uint64_t x = frequency * (state_ >> precision) + (slot - start);
  if (x < kLowerBound) {
    if (next_ != end_) {
      x = x << 32 | static_cast<uint64_t>(load_word(next_ + 2)) << 16 | load_word(next_);
      next_ += 4;
    } else if (x < kInitialState) {
      return false;
    }
  }
  state_ = x;
  return true;
}

Status Decoder::take_bit(uint32_t precision, uint32_t& bit) {
  const uint32_t slot = static_cast<uint32_t>(state_) & ((uint32_t{1} << precision) - 1);
  const uint32_t half = uint32_t{1} << (precision - 1);
  bit = slot >> (precision - 1);
  return take(slot, bit ? half : 0, half, precision) ? Status::kOk : Status::kExhausted;
}

Status Decoder::take_escape(uint32_t precision, int64_t first, int64_t last, int32_t& value) {
  uint32_t bit = 0, prefix = 0;
  for (;;) {
    const Status status = take_bit(precision, bit);
    if (status != Status::kOk) return status;
    if (bit) break;
    if (++prefix > kMaxPrefix) return Status::kBadEscape;
  }
  uint64_t code = 1;
  for (uint32_t i = 0; i < prefix; ++i) {
    const Status status = take_bit(precision, bit);
    if (status != Status::kOk) return status;
    code = code << 1 | bit;
  }
  return escape_value(code, first, last, value);
}

Status Decoder::take_symbol(const Tables& t, uint32_t table, int32_t& value) {
  const uint32_t slot = static_cast<uint32_t>(state_) & ((uint32_t{1} << t.precision_) - 1);
  const uint32_t* cdf = t.cdf_.data() + t.row_[table];
  uint32_t s = t.bucket_[(static_cast<size_t>(table) << t.bucket_bits_) + (slot >> (t.precision_ - t.bucket_bits_))];
  while (cdf[s + 1] <= slot) ++s;  // ends: the last entry of a row is 2^precision
  if (!take(slot, cdf[s], cdf[s + 1] - cdf[s], t.precision_)) return Status::kExhausted;
  const int64_t first = t.first_[table];
  if (s == t.escape_[table]) return take_escape(t.precision_, first, first + s - 1, value);
  value = static_cast<int32_t>(first + s);
  return Status::kOk;
}

template <typename Index>
Status Decoder::pull(const Tables& t, Index index, int32_t* out, size_t n) {
  if (status_ != Status::kOk) return status_;
  for (size_t i = 0; i < n; ++i)
    if (table_of(index, i) >= t.n_tables()) return Status::kBadIndex;  // nothing was taken
  for (size_t i = 0; i < n && status_ == Status::kOk; ++i) {
    // (once more: the array may have changed since, while no lock is held)
    const uint32_t table = std::min(table_of(index, i), static_cast<uint32_t>(t.n_tables() - 1));
    status_ = take_symbol(t, table, out[i]);
    position_ += status_ == Status::kOk ? 1 : 0;
  }
  return status_;
}

Status Decoder::close() const {
  if (status_ != Status::kOk) return status_;
  return state_ == kInitialState && next_ == end_ ? Status::kOk : Status::kLeftOver;
}

template Status Decoder::pull(const Tables&, PerSymbol<uint8_t>, int32_t*, size_t);
template Status Decoder::pull(const Tables&, PerSymbol<int32_t>, int32_t*, size_t);
template Status Decoder::pull(const Tables&, PerRun, int32_t*, size_t);

}  // namespace v1
}  // namespace lvc
