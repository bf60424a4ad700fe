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

struct Raw {
  std::vector<uint32_t> cdf, lengths;
  std::vector<int32_t> offsets;
  uint32_t precision;
  size_t stride;
};

// Random tables, extreme ones included: two symbols, as many as fit, frequencies of 1 and of the total less 1,
// offsets at the ends of int32.
Raw random_tables(Rng& rng, size_t n_tables) {
  Raw raw;
  raw.precision = 2 + static_cast<uint32_t>(below(rng, 15));
  const uint32_t total = uint32_t{1} << raw.precision;
  std::vector<std::vector<uint32_t>> rows;
  for (size_t t = 0; t < n_tables; ++t) {
    const uint32_t most = std::min<uint32_t>(total, below(rng, 20) == 0 ? 70000 : 255);
    const uint32_t n = below(rng, 3) == 0 ? 2 : 2 + static_cast<uint32_t>(below(rng, most - 1));
    std::vector<uint32_t> row{0, total};
    if (n == 2) {
      const uint32_t cuts[] = {1, total / 2, total - 1};
      row.push_back(cuts[below(rng, 3)]);
    } else {
      std::vector<uint32_t> cuts(total - 1);
      std::iota(cuts.begin(), cuts.end(), 1u);
      if (below(rng, 2) == 0) std::shuffle(cuts.begin(), cuts.end(), rng);  // else all but one have frequency 1
      row.insert(row.end(), cuts.begin(), cuts.begin() + (n - 1));
    }
    std::sort(row.begin(), row.end());
    const int64_t ends[] = {INT32_MIN, -static_cast<int64_t>(n / 2), int64_t{INT32_MAX} - n + 2};
    raw.offsets.push_back(static_cast<int32_t>(ends[below(rng, 3)]));
    raw.lengths.push_back(static_cast<uint32_t>(row.size()));
    rows.push_back(row);
  }
  raw.stride = 0;
  for (const auto& row : rows) raw.stride = std::max(raw.stride, row.size());
  for (auto& row : rows) {
    row.resize(raw.stride);
    raw.cdf.insert(raw.cdf.end(), row.begin(), row.end());
  }
  return raw;
}

lvc::Tables make(const Raw& raw) {
  return lvc::Tables(raw.cdf.data(), raw.lengths.size(), raw.stride, raw.lengths.data(), raw.offsets.data(),
                     raw.precision);
}

int32_t random_value(Rng& rng, const Raw& raw, size_t table) {
  switch (below(rng, 8)) {
    case 0: return static_cast<int32_t>(rng());
    case 1: return below(rng, 2) ? INT32_MAX : INT32_MIN;
    default: {
      const int64_t v = int64_t{raw.offsets[table]} + static_cast<int64_t>(below(rng, raw.lengths[table]));
      return static_cast<int32_t>(std::min<int64_t>(v, INT32_MAX));
    }
  }
}

// Decodes from a heap block of exactly the size, so that one byte too far is noticed. True if all looks well.
bool decode(const std::vector<uint8_t>& data, const lvc::Tables& tables, const std::vector<int32_t>& index,
            std::vector<int32_t>& out) {
  std::unique_ptr<uint8_t[]> block(new uint8_t[data.size()]);
  std::copy(data.begin(), data.end(), block.get());
  lvc::Decoder decoder(block.get(), data.size());
  out.assign(index.size(), 0);
  const size_t half = index.size() / 2;
  const auto view = tables.view();
  lvc::Status status = decoder.pull(view, lvc::PerSymbol<int32_t>{index.data()}, out.data(), half);
  const lvc::Status second =
      decoder.pull(view, lvc::PerSymbol<int32_t>{index.data() + half}, out.data() + half, index.size() - half);
  if (status != lvc::Status::kOk) REQUIRE(second == status);  // damage stays
  const lvc::Status end = decoder.close();
  if (second != lvc::Status::kOk) REQUIRE(end == second);
  return end == lvc::Status::kOk;
}

void check_rejected_tables(Rng& rng) {
  Raw raw = random_tables(rng, 1 + below(rng, 3));
  const size_t entry = below(rng, raw.cdf.size());
  raw.cdf[entry] = static_cast<uint32_t>(rng());
  raw.lengths[below(rng, raw.lengths.size())] = static_cast<uint32_t>(below(rng, 2) ? rng() : below(rng, 6));
  if (below(rng, 4) == 0) raw.precision = static_cast<uint32_t>(below(rng, 40));
  try {
    make(raw);
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  Rng rng(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
  const long rounds = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 1000;
  long damaged = 0, accepted = 0;
  for (long round = 0; round < rounds; ++round) {
    check_rejected_tables(rng);
    const size_t n_tables = 1 + below(rng, 4);
    const Raw raw = random_tables(rng, n_tables);
    const lvc::Tables tables = make(raw);
    const size_t n = below(rng, 200);
    std::vector<int32_t> index(n), values(n), out;
    for (size_t i = 0; i < n; ++i) {
      index[i] = static_cast<int32_t>(below(rng, n_tables));
      values[i] = random_value(rng, raw, static_cast<size_t>(index[i]));
    }
    lvc::Encoder encoder;
    const size_t cut = n ? below(rng, n) : 0;
    const auto view = tables.view();
    REQUIRE(encoder.push(view, values.data(), lvc::PerSymbol<int32_t>{index.data()}, cut) == lvc::Status::kOk);
    const std::vector<int32_t> bad(3, static_cast<int32_t>(below(rng, 2) ? n_tables : -1));
    REQUIRE(encoder.push(view, bad.data(), lvc::PerSymbol<int32_t>{bad.data()}, 3) == lvc::Status::kBadIndex);
    REQUIRE(encoder.push(view, values.data() + cut, lvc::PerSymbol<int32_t>{index.data() + cut}, n - cut) ==
            lvc::Status::kOk);
    const std::vector<uint8_t> data = encoder.finish();
    REQUIRE(decode(data, tables, index, out) && out == values);
    for (int k = 0; k < 20; ++k) {
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
      accepted += decode(broken, tables, index, out);
    }
  }
  std::printf("%ld rounds, %ld damaged inputs, %ld accepted\n", rounds, damaged, accepted);
  return 0;
}
