// Python bindings of the integer networks and block transforms, and nothing else. Shapes and types are checked here
// once more, so that no call can read or write outside of an array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "nets/kernels.h"
#include "nets/layer.h"
#include "nets/planes.h"
#include "nets/symbols.h"
#include "nets/transform.h"

namespace py = pybind11;
namespace nets = lvc::nets;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

const nets::Kernels& kernels_named(const std::string& name) {
  const nets::Kernels* kernels = nets::find_kernels(name.c_str());
  require(kernels != nullptr, "no such kernels here");
  return *kernels;
}

bool is_byte(const py::array& array) {
  return array.dtype().is(py::dtype::of<uint8_t>()) || array.dtype().is(py::dtype::of<int8_t>());
}

// (kernel, is_signed, x_max, channels of each source, weights, bias, shift, low, high, multiplier)
using PartTuple = std::tuple<int, bool, int, std::vector<int>, Array<int8_t>, Array<int32_t>, int, int, int, int>;

std::unique_ptr<nets::Layer> make_layer(int outputs, const std::vector<PartTuple>& parts, int low, int high,
                                        bool wide) {
  require(outputs >= 1 && outputs <= 4096 && !parts.empty() && parts.size() <= 16, "a size is out of range");
  require(low <= high && low >= (wide ? -32768 : 0) && high <= (wide ? 32767 : 255), "the clamp does not fit the type");
  std::vector<nets::PartSpec> specs;
  for (const auto& [kernel, is_signed, x_max, sources, weights, bias, shift, part_low, part_high, multiplier] : parts) {
    require(kernel == 1 || kernel == 3, "kernels are 1x1 or 3x3");
    require(x_max >= 0 && x_max <= (is_signed ? 127 : 255), "inputs do not fit their type");
    require(!sources.empty() && sources.size() <= 16, "a part has 1 to 16 sources");
    int64_t channels = 0;
    for (const int n : sources) {
      require(n >= 1 && n <= 4096, "a source has 1 to 4096 channels");
      channels += n;
    }
    // Signed inputs are offset by 128: up to 255 times 127 each, and the bias of that.
    require(channels * kernel * kernel <= (1 << 15), "a part has too many inputs");
    require(weights.ndim() == 2 && weights.shape(0) == outputs && weights.shape(1) == channels * kernel * kernel &&
                bias.ndim() == 1 && bias.shape(0) == outputs,
            "weights or biases of a wrong shape");
    for (py::ssize_t o = 0; o < outputs; ++o)
      require(bias.data()[o] >= -(1 << 28) && bias.data()[o] <= (1 << 28), "a bias is out of range");
    require(shift >= 0 && shift <= 30 && part_low <= part_high && part_low >= -32768 && part_high <= 32767 &&
                multiplier >= 1 && multiplier <= 256,
            "a requantization is out of range");
    specs.push_back({kernel, is_signed, x_max, sources, weights.data(), bias.data(), shift, part_low, part_high,
                     multiplier});
  }
  return std::make_unique<nets::Layer>(outputs, specs, low, high,
                                       wide ? nets::Output::kInt16 : nets::Output::kUint8);
}

