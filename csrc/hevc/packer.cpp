#include "packer.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

namespace lvc::hevc {

namespace {

constexpr int kHeaderBytes = 2;
constexpr size_t kPictures = 4;  // that are remembered
constexpr uint32_t kMaxUnits = 32;
constexpr size_t kMaxUnitBytes = 1 << 14;  // of units that are not slices
constexpr int kMaxPoc = 1 << 28;

struct Units {
  std::vector<std::pair<size_t, size_t>> spans;  // begin and end of each unit
  std::vector<bool> long_start;
};

// Annex B; start codes of three or four bytes, no other zeros between units.
Units split(const uint8_t* data, size_t size) {
  Units units;
  const auto start = [&](size_t i) { return i + 3 <= size && !data[i] && !data[i + 1] && data[i + 2] == 1; };
  size_t i = 0;
  while (i < size) {
    const bool longer = data[i] == 0 && start(i + 1);
    if (!longer && !start(i)) throw Unsupported("no start code");
    const size_t begin = i + (longer ? 4 : 3);
    i = begin;
    while (i < size && !start(i)) ++i;
    if (i < size && i > begin && data[i - 1] == 0) --i;
    if (i < begin + kHeaderBytes + 1) throw Unsupported("a unit is too short");
    units.spans.emplace_back(begin, i);
    units.long_start.push_back(longer);
  }
  if (units.spans.empty()) throw Unsupported("no unit");
  return units;
}

bool is_slice(int type) { return type <= 9 || (type >= 16 && type <= 21); }

}  // namespace

Side::Side(const State& state, int count_limit, int weight_rate, size_t most_samples)
    : initial_(state), model_(state, count_limit, weight_rate), most_samples_(most_samples) {}

void Side::reset() {
  model_.set_state(initial_);
  history_ = History();
}

Bytes Side::pack(const uint8_t* data, size_t size) {
  ArithmeticEncoder encoder;
  Bins bins(model_, &encoder, nullptr);
  const Units units = split(data, size);
  if (units.spans.size() > kMaxUnits) throw Unsupported("too many units");
  int slices = 0;
  for (size_t i = 0; i < units.spans.size(); ++i) {
    const auto [begin, end] = units.spans[i];
    bins.plain(kUnitByte, 1, 1, {});
    bins.plain(kUnitByte, 2, units.long_start[i], {static_cast<uint32_t>(std::min<size_t>(i, 7))});
    Bytes raw(data + begin, data + begin + kHeaderBytes);
    const Bytes payload = unescape(data + begin + kHeaderBytes, end - begin - kHeaderBytes);
    raw.insert(raw.end(), payload.begin(), payload.end());
    slices += unit(bins, &raw, nullptr);
    if (slices > 1) throw Unsupported("slices of pictures");
  }
  bins.plain(kUnitByte, 1, 0, {});
  for (int i = 0; i < kElements; ++i) {
    const auto at = static_cast<size_t>(i);
    counts_[at].bins += bins.counts[at].bins;
    counts_[at].before += bins.counts[at].before;
    counts_[at].after += bins.counts[at].after;
  }
  return encoder.finish();
}

Bytes Side::unpack(const uint8_t* data, size_t size, size_t most) {
  ArithmeticDecoder decoder(data, size);
  Bins bins(model_, nullptr, &decoder);
  Bytes out;
  try {
    int slices = 0;
    for (uint32_t i = 0; bins.plain(kUnitByte, 1, 0, {}); ++i) {
      if (i == kMaxUnits) throw Corrupt("too many units");
      const bool longer = bins.plain(kUnitByte, 2, 0, {std::min(i, 7u)});
      Bytes raw;
      slices += unit(bins, nullptr, &raw);
      if (slices > 1) throw Corrupt("slices of pictures");
      const Bytes escaped = escape(Bytes(raw.begin() + kHeaderBytes, raw.end()));
      if (out.size() + escaped.size() > most) throw Corrupt("packed data are of more than a packet may hold");
      if (longer) out.push_back(0);
      out.insert(out.end(), {0, 0, 1, raw[0], raw[1]});
      out.insert(out.end(), escaped.begin(), escaped.end());
    }
  } catch (const Unsupported& error) {
    throw Corrupt(error.what());
  }
  if (!decoder.done()) throw Corrupt("there are bytes behind packed data");
  return out;
}

int Side::byte(Bins& bins, int value, uint32_t place, uint32_t before, uint32_t type) {
  uint32_t node = 1;
  for (int i = 7; i >= 0; --i) {
    const uint32_t near = std::min(place, 1023u) << 14 | type << 8 | node;
    const auto bit = static_cast<uint32_t>(bins.plain(
        kUnitByte, 8, value >> i & 1, {near, type << 8 | node, before << 8 | node, before * 0x9e3779b1u ^ near}));
    node = node << 1 | bit;
  }
  return static_cast<int>(node & 255);
}

// A unit: its header, and behind that a slice, or bytes.
bool Side::unit(Bins& bins, const Bytes* payload, Bytes* out) {
  const auto take = [&](size_t i, uint32_t before, uint32_t type) {
    const int value = byte(bins, payload ? (*payload)[i] : 0, static_cast<uint32_t>(i), before, type);
    if (out) out->push_back(static_cast<uint8_t>(value));
    return static_cast<uint32_t>(value);
  };
  const uint32_t first = take(0, static_cast<uint32_t>(history_.last_type), 63);
  const uint32_t second = take(1, first, 63);
  const auto type = static_cast<int>(first >> 1 & 63);
  history_.last_type = type;
  if (is_slice(type)) {
    if (first >> 7 || first & 1 || second >> 3 || !second) throw Unsupported("layers");
    slice(bins, type, !(type < 16 && type % 2 == 0), second == 1, payload, out);
    return true;
  }
  uint32_t before = 0;
  size_t i = kHeaderBytes;
  for (;; ++i) {
    const bool more =
        bins.plain(kUnitByte, 3, payload && i < payload->size(),
                   {static_cast<uint32_t>(std::min<size_t>(i, 1023)) << 6 | static_cast<uint32_t>(type), before & 255});
    if (!more) break;
    if (i >= kMaxUnitBytes) throw Unsupported("a unit is too long");
    before = before << 8 | take(i, before, static_cast<uint32_t>(type));
  }
  if (i <= kHeaderBytes) throw Unsupported("a unit is too short");
  if (type != kSpsUnit && type != kPpsUnit) return false;
  const Bytes& all = payload ? *payload : *out;
  try {
    history_.parameters.take(type, Bytes(all.begin() + kHeaderBytes, all.end()));
  } catch (const Unsupported&) {
    // slices that need the set cannot be packed
  }
  return false;
}

void Side::slice(Bins& bins, int unit_type, bool referred, bool lowest, const Bytes* payload, Bytes* out) {
  std::optional<BitReader> reader;
  BitWriter writer;
  if (payload) reader.emplace(payload->data() + kHeaderBytes, payload->size() - kHeaderBytes);
  HeaderBits bits(bins, history_, reader ? &*reader : nullptr, out ? &writer : nullptr);
  const Sps* sps = nullptr;
  const Pps* pps = nullptr;
  const SliceHeader header = read_header(bits, history_.parameters, unit_type, &sps, &pps);
  if (static_cast<size_t>(sps->width) * static_cast<size_t>(sps->height) > most_samples_)
    throw Unsupported("pictures are larger than the video");
  size_t at = 0;
  if (reader) {
    for (int i = 0; i < header.entry_points; ++i) reader->u(header.offset_bits);
    if (!reader->bit()) throw Unsupported("a slice header is not aligned");
    while (reader->position() % 8)
      if (reader->bit()) throw Unsupported("a slice header is not aligned");
    at = kHeaderBytes + reader->position() / 8;
  }
  // 8.3.1
  int poc = header.poc_lsb;
  if (unit_type == 19 || unit_type == 20) {
    history_.pictures.clear();
    history_.last_poc = 0;
  } else {
    const int period = 1 << sps->poc_bits;
    const int base = history_.last_poc - (history_.last_poc & (period - 1));
    poc += base;
    if (poc - history_.last_poc > period / 2) poc -= period;
    if (history_.last_poc - poc >= period / 2) poc += period;
  }
  if (std::abs(poc) > kMaxPoc) throw Unsupported("number of a picture");
  const bool leading = unit_type >= 6 && unit_type <= 9;
  if (referred && lowest && !leading) history_.last_poc = poc;
  auto picture = std::make_shared<Picture>(sps->width, sps->height, sps->log2_ctb);
  picture->poc = poc;
  const Picture* near = nullptr;
  for (const auto& other : history_.pictures)
    if (other->columns == picture->columns && other->rows == picture->rows && other->log2_ctb == picture->log2_ctb &&
        (!near || std::abs(other->poc - poc) + 8 * other->intra < std::abs(near->poc - poc) + 8 * near->intra))
      near = other.get();
  picture->intra = header.type == kI;
  bins.situation.frame = header.type == kI ? 0 : header.type == kP ? 1 : referred ? 2 : 3;
  bins.situation.qp = header.qp < 24 ? 0 : header.qp < 29 ? 1 : header.qp < 34 ? 2 : 3;
  SliceData data(bins, *sps, *pps, header, picture, near);
  const std::vector<Bytes> streams = data.code(payload, at);
  history_.pictures.push_front(picture);
  if (history_.pictures.size() > kPictures) history_.pictures.pop_back();
  if (!out) return;
  for (int i = 0; i < header.entry_points; ++i)
    writer.u(static_cast<uint32_t>(escape(streams[static_cast<size_t>(i)]).size() - 1), header.offset_bits);
  writer.align();
  out->insert(out->end(), writer.bytes().begin(), writer.bytes().end());
  for (const Bytes& stream : streams) out->insert(out->end(), stream.begin(), stream.end());
}

}  // namespace lvc::hevc
