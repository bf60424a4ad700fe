// The portable kernels: one symbol after the other, on any CPU.
#include <algorithm>

#include "../coder.h"

namespace lvc {

namespace {

// Index readers. Arrays may change under us while no lock is held, so each entry is read once and checked.
template <typename T>
struct Reader {
  const T* p;
  explicit Reader(PerSymbol<T> index) : p(index.index) {}
  uint32_t next() { return static_cast<uint32_t>(static_cast<int32_t>(*p++)); }
};

struct RunReader {
  size_t run, left;
  uint32_t table = 0;
  explicit RunReader(PerRun index) : run(index.run), left(index.run) {}
  uint32_t next() {
    if (left == 0) {
      ++table;
      left = run;
    }
    --left;
    return table;
  }
};

Reader<uint8_t> reader(PerSymbol<uint8_t> index) { return Reader<uint8_t>(index); }
Reader<int32_t> reader(PerSymbol<int32_t> index) { return Reader<int32_t>(index); }
RunReader reader(PerRun index) { return RunReader(index); }

void append_escape(std::vector<Op>& ops, uint64_t code, uint32_t precision) {
  const uint32_t prefix = floor_log2(code);
  for (uint32_t i = 0; i < prefix; ++i) ops.push_back(bit_op(0, precision));
  for (uint32_t i = prefix + 1; i-- > 0;) ops.push_back(bit_op(code >> i & 1, precision));
}

}  // namespace

template <typename Symbol, typename Index>
Status Encoder::push(const TablesView& t, const Symbol* symbols, Index index, size_t n) {
  const size_t before = ops_.size();
  // All or nothing, also when memory runs out.
  struct Rollback {
    std::vector<Op>& ops;
    size_t size;
    bool armed = true;
    ~Rollback() {
      if (armed) ops.resize(size);
    }
  } rollback{ops_, before};
  if (ops_.capacity() < before + n) ops_.reserve(std::max(before + n, 2 * ops_.capacity()));
  auto tables = reader(index);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t table = tables.next();
    if (table >= t.n_tables) return Status::kBadIndex;
    const int64_t value = symbols[i];
    const int64_t first = t.offset[table];
    const uint32_t escape = t.n_symbols[table] - 1;
    const uint64_t place = static_cast<uint64_t>(value - first);
    const uint32_t s = place < escape ? static_cast<uint32_t>(place) : escape;
    const uint32_t* cdf = t.cdf + t.row[table] + s;
    ops_.push_back(make_op(cdf[0], cdf[1] - cdf[0]));
    if (s == escape) append_escape(ops_, escape_code(value, first, first + escape - 1), t.precision);
  }
  if (ops_.size() > before) {
    if (!segments_.empty() && segments_.back().precision == t.precision)
      segments_.back().end = ops_.size();
    else
      segments_.push_back({ops_.size(), t.precision});
  }
  rollback.armed = false;
  return Status::kOk;
}

std::vector<uint8_t> Encoder::finish() {
  uint64_t state = kInitialState;
  std::vector<uint32_t> words;
  for (size_t k = segments_.size(); k-- > 0;) {
    const size_t begin = k > 0 ? segments_[k - 1].end : 0;
    const uint32_t precision = segments_[k].precision;
    for (size_t i = segments_[k].end; i-- > begin;) {
      uint32_t word;
      if (put(state, ops_[i], precision, word)) words.push_back(word);
    }
  }
  std::vector<uint8_t> bytes;
  if (!ops_.empty()) {
    bytes.reserve(8 + 4 * words.size());
    for (; state != 0; state >>= 8) bytes.push_back(static_cast<uint8_t>(state));
    for (size_t i = words.size(); i-- > 0;)
      for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(words[i] >> shift));
  }
  ops_ = {};
  segments_ = {};
  return bytes;
}

Decoder::Decoder(const uint8_t* data, size_t size) : state_{kInitialState, data, data}, status_(Status::kOk) {
  if (size == 0) return;
  // The state takes as few bytes as it can: 5 to 8 if words follow, so the length tells how many.
  const size_t n_state = size <= 8 ? size : 5 + (size - 1) % 4;
  uint64_t state = 0;
  for (size_t i = n_state; i-- > 0;) state = state << 8 | data[i];
  // An encoder that coded anything ends above its initial state, and writes no leading zero byte.
  if (state <= kInitialState || data[n_state - 1] == 0) status_ = Status::kBadLayout;
  state_ = {state, data + n_state, data + size};
}

template <typename Index>
Status Decoder::pull(const TablesView& t, Index index, int32_t* out, size_t n) {
  if (status_ != Status::kOk) return status_;
  DecoderState d = state_;  // a copy that the compiler can keep in registers
  auto tables = reader(index);
  Status status = Status::kOk;
  size_t i = 0;
  for (; i < n; ++i) {
    const uint32_t table = tables.next();
    if (table >= t.n_tables) return Status::kBadIndex;  // nothing was taken
    status = take_symbol(d, t, table, out[i]);
    if (status != Status::kOk) break;
  }
  position_ += i;
  state_ = d;
  return status_ = status;
}

Status Decoder::close() const {
  if (status_ != Status::kOk) return status_;
  return state_.state == kInitialState && state_.next == state_.end ? Status::kOk : Status::kLeftOver;
}

#define LVC_PUSH(Symbol)                                                                                   \
  template Status Encoder::push(const TablesView&, const Symbol*, PerSymbol<uint8_t>, size_t);              \
  template Status Encoder::push(const TablesView&, const Symbol*, PerSymbol<int32_t>, size_t);              \
  template Status Encoder::push(const TablesView&, const Symbol*, PerRun, size_t);
LVC_PUSH(int8_t)
LVC_PUSH(int16_t)
LVC_PUSH(int32_t)
#undef LVC_PUSH
template Status Decoder::pull(const TablesView&, PerSymbol<uint8_t>, int32_t*, size_t);
template Status Decoder::pull(const TablesView&, PerSymbol<int32_t>, int32_t*, size_t);
template Status Decoder::pull(const TablesView&, PerRun, int32_t*, size_t);

}  // namespace lvc