// sources: arrays (height, width, channels) or (n, channels) of bytes, and the first channel of each.
py::array run_layer(const nets::Layer& layer, const std::vector<std::pair<py::array, int>>& sources,
                    const std::optional<Array<int32_t>>& positions, const std::optional<Array<int32_t>>& offset,
                    const std::optional<Array<uint8_t>>& residual, bool planar, int threads, const std::string& simd) {
  const nets::Kernels& kernels = kernels_named(simd);
  require(sources.size() == layer.sources() && !sources.empty(), "a wrong number of sources");
  require(threads >= 1, "threads must be at least 1");
  nets::Call call{};
  std::vector<nets::Source> views;
  for (size_t s = 0; s < sources.size(); ++s) {
    const auto& [array, first] = sources[s];
    require(is_byte(array) && (array.ndim() == 2 || array.ndim() == 3) && (array.flags() & py::array::c_style) != 0,
            "a source must be two- or three-dimensional bytes, one row after the other");
    const bool is_signed = array.dtype().is(py::dtype::of<int8_t>());
    require(is_signed == layer.source_signed(s), "a source has another sign than the layer was made for");
    const py::ssize_t height = array.ndim() == 3 ? array.shape(0) : 1, width = array.shape(array.ndim() - 2);
    const py::ssize_t channels = array.shape(array.ndim() - 1);
    require(height <= (1 << 16) && width <= (1 << 28) && height * width <= (1 << 28), "a source is too large");
    require(first >= 0 && first + layer.source_channels(s) <= channels, "a source has too few channels");
    if (s == 0) {
      call.height = static_cast<int>(height);
      call.width = static_cast<int>(width);
    }
    require(height == call.height && width == call.width, "sources of two sizes");
    views.push_back({static_cast<const uint8_t*>(array.data()) + first, static_cast<size_t>(channels)});
  }
  call.sources = views.data();
  const int area = call.height * call.width;
  call.n = area;
  if (positions) {
    require(positions->ndim() == 1 && positions->shape(0) <= (1 << 28), "positions must be one row");
    call.n = static_cast<int>(positions->shape(0));
    call.positions = positions->data();
    for (int i = 0; i < call.n; ++i)
      require(call.positions[i] >= 0 && call.positions[i] < area, "a position is outside");
  }
  if (offset) {
    require(offset->ndim() == 1 && offset->shape(0) == layer.outputs(), "offsets of a wrong shape");
    call.offset = offset->data();
  }
  if (residual) {
    require(residual->size() == static_cast<py::ssize_t>(call.n) * layer.outputs(), "a residual of a wrong size");
    call.residual = residual->data();
  }
  call.planar = planar;
  call.threads = threads;
  std::vector<py::ssize_t> shape;
  if (planar) shape.push_back(layer.outputs());
  if (positions || sources[0].first.ndim() == 2) {
    shape.push_back(call.n);
  } else {
    shape.push_back(call.height);
    shape.push_back(call.width);
  }
  if (!planar) shape.push_back(layer.outputs());
  const bool wide = layer.output() == nets::Output::kInt16;
  py::array out = wide ? py::array(Array<int16_t>(shape)) : py::array(Array<uint8_t>(shape));
  call.out = out.mutable_data();
  {
    py::gil_scoped_release release;
    layer.run(kernels, call);
  }
  return out;
}

using Plane = Array<uint8_t>;
using Planes = std::tuple<Plane, Plane, Plane>;
using Targets = std::tuple<py::array, py::array, py::array>;

// Arrays to write to: as they are, never a converted copy.
Planes planes_of(const Targets& targets) {
  const auto plane = [](const py::array& array) {
    require(py::isinstance<Plane>(array), "planes must be uint8, one row after the other");
    return py::reinterpret_borrow<Plane>(array);
  };
  return {plane(std::get<0>(targets)), plane(std::get<1>(targets)), plane(std::get<2>(targets))};
}

nets::Picture picture_of(const Planes& planes, int unit) {
  const auto& [y, u, v] = planes;
  require(y.ndim() == 2 && u.ndim() == 2 && v.ndim() == 2, "planes must be two-dimensional");
  require(y.shape(0) >= unit && y.shape(1) >= unit && y.shape(0) % unit == 0 && y.shape(1) % unit == 0 &&
              y.shape(0) <= (1 << 16) && y.shape(1) <= (1 << 16),
          "luma must be made of whole squares");
  for (const Plane* c : {&u, &v})
    require(c->shape(0) * 2 == y.shape(0) && c->shape(1) * 2 == y.shape(1), "chroma does not fit luma");
  return {{y.data(), u.data(), v.data()}, static_cast<int>(y.shape(0)), static_cast<int>(y.shape(1))};
}

template <typename T>
void check_coefficients(const Array<T>& values, const nets::Picture& picture) {
  require(values.ndim() == 3 && values.shape(0) * nets::kUnit == picture.height &&
              values.shape(1) * nets::kUnit == picture.width && values.shape(2) == nets::kCoefficients,
          "coefficients of a wrong shape");
}

