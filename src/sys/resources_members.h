// The members of Resources by name, for records by reflection (oci/reflect.h). Apart from resources.h, and for
// .cc files only: it brings Boost.Describe, which the rest of sys does without.
#pragma once

#include <boost/describe/class.hpp>

#include "sys/resources.h"

namespace davit::sys {

BOOST_DESCRIBE_STRUCT(HugepageLimit, (), (page_size, limit))
BOOST_DESCRIBE_STRUCT(Resources, (),
                      (cpu_period, cpu_quota, cpu_shares, memory_limit_bytes, memory_swap_limit_bytes, oom_score_adj,
                       cpuset_cpus, cpuset_mems, hugepage_limits, unified))

}  // namespace davit::sys
