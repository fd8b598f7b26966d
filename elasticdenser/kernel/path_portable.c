#include "model.h"

#include "simd_portable.h"
#include "forward.h"
#include "rescoring.h"
#include "maxsim.h"
const Path ed_portable = PATH("portable");
