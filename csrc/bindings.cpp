// All Python bindings of lvc._C, and nothing else. Arguments arrive checked for type and shape by lvc.coding.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstring>
#include <memory>
#include <mutex>

#include "coder.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

// Objects are used without the GIL, so each holds a lock of its own against use from two threads at once.
struct PyEncoder {
  lvc::Encoder encoder;
  std::mutex mutex;
};

struct PyDecoder {
  explicit PyDecoder(const py::bytes& data)
      : bytes(data), decoder(reinterpret_cast<const uint8_t*>(PyBytes_AS_STRING(data.ptr())),
                             static_cast<size_t>(PyBytes_GET_SIZE(data.ptr()))) {}
  py::bytes bytes;  // keeps alive what the decoder reads
  lvc::Decoder decoder;
  std::mutex mutex;
};

template <typename Index>
lvc::PerSymbol<Index> per_symbol(const Array<Index>& index, py::ssize_t n) {
  if (index.size() != n) throw std::invalid_argument("index and symbols differ in size");
  return {index.data()};
}

lvc::PerRun per_run(const lvc::Tables& tables, py::ssize_t n) {
  const size_t n_tables = tables.view().n_tables;
  if (static_cast<size_t>(n) % n_tables != 0) throw std::invalid_argument("symbols do not divide into the tables");
  return {static_cast<size_t>(n) / n_tables};
}

template <typename Symbol, typename Index>
int push(PyEncoder& self, const lvc::Tables& tables, const Array<Symbol>& symbols, Index index) {
  const Symbol* data = symbols.data();
  const size_t n = static_cast<size_t>(symbols.size());
  py::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(self.mutex);
  return static_cast<int>(self.encoder.push(tables.view(), data, index, n));
}

template <typename Index>
int pull(PyDecoder& self, const lvc::Tables& tables, Index index, Array<int32_t>& out) {
  int32_t* data = out.mutable_data();  // throws if the array is read-only
  const size_t n = static_cast<size_t>(out.size());
  py::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(self.mutex);
  return static_cast<int>(self.decoder.pull(tables.view(), index, data, n));
}

template <typename Symbol>
void bind_push(py::class_<PyEncoder>& encoder) {
  encoder.def(
      "push",
      [](PyEncoder& self, const lvc::Tables& tables, const Array<Symbol>& symbols, const Array<uint8_t>& index) {
        return push(self, tables, symbols, per_symbol(index, symbols.size()));
      },
      py::arg("tables"), py::arg("symbols").noconvert(), py::arg("index").noconvert());
  encoder.def(
      "push",
      [](PyEncoder& self, const lvc::Tables& tables, const Array<Symbol>& symbols, const Array<int32_t>& index) {
        return push(self, tables, symbols, per_symbol(index, symbols.size()));
      },
      py::arg("tables"), py::arg("symbols").noconvert(), py::arg("index").noconvert());
  encoder.def(
      "push_channels",
      [](PyEncoder& self, const lvc::Tables& tables, const Array<Symbol>& symbols) {
        return push(self, tables, symbols, per_run(tables, symbols.size()));
      },
      py::arg("tables"), py::arg("symbols").noconvert());
}

template <typename Index>
void bind_pull(py::class_<PyDecoder>& decoder) {
  decoder.def(
      "pull",
      [](PyDecoder& self, const lvc::Tables& tables, const Array<Index>& index, Array<int32_t>& out) {
        return pull(self, tables, per_symbol(index, out.size()), out);
      },
      py::arg("tables"), py::arg("index").noconvert(), py::arg("out").noconvert());
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "C++ kernels of lvc. Use lvc.coding, not this.";

  py::class_<lvc::Tables>(m, "Tables")
      .def(py::init([](const Array<uint32_t>& cdf, const Array<uint32_t>& lengths, const Array<int32_t>& offsets,
                       uint32_t precision) {
             if (cdf.ndim() != 2 || lengths.ndim() != 1 || offsets.ndim() != 1 ||
                 lengths.shape(0) != cdf.shape(0) || offsets.shape(0) != cdf.shape(0))
               throw std::invalid_argument("shapes of cdf, lengths and offsets do not fit");
             return std::make_unique<lvc::Tables>(cdf.data(), static_cast<size_t>(cdf.shape(0)),
                                                  static_cast<size_t>(cdf.shape(1)), lengths.data(),
                                                  offsets.data(), precision);
           }),
           py::arg("cdf").noconvert(), py::arg("lengths").noconvert(), py::arg("offsets").noconvert(),
           py::arg("precision"));

  py::class_<PyEncoder> encoder(m, "Encoder");
  encoder.def(py::init<>());
  bind_push<int8_t>(encoder);
  bind_push<int16_t>(encoder);
  bind_push<int32_t>(encoder);
  encoder.def("finish", [](PyEncoder& self) {
    std::vector<uint8_t> data;
    {
      py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(self.mutex);
      data = self.encoder.finish();
    }
    return py::bytes(reinterpret_cast<const char*>(data.data()), data.size());
  });

  py::class_<PyDecoder> decoder(m, "Decoder");
  decoder.def(py::init<const py::bytes&>(), py::arg("data"));
  bind_pull<uint8_t>(decoder);
  bind_pull<int32_t>(decoder);
  decoder.def(
      "pull_channels",
      [](PyDecoder& self, const lvc::Tables& tables, Array<int32_t>& out) {
        return pull(self, tables, per_run(tables, out.size()), out);
      },
      py::arg("tables"), py::arg("out").noconvert());
  decoder.def("close", [](PyDecoder& self) {
    const std::lock_guard<std::mutex> lock(self.mutex);
    return static_cast<int>(self.decoder.close());
  });
  decoder.def_property_readonly("position", [](PyDecoder& self) {
    const std::lock_guard<std::mutex> lock(self.mutex);
    return self.decoder.position();
  });

  m.attr("MIN_PRECISION") = lvc::kMinPrecision;
  m.attr("MAX_PRECISION") = lvc::kMaxPrecision;
  m.attr("OK") = static_cast<int>(lvc::Status::kOk);
  m.attr("BAD_INDEX") = static_cast<int>(lvc::Status::kBadIndex);
  m.attr("EXHAUSTED") = static_cast<int>(lvc::Status::kExhausted);
  m.attr("BAD_ESCAPE") = static_cast<int>(lvc::Status::kBadEscape);
  m.attr("LEFT_OVER") = static_cast<int>(lvc::Status::kLeftOver);
  m.attr("BAD_LAYOUT") = static_cast<int>(lvc::Status::kBadLayout);
}
