// How the types of weights are unpacked: a block of 32 weights of each row becomes eight registers of bytes with a scale and, where
// the type has them, a minimum, or a scale or a minimum for each half. A weight is scale * (byte - offset) + minimum. A type has
// `blocks` of them in a unit of `bytes`. Included after the words of an instruction set.
#pragma once

#define GGML_COMMON_DECL_CPP
#define GGML_COMMON_IMPL_CPP
#include "ggml-common.h" // the tables

namespace {

constexpr int BLOCK = 32;              // weights and activations with a common scale
constexpr int FOURS = BLOCK / 4;       // a register holds four of them for each row

struct unpacked {
    ints four[FOURS];
    floats scale;
    floats minimum; // or the scale of the second half
    floats second;  // the minimum of the second half
};

enum class form { plain, with_minimum, with_two_minima, in_halves };

// Low halves of the bytes are the first 16 weights, high halves the others.
__attribute__((always_inline)) inline void unpack_nibbles(const uint8_t * base, int64_t stride, unpacked & to) {
    ints packed[4];
    transpose(base, stride, packed);
    const ints low = every_byte(0x0f);
    for (int i = 0; i < 4; i++) {
        to.four[i] = bits_and(packed[i], low);
        to.four[4 + i] = bits_and(shift_right<4>(packed[i]), low);
    }
}

inline void add_fifth_bits(ints bits, unpacked & to) {
    to.four[0] = fifth_bits<0>(bits, to.four[0]);
    to.four[1] = fifth_bits<1>(bits, to.four[1]);
    to.four[2] = fifth_bits<2>(bits, to.four[2]);
    to.four[3] = fifth_bits<3>(bits, to.four[3]);
    to.four[4] = fifth_bits<4>(bits, to.four[4]);
    to.four[5] = fifth_bits<5>(bits, to.four[5]);
    to.four[6] = fifth_bits<6>(bits, to.four[6]);
    to.four[7] = fifth_bits<7>(bits, to.four[7]);
}

inline void unpack_scale_and_minimum(const uint8_t * base, int64_t stride, unpacked & to) {
    const ints both = gather(base, stride);
    to.scale = half_to_floats(both);
    to.minimum = half_to_floats(shift_right<16>(both));
}

struct q4_0 {
    static constexpr int blocks = 1, bytes = 18, bits = 4, offset = 8;
    static constexpr form shape = form::plain;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        to->scale = half_to_floats(gather(base, stride));
        unpack_nibbles(base + 2, stride, *to);
    }
};

struct q4_1 {
    static constexpr int blocks = 1, bytes = 20, bits = 4, offset = 0;
    static constexpr form shape = form::with_minimum;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scale_and_minimum(base, stride, *to);
        unpack_nibbles(base + 4, stride, *to);
    }
};

struct q5_0 {
    static constexpr int blocks = 1, bytes = 22, bits = 5, offset = 16;
    static constexpr form shape = form::plain;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        to->scale = half_to_floats(gather(base, stride));
        unpack_nibbles(base + 6, stride, *to);
        add_fifth_bits(gather(base + 2, stride), *to);
    }
};

struct q5_1 {
    static constexpr int blocks = 1, bytes = 24, bits = 5, offset = 0;
    static constexpr form shape = form::with_minimum;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scale_and_minimum(base, stride, *to);
        unpack_nibbles(base + 8, stride, *to);
        add_fifth_bits(gather(base + 4, stride), *to);
    }
};

struct q8_0 {
    static constexpr int blocks = 1, bytes = 34, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        to->scale = half_to_floats(gather(base, stride));
        transpose(base + 2, stride, to->four);
        transpose(base + 18, stride, to->four + 4);
        for (ints & four : to->four) {
            four = bits_xor(four, every_byte(BIAS));
        }
    }
};

// The values of IQ4_NL and IQ4_XS, raised by BIAS.
inline ints look_up_iq4(ints indices) {
    static constexpr int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return bits_xor(look_up(values, indices), every_byte(BIAS));
}

