#include "container/annotations.h"

#include <gtest/gtest.h>

namespace davit::container {
namespace {

HandlerSettings AllowAll() {
  HandlerSettings handler;
  handler.allowed_annotations = SupportedAnnotations();
  handler.allowed_devices = {"/dev/fuse"};
  return handler;
}

TEST(AnnotationsTest, WhatTheHandlerDoesNotAllowHasNoEffect) {
  Labels labels = {{"io.kubernetes.cri-o.umask", "077"}, {"run.oci.seccomp_bpf_data", "AAAA"}, {"umask.crio.io", "x"}};
  AnnotationSettings settings = *ReadAnnotations(HandlerSettings(), labels, labels);
  EXPECT_FALSE(settings.umask.has_value());
  HandlerSettings one;
  one.allowed_annotations = {"io.kubernetes.cri-o.umask"};
  EXPECT_EQ(ReadAnnotations(one, labels, {})->umask, 077u);
}

TEST(AnnotationsTest, ValuesAreTyped) {
  Labels pod = {{"umask.crio.io", "0027"},
                {"shm-size.crio.io", "128Mi"},
                {"devices.crio.io", "/dev/fuse,/dev/fuse:/dev/f2:r, /dev/fuse:rw"}};
  AnnotationSettings settings = *ReadAnnotations(AllowAll(), pod, {});
  EXPECT_EQ(settings.umask, 027u);
  EXPECT_EQ(settings.shm_bytes, 128 << 20);
  ASSERT_EQ(settings.devices.size(), 3u);
  EXPECT_EQ(settings.devices[0].container_path, "/dev/fuse");
  EXPECT_EQ(settings.devices[1].container_path, "/dev/f2");
  EXPECT_EQ(settings.devices[1].permissions, "r");
  EXPECT_EQ(settings.devices[2].container_path, "/dev/fuse");
  EXPECT_EQ(settings.devices[2].permissions, "rw");
}

TEST(AnnotationsTest, TheContainersWordAndTheNewNameWin) {
  Labels pod = {{"umask.crio.io", "001"}, {"io.kubernetes.cri-o.umask", "002"}};
  EXPECT_EQ(ReadAnnotations(AllowAll(), pod, {})->umask, 01u);
  EXPECT_EQ(ReadAnnotations(AllowAll(), pod, {{"io.kubernetes.cri-o.umask", "003"}})->umask, 03u);
}

TEST(AnnotationsTest, BadValuesNameTheAnnotation) {
  struct Case {
    const char* name;
    const char* value;
    StatusCode code;
  };
  for (const Case& bad : {Case{"umask.crio.io", "8", StatusCode::kInvalidArgument},
                          Case{"umask.crio.io", "01000", StatusCode::kInvalidArgument},
                          Case{"umask.crio.io", "", StatusCode::kInvalidArgument},
                          Case{"umask.crio.io", "-1", StatusCode::kInvalidArgument},
                          Case{"shm-size.crio.io", "0", StatusCode::kInvalidArgument},
                          Case{"shm-size.crio.io", "64Mi,nr_inodes=1", StatusCode::kInvalidArgument},
                          Case{"shm-size.crio.io", "9999999Gi", StatusCode::kInvalidArgument},
                          Case{"devices.crio.io", "fuse", StatusCode::kInvalidArgument},
                          Case{"devices.crio.io", "", StatusCode::kInvalidArgument},
                          Case{"devices.crio.io", "/dev/sda", StatusCode::kPermissionDenied},
                          Case{"devices.crio.io", "/dev/../dev/fuse", StatusCode::kPermissionDenied}}) {
    Result<AnnotationSettings> settings = ReadAnnotations(AllowAll(), {{bad.name, bad.value}}, {});
    EXPECT_EQ(settings.code(), bad.code) << bad.name << " " << bad.value;
    EXPECT_NE(settings.status().message().find(bad.name), std::string::npos) << settings.status().message();
  }
}

}  // namespace
}  // namespace davit::container
