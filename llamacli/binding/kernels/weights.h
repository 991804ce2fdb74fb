// How the types of weights are unpacked: a block of 32 weights of each row becomes eight registers of bytes with a scale and, where
// the type has them, a minimum or a scale of its own for the second half. A weight is scale * (byte - offset) + minimum. A type has
// `blocks` of them in a unit of `bytes`. Included after the words of an instruction set.
#pragma once

namespace {

constexpr int BLOCK = 32;              // weights and activations with a common scale
constexpr int FOURS = BLOCK / 4;       // a register holds four of them for each row

struct unpacked {
    ints four[FOURS];
    floats scale;
    floats minimum; // or the scale of the second half
};

enum class form { plain, with_minimum, in_halves };

// Low halves of the bytes are the first 16 weights, high halves the others.
inline void unpack_nibbles(const uint8_t * base, int64_t stride, unpacked & to) {
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
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        to->scale = half_to_floats(gather(base, stride));
        unpack_nibbles(base + 2, stride, *to);
    }
};

struct q4_1 {
    static constexpr int blocks = 1, bytes = 20, bits = 4, offset = 0;
    static constexpr form shape = form::with_minimum;
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scale_and_minimum(base, stride, *to);
        unpack_nibbles(base + 4, stride, *to);
    }
};

struct q5_0 {
    static constexpr int blocks = 1, bytes = 22, bits = 5, offset = 16;
    static constexpr form shape = form::plain;
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        to->scale = half_to_floats(gather(base, stride));
        unpack_nibbles(base + 6, stride, *to);
        add_fifth_bits(gather(base + 2, stride), *to);
    }
};

struct q5_1 {
    static constexpr int blocks = 1, bytes = 24, bits = 5, offset = 0;
    static constexpr form shape = form::with_minimum;
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scale_and_minimum(base, stride, *to);
        unpack_nibbles(base + 8, stride, *to);
        add_fifth_bits(gather(base + 4, stride), *to);
    }
};

struct q8_0 {
    static constexpr int blocks = 1, bytes = 34, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
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
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        q4_0::unpack(base, stride, to);
        for (ints & four : to->four) {
            four = look_up_iq4(four);
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
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
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
    const ints both = gather(base, stride);
    const floats d = half_to_floats(both), least = negative(half_to_floats(shift_right<16>(both)));
    const ints a = gather(base + 4, stride), b = gather(base + 8, stride), c = gather(base + 12, stride);
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

// Thirty-two bytes of each row: their low halves are one block, their high halves the next.
inline void unpack_two_blocks(const uint8_t * base, int64_t stride, unpacked * to) {
    ints packed[FOURS];
    transpose(base, stride, packed);
    transpose(base + 16, stride, packed + 4);
    const ints low = every_byte(0x0f);
    for (int i = 0; i < FOURS; i++) {
        to[0].four[i] = bits_and(packed[i], low);
        to[1].four[i] = bits_and(shift_right<4>(packed[i]), low);
    }
}

struct q4_k {
    static constexpr int blocks = 8, bytes = 144, bits = 4, offset = 0;
    static constexpr form shape = form::with_minimum;
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scales_k(base, stride, to);
        for (int pair = 0; pair < 4; pair++) {
            unpack_two_blocks(base + 16 + 32 * pair, stride, to + 2 * pair);
        }
    }
};

struct q5_k {
    static constexpr int blocks = 8, bytes = 176, bits = 5, offset = 0;
    static constexpr form shape = form::with_minimum;
    template <int B> static void add_bits(const ints * high, unpacked & to) {
        for (int i = 0; i < FOURS; i++) {
            to.four[i] = bits_or(to.four[i], shift_left<4>(bits_and(shift_right<B>(high[i]), every_byte(1))));
        }
    }
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scales_k(base, stride, to);
        for (int pair = 0; pair < 4; pair++) {
            unpack_two_blocks(base + 48 + 32 * pair, stride, to + 2 * pair);
        }
        ints high[FOURS];
        transpose(base + 16, stride, high);
        transpose(base + 32, stride, high + 4);
        add_bits<0>(high, to[0]);
        add_bits<1>(high, to[1]);
        add_bits<2>(high, to[2]);
        add_bits<3>(high, to[3]);
        add_bits<4>(high, to[4]);
        add_bits<5>(high, to[5]);
        add_bits<6>(high, to[6]);
        add_bits<7>(high, to[7]);
    }
};

struct q6_k {
    static constexpr int blocks = 8, bytes = 210, bits = 6, offset = 32;
    static constexpr form shape = form::in_halves;
    template <int P> static void add_bits(const ints * high, unpacked & to) {
        for (int i = 0; i < FOURS; i++) {
            to.four[i] = bits_or(to.four[i], shift_left<4>(bits_and(shift_right<2 * P>(high[i]), every_byte(3))));
        }
    }
    static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(shift_right<16>(gather(base + 206, stride))); // nothing behind it
        for (int half = 0; half < 2; half++) {
            unpacked pairs[4]; // the low nibbles of the first 32 bytes, their high nibbles, and so of the second
            unpack_two_blocks(base + 64 * half, stride, pairs);
            unpack_two_blocks(base + 64 * half + 32, stride, pairs + 2);
            ints high[FOURS];
            transpose(base + 128 + 32 * half, stride, high);
            transpose(base + 144 + 32 * half, stride, high + 4);
            unpacked * at = to + 4 * half;
            at[0] = pairs[0];
            at[1] = pairs[2];
            at[2] = pairs[1];
            at[3] = pairs[3];
            add_bits<0>(high, at[0]);
            add_bits<1>(high, at[1]);
            add_bits<2>(high, at[2]);
            add_bits<3>(high, at[3]);
            for (int i = 0; i < 2; i++) {
                const ints scales = gather(base + 192 + 8 * half + 4 * i, stride);
                at[2 * i].scale = mul(d, to_floats(signed_byte_of<0>(scales)));
                at[2 * i].minimum = mul(d, to_floats(signed_byte_of<1>(scales)));
                at[2 * i + 1].scale = mul(d, to_floats(signed_byte_of<2>(scales)));
                at[2 * i + 1].minimum = mul(d, to_floats(signed_byte_of<3>(scales)));
            }
        }
    }
};

} // namespace
