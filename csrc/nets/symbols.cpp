#include "symbols.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "parallel.h"

namespace lvc::nets {

void place(const int32_t* values, const int32_t* positions, size_t n, const Slice& slice, const uint8_t* table,
           size_t size, int16_t* symbols, uint8_t* context) {
  for (size_t c = 0; c < slice.count; ++c)
    for (size_t i = 0; i < n; ++i) {
      const int32_t value = values[c * n + i];
      if (value == 0) continue;  // what was there before
      const size_t at = static_cast<size_t>(positions[i]) * slice.channels + slice.first + c;
      symbols[at] = static_cast<int16_t>(value);
      context[at] = table[std::min(static_cast<size_t>(std::abs(value)), size - 1)];
    }
}

void take(const int16_t* symbols, const int32_t* positions, size_t n, const Slice& slice, int16_t* values) {
  for (size_t i = 0; i < n; ++i) {
    const int16_t* row = symbols + static_cast<size_t>(positions[i]) * slice.channels + slice.first;
    for (size_t c = 0; c < slice.count; ++c) values[c * n + i] = row[c];
  }
}

void flags_of(const int16_t* symbols, size_t n, const Groups& groups, uint8_t* flags) {
  for (size_t i = 0; i < n; ++i, symbols += groups.channels(), flags += groups.size()) {
    bool later = false;
    for (size_t k = groups.size(); k-- > 0;) {
      if (k + 1 == groups.luma) later = false;
      for (int c = groups.edges[k]; c < groups.edges[k + 1]; ++c) later |= symbols[c] != 0;
      flags[k] = later;
    }
  }
}

void contexts(const int16_t* symbols, size_t n, const uint8_t* table, size_t size, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    const size_t magnitude = static_cast<size_t>(std::abs(int32_t{symbols[i]}));
    out[i] = magnitude == 0 ? table[0] : table[std::min(magnitude, size - 1)];
  }
}

void first_guess(const float* coefficients, size_t n, float rounding, int16_t* symbols) {
  for (size_t i = 0; i < n; ++i) {
    const int32_t magnitude = static_cast<int32_t>(std::abs(coefficients[i]) + rounding);  // of positive numbers, the floor
    symbols[i] = static_cast<int16_t>(coefficients[i] < 0.0f ? -magnitude : magnitude);
  }
}

namespace {

// Bits of a value whose magnitude the table has, or which is escaped: then as many more as Exp-Golomb needs.
float bits_of(const BitsTable& table, int index, float value) {
  const float magnitude = std::abs(value);
  const float column = std::min(magnitude, static_cast<float>(table.reach + 1));
  float extra = magnitude > 0.0f ? 1.0f : 0.0f;  // the sign
  if (magnitude > static_cast<float>(table.reach))
    extra += 2.0f * static_cast<float>(std::ilogb(std::max(magnitude - static_cast<float>(table.reach), 1.0f))) + 1.0f;
  return table.bits[index * (table.reach + 2) + static_cast<int>(column)] + extra;
}

// A sum whose rounding is that of the reference: partial sums of 16 terms, added up, and the rest before them.
class Sum {
 public:
  void add(float x) {
    recent_ += x;
    if (++count_ % 16 != 0) return;
    older_ += recent_;
    recent_ = 0.0f;
  }
  float total() const { return recent_ + older_; }

 private:
  float recent_ = 0.0f, older_ = 0.0f;
  int count_ = 0;
};

constexpr size_t kMaxGroups = 32;

// Most are near zero.
float nearest(float value) { return std::abs(value) > 0.5f ? std::nearbyint(value) : 0.0f; }

// The integer of least cost for a value, and that cost.
std::pair<float, float> cheapest(float value, float weight, int index, const BitsTable& table) {
  float best = 0.0f, best_cost = table.bits[index * (table.reach + 2)] + weight * (value * value);
  const float first = nearest(value);
  if (first == 0.0f) return {best, best_cost};
  for (const float candidate : {first, first - (first > 0.0f ? 1.0f : -1.0f)}) {
    const float error = value - candidate;
    const float cost = bits_of(table, index, candidate) + weight * (error * error);
    if (cost < best_cost) best = candidate, best_cost = cost;
  }
  return {best, best_cost};
}

// How many groups of [first, last) to keep, of [first, most) at most; ties go to fewer. Adds what that costs.
size_t groups_to_keep(const float* cost, const float* empty, const float* set, const float* unset, size_t first,
                      size_t last, size_t most, float& sum) {
  size_t best = 0;
  float least = 0.0f;
  for (size_t r = 0; first + r <= most; ++r) {
    float kept = 0.0f, dropped = 0.0f, flags = 0.0f;
    for (size_t k = first; k < first + r; ++k) kept += cost[k], flags += set[k];
    for (size_t k = first + r; k < last; ++k) dropped += empty[k];
    if (first + r < last) flags += unset[first + r];
    const float total = kept + dropped + flags;
    if (r == 0 || total < least) {
      best = r;
      least = total;
    }
  }
  sum += least;
  return best;
}

}  // namespace

void choose(const float* coefficients, const std::vector<const uint8_t*>& index, const uint8_t* flag_index, size_t n,
            const Groups& groups, const BitsTable& values, const BitsTable& flags, const float* weights,
            int16_t* symbols, float* costs, int threads) {
  constexpr size_t kRun = 256;
  const size_t n_groups = std::min(groups.size(), kMaxGroups);
  parallel(static_cast<int>((n + kRun - 1) / kRun), threads, [&](int run) {
    for (size_t i = static_cast<size_t>(run) * kRun; i < std::min(n, (static_cast<size_t>(run) + 1) * kRun); ++i) {
      std::array<float, kMaxGroups> cost{}, empty{}, set{}, unset{};
      std::array<bool, kMaxGroups> filled{};
      const float* row = coefficients + i * groups.channels();
      int16_t* out = symbols + i * groups.channels();
      for (size_t k = 0; k < n_groups; ++k) {
        Sum dropped;
        for (int c = groups.edges[k]; c < groups.edges[k + 1]; ++c) {
          filled[k] |= nearest(row[c]) != 0.0f;
          dropped.add(weights[c] * (row[c] * row[c]));
        }
        empty[k] = dropped.total();
        // Flags have no sign.
        const float* bits = flags.bits + flag_index[i * n_groups + k] * (flags.reach + 2);
        unset[k] = bits[0];
        set[k] = bits[1];
      }
      costs[i] = 0.0f;
      const size_t ranges[2][2] = {{0, groups.luma}, {groups.luma, n_groups}};
      for (const auto& [first, last] : ranges) {
        size_t most = last;
        while (most > first && !filled[most - 1]) --most;
        for (size_t k = first; k < most; ++k) {
          Sum kept;
          const size_t start = static_cast<size_t>(groups.edges[k]), end = static_cast<size_t>(groups.edges[k + 1]);
          for (size_t c = start; c < end; ++c) {
            const auto [best, best_cost] = cheapest(row[c], weights[c], index[k][i * (end - start) + c - start], values);
            out[c] = static_cast<int16_t>(std::clamp(best, -32768.0f, 32767.0f));
            kept.add(best_cost);
          }
          cost[k] = kept.total();
        }
        const size_t keep = groups_to_keep(cost.data(), empty.data(), set.data(), unset.data(), first, last, most,
                                           costs[i]);
        std::fill(out + groups.edges[first + keep], out + groups.edges[last], int16_t{0});
      }
    }
  });
}

}  // namespace lvc::nets
