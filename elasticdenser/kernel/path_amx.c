#include "model.h"
#ifdef HAS_NEWER_X86_PATHS
#define HAS_TILES
#if defined(EMULATED_INSTRUCTIONS) && defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(EMULATED_INSTRUCTIONS)
#pragma GCC target("avx2,fma,f16c")
#elif defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8")
#endif
#ifdef EMULATED_INSTRUCTIONS
#include "simd_avx2.h"
#else
#include "simd_avx512.h"
#endif
#include "forward.h"
#include "rescoring.h"
#include "maxsim.h"
const Path ed_amx = PATH("amx-int8");
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
