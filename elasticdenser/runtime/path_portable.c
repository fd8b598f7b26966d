#include "model.h"

#include "simd_portable.h"
#include "forward.h"
const Path ed_portable = PATH("portable");
