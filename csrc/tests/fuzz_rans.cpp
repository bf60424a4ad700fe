// Round trips and damaged input against the coder, meant to be built with -fsanitize=address,undefined.
// Usage: fuzz_rans [seed] [rounds] [damaged inputs a round]. Exits with 0 and counts as JSON, or aborts.
//
// Rounds take turns: extreme tables with values that are mostly rare, and tables like those of a codec with values
// drawn from them. Every damaged input is decoded by all kernels (by the emulated warp, which is slow, each eighth),
// which must agree. It counts as accepted if neither a pull nor close() complained, that is, symbols other than
// those that were coded came back without a word; and as accepted with CRC if it also has the CRC-32C of the sound
// stream, which packets of the container carry.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

// Two-sided tables of rising width, as those of a Gaussian hyperprior, and a rare escape.
Raw codec_tables(Rng& rng, size_t n_tables) {
  Raw raw;
  for (size_t t = 0; t < n_tables; ++t) {
    const double scale = 0.1 * std::pow(300.0, std::uniform_real_distribution<double>()(rng));
    const int32_t reach = 1 + static_cast<int32_t>(4.5 * scale);
    std::vector<double> weight;
    for (int32_t x = -reach; x <= reach; ++x) weight.push_back(std::exp(-0.5 * x * x / (scale * scale)));
    const double sum = std::accumulate(weight.begin(), weight.end(), 0.0);
    std::vector<uint32_t> frequency;
    uint32_t rest = lvc::kTotal - 1;
    for (const double w : weight) {
      frequency.push_back(1 + static_cast<uint32_t>(w / sum * static_cast<double>(lvc::kTotal - 1 - weight.size())));
      rest -= frequency.back();
    }
    frequency[static_cast<size_t>(reach)] += rest;
    frequency.push_back(1);
    raw.first.push_back(-reach);
    raw.frequencies.push_back(frequency);
  }
  return raw;
}

int32_t drawn_value(Rng& rng, const Raw& raw, size_t table) {
  const auto& frequency = raw.frequencies[table];
  uint32_t slot = static_cast<uint32_t>(below(rng, lvc::kTotal));
  size_t i = 0;
  while (slot >= frequency[i]) slot -= frequency[i++];
  // (for the escape: a few beyond the last value)
  return static_cast<int32_t>(raw.first[table] + static_cast<int64_t>(i) +
                              (i + 1 == frequency.size() ? static_cast<int64_t>(below(rng, 20)) : 0));
}

uint32_t crc32c(const std::vector<uint8_t>& data) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int k = 0; k < 8; ++k) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0x82f63b78u : 0);
    }
    return t;
  }();
  uint32_t crc = ~0u;
  for (const uint8_t byte : data) crc = crc >> 8 ^ table[(crc ^ byte) & 255];
  return ~crc;
}

const char* const kDamages[] = {"flips", "cuts", "random", "splices", "insertions"};
constexpr size_t kDamageCount = sizeof(kDamages) / sizeof(*kDamages);
const char* const kSettings[] = {"extreme", "codec"};
struct Counts {
  long inputs = 0, accepted = 0, with_crc = 0;
};

// Sound bytes of one stream, those of another one with the same tables, and a kind of damage.
std::vector<uint8_t> damage(Rng& rng, size_t kind, const std::vector<uint8_t>& data,
                            const std::vector<uint8_t>& other) {
  std::vector<uint8_t> broken = data;
  const auto part = [&](const std::vector<uint8_t>& of) {
    return of.begin() + static_cast<std::ptrdiff_t>(below(rng, of.size() + 1));
  };
  switch (kind) {
    case 0:
      for (uint64_t flips = 1 + below(rng, 3); flips > 0 && !broken.empty(); --flips)
        broken[below(rng, broken.size())] ^= static_cast<uint8_t>(1u << below(rng, 8));
      break;
    case 1: broken.resize(below(rng, broken.size() + 1)); break;
    case 2: {
      // all of it, or what follows some place
      for (auto byte = below(rng, 2) ? broken.begin() : broken.begin() + (part(data) - data.begin());
           byte != broken.end(); ++byte)
        *byte = static_cast<uint8_t>(rng());
      break;
    }
    case 3:
      broken.assign(data.begin(), part(data));
      broken.insert(broken.end(), part(other), other.end());
      break;
    default: {
      const auto place = broken.begin() + (part(data) - data.begin());
      broken.insert(place, 1 + below(rng, 8), static_cast<uint8_t>(rng()));
    }
  }
  return broken;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  Rng rng(seed);
  const long rounds = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 1000;
  const long inputs = argc > 3 ? std::strtol(argv[3], nullptr, 10) : 20;
  Counts counts[2][kDamageCount];
  const uint32_t lane_counts[] = {0, 1, 4, 8, 32};
  for (long round = 0; round < rounds; ++round) {
    check_rejected_tables(rng);
    check_v1(rng);
    const size_t setting = static_cast<size_t>(round % 2);
    const size_t n_tables = 1 + below(rng, 4);
    const Raw raw = setting == 0 ? random_tables(rng, n_tables) : codec_tables(rng, n_tables);
    const auto tables = make(lay_out(raw));
    const size_t n = below(rng, 1 + below(rng, below(rng, 16) == 0 ? 5000 : 500));
    std::vector<int32_t> values(n), others(n), out, expected;
    std::vector<uint8_t> index(n);
    for (size_t i = 0; i < n; ++i) {
      index[i] = static_cast<uint8_t>(below(rng, n_tables));
      values[i] = setting == 0 ? random_value(rng, raw, index[i]) : drawn_value(rng, raw, index[i]);
      others[i] = setting == 0 ? random_value(rng, raw, index[i]) : drawn_value(rng, raw, index[i]);
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
    const std::vector<uint8_t> other = encode(tables, others, index, lanes, cut, static_cast<int32_t>(n_tables));
    const uint32_t crc = crc32c(data);
    for (long i = 0; i < inputs; ++i) {
      const size_t kind = below(rng, kDamageCount);
      const std::vector<uint8_t> broken = damage(rng, kind, data, other);
      // (a splice may happen to be the other stream, which is sound)
      if (broken == data || broken == other) continue;
      // Whatever comes out of damage, it is the same from all kernels.
      bool well = false, first = true;
      for (const lvc::Kernels* const* k = lvc::available_kernels(); *k != nullptr; ++k) {
        if (i % 8 != 0 && std::strcmp((*k)->name, "warp") == 0) continue;
        REQUIRE(lvc::use_kernels((*k)->name));
        const bool now = decode(broken, *tables, index, out);
        if (!first) REQUIRE(now == well && (!now || out == expected));
        first = false;
        well = now;
        expected = out;
      }
      // (other sound streams of the same symbols there are: in another number of lanes, or of no symbols)
      const bool wrong = well && out != values;
      Counts& count = counts[setting][kind];
      ++count.inputs;
      count.accepted += wrong;
      count.with_crc += wrong && crc32c(broken) == crc;
    }
  }
  std::printf("{\"seed\": %llu, \"rounds\": %ld", static_cast<unsigned long long>(seed), rounds);
  for (size_t s = 0; s < 2; ++s) {
    std::printf(", \"%s\": {", kSettings[s]);
    for (size_t d = 0; d < kDamageCount; ++d)
      std::printf("%s\"%s\": [%ld, %ld, %ld]", d > 0 ? ", " : "", kDamages[d], counts[s][d].inputs,
                  counts[s][d].accepted, counts[s][d].with_crc);
    std::printf("}");
  }
  std::printf("}\n");
  return 0;
}
