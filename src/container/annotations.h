// Annotations that change a container, each with a type. Nothing of an annotation's text reaches the OCI runtime
// (CVE-2023-6476, CVE-2024-3154): an annotation that the handler does not allow, or that nobody knows, is a label
// for people, and one that is allowed becomes a checked number or device here.
//
// The names are CRI-O's, old and new form, so that pods that use them run unchanged:
//   io.kubernetes.cri-o.umask    umask.crio.io      octal, 0 to 0777: umask of the first process
//   io.kubernetes.cri-o.ShmSize  shm-size.crio.io   bytes, or with Ki, Mi, Gi: size of the pod's /dev/shm
//   io.kubernetes.cri-o.Devices  devices.crio.io    "/dev/fuse[:/path[:rwm]],…", of the handler's allowed_devices
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "container/handler.h"
#include "container/spec.h"

namespace davit::container {

struct AnnotationSettings {
  std::optional<uint32_t> umask;
  std::vector<Device> devices;
  int64_t shm_bytes = 0;  // 0: not asked for
};

// Every name that `allowed_annotations` may have.
std::vector<std::string> SupportedAnnotations();

// Of a container: its own annotations over those of its pod. Of a pod: `container` empty. kInvalidArgument naming
// the annotation for a value that is not of its type; kPermissionDenied for a device that the handler does not
// allow.
Result<AnnotationSettings> ReadAnnotations(const HandlerSettings& handler, const Labels& pod, const Labels& container);

}  // namespace davit::container
