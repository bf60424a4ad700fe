// Python bindings of block transforms and of what else is done to planes, and nothing else.
#include "nets/planes.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "common.h"
#include "nets/transform.h"

namespace {

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

int positions_of(const py::array& coefficients) {
  require(coefficients.ndim() == 3 && coefficients.shape(2) == nets::kCoefficients &&
              coefficients.shape(0) * coefficients.shape(1) <= (1 << 24),
          "coefficients of a wrong shape");
  return static_cast<int>(coefficients.shape(0) * coefficients.shape(1));
}

Array<float> in_steps(const Array<int32_t>& coefficients, const Array<double>& dividers, int threads) {
  const int n = positions_of(coefficients);
  require(dividers.ndim() == 1 && dividers.shape(0) == nets::kCoefficients, "there must be one number a channel");
  Array<float> out = like<float>(coefficients);
  float* to = out.mutable_data();
  py::gil_scoped_release release;
  nets::in_steps(coefficients.data(), n, dividers.data(), to, threads);
  return out;
}

Array<uint8_t> magnitudes(const Array<int32_t>& coefficients, const Array<int32_t>& dividers,
                          const Array<uint8_t>& table, int threads, const std::string& simd) {
  const int n = positions_of(coefficients);
  check_channels(dividers, (1 << 10) + 1, 1 << 18);
  require(table.ndim() == 1 && table.size() >= 1 && table.size() <= (1 << 16), "the table is of a wrong size");
  Array<uint8_t> out = like<uint8_t>(coefficients);
  const nets::Kernels& kernels = kernels_named(simd);
  uint8_t* to = out.mutable_data();
  py::gil_scoped_release release;
  nets::magnitudes(kernels, coefficients.data(), n, dividers.data(), table.data(), static_cast<int>(table.size()), to, threads);
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
                 int threads, const std::string& simd) {
  const nets::Picture a = picture_of(decoded, nets::kUnit), b = picture_of(predicted, nets::kUnit);
  require(a.height == b.height && a.width == b.width, "pictures of two sizes");
  require(out.ndim() == 3 && out.shape(0) * 4 == a.height && out.shape(1) * 4 == a.width &&
              out.shape(2) >= 2 * nets::kCell,
          "inputs of a wrong shape");
  require(scale >= 1 && scale <= 512 && step >= 16 && step <= 4096 && high >= 1 && high <= 127 && threads >= 1,
          "an argument is out of range");
  const nets::Kernels& kernels = kernels_named(simd);
  int8_t* to = out.mutable_data();
  py::gil_scoped_release release;
  nets::cell_inputs(kernels, a, b, {scale, step, high}, to, static_cast<size_t>(out.shape(2)), threads);
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

double squared_error(const Plane& a, const Plane& b) {
  require(a.ndim() == 2 && b.ndim() == 2 && a.shape(0) == b.shape(0) && a.shape(1) == b.shape(1),
          "planes of two shapes");
  py::gil_scoped_release release;
  return nets::squared_error(a.data(), b.data(), static_cast<size_t>(a.size()));
}

Plane where_filled(const Array<bool>& filled, const Plane& there, const Plane& elsewhere) {
  require(filled.ndim() == 2 && filled.shape(0) >= 1 && filled.shape(1) >= 1 && there.ndim() == 2 &&
              elsewhere.ndim() == 2 && there.shape(0) == elsewhere.shape(0) && there.shape(1) == elsewhere.shape(1),
          "planes of two shapes");
  const py::ssize_t unit = there.shape(1) / filled.shape(1);
  require(there.shape(0) == unit * filled.shape(0) && there.shape(1) == unit * filled.shape(1),
          "planes must be made of whole blocks");
  Plane out = like<uint8_t>(there);
  nets::where_filled(reinterpret_cast<const uint8_t*>(filled.data()), static_cast<int>(filled.shape(0)),
                     static_cast<int>(filled.shape(1)), static_cast<int>(unit), there.data(), elsewhere.data(),
                     out.mutable_data());
  return out;
}

}  // namespace

void bind_planes(py::module_& m) {
  py::class_<nets::Transform>(m, "Transform")
      .def(py::init(&make_transform), py::arg("size"), py::arg("luma").noconvert(), py::arg("chroma").noconvert(),
           py::arg("luma_order").noconvert(), py::arg("chroma_order").noconvert(), py::arg("forward_shift"),
           py::arg("input_shift"), py::arg("inverse_shifts"))
      .def("forward", &forward, py::arg("planes"), py::arg("minus").none(true), py::arg("blocks").none(true),
           py::arg("out").noconvert(), py::arg("threads"), py::arg("simd"))
      .def("inverse", &inverse, py::arg("symbols").noconvert(), py::arg("steps").noconvert(), py::arg("prediction"),
           py::arg("blocks").none(true), py::arg("out"), py::arg("threads"), py::arg("simd"));
  m.def("in_steps", &in_steps, py::arg("coefficients").noconvert(), py::arg("dividers").noconvert(),
        py::arg("threads"));
  m.def("magnitudes", &magnitudes, py::arg("coefficients").noconvert(), py::arg("dividers").noconvert(),
        py::arg("table").noconvert(), py::arg("threads"), py::arg("simd"));
  m.def("cell_inputs", &cell_inputs, py::arg("decoded"), py::arg("predicted"), py::arg("scale"), py::arg("step"),
        py::arg("high"), py::arg("out").noconvert(), py::arg("threads"), py::arg("simd"));
  m.def("squared_error", &squared_error, py::arg("a").noconvert(), py::arg("b").noconvert());
  m.def("where_filled", &where_filled, py::arg("filled").noconvert(), py::arg("there").noconvert(),
        py::arg("elsewhere").noconvert());
  m.def("correct", &correct, py::arg("decoded"), py::arg("corrections").noconvert(), py::arg("step"), py::arg("shift"),
        py::arg("out"), py::arg("threads"));
  m.def("differences", &differences, py::arg("a").noconvert(), py::arg("b").noconvert());
  m.def("displaced", &displaced, py::arg("rows").noconvert(), py::arg("vectors").noconvert());
}