void check_channels(const Array<int32_t>& values, int low, int high) {
  require(values.ndim() == 1 && values.shape(0) == nets::kCoefficients, "there must be one number a channel");
  for (int c = 0; c < nets::kCoefficients; ++c)
    require(values.data()[c] >= low && values.data()[c] <= high, "a number of a channel is out of range");
}

using Blocks = std::optional<Array<int32_t>>;

std::pair<const int32_t*, int> blocks_of(const Blocks& blocks, const nets::Picture& picture) {
  if (!blocks) return {nullptr, 0};
  require(blocks->ndim() == 1, "blocks must be one row");
  const int area = picture.height / nets::kUnit * (picture.width / nets::kUnit);
  for (py::ssize_t i = 0; i < blocks->shape(0); ++i)
    require(blocks->data()[i] >= 0 && blocks->data()[i] < area, "a block is outside");
  return {blocks->data(), static_cast<int>(blocks->shape(0))};
}

void forward(const nets::Transform& self, const Planes& planes, const std::optional<Planes>& minus,
             const Blocks& blocks, Array<int32_t>& out, int threads, const std::string& simd) {
  const nets::Picture picture = picture_of(planes, nets::kUnit);
  const nets::Picture other = minus ? picture_of(*minus, nets::kUnit) : picture;
  require(other.height == picture.height && other.width == picture.width, "pictures of two sizes");
  require(threads >= 1, "threads must be at least 1");
  check_coefficients(out, picture);
  const auto [data, n] = blocks_of(blocks, picture);
  const nets::Kernels& kernels = kernels_named(simd);
  int32_t* to = out.mutable_data();
  py::gil_scoped_release release;
  self.forward(kernels, picture, minus ? &other : nullptr, data, n, to, threads);
}

void inverse(const nets::Transform& self, const Array<int16_t>& symbols, const Array<int32_t>& steps,
             const Planes& prediction, const Blocks& blocks, const Targets& targets, int threads,
             const std::string& simd) {
  Planes out = planes_of(targets);
  const nets::Picture picture = picture_of(prediction, nets::kUnit), target = picture_of(out, nets::kUnit);
  require(target.height == picture.height && target.width == picture.width, "pictures of two sizes");
  require(threads >= 1, "threads must be at least 1");
  check_coefficients(symbols, picture);
  check_channels(steps, 1, (1 << 16) - 1);
  const auto [data, n] = blocks_of(blocks, picture);
  const nets::Kernels& kernels = kernels_named(simd);
  uint8_t* const to[3] = {std::get<0>(out).mutable_data(), std::get<1>(out).mutable_data(),
                          std::get<2>(out).mutable_data()};
  py::gil_scoped_release release;
  self.inverse(kernels, symbols.data(), steps.data(), picture, data, n, to, threads);
}

