// All Python bindings of lvc._C, and nothing else. Arguments arrive checked for type and shape by lvc.coding.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coder.h"
#include "kernels.h"
#include "v1.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

using TablesPointer = std::shared_ptr<const lvc::Tables>;
struct PyTables {
  TablesPointer tables;
};

// Objects are used without the GIL, so each holds a lock of its own against use from two threads at once.
struct PyEncoder {
  explicit PyEncoder(uint32_t lanes) : encoder(lanes) {}
  lvc::Encoder encoder;
  std::mutex mutex;
};

const uint8_t* address(const py::buffer_info& data) { return static_cast<const uint8_t*>(data.ptr); }
size_t size(const py::buffer_info& data) { return static_cast<size_t>(data.size * data.itemsize); }

struct PyDecoder {
  explicit PyDecoder(const py::buffer_info& data) : decoder(address(data), size(data)) {}
  lvc::Decoder decoder;
  std::mutex mutex;
};

struct PyDecoderV1 {
  explicit PyDecoderV1(const py::buffer_info& data)
      : bytes(address(data), address(data) + size(data)), decoder(bytes.data(), bytes.size()) {}
  std::vector<uint8_t> bytes;
  lvc::v1::Decoder decoder;
  std::mutex mutex;
};

size_t n_tables(const PyTables& t) { return t.tables->view().n_tables; }
size_t n_tables(const lvc::v1::Tables& t) { return t.n_tables(); }

template <typename Index>
lvc::PerSymbol<Index> per_symbol(const Array<Index>& index, py::ssize_t n) {
  if (index.size() != n) throw std::invalid_argument("index and symbols differ in size");
  return {index.data()};
}

template <typename Tables>
lvc::PerRun per_run(const Tables& tables, py::ssize_t n) {
  const size_t rows = n_tables(tables);
  if (static_cast<size_t>(n) % rows != 0) throw std::invalid_argument("symbols do not divide into the tables");
  return {static_cast<size_t>(n) / rows};
}

template <typename Symbol, typename Index>
int push(PyEncoder& self, const PyTables& tables, const Array<Symbol>& symbols, Index index) {
  const Symbol* data = symbols.data();
  const size_t n = static_cast<size_t>(symbols.size());
  py::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(self.mutex);
  return static_cast<int>(self.encoder.push(tables.tables, data, index, n));
}

template <typename Symbol>
void bind_push(py::class_<PyEncoder>& encoder) {
  encoder.def(
      "push",
      [](PyEncoder& self, const PyTables& tables, const Array<Symbol>& symbols, const Array<uint8_t>& index) {
        return push(self, tables, symbols, per_symbol(index, symbols.size()));
      },
      py::arg("tables"), py::arg("symbols").noconvert(), py::arg("index").noconvert());
  encoder.def(
      "push",
      [](PyEncoder& self, const PyTables& tables, const Array<Symbol>& symbols, const Array<int32_t>& index) {
        return push(self, tables, symbols, per_symbol(index, symbols.size()));
      },
      py::arg("tables"), py::arg("symbols").noconvert(), py::arg("index").noconvert());
  encoder.def(
      "push_channels",
      [](PyEncoder& self, const PyTables& tables, const Array<Symbol>& symbols) {
        return push(self, tables, symbols, per_run(tables, symbols.size()));
      },
      py::arg("tables"), py::arg("symbols").noconvert());
}

lvc::Status decode(lvc::Decoder& d, const PyTables& t, lvc::PerSymbol<uint8_t> index, int32_t* out, size_t n) {
  return d.pull(t.tables->view(), index, out, n);
}
lvc::Status decode(lvc::Decoder& d, const PyTables& t, lvc::PerSymbol<int32_t> index, int32_t* out, size_t n) {
  return d.pull(t.tables->view(), index, out, n);
}
lvc::Status decode(lvc::Decoder& d, const PyTables& t, lvc::PerRun index, int32_t* out, size_t n) {
  return d.pull(t.tables->view(), index, out, n);
}
template <typename Index>
lvc::Status decode(lvc::v1::Decoder& d, const lvc::v1::Tables& t, Index index, int32_t* out, size_t n) {
  return d.pull(t, index, out, n);
}

template <typename Self, typename Tables, typename Index>
int pull(Self& self, const Tables& tables, Index index, Array<int32_t>& out) {
  int32_t* data = out.mutable_data();  // throws if the array is read-only
  const size_t n = static_cast<size_t>(out.size());
  py::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(self.mutex);
  return static_cast<int>(decode(self.decoder, tables, index, data, n));
}

