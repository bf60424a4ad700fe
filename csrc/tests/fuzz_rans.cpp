// Round trips and damaged input against the coder, meant to be built with -fsanitize=address,undefined.
// Usage: fuzz_rans [seed] [rounds]. Exits with 0 and a line of counts, or aborts.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "../coder.h"
#include "../kernels.h"
#include "../v1.h"

namespace {

using Rng = std::mt19937_64;

#define REQUIRE(condition)                                                    \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
      std::abort();                                                           \
    }                                                                         \
  } while (0)

uint64_t below(Rng& rng, uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(rng); }

// Tables in order of values: frequencies of 14 bits, the escape's last, and the value of the first.
struct Raw {
  std::vector<std::vector<uint32_t>> frequencies;
  std::vector<int32_t> first;
};

// Random tables, extreme ones included: two symbols, 255, as many as fit, frequencies of 1 and of the total less
// 1, values at the ends of int32.
Raw random_tables(Rng& rng, size_t n_tables) {
  Raw raw;
  for (size_t t = 0; t < n_tables; ++t) {
    const uint32_t most = below(rng, 30) == 0 ? lvc::kTotal : 255;
    const uint32_t n = below(rng, 3) == 0 ? 2 : 2 + static_cast<uint32_t>(below(rng, most - 1));
    std::vector<uint32_t> cuts;
    if (n == 2) {
      const uint32_t cut[] = {1, lvc::kTotal / 2, lvc::kTotal - 1};
      cuts.push_back(cut[below(rng, 3)]);
    } else {
      cuts.resize(lvc::kTotal - 1);
      std::iota(cuts.begin(), cuts.end(), 1u);
      if (below(rng, 2) == 0) std::shuffle(cuts.begin(), cuts.end(), rng);  // else all but one have frequency 1
      cuts.resize(n - 1);
      std::sort(cuts.begin(), cuts.end());
    }
    cuts.push_back(lvc::kTotal);
    std::vector<uint32_t> frequency;
    uint32_t before = 0;
    for (const uint32_t cut : cuts) {
      frequency.push_back(cut - before);
      before = cut;
    }
    if (below(rng, 2) == 0) std::reverse(frequency.begin(), frequency.end());
    const int64_t firsts[] = {INT32_MIN, -static_cast<int64_t>(n / 2), int64_t{INT32_MAX} - n + 2};
    const uint64_t choice = below(rng, 6);
    raw.first.push_back(static_cast<int32_t>(firsts[choice > 2 ? 1 : choice]));
    raw.frequencies.push_back(frequency);
  }
  return raw;
}

struct Laid {
  std::vector<uint32_t> cdf, lengths;
  std::vector<int32_t> order;
  size_t stride = 0;
};

// In coding order: by distance from the median.
Laid lay_out(const Raw& raw) {
  Laid laid;
  for (const auto& row : raw.frequencies) laid.stride = std::max(laid.stride, row.size() + 1);
  for (size_t t = 0; t < raw.first.size(); ++t) {
    const auto& frequency = raw.frequencies[t];
    const size_t n = frequency.size() - 1;
    size_t centre = 0;
    for (uint32_t end = frequency[0]; end <= lvc::kTotal / 2 && centre + 1 < n;) end += frequency[++centre];
    std::vector<size_t> places(n);
    std::iota(places.begin(), places.end(), size_t{0});
    const auto zigzag = [&](size_t i) { return i > centre ? 2 * (i - centre) - 1 : 2 * (centre - i); };
    std::sort(places.begin(), places.end(), [&](size_t a, size_t b) { return zigzag(a) < zigzag(b); });
    std::vector<uint32_t> cdf{0};
    std::vector<int32_t> order;
    for (const size_t place : places) {
      cdf.push_back(cdf.back() + frequency[place]);
      order.push_back(static_cast<int32_t>(raw.first[t] + static_cast<int64_t>(place)));
    }
    cdf.push_back(lvc::kTotal);
    laid.lengths.push_back(static_cast<uint32_t>(cdf.size()));
    cdf.resize(laid.stride);
    order.resize(laid.stride);
    laid.cdf.insert(laid.cdf.end(), cdf.begin(), cdf.end());
    laid.order.insert(laid.order.end(), order.begin(), order.end());
  }
  return laid;
}

std::shared_ptr<const lvc::Tables> make(const Laid& laid) {
  return std::make_shared<const lvc::Tables>(laid.cdf.data(), laid.order.data(), laid.lengths.size(), laid.stride,
                                             laid.lengths.data());
}

int32_t random_value(Rng& rng, const Raw& raw, size_t table) {
  switch (below(rng, 12)) {
    case 0: return static_cast<int32_t>(rng());
    case 1: return below(rng, 2) ? INT32_MAX : INT32_MIN;
    default: {
      const int64_t v = int64_t{raw.first[table]} + static_cast<int64_t>(below(rng, raw.frequencies[table].size()));
      return static_cast<int32_t>(std::min<int64_t>(v, INT32_MAX));
    }
  }
}

// Decodes from a heap block of exactly the size. True if all looks well.
bool decode(const std::vector<uint8_t>& data, const lvc::Tables& tables, const std::vector<uint8_t>& index,
            std::vector<int32_t>& out) {
  std::unique_ptr<uint8_t[]> block(new uint8_t[data.size()]);
  std::copy(data.begin(), data.end(), block.get());
  lvc::Decoder decoder(block.get(), data.size());
  out.assign(index.size(), 0);
  const size_t half = index.size() / 2;
  const auto view = tables.view();
  const lvc::Status status = decoder.pull(view, lvc::PerSymbol<uint8_t>{index.data()}, out.data(), half);
  const std::vector<int32_t> wide(index.begin() + static_cast<std::ptrdiff_t>(half), index.end());
  const lvc::Status second =
      decoder.pull(view, lvc::PerSymbol<int32_t>{wide.data()}, out.data() + half, wide.size());
  if (status != lvc::Status::kOk) REQUIRE(second == status);  // damage stays
  const lvc::Status end = decoder.close();
  if (second != lvc::Status::kOk) REQUIRE(end == second);
  return end == lvc::Status::kOk;
}

