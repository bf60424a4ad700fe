// The encoder and the decoder: bookkeeping around the kernels.
#include "../coder.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "../kernels.h"
#include "loops.h"

namespace lvc {

namespace {

// Symbols are worked on in pieces of so many: few enough to stay in the first cache.
constexpr size_t kBlock = 4096;
constexpr size_t kPool = 65536;

template <typename T>
constexpr int symbol_kind() {
  return std::is_same<T, int8_t>::value ? 0 : std::is_same<T, int16_t>::value ? 1 : 2;
}

// Index arrays in pieces. An index that is there is used as it is; runs are written out piece by piece.
template <typename T>
struct Pieces {
  using Type = T;
  const T* index;
  explicit Pieces(PerSymbol<T> from) : index(from.index) {}
  const T* get(size_t begin, size_t) const { return index + begin; }
};

struct RunPieces {
  using Type = int32_t;
  size_t run;
  int32_t piece[kBlock];
  explicit RunPieces(PerRun from) : run(from.run) {}
  const int32_t* get(size_t begin, size_t n) {
    for (size_t i = 0; i < n;) {
      const size_t table = (begin + i) / run;
      const size_t end = std::min(n, (table + 1) * run - begin);
      std::fill(piece + i, piece + end, static_cast<int32_t>(table));
      i = end;
    }
    return piece;
  }
};

template <typename Index>
struct PiecesOf;
template <typename T>
struct PiecesOf<PerSymbol<T>> {
  using Type = Pieces<T>;
};
template <>
struct PiecesOf<PerRun> {
  using Type = RunPieces;
};

// The entries of n symbols: what index they have is looked up by the kernels, but in a run all have one table.
template <typename Symbol, typename Index, typename Id>
bool find_entries(const TablesView& t, const Symbol* symbols, PerSymbol<Index> index, size_t begin, Id* ids,
                  size_t n, size_t& escapes) {
  const auto find = kernels().ids[symbol_kind<Symbol>()][std::is_same<Index, int32_t>::value][sizeof(Id) == 4];
  return find(t, symbols, index.index + begin, ids, n, escapes);
}

template <typename Symbol, typename Id>
bool find_entries(const TablesView& t, const Symbol* symbols, PerRun index, size_t begin, Id* __restrict ids,
                  size_t n, size_t& escapes) {
  for (size_t i = 0; i < n;) {
    const size_t table = (begin + i) / index.run;
    const size_t end = std::min(n, (table + 1) * index.run - begin);
    const uint32_t first = static_cast<uint32_t>(t.first[table]), row = t.row[table], escape = t.count[table];
    if constexpr (sizeof(Symbol) <= 2 && sizeof(Id) == 2) {
      // The same in 16 bits, which any CPU does for many at once. As in Tables::build_ranks, no value outside
      // comes to lie inside.
      if (t.first[table] >= -16384 && int64_t{t.first[table]} + escape <= 16384) {
        const uint16_t low = static_cast<uint16_t>(first), base = static_cast<uint16_t>(row);
        const uint16_t most = static_cast<uint16_t>(escape);
        uint16_t rare = 0;  // of at most kBlock
        for (; i < end; ++i) {
          const uint16_t place = static_cast<uint16_t>(static_cast<uint16_t>(int16_t{symbols[i]}) - low);
          const uint16_t least = std::min(place, most);
          rare = static_cast<uint16_t>(rare + (least == most ? 1 : 0));
          ids[i] = static_cast<uint16_t>(base + least);
        }
        escapes += rare;
        continue;
      }
    }
    uint32_t rare = 0;
    for (; i < end; ++i) {
      const uint32_t place = static_cast<uint32_t>(static_cast<int32_t>(symbols[i])) - first;
      rare += place >= escape ? 1u : 0u;
      ids[i] = static_cast<Id>(row + (place < escape ? place : escape));
    }
    escapes += rare;
  }
  return true;
}

template <typename T>
bool in_range(PerSymbol<T> index, size_t n, uint32_t n_tables) {
  return in_range(index.index, n, n_tables);
}
bool in_range(PerRun, size_t, uint32_t) { return true; }  // the caller divided

// The sum of costs[ids[i]], below 2^32: of at most 4096 times 14336.
template <typename Id>
uint32_t sum_of(const uint32_t* costs, const Id* ids, size_t n) {
  uint32_t sum[4] = {};
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (size_t k = 0; k < 4; ++k) sum[k] += opaque(costs[ids[i + k]]);
  for (; i < n; ++i) sum[0] += costs[ids[i]];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

// Words as bytes, the lowest first. Returns where they end.
uint8_t* copy_words(const uint16_t* words, size_t n, uint8_t* out) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  std::memcpy(out, words, 2 * n);
#else
  for (size_t i = 0; i < n; ++i) {
    out[2 * i] = static_cast<uint8_t>(words[i]);
    out[2 * i + 1] = static_cast<uint8_t>(words[i] >> 8);
  }
#endif
  return out + 2 * n;
}

}  // namespace

void BitWriter::put(uint64_t bits, uint32_t n) {
  while (n > 0) {
    const uint32_t shift = static_cast<uint32_t>(size_ & 7);
    if (shift == 0) bytes_.push_back(0);
    const uint32_t step = std::min(n, 8 - shift);
    bytes_.back() = static_cast<uint8_t>(bytes_.back() | (bits & ((1u << step) - 1)) << shift);
    bits >>= step;
    n -= step;
    size_ += step;
  }
}

void BitWriter::put(const BitWriter& other) {
  for (size_t i = 0; i < other.bytes_.size(); ++i)
    put(other.bytes_[i], static_cast<uint32_t>(std::min<uint64_t>(8, other.size_ - 8 * i)));
}

void BitWriter::truncate(uint64_t size) {
  bytes_.resize(static_cast<size_t>((size + 7) / 8));
  if (size % 8 != 0) bytes_.back() = static_cast<uint8_t>(bytes_.back() & ((1u << size % 8) - 1));
  size_ = size;
}

template <typename Symbol, typename Index>
Status Encoder::push(const std::shared_ptr<const Tables>& tables, const Symbol* symbols, Index index, size_t n) {
  if (n == 0) return Status::kOk;
  const TablesView t = tables->view();
  const bool wide = t.n_entries > 65536;
  Segment segment{tables, n, nullptr, nullptr};
  if (wide)
    segment.wide.reset(new uint32_t[n]);
  else
    segment.narrow.reset(new uint16_t[n]);
  // All or nothing, also when memory runs out.
  struct Rollback {
    BitWriter& bits;
    uint64_t size;
    bool armed = true;
    ~Rollback() {
      if (armed) bits.truncate(size);
    }
  } rollback{escapes_, escapes_.size()};
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t size = std::min(kBlock, n - begin);
    size_t escapes = 0;
    if (!(wide ? find_entries(t, symbols + begin, index, begin, segment.wide.get() + begin, size, escapes)
               : find_entries(t, symbols + begin, index, begin, segment.narrow.get() + begin, size, escapes)))
      return Status::kBadIndex;
    for (size_t i = begin; escapes > 0 && i < begin + size; ++i) {
      const uint32_t id = wide ? segment.wide[i] : segment.narrow[i];
      if (!is_escape(t.by_value[id])) continue;
      --escapes;
      // By the entry, not by the index: the arrays may have changed since, and nothing must go wrong then.
      const size_t table = static_cast<size_t>(std::upper_bound(t.row, t.row + t.n_tables, id) - t.row) - 1;
      const int64_t first = t.first[table], last = first + t.count[table] - 1;
      const int64_t value = symbols[i];
      const uint64_t code = value >= first && value <= last ? 1 : escape_code(value, first, last);
      const uint32_t prefix = floor_log2(code);
      escapes_.put(uint64_t{1} << prefix, prefix + 1);
      escapes_.put(code ^ uint64_t{1} << prefix, prefix);
    }
  }
  segments_.push_back(std::move(segment));
  rollback.armed = false;
  return Status::kOk;
}