struct iq4_nl {
    static constexpr int blocks = 1, bytes = 18, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        q4_0::unpack(base, stride, to);
        for (ints & four : to->four) {
            four = look_up_iq4(four);
        }
    }
};

struct mxfp4 {
    static constexpr int blocks = 1, bytes = 17, bits = 5, offset = 12;
    static constexpr form shape = form::plain;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        static constexpr int8_t values[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
        // the scale is 2^(exponent - 128): exponents 0 and 1 make denormal numbers, whose bits are the larger ones
        const ints exponent = bits_and(gather(base, stride), every(0xff));
        to->scale = as_floats(larger(add(shift_left<23>(exponent), every(-(1 << 23))), add(shift_left<21>(exponent), every(1 << 21))));
        unpack_nibbles(base + 1, stride, *to);
        for (ints & four : to->four) {
            four = look_up(values, four);
        }
    }
};

// --- units of 256 weights -------------------------------------------------------------------------------------------------------
template <int BYTE> inline ints byte_of(ints a) { return bits_and(shift_right<8 * BYTE>(a), every(0xff)); }
template <int BYTE> inline ints signed_byte_of(ints a) { return shift_signed<24>(shift_left<24 - 8 * BYTE>(a)); }

struct iq4_xs {
    static constexpr int blocks = 8, bytes = 136, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;
    template <int B> static void unpack_block(const uint8_t * base, int64_t stride, floats d, ints high, ints low, unpacked * to) {
        unpack_nibbles(base + 8 + 16 * B, stride, to[B]);
        for (ints & four : to[B].four) {
            four = look_up_iq4(four);
        }
        const ints scale = bits_or(bits_and(shift_right<4 * B>(low), every(0x0f)),
                                   shift_left<4>(bits_and(shift_right<16 + 2 * B>(high), every(0x03))));
        to[B].scale = mul(d, add(to_floats(scale), every(-32.0f)));
    }
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const ints first = gather(base, stride), low = gather(base + 4, stride);
        const floats d = half_to_floats(first);
        unpack_block<0>(base, stride, d, first, low, to);
        unpack_block<1>(base, stride, d, first, low, to);
        unpack_block<2>(base, stride, d, first, low, to);
        unpack_block<3>(base, stride, d, first, low, to);
        unpack_block<4>(base, stride, d, first, low, to);
        unpack_block<5>(base, stride, d, first, low, to);
        unpack_block<6>(base, stride, d, first, low, to);
        unpack_block<7>(base, stride, d, first, low, to);
    }
};

// The scales and minima of Q4_K and Q5_K: eight of each, with 6 bits.
inline void unpack_scales_k(const uint8_t * base, int64_t stride, unpacked * to) {
    ints head[4];
    transpose(base, stride, head);
    const floats d = half_to_floats(head[0]), least = negative(half_to_floats(shift_right<16>(head[0])));
    const ints a = head[1], b = head[2], c = head[3];
    const ints six = every(0x3f3f3f3f), four = every(0x0f0f0f0f), two = every(0x03030303);
    const ints scales[2] = {bits_and(a, six), bits_or(bits_and(c, four), shift_left<4>(bits_and(shift_right<6>(a), two)))};
    const ints minima[2] = {bits_and(b, six),
                            bits_or(bits_and(shift_right<4>(c), four), shift_left<4>(bits_and(shift_right<6>(b), two)))};
    for (int i = 0; i < 2; i++) {
        const ints scale[4] = {byte_of<0>(scales[i]), byte_of<1>(scales[i]), byte_of<2>(scales[i]), byte_of<3>(scales[i])};
        const ints minimum[4] = {byte_of<0>(minima[i]), byte_of<1>(minima[i]), byte_of<2>(minima[i]), byte_of<3>(minima[i])};
        for (int j = 0; j < 4; j++) {
            to[4 * i + j].scale = mul(d, to_floats(scale[j]));
            to[4 * i + j].minimum = mul(least, to_floats(minimum[j]));
        }
    }
}

