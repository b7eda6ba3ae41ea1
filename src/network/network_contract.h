// The contract of Network, for every implementation: included by the tests of the fake and of the
// real one. A suite names a harness: a class with network(), NewPod(), which gives a request whose
// namespace exists, Attached(request), which asks the world and not the network, and a static
// Missing(), which says what of the machine it cannot do without (nullptr: nothing).
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "network/network.h"

namespace davit::network {

inline Deadline TestDeadline() { return Deadline::After(std::chrono::seconds(60)); }

template <class Harness>
class NetworkContract : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* missing = Harness::Missing()) GTEST_SKIP() << missing;
    harness_ = std::make_unique<Harness>();
  }
  std::unique_ptr<Harness> harness_;
};
TYPED_TEST_SUITE_P(NetworkContract);

TYPED_TEST_P(NetworkContract, PlanMakesNothing) {
  NetworkRequest pod = this->harness_->NewPod();
  auto planned = this->harness_->network().Plan(pod);
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  EXPECT_FALSE(planned->empty());
  EXPECT_TRUE(planned->result.empty());
  EXPECT_TRUE(planned->ips.empty());
  EXPECT_FALSE(this->harness_->Attached(pod));
}

TYPED_TEST_P(NetworkContract, AttachGivesAnAddressAndDetachTakesItAway) {
  NetworkRequest pod = this->harness_->NewPod();
  Network& network = this->harness_->network();
  auto planned = network.Plan(pod);
  ASSERT_TRUE(planned.ok());
  auto attached = network.Attach(pod, *planned, TestDeadline());
  ASSERT_TRUE(attached.ok()) << attached.status().ToString();
  EXPECT_EQ(attached->config, planned->config);
  EXPECT_FALSE(attached->ips.empty());
  EXPECT_FALSE(attached->result.empty());
  EXPECT_TRUE(this->harness_->Attached(pod));
  // The record holds it as text.
  auto recorded = Attachment::Parse(attached->ToJson());
  ASSERT_TRUE(recorded.ok());
  Status detached = network.Detach(pod, *recorded, TestDeadline());
  EXPECT_TRUE(detached.ok()) << detached.ToString();
  EXPECT_FALSE(this->harness_->Attached(pod));
}

TYPED_TEST_P(NetworkContract, TwoPodsGetDifferentAddresses) {
  NetworkRequest a = this->harness_->NewPod();
  NetworkRequest b = this->harness_->NewPod();
  Network& network = this->harness_->network();
  auto attached_a = network.Attach(a, *network.Plan(a), TestDeadline());
  auto attached_b = network.Attach(b, *network.Plan(b), TestDeadline());
  ASSERT_TRUE(attached_a.ok());
  ASSERT_TRUE(attached_b.ok());
  EXPECT_NE(attached_a->ips, attached_b->ips);
  EXPECT_TRUE(network.Detach(a, *attached_a, TestDeadline()).ok());
  EXPECT_TRUE(this->harness_->Attached(b));
  EXPECT_TRUE(network.Detach(b, *attached_b, TestDeadline()).ok());
}

TYPED_TEST_P(NetworkContract, DetachIsIdempotent) {
  NetworkRequest pod = this->harness_->NewPod();
  Network& network = this->harness_->network();
  auto planned = network.Plan(pod);
  ASSERT_TRUE(planned.ok());
  EXPECT_TRUE(network.Detach(pod, *planned, TestDeadline()).ok());  // planned and never attached
  auto attached = network.Attach(pod, *planned, TestDeadline());
  ASSERT_TRUE(attached.ok());
  EXPECT_TRUE(network.Detach(pod, *planned, TestDeadline()).ok());  // the result was never recorded
  EXPECT_FALSE(this->harness_->Attached(pod));
  EXPECT_TRUE(network.Detach(pod, *attached, TestDeadline()).ok());
  EXPECT_TRUE(network.Detach(pod, Attachment(), TestDeadline()).ok());
}

TYPED_TEST_P(NetworkContract, BadRequestsAreRefusedAtPlan) {
  Network& network = this->harness_->network();
  NetworkRequest pod = this->harness_->NewPod();
  pod.ports = {{Protocol::kTcp, 70000, 0, ""}};
  EXPECT_EQ(network.Plan(pod).code(), StatusCode::kInvalidArgument);
  pod.ports.clear();
  pod.name = "a;b";
  EXPECT_EQ(network.Plan(pod).code(), StatusCode::kInvalidArgument);
  pod.name = "a";
  pod.pod = PodId();
  EXPECT_EQ(network.Plan(pod).code(), StatusCode::kInvalidArgument);
}

TYPED_TEST_P(NetworkContract, AnExpiredDeadlineAttachesNothing) {
  NetworkRequest pod = this->harness_->NewPod();
  Network& network = this->harness_->network();
  auto attached = network.Attach(pod, *network.Plan(pod), Deadline::After(std::chrono::seconds(-1)));
  EXPECT_EQ(attached.code(), StatusCode::kDeadlineExceeded) << attached.status().ToString();
  EXPECT_FALSE(this->harness_->Attached(pod));
}

TYPED_TEST_P(NetworkContract, SaysWhetherItIsReady) {
  EXPECT_TRUE(this->harness_->network().Ready().ready);
  EXPECT_EQ(this->harness_->network().StatusJson().front(), '{');
}

REGISTER_TYPED_TEST_SUITE_P(NetworkContract, PlanMakesNothing, AttachGivesAnAddressAndDetachTakesItAway,
                            TwoPodsGetDifferentAddresses, DetachIsIdempotent, BadRequestsAreRefusedAtPlan,
                            AnExpiredDeadlineAttachesNothing, SaysWhetherItIsReady);

}  // namespace davit::network