uint32_t Encoder::choose_lanes() const {
  if (lanes_ != 0) return lanes_;
  uint64_t cost = 0;
  for (const Segment& segment : segments_) {
    const uint32_t* costs = segment.tables->view().cost;
    for (size_t begin = 0; begin < segment.n && cost < kCostOfAllLanes; begin += kBlock) {
      const size_t end = std::min(segment.n, begin + kBlock);
      cost += segment.wide ? sum_of(costs, segment.wide.get() + begin, end - begin)
                           : sum_of(costs, segment.narrow.get() + begin, end - begin);
    }
  }
  return lane_count(cost);
}

Stream Encoder::finish_stream() {
  Stream stream;
  if (segments_.empty()) return stream;
  EncoderState state;
  std::fill(state.lane, state.lane + kMaxLanes, kInitialState);
  state.lanes = choose_lanes();
  uint64_t first = 0;
  for (const Segment& segment : segments_) first += segment.n;

  std::vector<Stream::Words>& pools = stream.words_;
  const Kernels& kernel = kernels();
  for (size_t k = segments_.size(); k-- > 0;) {
    const Segment& segment = segments_[k];
    first -= segment.n;
    for (size_t end = segment.n; end > 0;) {
      // Pieces start where a lane 0 is, so that kernels see whole groups.
      size_t begin = end > kBlock ? end - kBlock : 0;
      if (begin > 0) begin += static_cast<size_t>((0 - (first + begin)) & (kMaxLanes - 1));
      const size_t n = end - begin;
      if (pools.empty() || static_cast<size_t>(pools.back().top - pools.back().memory.get()) < n + kEncoderSlack) {
        const size_t size = pools.empty() ? std::min(kPool, n + first + 2 * kEncoderSlack) : kPool;
        const size_t enough = std::max(size, n + 2 * kEncoderSlack);
        std::unique_ptr<uint16_t[]> memory(new uint16_t[enough]);
        uint16_t* const top = memory.get() + enough;
        pools.push_back({std::move(memory), top, top});
      }
      if (segment.wide)
        kernel.encode[1](state, *segment.tables, segment.wide.get() + begin, n, first + begin, pools.back().top);
      else
        kernel.encode[0](state, *segment.tables, segment.narrow.get() + begin, n, first + begin,
                         pools.back().top);
      end = begin;
    }
  }

  BitWriter& bits = stream.bits_;
  bits.put(lane_code(state.lanes), 2);
  for (uint32_t i = 0; i < state.lanes; ++i) {
    const uint32_t n = floor_log2(state.lane[i]);
    bits.put(n - 16, 4);
    bits.put(state.lane[i] ^ uint32_t{1} << n, n);
  }
  bits.put(escapes_);
  stream.size_ = bits.bytes().size();
  for (const Stream::Words& pool : pools) stream.size_ += 2 * static_cast<size_t>(pool.end - pool.top);
  segments_.clear();
  escapes_.truncate(0);
  return stream;
}