template <typename T>
Array<T> like(const py::array& array) {
  return Array<T>(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
}

int positions_of(const py::array& coefficients) {
  require(coefficients.ndim() == 3 && coefficients.shape(2) == nets::kCoefficients &&
              coefficients.shape(0) * coefficients.shape(1) <= (1 << 24),
          "coefficients of a wrong shape");
  return static_cast<int>(coefficients.shape(0) * coefficients.shape(1));
}

Array<uint8_t> magnitudes(const Array<int32_t>& coefficients, const Array<int32_t>& dividers,
                          const Array<uint8_t>& table, int threads) {
  const int n = positions_of(coefficients);
  check_channels(dividers, (1 << 10) + 1, 1 << 18);
  require(table.ndim() == 1 && table.size() >= 1 && table.size() <= (1 << 16), "the table is of a wrong size");
  Array<uint8_t> out = like<uint8_t>(coefficients);
  uint8_t* to = out.mutable_data();
  py::gil_scoped_release release;
  nets::magnitudes(coefficients.data(), n, dividers.data(), table.data(), static_cast<int>(table.size()), to, threads);
  return out;
}

Array<int32_t> differences(const Plane& a, const Plane& b) {
  require(a.ndim() == 2 && b.ndim() == 2 && a.shape(0) == b.shape(0) && a.shape(1) == b.shape(1),
          "planes of two shapes");
  require(a.shape(0) % nets::kUnit == 0 && a.shape(1) % nets::kUnit == 0 && a.shape(0) <= (1 << 16) &&
              a.shape(1) <= (1 << 16),
          "planes must be made of whole blocks");
  Array<int32_t> out({a.shape(0) / nets::kUnit, a.shape(1) / nets::kUnit});
  nets::differences(a.data(), b.data(), static_cast<int>(a.shape(0)), static_cast<int>(a.shape(1)),
                    out.mutable_data());
  return out;
}

Array<uint8_t> displaced(const Array<uint8_t>& rows, const Array<int16_t>& vectors) {
  require(rows.ndim() == 3 && vectors.ndim() == 3 && vectors.shape(0) == 2 && vectors.shape(1) == rows.shape(0) &&
              vectors.shape(2) == rows.shape(1) && rows.shape(0) <= (1 << 16) && rows.shape(1) <= (1 << 16),
          "the field does not fit");
  Array<uint8_t> out = like<uint8_t>(rows);
  if (out.size() > 0)
    nets::displaced(rows.data(), static_cast<size_t>(rows.shape(2)), vectors.data(0), vectors.data(1),
                    static_cast<int>(rows.shape(0)), static_cast<int>(rows.shape(1)), out.mutable_data());
  return out;
}

void cell_inputs(const Planes& decoded, const Planes& predicted, int scale, int step, int high, Array<int8_t>& out,
                 int threads) {
  const nets::Picture a = picture_of(decoded, nets::kUnit), b = picture_of(predicted, nets::kUnit);
  require(a.height == b.height && a.width == b.width, "pictures of two sizes");
  require(out.ndim() == 3 && out.shape(0) * 4 == a.height && out.shape(1) * 4 == a.width &&
              out.shape(2) >= 2 * nets::kCell,
          "inputs of a wrong shape");
  require(scale >= 1 && scale <= 512 && step >= 16 && step <= 4096 && high >= 1 && high <= 127 && threads >= 1,
          "an argument is out of range");
  int8_t* to = out.mutable_data();
  py::gil_scoped_release release;
  nets::cell_inputs(a, b, {scale, step, high}, to, static_cast<size_t>(out.shape(2)), threads);
}

void correct(const Planes& decoded, const Array<int16_t>& corrections, int step, int shift, const Targets& targets,
             int threads) {
  Planes out = planes_of(targets);
  const nets::Picture picture = picture_of(decoded, nets::kUnit), target = picture_of(out, nets::kUnit);
  require(target.height == picture.height && target.width == picture.width, "pictures of two sizes");
  require(corrections.ndim() == 3 && corrections.shape(0) * 4 == picture.height &&
              corrections.shape(1) * 4 == picture.width && corrections.shape(2) == nets::kCell,
          "corrections of a wrong shape");
  require(step >= 0 && step < (1 << 15) && shift >= 1 && shift <= 30 && threads >= 1, "an argument is out of range");
  uint8_t* const to[3] = {std::get<0>(out).mutable_data(), std::get<1>(out).mutable_data(),
                          std::get<2>(out).mutable_data()};
  py::gil_scoped_release release;
  nets::correct(picture, corrections.data(), step, shift, to, threads);
}

std::unique_ptr<nets::Transform> make_transform(int size, const Array<int32_t>& luma, const Array<int32_t>& chroma,
                                                const Array<int32_t>& luma_order,
                                                const Array<int32_t>& chroma_order, int forward_shift,
                                                int input_shift, std::pair<int, int> inverse_shifts) {
  require(size == 8 || size == 16 || size == 32 || size == 64, "squares are of 8 to 64 samples");
  require(luma.ndim() == 2 && luma.shape(0) == size && luma.shape(1) == size && chroma.ndim() == 2 &&
              chroma.shape(0) == size / 2 && chroma.shape(1) == size / 2,
          "a basis of a wrong shape");
  for (const Array<int32_t>* basis : {&luma, &chroma})
    for (py::ssize_t i = 0; i < basis->size(); ++i)
      require(std::abs(basis->data()[i]) <= (1 << 12), "a basis function is too large");
  const auto check_order = [](const Array<int32_t>& order, int n) {
    require(order.ndim() == 1 && order.size() == n, "an order of a wrong size");
    std::vector<bool> there(static_cast<size_t>(n), false);
    for (int i = 0; i < n; ++i) {
      const int at = order.data()[i];
      require(at >= 0 && at < n && !there[static_cast<size_t>(at)], "an order must hold each place once");
      there[static_cast<size_t>(at)] = true;
    }
  };
  check_order(luma_order, 64);
  check_order(chroma_order, 16);
  for (const int shift : {forward_shift, input_shift, inverse_shifts.first, inverse_shifts.second})
    require(shift >= 0 && shift <= 24, "a shift is out of range");
  return std::make_unique<nets::Transform>(
      size, luma.data(), chroma.data(), luma_order.data(), chroma_order.data(),
      nets::TransformShifts{forward_shift, input_shift, {inverse_shifts.first, inverse_shifts.second}});
}

void check_rows(const py::array& rows) {
  require(rows.ndim() == 3 && rows.shape(0) * rows.shape(1) <= (1 << 28) && rows.shape(2) >= 1 && rows.shape(2) <= 4096,
          "symbols of a wrong shape");
}

nets::Slice slice_of(const py::array& rows, const Array<int32_t>& positions, int first, py::ssize_t count) {
  check_rows(rows);
  require(first >= 0 && count >= 0 && first + count <= rows.shape(2), "channels are out of range");
  require(positions.ndim() == 1, "positions must be one row");
  const py::ssize_t area = rows.shape(0) * rows.shape(1);
  for (py::ssize_t i = 0; i < positions.shape(0); ++i)
    require(positions.data()[i] >= 0 && positions.data()[i] < area, "a position is outside");
  return {static_cast<size_t>(rows.shape(2)), static_cast<size_t>(first), static_cast<size_t>(count)};
}

void place(const Array<int32_t>& values, const Array<int32_t>& positions, int first, const Array<uint8_t>& table,
           Array<int16_t>& symbols, Array<uint8_t>& context) {
  require(values.ndim() == 2 && values.shape(1) == positions.size(), "values of a wrong shape");
  const nets::Slice slice = slice_of(symbols, positions, first, values.shape(0));
  slice_of(context, positions, first, values.shape(0));
  require(context.shape(2) == symbols.shape(2) && table.ndim() == 1 && table.size() >= 1, "arrays do not fit");
  nets::place(values.data(), positions.data(), static_cast<size_t>(positions.size()), slice, table.data(),
              static_cast<size_t>(table.size()), symbols.mutable_data(), context.mutable_data());
}

Array<int16_t> take(const Array<int16_t>& symbols, const Array<int32_t>& positions, int first, int count) {
  const nets::Slice slice = slice_of(symbols, positions, first, count);
  Array<int16_t> values({static_cast<py::ssize_t>(count), positions.size()});
  nets::take(symbols.data(), positions.data(), static_cast<size_t>(positions.size()), slice, values.mutable_data());
  return values;
}

nets::Groups groups_of(const std::vector<int>& edges, int luma, py::ssize_t channels) {
  require(edges.size() >= 2 && edges.size() <= 33 && edges[0] == 0 && edges.back() == channels && luma >= 0 &&
              static_cast<size_t>(luma) < edges.size(),
          "groups do not fit");
  for (size_t k = 1; k < edges.size(); ++k) require(edges[k] >= edges[k - 1], "groups are out of order");
  return {edges, static_cast<size_t>(luma)};
}

Array<uint8_t> flags_of(const Array<int16_t>& symbols, const std::vector<int>& edges, int luma) {
  check_rows(symbols);
  const nets::Groups groups = groups_of(edges, luma, symbols.shape(2));
  Array<uint8_t> flags({symbols.shape(0), symbols.shape(1), static_cast<py::ssize_t>(groups.size())});
  nets::flags_of(symbols.data(), static_cast<size_t>(symbols.shape(0) * symbols.shape(1)), groups,
                 flags.mutable_data());
  return flags;
}

constexpr int kIndices = 64;

nets::BitsTable bits_table(const Array<float>& table) {
  require(table.ndim() == 2 && table.shape(0) == kIndices && table.shape(1) >= 3 && table.shape(1) <= 4096,
          "a table of bits of a wrong shape");
  return {table.data(), static_cast<int>(table.shape(1)) - 2};
}

void check_index(const Array<uint8_t>& index, const py::array& rows, py::ssize_t channels) {
  require(index.ndim() == 3 && index.shape(0) == rows.shape(0) && index.shape(1) == rows.shape(1) &&
              index.shape(2) == channels,
          "indices of a wrong shape");
  for (py::ssize_t i = 0; i < index.size(); ++i) require(index.data()[i] < kIndices, "an index is out of range");
}

py::tuple choose(const Array<float>& coefficients, const std::vector<Array<uint8_t>>& index,
                      const Array<uint8_t>& flag_index, const std::vector<int>& edges, int luma,
                      const Array<float>& values, const Array<float>& flags, const Array<float>& weights,
                      int threads) {
  check_rows(coefficients);
  const nets::Groups groups = groups_of(edges, luma, coefficients.shape(2));
  require(index.size() == groups.size() && weights.ndim() == 1 && weights.shape(0) == coefficients.shape(2),
          "there must be an index for each group, and a weight for each channel");
  std::vector<const uint8_t*> pointers;
  for (size_t k = 0; k < index.size(); ++k) {
    check_index(index[k], coefficients, edges[k + 1] - edges[k]);
    pointers.push_back(index[k].data());
  }
  check_index(flag_index, coefficients, static_cast<py::ssize_t>(groups.size()));
  const nets::BitsTable value_bits = bits_table(values), flag_bits = bits_table(flags);
  Array<int16_t> symbols = like<int16_t>(coefficients);
  Array<float> cost({coefficients.shape(0), coefficients.shape(1)});
  int16_t* out = symbols.mutable_data();
  float* sums = cost.mutable_data();
  const size_t n = static_cast<size_t>(coefficients.shape(0) * coefficients.shape(1));
  {
    py::gil_scoped_release release;
    nets::choose(coefficients.data(), pointers, flag_index.data(), n, groups, value_bits, flag_bits, weights.data(),
                 out, sums, threads);
  }
  return py::make_tuple(symbols, cost);
}

py::tuple vector_features(const Array<int32_t>& field, const Array<bool>& known,
                          const std::optional<Array<int16_t>>& former, const Array<int32_t>& ys,
                          const Array<int32_t>& xs, const std::vector<std::pair<int, int>>& offsets, int level,
                          int levels, int quality, const Array<uint8_t>& log_table) {
  require(field.ndim() == 3 && field.shape(0) == 2 && known.ndim() == 2 && known.shape(0) == field.shape(1) &&
              known.shape(1) == field.shape(2) && field.shape(1) <= (1 << 16) && field.shape(2) <= (1 << 16),
          "field and known do not fit");
  if (former)
    require(former->ndim() == 3 && former->shape(0) == 2 && former->shape(1) == field.shape(1) &&
                former->shape(2) == field.shape(2),
            "the former field does not fit");
  require(ys.ndim() == 1 && xs.ndim() == 1 && ys.size() == xs.size(), "positions do not fit");
  require(offsets.size() + 2 <= nets::kCandidates && level >= 0 && level < levels && levels <= 64 && quality >= 0 &&
              quality <= 255 && log_table.ndim() == 1 && log_table.size() >= 1,
          "an argument is out of range");
  for (const auto& [a, b] : offsets) require(std::abs(a) <= 1024 && std::abs(b) <= 1024, "an offset is out of range");
  for (py::ssize_t i = 0; i < ys.size(); ++i)
    require(ys.data()[i] >= 0 && ys.data()[i] < field.shape(1) && xs.data()[i] >= 0 && xs.data()[i] < field.shape(2),
            "a position is outside");
  const py::ssize_t n = ys.size(), candidates = static_cast<py::ssize_t>(nets::kCandidates);
  Array<int32_t> vectors({candidates, static_cast<py::ssize_t>(2), n});
  Array<bool> fresh({candidates, n});
  Array<uint8_t> features({n, 3 * candidates + levels + 2});
  nets::vector_features({static_cast<int>(field.shape(1)), static_cast<int>(field.shape(2)), field.data(),
                         reinterpret_cast<const uint8_t*>(known.data()), former ? former->data() : nullptr,
                         static_cast<size_t>(n), ys.data(), xs.data(), offsets, level, levels, quality,
                         log_table.data(), static_cast<size_t>(log_table.size()), vectors.mutable_data(),
                         reinterpret_cast<uint8_t*>(fresh.mutable_data()), features.mutable_data()});
  return py::make_tuple(vectors, fresh, features);
}

}  // namespace

