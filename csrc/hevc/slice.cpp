#include "slice.h"

#include <algorithm>

namespace lvc::hevc {

SliceData::SliceData(Bins& bins, const Sps& sps, const Pps& pps, const SliceHeader& header,
                     std::shared_ptr<Picture> picture, const Picture* near)
    : bins_(bins), sps_(sps), pps_(pps), header_(header), picture_(std::move(picture)), near_(near) {}

std::vector<Bytes> SliceData::code(const Bytes* payload, size_t at) {
  const int log2 = sps_.log2_ctb, side = 1 << log2;
  const int columns = (sps_.width + side - 1) >> log2, rows = (sps_.height + side - 1) >> log2;
  if (header_.entry_points != (pps_.sync ? rows - 1 : 0)) throw Unsupported("entry points");
  // 9.3.1: P and B slices may swap their tables
  const int type = header_.type == kI ? 0 : (header_.type == kP) != header_.cabac_init ? 1 : 2;
  std::vector<Bytes> streams;
  Contexts saved;
  bool is_saved = false;
  for (int row = 0; row < rows; ++row) {
    if (row == 0 || pps_.sync) {
      if (row && is_saved)
        bins_.contexts = saved;
      else
        bins_.contexts.reset(type, header_.qp);
      if (payload)
        bins_.reader.start(*payload, at);
      else
        bins_.writer.start();
    }
    for (int column = 0; column < columns; ++column) {
      if (header_.sao_luma || header_.sao_chroma) sao(column, row);
      quadtree(column << log2, row << log2, log2, 0);
      const bool end_of_row = column == columns - 1, end = end_of_row && row == rows - 1;
      if (pps_.sync && column == 1) {
        saved = bins_.contexts;
        is_saved = true;
      }
      bins_.terminate(end);
      if (pps_.sync && end_of_row && !end) bins_.terminate(true);
      if (end || (pps_.sync && end_of_row)) {
        if (payload)
          at = bins_.reader.end();
        else
          streams.push_back(bins_.writer.finish());
      }
    }
  }
  if (payload && at != payload->size()) throw Unsupported("there are bytes behind a slice");
  return streams;
}

// 7.3.8.3
void SliceData::sao(int column, int row) {
  const int columns = (sps_.width + (1 << sps_.log2_ctb) - 1) >> sps_.log2_ctb;
  static const Sao none;
  const auto at = [&](const Picture* picture, int c, int r) -> const Sao& {
    return picture && c >= 0 && r >= 0 ? picture->sao[static_cast<size_t>(r) * columns + c] : none;
  };
  const Sao &left = at(picture_.get(), column - 1, row), &up = at(picture_.get(), column, row - 1);
  const Sao& near = at(near_, column, row);
  Sao own;
  if (column > 0 && bins_.bin(kESao, 0, kSaoMerge,
                              {join(4, left.merge, up.merge, near.merge),
                               join(4, left.type[0], up.type[0], near.type[0]), join(4, left.type[0], left.type[1])})) {
    own = left;
    own.merge = 1;
  } else if (row > 0 && bins_.bin(kESao, 1, kSaoMerge,
                                  {join(4, left.merge, up.merge, near.merge),
                                   join(4, left.type[0], up.type[0], near.type[0]), join(4, up.type[0], up.type[1])})) {
    own = up;
    own.merge = 2;
  } else {
    for (int plane = 0; plane < 3; ++plane) {
      const int kind = plane > 0;
      if (!(kind ? header_.sao_chroma : header_.sao_luma)) continue;
      const int sub = 4 + kind * 20;
      if (plane < 2) {
        const uint32_t around = join(2, left.type[kind], up.type[kind], near.type[kind]);
        int type = bins_.bin(kESao, sub, kSaoType,
                             {around, join(4, own.type[0], kind), join(4, near.type[kind], own.type[0])});
        if (type)
          type += bins_.bin(kESao, sub + 1, -1,
                            {around, join(4, own.type[0], kind), join(4, near.type[kind], own.type[0])});
        own.type[kind] = static_cast<uint8_t>(type);
      }
      const int type = own.type[kind];
      if (!type) continue;
      for (int i = 0; i < 4; ++i) {
        int value = 0;
        while (value < 7 && bins_.bin(kESao, sub + 2 + std::min(value, 3), -1,
                                      {join(4, type, i, value, plane), join(4, type, i, value, near.offsets[plane][i]),
                                       join(4, type, i, value, i ? own.offsets[plane][i - 1] : 0)}))
          ++value;
        own.offsets[plane][i] = static_cast<uint8_t>(value);
      }
      if (type == 1) {
        for (int i = 0; i < 4; ++i)
          if (own.offsets[plane][i]) bins_.bin(kESao, sub + 6, -1, {join(4, i, plane)});
        int band = 0;
        for (int i = 0; i < 5; ++i)
          band = band << 1 | bins_.bin(kESao, sub + 7 + i, -1,
                                       {join(6, 1 << i | band, plane), join(6, 1 << i | band, near.place[plane])});
        own.place[plane] = static_cast<uint8_t>(band);
      } else if (plane < 2) {
        int direction = bins_.bin(kESao, sub + 12, -1,
                                  {join(4, near.place[plane], plane), join(4, left.place[plane], up.place[plane])});
        direction =
            direction * 2 + bins_.bin(kESao, sub + 13 + direction, -1,
                                      {join(4, near.place[plane], plane), join(4, left.place[plane], up.place[plane])});
        own.place[plane] = static_cast<uint8_t>(direction);
      } else {
        own.place[2] = own.place[1];
      }
    }
  }
  picture_->sao[static_cast<size_t>(row) * columns + column] = own;
}

}  // namespace lvc::hevc
