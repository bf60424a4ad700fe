// Checks integer CDFs of 14 bits and builds what the kernels look up.
#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "../coder.h"

namespace lvc {

namespace {

[[noreturn]] void reject(size_t table, const std::string& what) {
  throw std::invalid_argument("table " + std::to_string(table) + ": " + what);
}

Step make_step(Entry e) {
  const uint32_t f = frequency_of(e);
  const uint16_t start = static_cast<uint16_t>(start_of(e)), others = static_cast<uint16_t>(kTotal - f);
  if (f == 1)
    return {std::numeric_limits<uint64_t>::max(), f << 18, static_cast<uint16_t>(start + kTotal - 1), others};
  // 2^64 / f, rounded up: (2^64 - 1) / f rounded down, plus 1.
  return {std::numeric_limits<uint64_t>::max() / f + 1, f << 18, start, others};
}

}  // namespace

Tables::Tables(const uint32_t* cdf, const int32_t* order, size_t n_tables, size_t stride, const uint32_t* lengths)
    : n_tables_(n_tables) {
  if (n_tables == 0 || n_tables > 65536)
    throw std::invalid_argument("there must be 1 to 65536 tables, not " + std::to_string(n_tables));
  for (size_t t = 0; t < n_tables; ++t) {
    if (lengths[t] > stride) reject(t, "its length is beyond the array");
    add_row(t, cdf + t * stride, order + t * stride, lengths[t]);
  }
  build_ranks();
  const size_t enough = std::max<size_t>(n_tables, 256);
  row_.resize(enough);
  first_.resize(enough);
  count_.resize(enough);
}

void Tables::add_row(size_t t, const uint32_t* cdf, const int32_t* order, size_t length) {
  if (length < 3 || length > size_t{kTotal} + 1)
    reject(t, "it must have 3 to 16385 entries, not " + std::to_string(length));
  if (cdf[0] != 0 || cdf[length - 1] != kTotal) reject(t, "it must go from 0 to 16384");
  for (size_t i = 1; i < length; ++i)
    if (cdf[i] <= cdf[i - 1]) reject(t, "it must rise at entry " + std::to_string(i));
  const size_t n = length - 1;  // entries, the escape included
  const size_t base = entry_.size();
  if (base + n > kMaxEntries)
    throw std::invalid_argument("the tables have more than " + std::to_string(kMaxEntries) + " symbols together");
  const int64_t first = *std::min_element(order, order + n - 1);
  row_.push_back(static_cast<uint32_t>(base));
  count_.push_back(static_cast<uint32_t>(n - 1));
  first_.push_back(static_cast<int32_t>(first));
  by_value_.resize(base + n, 0);
  cost_.resize(base + n);
  steps_.resize(base + n);
  for (size_t r = 0; r < n; ++r) {
    const bool escape = r == n - 1;
    const Entry e = cdf[r] | (cdf[r + 1] - cdf[r]) << 16 | (escape ? Entry{1} << 31 : 0);
    const int64_t place = escape ? r : order[r] - first;
    if (place > static_cast<int64_t>(n - 1) || by_value_[base + static_cast<size_t>(place)] != 0)
      reject(t, "its values must be consecutive");
    entry_.push_back(e);
    value_.push_back(escape ? 0 : order[r]);
    const uint32_t mark = escape ? 0x8000 : 0;
    intervals_.push_back({static_cast<uint16_t>(start_of(e) | mark), static_cast<uint16_t>(e >> 16), value_.back()});
    by_value_[base + static_cast<size_t>(place)] = e;
    cost_[base + static_cast<size_t>(place)] = cost_of(frequency_of(e));
    steps_[base + static_cast<size_t>(place)] = make_step(e);
  }
  size_t e = base;
  for (uint32_t b = 0; b < kBuckets; ++b) {
    const uint32_t slot = b << kBucketShift;
    while (start_of(entry_[e]) + frequency_of(entry_[e]) <= slot) ++e;
    const uint32_t beyond = slot + (1u << kBucketShift);
    const uint32_t next = std::min(start_of(entry_[e]) + frequency_of(entry_[e]), beyond);
    // (without an entry behind the next one, the latter reaches to the end of the bucket)
    const uint32_t after =
        e + 1 < entry_.size() ? std::min(start_of(entry_[e + 1]) + frequency_of(entry_[e + 1]), beyond) : beyond;
    bucket_.push_back(static_cast<uint32_t>(e) << 12 | (next - slot - 1) << 6 | (after - slot - 1));
  }
}

// The distance d > 0 above the value of rank 0 is place 2d - 1, below it 2d, and the escape follows the last value.
// What starts at a place: its entry, or where there is none, the next one; so the number of starts at or below a
// slot tells the place, and thus the value. Kernels subtract first values modulo 2^16 from symbols of up to 16
// bits: a value outside must not come to lie inside.
void Tables::build_ranks() {
  if (n_tables_ > kRankTables || entry_.size() > 65536) return;
  std::vector<uint16_t> ranks((kRanks + 5) * kRankTables, kTotal);
  uint16_t* const rest = ranks.data() + kRanks * kRankTables;
  for (size_t t = 0; t < n_tables_; ++t) {
    const int32_t centre = value_[row_[t]];
    if (first_[t] < -16384 || int64_t{first_[t]} + count_[t] > 16384) return;
    int32_t place = -1;
    for (uint32_t i = 0; i <= count_[t]; ++i) {
      const int32_t before = place;
      const int32_t value = value_[row_[t] + i];
      if (i == count_[t])
        ++place;
      else
        place = value > centre ? 2 * (value - centre) - 1 : 2 * (centre - value);
      if (place <= before) return;
      for (int32_t r = before + 1; r <= place && r < static_cast<int32_t>(kRanks); ++r)
        ranks[static_cast<size_t>(r) * kRankTables + t] = static_cast<uint16_t>(start_of(entry_[row_[t] + i]));
    }
    rest[t] = static_cast<uint16_t>(centre);
    rest[kRankTables + t] = static_cast<uint16_t>(std::min(place, 0x7fff));
    rest[2 * kRankTables + t] = static_cast<uint16_t>(count_[t]);
    rest[3 * kRankTables + t] = static_cast<uint16_t>(first_[t]);
    rest[4 * kRankTables + t] = static_cast<uint16_t>(row_[t]);
  }
  ranks_ = std::move(ranks);
}

TablesView Tables::view() const {
  return {row_.data(),   first_.data(),  count_.data(),     entry_.data(),    value_.data(), intervals_.data(),
          bucket_.data(), by_value_.data(), cost_.data(),
          ranks_.empty() ? nullptr : ranks_.data(), static_cast<uint32_t>(n_tables_),
          static_cast<uint32_t>(entry_.size())};
}

}  // namespace lvc
