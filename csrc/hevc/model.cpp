#include "model.h"

#include <algorithm>

// Compiled for AVX2, too, and chosen when the extension is loaded. Integers: the result is the same.
#ifdef LVC_HEVC_PLAIN
#define LVC_HEVC_CLONES
#elif defined(__GNUC__) && defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define LVC_HEVC_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define LVC_HEVC_CLONES
#endif

namespace lvc::hevc {

namespace {

constexpr int kMaxOdds = 3071;
constexpr size_t kMaxZeros = 16;  // that are read beyond the end of packed data
constexpr int kWeightShift = 5;

// 65536 / (1 + exp(-x)) for x from -12 to 12 in halves.
constexpr int kLogistic[49] = {1,     1,     1,     2,     3,     5,     8,     13,    22,    36,
                               60,    98,    162,   267,   439,   720,   1179,  1921,  3108,  4971,
                               7812,  11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
                               62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500,
                               65514, 65523, 65528, 65531, 65533, 65534, 65535, 65535, 65535};

struct Tables {
  std::array<uint16_t, 2 * kMaxOdds + 2> squash;
  std::array<int16_t, 4096> stretch;
  std::array<int32_t, kMaxCount + 1> rate;        // in 4096
  std::array<int32_t, kMaxCount + 1> confidence;  // in 256

  Tables() {
    for (int odds = -kMaxOdds; odds <= kMaxOdds; ++odds) {
      const int at = odds + 3072, knot = at / 128, part = at % 128;
      const int value = (kLogistic[knot] * (128 - part) + kLogistic[knot + 1] * part + 64) / 128;
      squash[static_cast<size_t>(odds + kMaxOdds)] = static_cast<uint16_t>(std::clamp(value, 1, 65535));
    }
    int odds = -kMaxOdds;
    for (int i = 0; i < 4096; ++i) {
      while (odds < kMaxOdds && squash[static_cast<size_t>(odds + kMaxOdds)] < 16 * i + 8) ++odds;
      stretch[static_cast<size_t>(i)] = static_cast<int16_t>(odds);
    }
    for (int n = 0; n <= kMaxCount; ++n) {
      rate[static_cast<size_t>(n)] = 2 * 4096 / (2 * n + 3);
      confidence[static_cast<size_t>(n)] = 256 * n / (n + 2);
    }
  }
};

const Tables kTables;

// The last number of a range that stands for a one.
uint32_t split(uint32_t low, uint32_t high, int chance) {
  return low + static_cast<uint32_t>((static_cast<uint64_t>(high - low) * static_cast<uint32_t>(chance)) >> 16);
}

}  // namespace

int squash(int odds) { return kTables.squash[static_cast<size_t>(std::clamp(odds, -kMaxOdds, kMaxOdds) + kMaxOdds)]; }

State::State()
    : slots(size_t{1} << kSlotBits, 1u << 31), weights(static_cast<size_t>(kSets) * kSetSize * kInputs, 65536 / 4) {}

LVC_HEVC_CLONES int Model::predict(const Query& query) {
  for (int i = 0; i < query.n; ++i) {
    const uint32_t slot = state_.slots[query.slots[static_cast<size_t>(i)]];
    inputs_[static_cast<size_t>(i)] = kTables.stretch[slot >> 20] * kTables.confidence[slot & 255] / 256;
  }
  inputs_[static_cast<size_t>(query.n)] = query.fixed;
  for (int i = query.n + 1; i < kInputs; ++i) inputs_[static_cast<size_t>(i)] = 0;
  int odds = 0;
  for (int set = 0; set < kSets; ++set) {
    const int32_t* w = weights_of(query, set);
    int32_t sum = 0;  // 16 * 2^15 * 3071 at most
    for (int i = 0; i < kInputs; ++i) sum += (w[i] >> kWeightShift) * inputs_[static_cast<size_t>(i)];
    outputs_[static_cast<size_t>(set)] = std::clamp(sum >> (16 - kWeightShift), -kMaxOdds, kMaxOdds);
    odds += outputs_[static_cast<size_t>(set)];
  }
  return squash(odds / kSets);
}

LVC_HEVC_CLONES void Model::learn(const Query& query, int bin) {
  for (int set = 0; set < kSets; ++set) {
    int32_t* w = weights_of(query, set);
    const int32_t error = ((bin << 16) - squash(outputs_[static_cast<size_t>(set)])) * weight_rate_ >> 8;
    for (int i = 0; i < kInputs; ++i) {
      const int32_t moved = w[i] + ((inputs_[static_cast<size_t>(i)] * error + (1 << 15)) >> 16);
      w[i] = std::min(std::max(moved, -kMaxWeight), kMaxWeight);
    }
  }
  for (int i = 0; i < query.n; ++i) {
    uint32_t& slot = state_.slots[query.slots[static_cast<size_t>(i)]];
    const uint32_t count = slot & 255;
    const int32_t chance = static_cast<int32_t>(slot >> 10);  // 22 bits
    const int32_t goal = bin ? (1 << 22) - 1 : 0;
    const int32_t moved = chance + ((goal - chance) >> 3) * kTables.rate[count] / 512;
    slot = static_cast<uint32_t>(moved) << 10 | (count < static_cast<uint32_t>(count_limit_) ? count + 1 : count);
  }
}

void ArithmeticEncoder::code(int bin, int chance) {
  const uint32_t middle = split(low_, high_, chance);
  if (bin)
    high_ = middle;
  else
    low_ = middle + 1;
  while (((low_ ^ high_) & 0xff000000u) == 0) {
    out_.push_back(static_cast<uint8_t>(high_ >> 24));
    low_ <<= 8;
    high_ = high_ << 8 | 255;
  }
}

// The decoder reads zeros beyond the end: so a number of as few bytes as will do is written, without its last zeros, of
// which there may be kMaxZeros.
Bytes ArithmeticEncoder::finish() {
  for (int bytes = 0; bytes <= 4; ++bytes) {
    const uint64_t unit = uint64_t{1} << (32 - 8 * bytes);
    const uint64_t value = (low_ + unit - 1) / unit * unit;
    if (value > high_) continue;
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<uint8_t>(value >> (24 - 8 * i)));
    break;
  }
  while (!out_.empty() && out_.back() == 0) out_.pop_back();
  return out_;
}

ArithmeticDecoder::ArithmeticDecoder(const uint8_t* data, size_t size) : data_(data), size_(size) {
  for (int i = 0; i < 4; ++i) value_ = value_ << 8 | next();
}

uint32_t ArithmeticDecoder::next() {
  if (at_ >= size_ + kMaxZeros) throw Corrupt("packed data end too early");
  const uint32_t byte = at_ < size_ ? data_[at_] : 0;
  ++at_;
  return byte;
}

int ArithmeticDecoder::code(int chance) {
  const uint32_t middle = split(low_, high_, chance);
  const int bin = value_ <= middle;
  if (bin)
    high_ = middle;
  else
    low_ = middle + 1;
  while (((low_ ^ high_) & 0xff000000u) == 0) {
    low_ <<= 8;
    high_ = high_ << 8 | 255;
    value_ = value_ << 8 | next();
  }
  return bin;
}

}  // namespace lvc::hevc
