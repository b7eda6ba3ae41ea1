// davit volume: directories of the node that outlive containers.
#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "base/time.h"
#include "cli/container_json.h"
#include "cli/everyday.h"
#include "cli/filters.h"
#include "cli/format.h"
#include "cli/run_values.h"
#include "cli/table.h"
#include "davit/control/v1/volumes.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

bool Holds(const control::Volume& volume, const std::string& key, const std::string& value) {
  if (key == "name") return volume.name().find(value) != std::string::npos;
  if (key == "driver") return volume.driver() == value;
  if (key == "dangling") return volume.containers().empty() == (value == "true");
  return LabelHolds(volume.labels(), value);
}

auto HoldsOf(const control::Volume& volume) {
  return [&volume](const std::string& key, const std::string& value) { return Holds(volume, key, value); };
}

}  // namespace

Result<int> VolumeCreate(const Context& context, const VolumeOptions& options) {
  control::CreateVolumeRequest request;
  request.set_name(options.name);
  request.set_driver(options.driver.empty() ? "local" : options.driver);
  request.set_anonymous(options.name.empty());
  for (const std::string& text : options.labels) {
    size_t equals = text.find('=');
    (*request.mutable_labels())[text.substr(0, equals)] = equals == std::string::npos ? "" : text.substr(equals + 1);
  }
  for (const std::string& text : options.options) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(text, "--opt"));
    (*request.mutable_options())[pair.first] = pair.second;
  }
  ASSIGN_OR_RETURN(control::CreateVolumeResponse made, context.client.Call(request));
  PrintLine(made.volume().name());
  return 0;
}

Result<int> VolumeList(const Context& context, const Names& texts, bool quiet) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(texts, {"name", "driver", "dangling", "label"}));
  ASSIGN_OR_RETURN(control::ListVolumesResponse list, context.client.Call(control::ListVolumesRequest()));
  control::ListVolumesResponse shown;
  for (const control::Volume& volume : list.volumes()) {
    if (Matches(filters, HoldsOf(volume))) *shown.add_volumes() = volume;
  }
  std::sort(shown.mutable_volumes()->begin(), shown.mutable_volumes()->end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(shown));
    return 0;
  }
  Table table({"DRIVER", "VOLUME NAME", "CREATED", "USED BY"});
  for (const control::Volume& volume : shown.volumes()) {
    if (quiet) {
      PrintLine(volume.name());
      continue;
    }
    Names users;
    for (const std::string& id : volume.containers()) users.push_back(DisplayId(id, context.out.full));
    table.AddRow({volume.driver(), DisplayId(volume.name(), context.out.full), Moment(context.out, volume.created_at()),
                  Join(users, ",")});
  }
  if (!quiet) Print(table.Render(context.out.colour));
  return 0;
}

Result<int> VolumeRemove(const Context& context, const Names& volumes, bool force) {
  return ForEach(volumes, [&](const std::string& name) {
    control::RemoveVolumeRequest request;
    request.set_name(name);
    request.set_force(force);
    return context.client.Call(request).status();
  });
}

Result<int> VolumePrune(const Context& context, bool all, const Names& texts) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(texts, {"label", "name"}));
  ASSIGN_OR_RETURN(control::ListVolumesResponse list, context.client.Call(control::ListVolumesRequest()));
  Names names;
  for (const control::Volume& volume : list.volumes()) {
    if (volume.containers().empty() && (all || volume.anonymous()) && Matches(filters, HoldsOf(volume))) {
      names.push_back(volume.name());
    }
  }
  return VolumeRemove(context, names, false);
}

}  // namespace davit::cli
