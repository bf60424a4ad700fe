#include "layer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "parallel.h"
#include "rows.h"

namespace lvc::nets {

namespace {

constexpr int group_size(Format format) { return format == Format::kBytes ? 4 : 2; }

// Rows of a picture that a thread works on at once.
constexpr int kStrip = 12;
// A few tiles at a time, so that buffers are made seldom.
constexpr int kTiles = 8;

}  // namespace

// Buffers of a thread.
struct Layer::Scratch {
  std::vector<std::vector<uint8_t>> inputs;  // of each part: rows that were copied, or a strip
  std::vector<int32_t> total;
  std::vector<int16_t> rows;  // of results, before they go to planes
};

// Where a part finds the rows of a tile.
struct Layer::View {
  const uint8_t* data;
  size_t row_bytes, piece_bytes;
};

Layer::Packed Layer::pack(const PartSpec& spec, int outputs, int padded, Format format) {
  const size_t group = static_cast<size_t>(group_size(format)), n_out = static_cast<size_t>(padded);
  const size_t kernel = static_cast<size_t>(spec.kernel), taps = kernel * kernel;
  size_t channels = 0, inputs = 0;
  for (const int n : spec.sources) {
    channels += static_cast<size_t>(n);
    inputs += round_up(static_cast<size_t>(n), group);
  }
  Packed packed;
  packed.pieces = spec.kernel;
  packed.groups = kernel * inputs / group;
  const size_t padded_groups = round_up(packed.groups, kGroupBlock);
  packed.weights.assign(kernel * padded_groups * n_out * 4, 0);
  packed.bias.assign(n_out, 0);
  packed.exact = true;
  for (size_t o = 0; o < static_cast<size_t>(outputs); ++o) {
    int32_t sum = 0;
    for (size_t tap = 0; tap < taps; ++tap) {
      // A piece holds the taps of a row.
      size_t k = tap / kernel * padded_groups * group + tap % kernel * inputs, channel = 0;
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
      for (size_t i = 0; i < kernel * padded_groups * 4; i += 2) {
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

bool Layer::as_bytes(const Kernels& kernels, const Part& part) {
  return kernels.bytes && (part.bytes.exact || !kernels.saturates);
}

template <typename T>
void Layer::gather(const Part& part, const Source* sources, const Call& call, int first, int count,
                   std::vector<uint8_t>& inputs, View& view) {
  const Rows<T> rows(sources, part.sources, part.is_signed, call.height, call.width);
  const size_t piece = static_cast<size_t>(part.kernel) * rows.size(), row = static_cast<size_t>(part.kernel) * piece;
  // Products read whole tiles, and whole blocks of groups.
  inputs.resize(std::max(inputs.size(), row * sizeof(T) * kTile + 4 * kGroupBlock));
  for (int r = 0; r < count; ++r)
    rows.row(call.positions != nullptr ? call.positions[first + r] : first + r, part.kernel,
             reinterpret_cast<T*>(inputs.data()) + static_cast<size_t>(r) * row);
  view = {inputs.data(), row * sizeof(T), piece * sizeof(T)};
}

template <typename T>
void Layer::strip(const Part& part, const Source* sources, const Call& call, int y, int n,
                  std::vector<uint8_t>& inputs, View& view) {
  const Rows<T> rows(sources, part.sources, part.is_signed, call.height, call.width);
  const size_t position = rows.size() * sizeof(T), line = static_cast<size_t>(call.width + 2) * position;
  inputs.resize(std::max(inputs.size(), line * static_cast<size_t>(n + 2) + position * kTile + 4 * kGroupBlock));
  rows.strip(y, n, reinterpret_cast<T*>(inputs.data()));
  view = {inputs.data(), position, line};
}

// Whether a tile of the part can be read where its only source lies.
bool Layer::in_place(const Part& part, const Source& source, const Call& call, int first) {
  const size_t end = static_cast<size_t>(first + kTile) * source.stride + 4 * part.bytes.groups + 4 * kGroupBlock;
  return part.kernel == 1 && part.sources.size() == 1 && !part.is_signed && call.positions == nullptr &&
         end <= static_cast<size_t>(call.n - 1) * source.stride;
}

template <typename T>
void Layer::store(FinishFunction finish, const Call& call, int first, int count, Scratch& scratch) const {
  const size_t n_out = static_cast<size_t>(outputs_), at = static_cast<size_t>(first);
  T* const out = static_cast<T*>(call.out);
  T* const rows = call.planar ? reinterpret_cast<T*>(scratch.rows.data()) : out + at * n_out;
  finish({scratch.total.data(), static_cast<size_t>(padded_), call.offset,
          call.residual == nullptr ? nullptr : call.residual + at * n_out, low_, high_, n_out, rows},
         static_cast<size_t>(count));
  if (!call.planar) return;
  for (size_t r = 0; r < static_cast<size_t>(count); ++r)
    for (size_t o = 0; o < n_out; ++o) out[o * static_cast<size_t>(call.n) + at + r] = rows[r * n_out + o];
}

// strips: where parts that read strips find the first row of the tile; data is null for the others.
void Layer::tile(const Kernels& kernels, const Call& call, int first, int count, const std::vector<View>& strips,
                 Scratch& scratch) const {
  const Source* sources = call.sources;
  for (size_t i = 0; i < parts_.size(); sources += parts_[i++].sources.size()) {
    const Part& part = parts_[i];
    const bool bytes = as_bytes(kernels, part);
    const Packed& packed = bytes ? part.bytes : part.words;
    View view = strips[i];
    if (view.data == nullptr) {
      if (bytes && in_place(part, *sources, call, first))
        view = {sources->data + static_cast<size_t>(first) * sources->stride, sources->stride, 0};
      else
        (bytes ? gather<uint8_t> : gather<int16_t>)(part, sources, call, first, count, scratch.inputs[i], view);
    }
    const Product product{bytes ? Format::kBytes : Format::kWords,
                          packed.pieces,
                          view.piece_bytes,
                          packed.groups,
                          padded_,
                          packed.weights.data(),
                          packed.bias.data(),
                          part.shift,
                          part.low,
                          part.high,
                          part.multiplier};
    kernels.product(product, view.data, view.row_bytes, count, scratch.total.data(), i != 0);
  }
  if (output_ == Output::kUint8)
    store<uint8_t>(kernels.finish8, call, first, count, scratch);
  else
    store<int16_t>(kernels.finish16, call, first, count, scratch);
}

void Layer::run(const Kernels& kernels, const Call& call) const {
  const bool rows = call.positions == nullptr &&
                    (call.wanted != nullptr ||
                     std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.kernel == 3; }));
  const int n = rows ? call.height : call.n, step = rows ? kStrip : kTile * kTiles;
  parallel((n + step - 1) / step, call.threads, [&](int run) {
    Scratch scratch;
    scratch.inputs.resize(parts_.size());
    scratch.total.resize(static_cast<size_t>(kTile) * static_cast<size_t>(padded_));
    if (call.planar) scratch.rows.resize(static_cast<size_t>(kTile) * static_cast<size_t>(outputs_));
    std::vector<View> views(parts_.size(), View{nullptr, 0, 0});
    if (kernels.begin != nullptr) kernels.begin();
    const int start = run * step, end = std::min(n, start + step);
    if (rows)
      this->rows(kernels, call, start, end, views, scratch);
    else
      for (int first = start; first < end; first += kTile)
        tile(kernels, call, first, std::min(kTile, end - first), views, scratch);
    if (kernels.end != nullptr) kernels.end();
  });
}

// Results of zero.
void Layer::empty(const Call& call, int first, int n) const {
  const size_t size = output_ == Output::kUint8 ? 1 : 2, n_out = static_cast<size_t>(outputs_);
  const size_t step = call.planar ? static_cast<size_t>(call.n) : 1, length = static_cast<size_t>(n);
  uint8_t* const out = static_cast<uint8_t*>(call.out);
  for (size_t o = 0; o < (call.planar ? n_out : 1); ++o)
    std::memset(out + (o * step + static_cast<size_t>(first) * (call.planar ? 1 : n_out)) * size, 0,
                length * (call.planar ? 1 : n_out) * size);
}

// Whole rows of the picture, of which 3x3 convolutions share a copy with a border.
void Layer::rows(const Kernels& kernels, const Call& call, int start, int end, std::vector<View>& views,
                 Scratch& scratch) const {
  const uint8_t* const wanted = call.wanted;
  if (wanted != nullptr) {
    const int first = start * call.width, last = end * call.width;
    empty(call, first, last - first);
    if (std::find_if(wanted + first, wanted + last, [](uint8_t w) { return w != 0; }) == wanted + last) return;
  }
  const Source* sources = call.sources;
  for (size_t i = 0; i < parts_.size(); sources += parts_[i++].sources.size())
    if (parts_[i].kernel == 3)
      (as_bytes(kernels, parts_[i]) ? strip<uint8_t> : strip<int16_t>)(parts_[i], sources, call, start, end - start,
                                                                      scratch.inputs[i], views[i]);
  std::vector<View> here = views;
  for (int y = start; y < end; ++y)
    for (int x = 0, count; x < call.width; x += count) {
      const int at = y * call.width + x;
      count = std::min(kTile, call.width - x);
      if (wanted != nullptr) {
        if (wanted[at] == 0) {
          count = 1;
          continue;
        }
        while (wanted[at + count - 1] == 0) --count;
      }
      for (size_t i = 0; i < views.size(); ++i)
        if (views[i].data != nullptr)
          here[i].data = views[i].data + static_cast<size_t>(y - start) * views[i].piece_bytes +
                         static_cast<size_t>(x) * views[i].row_bytes;
      tile(kernels, call, at, count, here, scratch);
      for (int i = at; wanted != nullptr && i < at + count; ++i)
        if (wanted[i] == 0) empty(call, i, 1);
    }
}

}  // namespace lvc::nets
