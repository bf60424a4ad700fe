#include "layer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "parallel.h"

namespace lvc::nets {

namespace {

constexpr int group_size(Format format) { return format == Format::kBytes ? 4 : 2; }

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Inputs as a product takes them: uint8 (signed ones plus 128), or int16.
void convert(const uint8_t* from, size_t n, bool is_signed, uint8_t* to) {
  if (!is_signed) {
    std::memcpy(to, from, n);
    return;
  }
  for (size_t i = 0; i < n; ++i) to[i] = static_cast<uint8_t>(from[i] ^ 0x80);
}

void convert(const uint8_t* from, size_t n, bool is_signed, int16_t* to) {
  if (is_signed)
    for (size_t i = 0; i < n; ++i) to[i] = static_cast<int8_t>(from[i]);
  else
    for (size_t i = 0; i < n; ++i) to[i] = from[i];
}

// One row of inputs: for each tap, all sources, each padded to whole groups.
template <typename T>
struct Gather {
  const Source* sources;
  const std::vector<int>& channels;
  bool is_signed;
  int height, width;

  static constexpr size_t kGroup = 4 / sizeof(T);

  T* position(size_t at, T* to) const {
    for (size_t s = 0; s < channels.size(); ++s) {
      const size_t n = static_cast<size_t>(channels[s]);
      convert(sources[s].data + at * sources[s].stride, n, is_signed, to);
      to += round_up(n, kGroup);
    }
    return to;
  }

  T* zeros(T* to) const {
    const T zero = is_signed && sizeof(T) == 1 ? T(128) : T(0);
    for (const int n : channels) {
      std::fill(to, to + n, zero);
      to += round_up(static_cast<size_t>(n), kGroup);
    }
    return to;
  }

