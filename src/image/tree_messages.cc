#include "image/tree_messages.h"

#include "oci/json.h"
#include "oci/reflect.h"

namespace davit::image {

BOOST_DESCRIBE_STRUCT(TreeMount, (), (source, target, read_only))
BOOST_DESCRIBE_STRUCT(TreeJob, (),
                      (version, verb, path, root, read_only, mounts, ids_outside, ids_length, no_overwrite_dir_non_dir,
                       copy_ids, leave_out))
BOOST_DESCRIBE_STRUCT(TreeStat, (), (name, size, mode, modified_at, link_target))
BOOST_DESCRIBE_STRUCT(TreeReport, (), (version, stat, done, code, message))

std::string EncodeTreeJob(const TreeJob& job) { return oci::ReflectToText(job); }
Result<TreeJob> DecodeTreeJob(std::string_view text) {
  return oci::RecordFromText<TreeJob>(text, "job", kTreeProtocolVersion);
}
std::string EncodeTreeReport(const TreeReport& report) { return oci::ReflectToText(report) + "\n"; }
Result<TreeReport> DecodeTreeReport(std::string_view line) {
  return oci::RecordFromText<TreeReport>(line, "report", kTreeProtocolVersion);
}

}  // namespace davit::image