// Bits that are FROM places up in every byte come to TO places up.
template <int FROM, int TO> inline ints move_bits(ints a) {
    if constexpr (FROM >= TO) {
        return shift_right<FROM - TO>(a);
    } else {
        return shift_left<TO - FROM>(a);
    }
}

// Thirty-two bytes of each row.
__attribute__((always_inline)) inline void transpose_block(const uint8_t * base, int64_t stride, ints * to) {
    transpose(base, stride, to);
    transpose(base + 16, stride, to + 4);
}

// Thirty-two bytes of each row: their low halves are one block, their high halves another.
__attribute__((always_inline)) inline void unpack_two_blocks(const uint8_t * base, int64_t stride, unpacked & first, unpacked & second) {
    ints packed[FOURS];
    transpose_block(base, stride, packed);
    const ints low = every_byte(0x0f);
    for (int i = 0; i < FOURS; i++) {
        first.four[i] = bits_and(packed[i], low);
        second.four[i] = bits_and(shift_right<4>(packed[i]), low);
    }
}

// Add bits to the weights of a block: those of MASK, which are FROM places up in `high`, come to TO places up.
template <int FROM, int TO, int MASK> inline void add_bits(const ints * high, unpacked & to) {
    for (int i = 0; i < FOURS; i++) {
        to.four[i] = or_masked(to.four[i], move_bits<FROM, TO>(high[i]), every_byte(MASK << TO));
    }
}

struct q4_k {
    static constexpr int blocks = 8, bytes = 144, bits = 4, offset = 0;
    static constexpr form shape = form::with_minimum;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scales_k(base, stride, to);
        for (int pair = 0; pair < 4; pair++) {
            unpack_two_blocks(base + 16 + 32 * pair, stride, to[2 * pair], to[2 * pair + 1]);
        }
    }
};

struct q5_k {
    static constexpr int blocks = 8, bytes = 176, bits = 5, offset = 0;
    static constexpr form shape = form::with_minimum;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scales_k(base, stride, to);
        for (int pair = 0; pair < 4; pair++) {
            unpack_two_blocks(base + 48 + 32 * pair, stride, to[2 * pair], to[2 * pair + 1]);
        }
        ints high[FOURS];
        transpose_block(base + 16, stride, high);
        add_bits<0, 4, 1>(high, to[0]);
        add_bits<1, 4, 1>(high, to[1]);
        add_bits<2, 4, 1>(high, to[2]);
        add_bits<3, 4, 1>(high, to[3]);
        add_bits<4, 4, 1>(high, to[4]);
        add_bits<5, 4, 1>(high, to[5]);
        add_bits<6, 4, 1>(high, to[6]);
        add_bits<7, 4, 1>(high, to[7]);
    }
};

struct q6_k {
    static constexpr int blocks = 8, bytes = 210, bits = 6, offset = 32;
    static constexpr form shape = form::in_halves;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(shift_right<16>(gather(base + 206, stride))); // nothing behind it
        ints scales[4];
        transpose(base + 192, stride, scales);
        for (int half = 0; half < 2; half++, to += 4) {
            unpack_two_blocks(base + 64 * half, stride, to[0], to[2]);
            unpack_two_blocks(base + 64 * half + 32, stride, to[1], to[3]);
            ints high[FOURS];
            transpose_block(base + 128 + 32 * half, stride, high);
            add_bits<0, 4, 3>(high, to[0]);
            add_bits<2, 4, 3>(high, to[1]);
            add_bits<4, 4, 3>(high, to[2]);
            add_bits<6, 4, 3>(high, to[3]);
            for (int i = 0; i < 2; i++) {
                const ints four = scales[2 * half + i];
                to[2 * i].scale = mul(d, to_floats(signed_byte_of<0>(four)));
                to[2 * i].minimum = mul(d, to_floats(signed_byte_of<1>(four)));
                to[2 * i + 1].scale = mul(d, to_floats(signed_byte_of<2>(four)));
                to[2 * i + 1].minimum = mul(d, to_floats(signed_byte_of<3>(four)));
            }
        }
    }
};

