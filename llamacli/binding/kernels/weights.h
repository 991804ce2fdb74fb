// How the types of weights are unpacked: a block of 32 weights of each row becomes eight registers of bytes with a scale and, where
// the type has them, a minimum, or a scale or a minimum for each half. A weight is scale * (byte - offset) + minimum. A type has
// `blocks` of them in a unit of `bytes`. Included after the words of an instruction set.
#pragma once

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

} // namespace
