// The part of davit.control.v1 about disks.

#include "cri/codes.h"
#include "cri/control_service.h"
#include "cri/convert.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

using control::v1::DiskUsageResponse;

void Fill(const engine::DiskReport& report, DiskUsageResponse& out) {
  for (const engine::DiskReport::Image& in : report.images) {
    DiskUsageResponse::Image* image = out.add_images();
    image->set_id(in.id);
    for (const std::string& name : in.names) image->add_names(name);
    image->set_bytes(in.bytes);
    image->set_shared_bytes(in.shared_bytes);
    image->set_reclaimable_bytes(in.reclaimable_bytes);
    image->set_containers(in.containers);
    image->set_pinned(in.pinned);
  }
  for (const engine::DiskReport::Layer& in : report.layers) {
    DiskUsageResponse::Layer* layer = out.add_layers();
    layer->set_id(in.id);
    layer->set_bytes(in.disk.bytes);
    layer->set_files(in.disk.inodes);
    for (const std::string& id : in.images) layer->add_images(id);
    for (const std::string& id : in.containers) layer->add_containers(id);
  }
  for (const engine::DiskReport::Container& in : report.containers) {
    DiskUsageResponse::Container* container = out.add_containers();
    container->set_id(in.id);
    container->set_name(in.name);
    container->set_pod_namespace(in.pod_namespace);
    container->set_pod_name(in.pod_name);
    container->set_exited(in.exited);
    container->set_bytes(in.disk.bytes);
    container->set_files(in.disk.inodes);
    container->set_lower_bound(in.lower_bound);
  }
  for (const engine::DiskReport::Part& in : report.parts) {
    DiskUsageResponse::Part* part = out.add_parts();
    part->set_owner(in.owner);
    part->set_name(in.name);
    part->set_bytes(in.disk.bytes);
    part->set_files(in.disk.inodes);
    part->set_lower_bound(in.lower_bound);
  }
  out.set_accounted_bytes(report.accounted_bytes);
  out.set_reclaimable_bytes(report.reclaimable_bytes);
  out.set_lower_bound(report.lower_bound);
  out.set_mount_point(report.mount_point);
  out.set_filesystem_bytes(report.filesystem_bytes);
  out.set_filesystem_used(report.filesystem_used);
  out.set_filesystem_available(report.filesystem_available);
  out.set_filesystem_inodes(report.filesystem_inodes);
  out.set_filesystem_inodes_free(report.filesystem_inodes_free);
  out.set_measured_at(report.measured_at);
  out.set_measuring(report.measuring);
}

}  // namespace

::grpc::ServerUnaryReactor* ControlService::DiskUsage(::grpc::CallbackServerContext* context,
                                                      const control::v1::DiskUsageRequest*,
                                                      DiskUsageResponse* response) {
  Result<engine::DiskReport> report = engine_.Disk();
  if (report.ok()) Fill(*report, *response);
  return Answer(context, report.status());
}

}  // namespace davit::cri