struct q3_k {
    static constexpr int blocks = 8, bytes = 110, bits = 4, offset = 4;
    static constexpr form shape = form::in_halves;
    template <int B> static void unpack_block(const ints * low, const ints * high, unpacked & to) {
        for (int i = 0; i < FOURS; i++) {
            to.four[i] = bits_and(shift_right<2 * (B % 4)>(low[i]), every_byte(3));
        }
        add_bits<B, 2, 1>(high, to);
    }
    static void set_scales(floats d, ints scales, unpacked * to) {
        const floats least = every(-32.0f);
        to[0].scale = mul(d, add(to_floats(byte_of<0>(scales)), least));
        to[0].minimum = mul(d, add(to_floats(byte_of<1>(scales)), least));
        to[1].scale = mul(d, add(to_floats(byte_of<2>(scales)), least));
        to[1].minimum = mul(d, add(to_floats(byte_of<3>(scales)), least));
    }
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(shift_right<16>(gather(base + 106, stride))); // nothing behind it
        const ints a = gather(base + 96, stride), b = gather(base + 100, stride), c = gather(base + 104, stride);
        const ints four = every_byte(0x0f), two = every_byte(0x30);
        set_scales(d, or_masked(bits_and(a, four), shift_left<4>(c), two), to);
        set_scales(d, or_masked(bits_and(b, four), shift_left<2>(c), two), to + 2);
        set_scales(d, or_masked(bits_and(shift_right<4>(a), four), c, two), to + 4);
        set_scales(d, or_masked(bits_and(shift_right<4>(b), four), shift_right<2>(c), two), to + 6);
        ints high[FOURS], low[FOURS];
        transpose_block(base, stride, high);
        transpose_block(base + 32, stride, low);
        unpack_block<0>(low, high, to[0]);
        unpack_block<1>(low, high, to[1]);
        unpack_block<2>(low, high, to[2]);
        unpack_block<3>(low, high, to[3]);
        transpose_block(base + 64, stride, low);
        unpack_block<4>(low, high, to[4]);
        unpack_block<5>(low, high, to[5]);
        unpack_block<6>(low, high, to[6]);
        unpack_block<7>(low, high, to[7]);
    }
};

// Bytes are the weights times the scale of their half: at most 3 * 15.
struct q2_k {
    static constexpr int blocks = 8, bytes = 84, bits = 6, offset = 0;
    static constexpr form shape = form::with_two_minima;
    template <int B> static void unpack_block(const ints * low, ints scales, ints minima, floats d, floats least, unpacked & to) {
        constexpr int first = 2 * (B % 2);
        const ints scale[2] = {in_both_halves<first>(scales), in_both_halves<first + 1>(scales)};
        for (int i = 0; i < FOURS; i++) {
            to.four[i] = mul_halves(bits_and(shift_right<2 * (B % 4)>(low[i]), every_byte(3)), scale[i / (FOURS / 2)]);
        }
        to.scale = d;
        to.minimum = mul(least, to_floats(byte_of<first>(minima)));
        to.second = mul(least, to_floats(byte_of<first + 1>(minima)));
    }
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const ints both = gather(base + 80, stride), four = every_byte(0x0f);
        const floats d = half_to_floats(both), least = negative(half_to_floats(shift_right<16>(both)));
        for (int half = 0; half < 2; half++, to += 4) {
            const ints a = gather(base + 8 * half, stride), b = gather(base + 8 * half + 4, stride);
            const ints scales[2] = {bits_and(a, four), bits_and(b, four)};
            const ints minima[2] = {bits_and(shift_right<4>(a), four), bits_and(shift_right<4>(b), four)};
            ints low[FOURS];
            transpose_block(base + 16 + 32 * half, stride, low);
            unpack_block<0>(low, scales[0], minima[0], d, least, to[0]);
            unpack_block<1>(low, scales[0], minima[0], d, least, to[1]);
            unpack_block<2>(low, scales[1], minima[1], d, least, to[2]);
            unpack_block<3>(low, scales[1], minima[1], d, least, to[3]);
        }
    }
};

// --- tables of four weights -----------------------------------------------------------------------------------------------------
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
