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

// Bytes of eight signs, made of bytes of seven: the eighth makes their number even.
inline ints complete_signs(ints signs) {
    static constexpr int8_t odd[16] = {0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0};
    const ints low = bits_and(signs, every_byte(0x0f)), high = bits_and(shift_right<4>(signs), every_byte(0x0f));
    return bits_or(signs, bits_xor(look_up(odd, low), look_up(odd, high)));
}

// The signs in the low 28 bits of each dword.
inline ints unpack_signs(ints packed) {
    const ints first = or_masked(bits_and(packed, every(0x7f)), shift_left<1>(packed), every(0x7f00));
    return complete_signs(or_masked(or_masked(first, shift_left<2>(packed), every(0x7f0000)), shift_left<3>(packed), every(0x7f000000)));
}

// Entry `i` of a table of pairs of dwords, of which `pair` finds one.
inline ints entry_of_pair(ints pair, int i) { return bits_or(shift_left<1>(pair), every(i % 2)); }

// The scales of the halves of a block, in a byte.
inline void set_half_scales(floats d, ints scales, unpacked & to) {
    const floats half = every(0.5f), quarter = every(0.25f);
    to.scale = mul(mul(d, add(to_floats(bits_and(scales, every(0x0f))), half)), quarter);
    to.minimum = mul(mul(d, add(to_floats(shift_right<4>(scales)), half)), quarter);
}

struct iq3_xxs {
    static constexpr int blocks = 8, bytes = 98, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;

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

struct iq2_xxs {
    static constexpr int blocks = 8, bytes = 66, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(gather(base, stride));
        ints both[2 * FOURS];
        transpose_block(base + 2, stride, both);
        transpose_block(base + 34, stride, both + FOURS);
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++) {
            const ints last = both[2 * b + 1];
            const auto index = [&](int i) { return entry_of_pair(byte_at(both + 2 * b, i / 2), i); };
            unpack_from_table(reinterpret_cast<const uint32_t *>(iq2xxs_grid), index, unpack_signs(last), to[b]);
            to[b].scale = mul(mul(d, add(to_floats(shift_right<28>(last)), every(0.5f))), every(0.25f));
        }
    }
};

struct iq2_xs {
    static constexpr int blocks = 8, bytes = 74, bits = 8, offset = BIAS;
    static constexpr form shape = form::in_halves;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(gather(base, stride));
        const ints scales[2] = {gather(base + 66, stride), gather(base + 70, stride)};
        ints both[2 * FOURS]; // halves of 9 bits for the table and 7 signs
        transpose_block(base + 2, stride, both);
        transpose_block(base + 34, stride, both + FOURS);
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++) {
            const ints first = both[2 * b], last = both[2 * b + 1];
            const auto index = [&](int i) {
                return entry_of_pair(bits_and(shift_right_by(i < 4 ? first : last, 16 * (i / 2 % 2)), every(0x1ff)), i);
            };
            const ints low = or_masked(bits_and(shift_right<9>(first), every(0x7f)), shift_right<17>(first), every(0x7f00));
            const ints signs = or_masked(or_masked(low, shift_left<7>(last), every(0x7f0000)), shift_right<1>(last), every(0x7f000000));
            unpack_from_table(reinterpret_cast<const uint32_t *>(iq2xs_grid), index, complete_signs(signs), to[b]);
            set_half_scales(d, byte_at(scales, b), to[b]);
        }
    }
};

struct iq2_s {
    static constexpr int blocks = 8, bytes = 82, bits = 8, offset = BIAS;
    static constexpr form shape = form::in_halves;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(gather(base, stride));
        ints low[FOURS], signs[FOURS], others[4]; // the others: two dwords of high bits, two of scales
        transpose_block(base + 2, stride, low);
        transpose_block(base + 34, stride, signs);
        transpose(base + 66, stride, others);
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++) {
            const ints high = byte_at(others, b);
            const auto index = [&](int i) {
                const ints two = bits_and(shift_left<8>(shift_right_by(high, i / 2 * 2)), every(0x300));
                return entry_of_pair(bits_or(byte_at(low + b, i / 2), two), i);
            };
            unpack_from_table(reinterpret_cast<const uint32_t *>(iq2s_grid), index, signs[b], to[b]);
            set_half_scales(d, byte_at(others + 2, b), to[b]);
        }
    }
};

} // namespace
