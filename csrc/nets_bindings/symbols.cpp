// Python bindings of what stands between networks and entropy coder, and nothing else.
#include "nets/symbols.h"

#include "common.h"

namespace {

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

Array<uint8_t> contexts(const Array<int16_t>& symbols, const Array<uint8_t>& table) {
  require(table.ndim() == 1 && table.size() >= 1, "a table of a wrong shape");
  Array<uint8_t> out = like<uint8_t>(symbols);
  nets::contexts(symbols.data(), static_cast<size_t>(symbols.size()), table.data(), static_cast<size_t>(table.size()),
                 out.mutable_data());
  return out;
}

Array<int16_t> first_guess(const Array<float>& coefficients, float rounding) {
  Array<int16_t> symbols = like<int16_t>(coefficients);
  nets::first_guess(coefficients.data(), static_cast<size_t>(coefficients.size()), rounding, symbols.mutable_data());
  return symbols;
}

}  // namespace

void bind_symbols(py::module_& m) {
  m.def("contexts", &contexts, py::arg("symbols").noconvert(), py::arg("table").noconvert());
  m.def("first_guess", &first_guess, py::arg("coefficients").noconvert(), py::arg("rounding"));
  m.def("place", &place, py::arg("values").noconvert(), py::arg("positions").noconvert(), py::arg("first"),
        py::arg("table").noconvert(), py::arg("symbols").noconvert(), py::arg("context").noconvert());
  m.def("take", &take, py::arg("symbols").noconvert(), py::arg("positions").noconvert(), py::arg("first"),
        py::arg("count"));
  m.def("flags_of", &flags_of, py::arg("symbols").noconvert(), py::arg("edges"), py::arg("luma"));
  m.def("choose", &choose, py::arg("coefficients").noconvert(), py::arg("index"), py::arg("flag_index").noconvert(),
        py::arg("edges"), py::arg("luma"), py::arg("values").noconvert(), py::arg("flags").noconvert(),
        py::arg("weights").noconvert(), py::arg("threads"));
}
