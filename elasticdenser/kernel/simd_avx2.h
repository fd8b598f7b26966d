/* Vectors of 16 numbers as two vectors of AVX2.

   vpmaddubsw adds two products of u8 and s8 in 16 bits, which would overflow with codes up to 255. So 128 is subtracted
   from each code, and the sign of the difference is moved to the weight: two products of |code - 128| <= 128 and
   |weight| <= 127 add up to 32,512 at most. With AVX-VNNI, vpdpbusd adds up four products in 32 bits. */
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef HAS_AVX_VNNI
enum { ROWS = 6, FLOAT_ROWS = 6, PANELS = 1 }; /* 12 sums, 2 weights and 1 input: 15 of 16 registers */
#else
enum { ROWS = 4, FLOAT_ROWS = 6, PANELS = 1 };
/* Of 16 registers: 8 sums, 2 weights and 2 codes in 8 bits; 12 sums, 2 weights and 1 input in float. */
#endif

typedef struct { __m256 low, high; } F;
typedef struct { __m256i low, high; } I;
typedef I Weights;
#ifdef HAS_AVX_VNNI
typedef __m256i Codes;
#else
typedef struct { __m256i magnitudes, signs; } Codes;
#endif

INLINE F f_set(float x) { return (F){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE F f_load(const float *at) { return (F){_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)}; }
INLINE F f_load_first(const float *at, int64_t n) {
    float copy[16] = {0};
    memcpy(copy, at, (size_t)n * sizeof *at);
    return f_load(copy);
}
INLINE void f_store(float *at, F x) {
    _mm256_storeu_ps(at, x.low);
    _mm256_storeu_ps(at + 8, x.high);
}
#define BINARY(name, operation) \
    INLINE F name(F a, F b) { return (F){operation(a.low, b.low), operation(a.high, b.high)}; }
BINARY(f_add, _mm256_add_ps)
BINARY(f_sub, _mm256_sub_ps)
BINARY(f_mul, _mm256_mul_ps)
BINARY(f_div, _mm256_div_ps)
BINARY(f_min, _mm256_min_ps)
BINARY(f_max, _mm256_max_ps)
#undef BINARY
INLINE F f_fma(F a, F b, F c) {
    return (F){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
INLINE F f_round(F x) {
    enum { MODE = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return (F){_mm256_round_ps(x.low, MODE), _mm256_round_ps(x.high, MODE)};
}
INLINE __m256 power_of_8(__m256 x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(127)), 23));
}
/* 2 to the power of whole numbers */
INLINE F f_power(F x) { return (F){power_of_8(x.low), power_of_8(x.high)}; }
INLINE F f_from_half(const uint16_t *at) {
    return (F){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at)),
               _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 8)))};
}
INLINE F f_from_bytes(const int8_t *at) {
    return (F){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at))),
               _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(at + 8))))};
}
INLINE void f_store_codes(uint8_t *at, F x) {
    __m256i mixed = _mm256_packs_epi32(_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high));
    __m256i words = _mm256_permute4x64_epi64(mixed, 0xD8);
    __m128i codes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)at, codes);
}

INLINE __m256 low_half(F x) { return x.low; }
INLINE __m256 high_half(F x) { return x.high; }
#include "simd_reduce.h"

INLINE F f_from_ints(const int32_t *at) {
    return (F){_mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)at)),
               _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(at + 8)))};
}
INLINE I i_zero(void) { return (I){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE Weights weights_load(const int8_t *at) {
    return (I){_mm256_loadu_si256((const __m256i *)at), _mm256_loadu_si256((const __m256i *)(at + 32))};
}
#ifdef HAS_AVX_VNNI
INLINE Codes codes_load(const uint8_t *at) {
    int32_t four;
    memcpy(&four, at, 4);
    return _mm256_set1_epi32(four);
}
#ifdef EMULATED_INSTRUCTIONS
INLINE __m256i pairs_of(Codes codes, __m256i weights, const int half) {
    return _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(codes, half)),
                             _mm256_cvtepi8_epi16(_mm256_extracti128_si256(weights, half)));
}
INLINE __m256i dot_of_8(__m256i sum, Codes codes, __m256i weights) {
    __m256i mixed = _mm256_hadd_epi32(pairs_of(codes, weights, 0), pairs_of(codes, weights, 1));
    return _mm256_add_epi32(sum, _mm256_permute4x64_epi64(mixed, 0xD8));
}
#else
INLINE __m256i dot_of_8(__m256i sum, Codes codes, __m256i weights) {
    return _mm256_dpbusd_avx_epi32(sum, codes, weights);
}
#endif
INLINE __m256 from_sums_of_8(__m256i sum, const int32_t *sums_of_weights) {
    (void)sums_of_weights;
    return _mm256_cvtepi32_ps(sum);
}
#else
INLINE Codes codes_load(const uint8_t *at) {
    int32_t four;
    memcpy(&four, at, 4);
    __m256i signs = _mm256_xor_si256(_mm256_set1_epi32(four), _mm256_set1_epi8((char)-128));
    return (Codes){_mm256_abs_epi8(signs), signs};
}
INLINE __m256i dot_of_8(__m256i sum, Codes codes, __m256i weights) {
    __m256i pairs = _mm256_maddubs_epi16(codes.magnitudes, _mm256_sign_epi8(weights, codes.signs));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
/* Adds 128 * sum of the weights, which the subtraction of 128 from the codes has removed. */
INLINE __m256 from_sums_of_8(__m256i sum, const int32_t *sums_of_weights) {
    __m256i all = _mm256_loadu_si256((const __m256i *)sums_of_weights);
    return _mm256_cvtepi32_ps(_mm256_add_epi32(sum, _mm256_slli_epi32(all, 7)));
}
#endif
INLINE I i_dot(I sum, Codes codes, Weights weights) {
    return (I){dot_of_8(sum.low, codes, weights.low), dot_of_8(sum.high, codes, weights.high)};
}
INLINE F f_from_sums(I sum, const int32_t *sums_of_weights) {
    return (F){from_sums_of_8(sum.low, sums_of_weights), from_sums_of_8(sum.high, sums_of_weights + 8)};
}
