#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "base/strings.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/table.h"
#include "davit/control/v1/control.pb.h"

namespace davit::cli {
namespace {

using Usage = control::v1::DiskUsageResponse;

std::string Size(uint64_t bytes, bool lower_bound = false) { return (lower_bound ? ">" : "") + HumanBytes(bytes); }

// One line of the summary.
struct Row {
  size_t items = 0;
  uint64_t bytes = 0;
  uint64_t files = 0;
  uint64_t reclaimable = 0;
  bool lower_bound = false;
};

void AddTo(Table& table, const std::string& owner, const Row& row) {
  table.AddRow({owner, std::to_string(row.items), Size(row.bytes, row.lower_bound), std::to_string(row.files),
                row.reclaimable == 0 ? "" : HumanBytes(row.reclaimable)});
}

Row Images(const Usage& usage) {
  Row row;
  row.items = static_cast<size_t>(usage.images_size());
  for (const Usage::Layer& layer : usage.layers()) {
    row.bytes += layer.bytes();
    row.files += layer.files();
    const bool pinned = std::any_of(layer.images().begin(), layer.images().end(), [&](const std::string& id) {
      return std::any_of(usage.images().begin(), usage.images().end(),
                         [&](const Usage::Image& image) { return image.id() == id && image.pinned(); });
    });
    if (layer.containers().empty() && !pinned) row.reclaimable += layer.bytes();
  }
  return row;
}

Row Containers(const Usage& usage) {
  Row row;
  for (const Usage::Container& container : usage.containers()) {
    ++row.items;
    row.bytes += container.bytes();
    row.files += container.files();
    row.lower_bound = row.lower_bound || container.lower_bound();
    if (container.exited()) row.reclaimable += container.bytes();
  }
  return row;
}

Row Parts(const Usage& usage, const std::string& owner) {
  Row row;
  for (const Usage::Part& part : usage.parts()) {
    if (part.owner() != owner) continue;
    ++row.items;
    row.bytes += part.bytes();
    row.files += part.files();
    row.lower_bound = row.lower_bound || part.lower_bound();
  }
  if (owner == "trash") row.reclaimable = row.bytes;
  return row;
}

void PrintSummary(const Context& context, const Usage& usage) {
  Table table({"OWNER", "ITEMS", "SIZE", "FILES", "RECLAIMABLE"});
  AddTo(table, "images", Images(usage));
  AddTo(table, "containers", Containers(usage));
  for (const char* owner :
       {"database", "content", "records", "staging", "trash", "quarantine", "directories", "unknown"}) {
    const Row row = Parts(usage, owner);
    if (row.items != 0) AddTo(table, owner, row);
  }
  table.AddRow({"total", "", Size(usage.accounted_bytes(), usage.lower_bound()), "",
                Size(usage.reclaimable_bytes(), usage.lower_bound())});
  Print(table.Render(context.out.colour));
  Fields fields;
  fields.Add("Filesystem", fmt::format("{}: {} of {} used, {} available, {} of {} files free", usage.mount_point(),
                                       HumanBytes(usage.filesystem_used()), HumanBytes(usage.filesystem_bytes()),
                                       HumanBytes(usage.filesystem_available()), usage.filesystem_inodes_free(),
                                       usage.filesystem_inodes()));
  // On a filesystem that is not Davit's alone.
  fields.Add("Not Davit's",
             HumanBytes(usage.filesystem_used() - std::min(usage.filesystem_used(), usage.accounted_bytes())));
  if (usage.lower_bound()) fields.Add("Note", "sizes with > are lower bounds: measuring goes on, or cannot see all");
  PrintLine("");
  Print(fields.Render());
}

void PrintDetails(const Context& context, const Usage& usage) {
  Table images({"IMAGE", "IMAGE ID", "SIZE", "SHARED", "RECLAIMABLE", "CONTAINERS"});
  for (const Usage::Image& image : usage.images()) {
    std::string name = image.names().empty() ? "<none>" : image.names(0);
    if (image.pinned()) name += " (pinned)";
    images.AddRow({name, DisplayId(image.id(), context.out.full), HumanBytes(image.bytes()),
                   HumanBytes(image.shared_bytes()), HumanBytes(image.reclaimable_bytes()),
                   std::to_string(image.containers())});
  }
  Table layers({"LAYER", "SIZE", "FILES", "IMAGES", "CONTAINERS"});
  for (const Usage::Layer& layer : usage.layers()) {
    std::vector<std::string> names;
    for (const std::string& id : layer.images()) names.push_back(DisplayId(id, context.out.full));
    layers.AddRow({DisplayId(layer.id(), context.out.full), HumanBytes(layer.bytes()), std::to_string(layer.files()),
                   Join(names, ","), std::to_string(layer.containers_size())});
  }
  Table containers({"POD", "CONTAINER", "CONTAINER ID", "SIZE", "FILES", "STATE"});
  for (const Usage::Container& container : usage.containers()) {
    containers.AddRow({container.pod_namespace() + "/" + container.pod_name(), container.name(),
                       DisplayId(container.id(), context.out.full), Size(container.bytes(), container.lower_bound()),
                       std::to_string(container.files()), container.exited() ? "EXITED" : ""});
  }
  Table parts({"OWNER", "NAME", "SIZE", "FILES"});
  for (const Usage::Part& part : usage.parts()) {
    parts.AddRow({part.owner(), part.name(), Size(part.bytes(), part.lower_bound()), std::to_string(part.files())});
  }
  for (const Table* table : {&images, &layers, &containers, &parts}) {
    PrintLine("");
    Print(table->Render(context.out.colour));
  }
}

}  // namespace

Result<int> DiskFree(const Context& context, bool details, int64_t wait_seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(wait_seconds);
  ASSIGN_OR_RETURN(Usage usage, context.client.Call(control::v1::DiskUsageRequest()));
  while (usage.measuring() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ASSIGN_OR_RETURN(usage, context.client.Call(control::v1::DiskUsageRequest()));
  }
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(usage));
    return 0;
  }
  PrintSummary(context, usage);
  if (details) PrintDetails(context, usage);
  return 0;
}

}  // namespace davit::cli
