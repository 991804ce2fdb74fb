// How the types are unpacked that find four weights at once in a table. Included after weights_k.h.
#pragma once

#define GGML_COMMON_DECL_CPP
#define GGML_COMMON_IMPL_CPP
#include "ggml-common.h" // the tables

namespace {

// Weight i of a block is negative where bit i of its dword in `signs` is set. `index` finds the entry of four of them.
template <class Index>
__attribute__((always_inline)) inline void unpack_from_table(const uint32_t * table, const Index & index, ints signs, unpacked & to) {
    const ints bias = every_byte(BIAS);
    to.four[0] = bits_xor(signed_by<0>(signs, look_up_dwords(table, index(0))), bias);
    to.four[1] = bits_xor(signed_by<1>(signs, look_up_dwords(table, index(1))), bias);
    to.four[2] = bits_xor(signed_by<2>(signs, look_up_dwords(table, index(2))), bias);
    to.four[3] = bits_xor(signed_by<3>(signs, look_up_dwords(table, index(3))), bias);
    to.four[4] = bits_xor(signed_by<4>(signs, look_up_dwords(table, index(4))), bias);
    to.four[5] = bits_xor(signed_by<5>(signs, look_up_dwords(table, index(5))), bias);
    to.four[6] = bits_xor(signed_by<6>(signs, look_up_dwords(table, index(6))), bias);
    to.four[7] = bits_xor(signed_by<7>(signs, look_up_dwords(table, index(7))), bias);
}

// Byte `i` of two dwords.
inline ints byte_at(const ints * dwords, int i) { return bits_and(shift_right_by(dwords[i / 4], 8 * (i % 4)), every(0xff)); }

struct iq3_s {
    static constexpr int blocks = 8, bytes = 110, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(gather(base, stride));
        const ints scales = gather(base + 106, stride);
        ints low[2 * FOURS], signs[FOURS];
        transpose_block(base + 2, stride, low);
        transpose_block(base + 34, stride, low + FOURS);
        transpose_block(base + 74, stride, signs);
        const ints high[2] = {gather(base + 66, stride), gather(base + 70, stride)};
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++) {
            const ints ninth = shift_right_by(high[b / 4], 8 * (b % 4));
            const auto index = [&](int i) {
                return bits_or(byte_at(low + 2 * b, i), bits_and(shift_left<8>(shift_right_by(ninth, i)), every(0x100)));
            };
            unpack_from_table(iq3s_grid, index, signs[b], to[b]);
            const ints scale = bits_and(shift_right_by(scales, 4 * b), every(0x0f));
            to[b].scale = mul(d, add(to_floats(shift_left<1>(scale)), every(1.0f)));
        }
    }
};

struct iq3_xxs {
    static constexpr int blocks = 8, bytes = 98, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;

    // Bytes of eight signs, made of 7 bits each: the eighth makes their number even.
    static ints unpack_signs(ints packed) {
        static constexpr int8_t odd[16] = {0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0};
        const ints first = or_masked(bits_and(packed, every(0x7f)), shift_left<1>(packed), every(0x7f00));
        const ints signs = or_masked(or_masked(first, shift_left<2>(packed), every(0x7f0000)), shift_left<3>(packed), every(0x7f000000));
        const ints low = bits_and(signs, every_byte(0x0f)), high = bits_and(shift_right<4>(signs), every_byte(0x0f));
        return bits_or(signs, bits_xor(look_up(odd, low), look_up(odd, high)));
    }
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(gather(base, stride));
        ints low[2 * FOURS], signs[FOURS];
        transpose_block(base + 2, stride, low);
        transpose_block(base + 34, stride, low + FOURS);
        transpose_block(base + 66, stride, signs);
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++) {
            const auto index = [&](int i) { return byte_at(low + 2 * b, i); };
            unpack_from_table(iq3xxs_grid, index, unpack_signs(signs[b]), to[b]);
            to[b].scale = mul(d, mul(add(to_floats(shift_right<28>(signs[b])), every(0.5f)), every(0.5f)));
        }
    }
};

} // namespace