PYBIND11_MODULE(_nets, m) {
  m.doc() = "C++ kernels of integer networks and block transforms. Use lvc.ops.intnet and lvc.ops.blocktransform.";
  py::class_<nets::Layer>(m, "Layer")
      .def(py::init(&make_layer), py::arg("outputs"), py::arg("parts"), py::arg("low"), py::arg("high"),
           py::arg("wide"))
      .def("run", &run_layer, py::arg("sources"), py::arg("positions").noconvert().none(true),
           py::arg("offset").noconvert().none(true), py::arg("residual").noconvert().none(true), py::arg("planar"),
           py::arg("threads"), py::arg("simd"));
  py::class_<nets::Transform>(m, "Transform")
      .def(py::init(&make_transform), py::arg("size"), py::arg("luma").noconvert(), py::arg("chroma").noconvert(),
           py::arg("luma_order").noconvert(), py::arg("chroma_order").noconvert(), py::arg("forward_shift"),
           py::arg("input_shift"), py::arg("inverse_shifts"))
      .def("forward", &forward, py::arg("planes"), py::arg("minus").none(true), py::arg("blocks").none(true),
           py::arg("out").noconvert(), py::arg("threads"), py::arg("simd"))
      .def("inverse", &inverse, py::arg("symbols").noconvert(), py::arg("steps").noconvert(), py::arg("prediction"),
           py::arg("blocks").none(true), py::arg("out"), py::arg("threads"), py::arg("simd"));
  m.def("magnitudes", &magnitudes, py::arg("coefficients").noconvert(), py::arg("dividers").noconvert(),
        py::arg("table").noconvert(), py::arg("threads"));
  m.def("cell_inputs", &cell_inputs, py::arg("decoded"), py::arg("predicted"), py::arg("scale"), py::arg("step"),
        py::arg("high"), py::arg("out").noconvert(), py::arg("threads"));
  m.def("correct", &correct, py::arg("decoded"), py::arg("corrections").noconvert(), py::arg("step"), py::arg("shift"),
        py::arg("out"), py::arg("threads"));
  m.def("differences", &differences, py::arg("a").noconvert(), py::arg("b").noconvert());
  m.def("displaced", &displaced, py::arg("rows").noconvert(), py::arg("vectors").noconvert());
  m.def("place", &place, py::arg("values").noconvert(), py::arg("positions").noconvert(), py::arg("first"),
        py::arg("table").noconvert(), py::arg("symbols").noconvert(), py::arg("context").noconvert());
  m.def("take", &take, py::arg("symbols").noconvert(), py::arg("positions").noconvert(), py::arg("first"),
        py::arg("count"));
  m.def("flags_of", &flags_of, py::arg("symbols").noconvert(), py::arg("edges"), py::arg("luma"));
  m.def("choose", &choose, py::arg("coefficients").noconvert(), py::arg("index"), py::arg("flag_index").noconvert(),
        py::arg("edges"), py::arg("luma"), py::arg("values").noconvert(), py::arg("flags").noconvert(),
        py::arg("weights").noconvert(), py::arg("threads"));
  m.def("vector_features", &vector_features, py::arg("field").noconvert(), py::arg("known").noconvert(),
        py::arg("former").noconvert().none(true), py::arg("ys").noconvert(), py::arg("xs").noconvert(),
        py::arg("offsets"), py::arg("level"), py::arg("levels"), py::arg("quality"), py::arg("log_table").noconvert());
  m.def("has_simd", [](const std::string& name) { return nets::find_kernels(name.c_str()) != nullptr; },
        py::arg("name"));
}
