#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "base/strings.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "davit/control/v1/control.pb.h"

namespace davit::cli {
namespace {

using Report = control::v1::VerifyImagesReport;

void PrintDamage(const Report::Damage& damage) {
  PrintLine(Sanitise(fmt::format("{} {} is damaged", damage.kind(), damage.digest())));
  for (const Report::Path& path : damage.paths()) {
    PrintLine(Sanitise(path.path().empty() ? fmt::format("  {}", path.what())
                                           : fmt::format("  {}: {}", path.path(), path.what())));
  }
  const uint64_t named = static_cast<uint64_t>(damage.paths_size());
  if (named != 0 && damage.damages() > named) PrintLine(fmt::format("  and {} more", damage.damages() - named));
  if (damage.in_use()) PrintLine("  containers run from it; new ones are refused");
  if (!damage.quarantine().empty()) PrintLine(Sanitise("  moved to " + damage.quarantine()));
  for (const std::string& name : damage.images()) PrintLine(Sanitise("  to heal: davit image pull " + name));
}

}  // namespace

Result<int> ImageVerify(const Context& context, const std::vector<std::string>& images, bool quiet) {
  control::v1::VerifyImagesRequest request;
  for (const std::string& image : images) request.add_images(image);
  const std::optional<WindowSize> size = quiet ? std::nullopt : SizeOf(STDERR_FILENO);
  bool drawn = false;
  Result<Report> report = context.client.Verify(request, [&](const control::v1::VerifyImagesProgress& now) {
    if (!size || now.has_report()) return;
    std::string line = fmt::format("verified {} of {} layers, {} of about {}", now.layers_done(), now.layers_total(),
                                   HumanBytes(now.bytes_read()), HumanBytes(now.bytes_total()));
    std::fputs(("\r\x1b[K" + line.substr(0, size->columns - 1U)).c_str(), stderr);
    drawn = true;
  });
  if (drawn) std::fputs("\r\x1b[K", stderr);
  if (!report.ok()) return report.status();
  const int code = report->damage().empty() && report->unchecked().empty() ? 0 : 1;
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(*report));
    return code;
  }
  for (const Report::Damage& damage : report->damage()) PrintDamage(damage);
  for (const std::string& text : report->unchecked()) PrintLine(Sanitise("not checked: " + text));
  std::string first;
  if (report->first_time() != 0) first = fmt::format(" ({} of them for the first time)", report->first_time());
  PrintLine(fmt::format("{} images, {} layers{}, {} read: {}", report->images(), report->layers(), first,
                        HumanBytes(report->bytes_read()), code == 0 ? "no damage" : "DAMAGED"));
  return code;
}

}  // namespace davit::cli
