/* Vectors of 16 numbers as plain arrays, for any compiler; it may vectorise the loops. */
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif
enum { ROWS = 2, FLOAT_ROWS = 2, PANELS = 1 };

typedef struct { float at[16]; } F;
typedef struct { int32_t at[16]; } I;
typedef struct { int8_t at[64]; } Weights;
typedef struct { uint8_t at[4]; } Codes;

#define LANES(expression)                  \
    F y;                                   \
    for (int i = 0; i < 16; i++)           \
        y.at[i] = (expression);            \
    return y
INLINE F f_set(float x) { LANES(x); }
INLINE F f_load(const float *from) { LANES(from[i]); }
INLINE F f_load_first(const float *from, int64_t n) { LANES(i < n ? from[i] : 0.0f); }
INLINE void f_store(float *to, F x) { memcpy(to, x.at, sizeof x.at); }
INLINE F f_add(F a, F b) { LANES(a.at[i] + b.at[i]); }
INLINE F f_sub(F a, F b) { LANES(a.at[i] - b.at[i]); }
INLINE F f_mul(F a, F b) { LANES(a.at[i] * b.at[i]); }
INLINE F f_div(F a, F b) { LANES(a.at[i] / b.at[i]); }
INLINE F f_fma(F a, F b, F c) { LANES(a.at[i] * b.at[i] + c.at[i]); }
INLINE F f_min(F a, F b) { LANES(a.at[i] < b.at[i] ? a.at[i] : b.at[i]); }
INLINE F f_max(F a, F b) { LANES(a.at[i] > b.at[i] ? a.at[i] : b.at[i]); }

/* Adding 1.5 * 2^23 leaves the nearest whole number in the lowest bits, ties to even, as the other paths round. */
INLINE int32_t nearest(float x) {
    float shifted = x + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4B400000;
}
INLINE float float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
INLINE F f_round(F x) { LANES((float)nearest(x.at[i])); }
/* 2 to the power of whole numbers */
INLINE F f_power(F x) { LANES(float_of_bits((uint32_t)(nearest(x.at[i]) + 127) << 23)); }
/* The exponent's bias is 15 in a half and 127 in a float: 2^112 corrects it, for subnormal numbers too. */
INLINE float float_of_half(uint16_t half) {
    float magnitude = float_of_bits((uint32_t)(half & 0x7fff) << 13) * 5.192296858534828e33f;
    return half & 0x8000 ? -magnitude : magnitude;
}
INLINE F f_from_half(const uint16_t *from) { LANES(float_of_half(from[i])); }
INLINE F f_from_bytes(const int8_t *from) { LANES((float)from[i]); }
INLINE void f_store_codes(uint8_t *to, F x) {
    for (int i = 0; i < 16; i++)
        to[i] = (uint8_t)nearest(x.at[i]);
}

#define REDUCE(name, a, b, expression)               \
    INLINE float name(F x) {                       \
        for (int n = 8; n; n /= 2)                 \
            for (int i = 0; i < n; i++) {          \
                float a = x.at[i], b = x.at[i + n]; \
                x.at[i] = (expression);            \
            }                                      \
        return x.at[0];                            \
    }
REDUCE(f_reduce_add, a, b, a + b)
REDUCE(f_reduce_min, a, b, a < b ? a : b)
REDUCE(f_reduce_max, a, b, a > b ? a : b)

INLINE I i_zero(void) {
    I zero = {{0}};
    return zero;
}
INLINE Weights weights_load(const int8_t *from) {
    Weights weights;
    memcpy(weights.at, from, sizeof weights.at);
    return weights;
}
INLINE Codes codes_load(const uint8_t *from) {
    Codes codes;
    memcpy(codes.at, from, sizeof codes.at);
    return codes;
}
INLINE I i_dot(I sum, Codes codes, Weights weights) {
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 4; j++)
            sum.at[i] += (int32_t)codes.at[j] * weights.at[4 * i + j];
    return sum;
}
INLINE F f_from_sums(I sum, const int32_t *sums_of_weights) {
    (void)sums_of_weights;
    LANES((float)sum.at[i]);
}
