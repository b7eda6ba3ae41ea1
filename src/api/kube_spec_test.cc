#include "api/kube_spec.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace davit::api {
namespace {

constexpr char kPod[] = R"(apiVersion: v1
kind: Pod
metadata: {name: kp, labels: {app: x, n: 1}}
spec:
  restartPolicy: OnFailure
  hostAliases: [{ip: 10.0.0.1, hostnames: [a, b]}]
  securityContext: {runAsUser: 5, sysctls: [{name: net.x, value: "1"}]}
  volumes:
  - {name: h, hostPath: {path: /srv}}
  - {name: e, emptyDir: {}}
  - {name: p, persistentVolumeClaim: {claimName: data}}
  initContainers:
  - {name: i, image: "busybox", command: ["true"]}
  containers:
  - name: a
    image: localhost/busybox:latest
    command: [sleep, "100"]
    args: [x]
    env: [{name: A, value: "1"}, {name: B, value: two}]
    ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 90}]
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    securityContext: {runAsGroup: 6, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts:
    - {name: h, mountPath: /h, readOnly: true}
    - {name: e, mountPath: /e}
    - {name: p, mountPath: /p}
    livenessProbe: {exec: {command: ["test", "-e", "/ok"]}, periodSeconds: 2}
)";

TEST(KubeSpecTest, ReadsAPod) {
  auto pods = ReadKube(kPod);
  ASSERT_TRUE(pods.ok()) << pods.status().ToString();
  ASSERT_EQ(pods->size(), 1u);
  const KubePod& pod = pods->front();
  EXPECT_EQ(pod.name, "kp");
  EXPECT_EQ(pod.spec.at("labels").at("n"), "1");
  EXPECT_EQ(pod.spec.at("hostadd").as_array().size(), 2u);
  EXPECT_EQ(boost::json::serialize(pod.spec.at("portmappings")),
            R"([{"host_ip":"","container_port":80,"host_port":8080,"range":1,"protocol":"tcp"}])");
  ASSERT_EQ(pod.init.size(), 1u);
  ASSERT_EQ(pod.containers.size(), 1u);
  const auto& spec = pod.containers[0].spec;
  EXPECT_EQ(spec.at("name"), "kp-a");
  EXPECT_EQ(boost::json::serialize(spec.at("entrypoint")), R"(["sleep","100"])");
  EXPECT_EQ(boost::json::serialize(spec.at("command")), R"(["x"])");
  EXPECT_EQ(spec.at("user"), "5:6");
  EXPECT_EQ(spec.at("restart_policy"), "on-failure");
  EXPECT_EQ(spec.at("resource_limits").at("memory").at("limit"), 67108864);
  EXPECT_EQ(spec.at("resource_limits").at("cpu").at("quota"), 50000);
  EXPECT_EQ(spec.at("mounts").at(0).at("source"), "/srv");
  EXPECT_EQ(spec.at("volumes").as_array().size(), 2u);
  EXPECT_EQ(spec.at("healthconfig").at("Interval"), 2000000000);
}

TEST(KubeSpecTest, TakesSeveralDocuments) {
  auto pods = ReadKube(std::string(kPod) +
                       "---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
                       "spec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}\n");
  ASSERT_TRUE(pods.ok()) << pods.status().ToString();
  ASSERT_EQ(pods->size(), 2u);
  EXPECT_EQ((*pods)[1].name, "d-pod");
}

TEST(KubeSpecTest, RefusesWhatItCannotKeep) {
  EXPECT_EQ(ReadKube("kind: ConfigMap\nmetadata: {name: x}\n").code(), StatusCode::kUnimplemented);
  EXPECT_EQ(
      ReadKube(
          "kind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: i, env: [{name: A, valueFrom: {}}]}]}")
          .code(),
      StatusCode::kUnimplemented);
  for (const char* text :
       {"", "---\n", "kind: Pod\n", "kind: Pod\nmetadata: {name: x}\nspec: {containers: []}\n", ": :",
        "kind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a}]}", "kind: Pod\nspec: 7\nmetadata: {name: x}",
        "kind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: i, volumeMounts: [{name: v}]}]}"}) {
    EXPECT_EQ(ReadKube(text).code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(KubeQuantityTest, ReadsAmounts) {
  EXPECT_EQ(*KubeCpu("1.5"), 1500000000);
  EXPECT_EQ(*KubeCpu("250m"), 250000000);
  EXPECT_EQ(*KubeMemory("64Mi"), 67108864);
  EXPECT_EQ(*KubeMemory("1G"), 1000000000);
  for (const char* text : {"", "x", "1Q", "-1", "1e40"}) {
    EXPECT_FALSE(KubeMemory(text).ok()) << text;
    EXPECT_FALSE(KubeCpu(text).ok()) << text;
  }
}

}  // namespace
}  // namespace davit::api