template <typename Self, typename Tables>
py::class_<Self> bind_decoder(py::module_& m, const char* name) {
  py::class_<Self> decoder(m, name);
  decoder.def(py::init([](const py::buffer& data) { return std::make_unique<Self>(data.request()); }),
              py::arg("data"));
  decoder.def(
      "pull",
      [](Self& self, const Tables& tables, const Array<uint8_t>& index, Array<int32_t>& out) {
        return pull(self, tables, per_symbol(index, out.size()), out);
      },
      py::arg("tables"), py::arg("index").noconvert(), py::arg("out").noconvert());
  decoder.def(
      "pull",
      [](Self& self, const Tables& tables, const Array<int32_t>& index, Array<int32_t>& out) {
        return pull(self, tables, per_symbol(index, out.size()), out);
      },
      py::arg("tables"), py::arg("index").noconvert(), py::arg("out").noconvert());
  decoder.def(
      "pull_channels",
      [](Self& self, const Tables& tables, Array<int32_t>& out) {
        return pull(self, tables, per_run(tables, out.size()), out);
      },
      py::arg("tables"), py::arg("out").noconvert());
  decoder.def("close", [](Self& self) {
    const std::lock_guard<std::mutex> lock(self.mutex);
    return static_cast<int>(self.decoder.close());
  });
  decoder.def_property_readonly("position", [](Self& self) {
    const std::lock_guard<std::mutex> lock(self.mutex);
    return self.decoder.position();
  });
  return decoder;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "C++ kernels of lvc. Use lvc.coding, not this.";

  py::class_<PyTables>(m, "Tables")
      .def(py::init([](const Array<uint32_t>& cdf, const Array<int32_t>& order, const Array<uint32_t>& lengths) {
             if (cdf.ndim() != 2 || order.ndim() != 2 || lengths.ndim() != 1 ||
                 lengths.shape(0) != cdf.shape(0) || order.shape(0) != cdf.shape(0) ||
                 order.shape(1) != cdf.shape(1))
               throw std::invalid_argument("shapes of cdf, order and lengths do not fit");
             return PyTables{std::make_shared<const lvc::Tables>(
                 cdf.data(), order.data(), static_cast<size_t>(cdf.shape(0)), static_cast<size_t>(cdf.shape(1)),
                 lengths.data())};
           }),
           py::arg("cdf").noconvert(), py::arg("order").noconvert(), py::arg("lengths").noconvert());

  py::class_<lvc::v1::Tables>(m, "TablesV1")
      .def(py::init([](const Array<uint32_t>& cdf, const Array<uint32_t>& lengths, const Array<int32_t>& offsets,
                       uint32_t precision) {
             if (cdf.ndim() != 2 || lengths.ndim() != 1 || offsets.ndim() != 1 ||
                 lengths.shape(0) != cdf.shape(0) || offsets.shape(0) != cdf.shape(0))
               throw std::invalid_argument("shapes of cdf, lengths and offsets do not fit");
             return std::make_unique<lvc::v1::Tables>(cdf.data(), static_cast<size_t>(cdf.shape(0)),
                                                      static_cast<size_t>(cdf.shape(1)), lengths.data(),
                                                      offsets.data(), precision);
           }),
           py::arg("cdf").noconvert(), py::arg("lengths").noconvert(), py::arg("offsets").noconvert(),
           py::arg("precision"));

  py::class_<PyEncoder> encoder(m, "Encoder");
  encoder.def(py::init([](uint32_t lanes) {
                if (lanes != 0 && lanes != 1 && lanes != 4 && lanes != 8 && lanes != lvc::kMaxLanes)
                  throw std::invalid_argument("lanes must be 1, 4, 8 or 32");
                return std::make_unique<PyEncoder>(lanes);
              }),
              py::arg("lanes") = 0);
  bind_push<int8_t>(encoder);
  bind_push<int16_t>(encoder);
  bind_push<int32_t>(encoder);
  encoder.def("finish", [](PyEncoder& self) {
    lvc::Stream stream;
    {
      py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(self.mutex);
      stream = self.encoder.finish_stream();
    }
    // Its memory is written once, before anybody else sees it.
    py::bytes data(static_cast<const char*>(nullptr), stream.size());
    stream.copy_to(reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(data.ptr())));
    return data;
  });

  bind_decoder<PyDecoder, PyTables>(m, "Decoder").def_property_readonly("lanes", [](PyDecoder& self) {
    return self.decoder.lanes();
  });
  bind_decoder<PyDecoderV1, lvc::v1::Tables>(m, "DecoderV1");

  m.def("available_kernels", [] {
    std::vector<std::string> names;
    for (const lvc::Kernels* const* k = lvc::available_kernels(); *k != nullptr; ++k) names.emplace_back((*k)->name);
    return names;
  });
  m.def("current_kernels", [] { return std::string(lvc::kernels().name); });
  m.def(
      "use_kernels",
      [](const std::optional<std::string>& name) { return lvc::use_kernels(name ? name->c_str() : nullptr); },
      py::arg("name") = py::none());

  m.attr("PRECISION") = lvc::kPrecision;
  m.attr("MIN_PRECISION") = lvc::v1::kMinPrecision;
  m.attr("MAX_PRECISION") = lvc::v1::kMaxPrecision;
  m.attr("OK") = static_cast<int>(lvc::Status::kOk);
  m.attr("BAD_INDEX") = static_cast<int>(lvc::Status::kBadIndex);
  m.attr("EXHAUSTED") = static_cast<int>(lvc::Status::kExhausted);
  m.attr("BAD_ESCAPE") = static_cast<int>(lvc::Status::kBadEscape);
  m.attr("LEFT_OVER") = static_cast<int>(lvc::Status::kLeftOver);
  m.attr("BAD_LAYOUT") = static_cast<int>(lvc::Status::kBadLayout);
}