void check_rejected_tables(Rng& rng) {
  Laid laid = lay_out(random_tables(rng, 1 + below(rng, 3)));
  if (below(rng, 2) != 0)
    laid.cdf[below(rng, laid.cdf.size())] = static_cast<uint32_t>(rng());
  else
    laid.order[below(rng, laid.order.size())] = static_cast<int32_t>(rng());
  if (below(rng, 2) != 0)
    laid.lengths[below(rng, laid.lengths.size())] = static_cast<uint32_t>(below(rng, 2) ? rng() : below(rng, 6));
  try {
    make(laid);
  } catch (const std::invalid_argument&) {
  }
}

std::vector<uint8_t> encode(const std::shared_ptr<const lvc::Tables>& tables, const std::vector<int32_t>& values,
                            const std::vector<uint8_t>& index, uint32_t lanes, size_t cut, int32_t n_tables) {
  lvc::Encoder encoder(lanes);
  const std::vector<int32_t> wide(index.begin(), index.begin() + static_cast<std::ptrdiff_t>(cut));
  REQUIRE(encoder.push(tables, values.data(), lvc::PerSymbol<int32_t>{wide.data()}, cut) == lvc::Status::kOk);
  const std::vector<int32_t> bad{0, n_tables, -1};
  REQUIRE(encoder.push(tables, bad.data(), lvc::PerSymbol<int32_t>{bad.data()}, 3) == lvc::Status::kBadIndex);
  REQUIRE(encoder.push(tables, values.data() + cut, lvc::PerSymbol<uint8_t>{index.data() + cut},
                       values.size() - cut) == lvc::Status::kOk);
  return encoder.finish();
}

void check_v1(Rng& rng) {
  const uint32_t cdf[] = {0, 1, 60000, 65535, 65536};
  const uint32_t length = 5;
  const int32_t offset = -1;
  const lvc::v1::Tables tables(cdf, 1, 5, &length, &offset, 16);
  std::vector<uint8_t> data(below(rng, 60));
  for (auto& byte : data) byte = static_cast<uint8_t>(rng());
  std::unique_ptr<uint8_t[]> block(new uint8_t[data.size()]);
  std::copy(data.begin(), data.end(), block.get());
  lvc::v1::Decoder decoder(block.get(), data.size());
  std::vector<int32_t> out(300);
  const std::vector<uint8_t> index(out.size());
  const lvc::Status status = decoder.pull(tables, lvc::PerSymbol<uint8_t>{index.data()}, out.data(), out.size());
  if (status != lvc::Status::kOk) REQUIRE(decoder.close() == status);
}

}  // namespace

int main(int argc, char** argv) {
  Rng rng(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
  const long rounds = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 1000;
  long damaged = 0, accepted = 0;
  const uint32_t lane_counts[] = {0, 1, 4, 8, 32};
  for (long round = 0; round < rounds; ++round) {
    check_rejected_tables(rng);
    check_v1(rng);
    const size_t n_tables = 1 + below(rng, 4);
    const Raw raw = random_tables(rng, n_tables);
    const auto tables = make(lay_out(raw));
    const size_t n = below(rng, 500);
    std::vector<int32_t> values(n), out, expected;
    std::vector<uint8_t> index(n);
    for (size_t i = 0; i < n; ++i) {
      index[i] = static_cast<uint8_t>(below(rng, n_tables));
      values[i] = random_value(rng, raw, index[i]);
    }
    const uint32_t lanes = lane_counts[below(rng, 5)];
    const size_t cut = n ? below(rng, n) : 0;
    std::vector<uint8_t> data;
    for (const lvc::Kernels* const* k = lvc::available_kernels(); *k != nullptr; ++k) {
      REQUIRE(lvc::use_kernels((*k)->name));
      const std::vector<uint8_t> own = encode(tables, values, index, lanes, cut, static_cast<int32_t>(n_tables));
      if (k != lvc::available_kernels()) REQUIRE(own == data);
      data = own;
      REQUIRE(decode(data, *tables, index, out) && out == values);
    }
    for (int i = 0; i < 20; ++i) {
      std::vector<uint8_t> broken = data;
      switch (below(rng, 4)) {
        case 0: broken.resize(below(rng, broken.size() + 1)); break;
        case 1:
          for (auto& byte : broken) byte = static_cast<uint8_t>(rng());
          break;
        case 2: broken.insert(broken.end(), below(rng, 9), static_cast<uint8_t>(rng())); break;
        default:
          if (!broken.empty()) broken[below(rng, broken.size())] ^= static_cast<uint8_t>(1u << below(rng, 8));
      }
      if (broken == data) continue;
      ++damaged;
      // Whatever comes out of damage, it is the same from all kernels.
      bool well = false;
      for (const lvc::Kernels* const* k = lvc::available_kernels(); *k != nullptr; ++k) {
        REQUIRE(lvc::use_kernels((*k)->name));
        const bool now = decode(broken, *tables, index, out);
        if (k != lvc::available_kernels()) REQUIRE(now == well && (!now || out == expected));
        well = now;
        expected = out;
      }
      accepted += well;
    }
  }
  std::printf("%ld rounds, %ld damaged inputs, %ld accepted\n", rounds, damaged, accepted);
  return 0;
}