  void row(int at, int kernel, T* to) const {
    if (kernel == 1) {
      position(static_cast<size_t>(at), to);
      return;
    }
    const int y = at / width, x = at % width;
    // Where positions lie as rows have them, three of them are one piece. What pads them meets weights of zero; of the
    // last position, it may not be there.
    const size_t n = sources[0].stride, own = static_cast<size_t>(channels[0]);
    const bool dense =
        channels.size() == 1 && n == round_up(own, kGroup) && x > 0 && x + (n == own ? 1 : 2) < width;
    for (int i = y - 1; i <= y + 1; ++i) {
      if (dense && i >= 0 && i < height) {
        const size_t first = static_cast<size_t>(i) * static_cast<size_t>(width) + static_cast<size_t>(x - 1);
        convert(sources[0].data + first * n, 3 * n, is_signed, to);
        to += 3 * n;
        continue;
      }
      for (int j = x - 1; j <= x + 1; ++j) {
        const bool inside = i >= 0 && i < height && j >= 0 && j < width;
        to = inside ? position(static_cast<size_t>(i) * static_cast<size_t>(width) + static_cast<size_t>(j), to)
                    : zeros(to);
      }
    }
  }
};

}  // namespace

// Buffers of a thread. Padding between sources is never written after the start: it meets weights of zero.
struct Layer::Scratch {
  std::vector<uint8_t> rows;
  std::vector<int32_t> total;
  std::vector<int16_t> row;
};

Layer::Packed Layer::pack(const PartSpec& spec, int outputs, int padded, Format format) {
  const size_t group = static_cast<size_t>(group_size(format)), n_out = static_cast<size_t>(padded);
  const size_t taps = static_cast<size_t>(spec.kernel * spec.kernel);
  size_t channels = 0, inputs = 0;
  for (const int n : spec.sources) {
    channels += static_cast<size_t>(n);
    inputs += round_up(static_cast<size_t>(n), group);
  }
  Packed packed;
  packed.groups = taps * inputs / group;
  packed.weights.assign(packed.groups * n_out * 4, 0);
  packed.bias.assign(n_out, 0);
  packed.exact = true;
  for (size_t o = 0; o < static_cast<size_t>(outputs); ++o) {
    int32_t sum = 0;
    size_t k = 0;
    for (size_t tap = 0; tap < taps; ++tap) {
      size_t channel = 0;
      for (const int n : spec.sources) {
        for (size_t c = 0; c < static_cast<size_t>(n); ++c) {
          const int8_t w = spec.weights[(o * channels + channel + c) * taps + tap];
          const size_t place = ((k + c) / group * n_out + o) * group + (k + c) % group;
          if (format == Format::kBytes)
            packed.weights[place] = static_cast<uint8_t>(w);
          else
            reinterpret_cast<int16_t*>(packed.weights.data())[place] = w;
          sum += w;
        }
        channel += static_cast<size_t>(n);
        k += round_up(static_cast<size_t>(n), group);
      }
    }
    const bool offset = format == Format::kBytes && spec.is_signed;
    packed.bias[o] = spec.bias[o] - (offset ? 128 * sum : 0);
    if (format == Format::kBytes) {
      const int32_t largest = offset ? 128 + spec.x_max : spec.x_max;
      for (size_t i = 0; i < packed.groups * 4; i += 2) {
        const int8_t* pair =
            reinterpret_cast<const int8_t*>(&packed.weights[(i / 4 * n_out + o) * 4 + i % 4]);
        packed.exact &= (std::abs(pair[0]) + std::abs(pair[1])) * largest <= INT16_MAX;
      }
    }
  }
  return packed;
}

Layer::Layer(int outputs, const std::vector<PartSpec>& parts, int32_t low, int32_t high, Output output)
    : outputs_(outputs),
      padded_(static_cast<int>(round_up(static_cast<size_t>(outputs), kOutputBlock))),
      low_(low),
      high_(high),
      output_(output) {
  for (const PartSpec& spec : parts) {
    Part part{spec.kernel, spec.is_signed, spec.sources, spec.shift, spec.low, spec.high, spec.multiplier, {}, {}};
    part.bytes = pack(spec, outputs_, padded_, Format::kBytes);
    part.words = pack(spec, outputs_, padded_, Format::kWords);
    parts_.push_back(std::move(part));
  }
}

size_t Layer::sources() const {
  size_t n = 0;
  for (const Part& part : parts_) n += part.sources.size();
  return n;
}

int Layer::source_channels(size_t source) const {
  for (const Part& part : parts_) {
    if (source < part.sources.size()) return part.sources[source];
    source -= part.sources.size();
  }
  return 0;
}

bool Layer::source_signed(size_t source) const {
  for (const Part& part : parts_) {
    if (source < part.sources.size()) return part.is_signed;
    source -= part.sources.size();
  }
  return false;
}

template <typename T, typename Finish>
void Layer::store(const Finish& finish, const Call& call, int first, int count, const int32_t* total,
                  void* scratch) const {
  const size_t n_out = static_cast<size_t>(outputs_);
  T* const row = static_cast<T*>(scratch);
  for (size_t r = 0; r < static_cast<size_t>(count); ++r, total += padded_) {
    const size_t at = static_cast<size_t>(first) + r;
    const uint8_t* residual = call.residual == nullptr ? nullptr : call.residual + at * n_out;
    T* const out = static_cast<T*>(call.out);
    finish(total, n_out, call.offset, residual, low_, high_, call.planar ? row : out + at * n_out);
    if (call.planar)
      for (size_t o = 0; o < n_out; ++o) out[o * static_cast<size_t>(call.n) + at] = row[o];
  }
}

void Layer::tile(const Kernels& kernels, const Call& call, int first, Scratch& scratch) const {
  const int count = std::min(kTile, call.n - first);
  const Source* sources = call.sources;
  bool add = false;
  for (const Part& part : parts_) {
    const bool bytes = kernels.bytes && (part.bytes.exact || !kernels.saturates);
    const Packed& packed = bytes ? part.bytes : part.words;
    const size_t row_bytes = packed.groups * 4;
    if (scratch.rows.size() < row_bytes * kTile) scratch.rows.resize(row_bytes * kTile);
    for (int r = 0; r < count; ++r) {
      const int at = call.positions != nullptr ? call.positions[first + r] : first + r;
      uint8_t* to = scratch.rows.data() + static_cast<size_t>(r) * row_bytes;
      if (bytes)
        Gather<uint8_t>{sources, part.sources, part.is_signed, call.height, call.width}.row(at, part.kernel, to);
      else
        Gather<int16_t>{sources, part.sources, part.is_signed, call.height, call.width}.row(
            at, part.kernel, reinterpret_cast<int16_t*>(to));
    }
    const Product product{bytes ? Format::kBytes : Format::kWords,
                          packed.groups,
                          padded_,
                          packed.weights.data(),
                          packed.bias.data(),
                          part.shift,
                          part.low,
                          part.high,
                          part.multiplier};
    kernels.product(product, scratch.rows.data(), row_bytes, scratch.total.data(), add);
    add = true;
    sources += part.sources.size();
  }
  if (output_ == Output::kUint8)
    store<uint8_t>(kernels.finish8, call, first, count, scratch.total.data(), scratch.row.data());
  else
    store<int16_t>(kernels.finish16, call, first, count, scratch.total.data(), scratch.row.data());
}

void Layer::run(const Kernels& kernels, const Call& call) const {
  // A few tiles at a time, so that buffers are made seldom.
  constexpr int kRun = 8;
  const int tiles = (call.n + kTile - 1) / kTile;
  parallel((tiles + kRun - 1) / kRun, call.threads, [&](int run) {
    Scratch scratch;
    scratch.total.resize(static_cast<size_t>(kTile) * static_cast<size_t>(padded_));
    scratch.row.resize(static_cast<size_t>(outputs_));
    for (int t = run * kRun; t < std::min(tiles, (run + 1) * kRun); ++t) tile(kernels, call, t * kTile, scratch);
  });
}

}  // namespace lvc::nets