void Stream::copy_to(uint8_t* out) const {
  for (auto pool = words_.rbegin(); pool != words_.rend(); ++pool)
    out = copy_words(pool->top, static_cast<size_t>(pool->end - pool->top), out);
  std::reverse_copy(bits_.bytes().begin(), bits_.bytes().end(), out);
}

std::vector<uint8_t> Encoder::finish() {
  const Stream stream = finish_stream();
  std::vector<uint8_t> bytes(stream.size());
  stream.copy_to(bytes.data());
  return bytes;
}

Decoder::Decoder(const uint8_t* data, size_t size) : data_(new uint8_t[size + kDecoderPadding]) {
  if (size > 0) std::memcpy(data_.get(), data, size);
  std::memset(data_.get() + size, 0, kDecoderPadding);
  status_ = open_stream(state_, data_.get(), size);
}

template <typename Index>
Status Decoder::pull(const TablesView& t, Index index, int32_t* out, size_t n) {
  if (status_ != Status::kOk) return status_;
  if (!in_range(index, n, t.n_tables)) return Status::kBadIndex;  // nothing was taken
  typename PiecesOf<Index>::Type pieces(index);
  using Piece = typename PiecesOf<Index>::Type::Type;
  const auto decode = kernels().decode[std::is_same<Piece, int32_t>::value];
  for (size_t begin = 0; begin < n && status_ == Status::kOk;) {
    // Pieces end where a lane 0 is next, so that kernels see whole groups.
    size_t size = std::min(kBlock, n - begin);
    if (size == kBlock) size -= static_cast<size_t>((state_.position + size) & (kMaxLanes - 1));
    status_ = decode(state_, t, pieces.get(begin, size), out + begin, size);
    begin += size;
  }
  return status_;
}

#define LVC_PUSH(Symbol)                                                                                      \
  template Status Encoder::push(const std::shared_ptr<const Tables>&, const Symbol*, PerSymbol<uint8_t>, size_t); \
  template Status Encoder::push(const std::shared_ptr<const Tables>&, const Symbol*, PerSymbol<int32_t>, size_t); \
  template Status Encoder::push(const std::shared_ptr<const Tables>&, const Symbol*, PerRun, size_t);
LVC_PUSH(int8_t)
LVC_PUSH(int16_t)
LVC_PUSH(int32_t)
#undef LVC_PUSH
template Status Decoder::pull(const TablesView&, PerSymbol<uint8_t>, int32_t*, size_t);
template Status Decoder::pull(const TablesView&, PerSymbol<int32_t>, int32_t*, size_t);
template Status Decoder::pull(const TablesView&, PerRun, int32_t*, size_t);

}  // namespace lvc
