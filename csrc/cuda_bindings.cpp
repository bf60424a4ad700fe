// All Python bindings of lvc._cuda. Arguments arrive checked by lvc.coding.gpu; arrays are addresses in device memory.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <numeric>
#include <vector>

#include "cuda/rans.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

template <typename T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

lvc::Tables make_tables(const Array<uint32_t>& cdf, const Array<int32_t>& order, const Array<uint32_t>& lengths) {
  if (cdf.ndim() != 2 || order.ndim() != 2 || lengths.ndim() != 1 || lengths.shape(0) != cdf.shape(0) ||
      order.shape(0) != cdf.shape(0) || order.shape(1) != cdf.shape(1))
    throw std::invalid_argument("shapes of cdf, order and lengths do not fit");
  return lvc::Tables(cdf.data(), order.data(), static_cast<size_t>(cdf.shape(0)), static_cast<size_t>(cdf.shape(1)),
                     lengths.data());
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of lvc. Use lvc.coding, not this.";

  py::class_<lvc::Tables>(m, "Tables")
      .def(py::init(&make_tables), py::arg("cdf").noconvert(), py::arg("order").noconvert(),
           py::arg("lengths").noconvert());

  m.def(
      "encode",
      [](const lvc::Tables& tables, uintptr_t symbols, uintptr_t index, uint64_t n, uint64_t chunk_symbols) {
        std::vector<std::vector<uint8_t>> streams;
        lvc::Status status;
        {
          py::gil_scoped_release release;
          status = lvc::cuda::encode_array(tables, pointer<const int32_t>(symbols), pointer<const uint8_t>(index), n,
                                           chunk_symbols, streams);
        }
        py::list chunks;
        for (const std::vector<uint8_t>& stream : streams)
          chunks.append(py::bytes(reinterpret_cast<const char*>(stream.data()), stream.size()));
        return py::make_tuple(static_cast<int>(status), chunks);
      },
      py::arg("tables"), py::arg("symbols"), py::arg("index"), py::arg("n"), py::arg("chunk_symbols"));

  m.def(
      "decode",
      [](const lvc::Tables& tables, const py::bytes& data, const std::vector<uint64_t>& sizes, uintptr_t index,
         uintptr_t out, uint64_t n, uint64_t chunk_symbols) {
        char* bytes = nullptr;
        py::ssize_t length = 0;
        if (PyBytes_AsStringAndSize(data.ptr(), &bytes, &length) != 0) throw py::error_already_set();
        if (std::accumulate(sizes.begin(), sizes.end(), uint64_t{0}) != static_cast<uint64_t>(length) ||
            chunk_symbols == 0 || sizes.size() != (n + chunk_symbols - 1) / chunk_symbols)
          throw std::invalid_argument("sizes of chunks do not fit");
        size_t at = 0;
        lvc::Status status;
        {
          py::gil_scoped_release release;
          status = lvc::cuda::decode_array(tables, reinterpret_cast<const uint8_t*>(bytes), sizes,
                                           pointer<const uint8_t>(index), pointer<int32_t>(out), n, chunk_symbols, at);
        }
        return py::make_tuple(static_cast<int>(status), at);
      },
      py::arg("tables"), py::arg("data"), py::arg("sizes"), py::arg("index"), py::arg("out"), py::arg("n"),
      py::arg("chunk_symbols"));
}
