#include "engine/health_checks.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>

namespace davit::engine {
namespace {

// Answers probes from a list; waits for states with a deadline.
class HealthChecksTest : public ::testing::Test {
 protected:
  HealthChecksTest() {
    HealthChecks::Options options;
    options.loop = loop_.get();
    options.run = [this](const ContainerId&, const std::vector<std::string>& command, std::chrono::nanoseconds,
                         const HealthChecks::Answer& answer) {
      int code = 0;
      {
        std::lock_guard lock(mutex_);
        command_ = command;
        if (!codes_.empty()) {
          code = codes_.front();
          codes_.pop_front();
        }
      }
      answer({code, "said"});
    };
    options.on_change = [this](const ContainerId&, const std::string& status) {
      std::lock_guard lock(mutex_);
      changes_.push_back(status);
      changed_.notify_all();
    };
    checks_ = std::make_unique<HealthChecks>(std::move(options));
  }
  ~HealthChecksTest() override {
    checks_.reset();
    loop_.reset();
  }
  bool WaitFor(const std::vector<std::string>& changes) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return changes_ == changes; });
  }
  static container::HealthCheck Check() {
    container::HealthCheck check;
    check.test = {"CMD-SHELL", "true"};
    check.interval = 1'000'000;
    check.retries = 2;
    return check;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<int> codes_;
  std::vector<std::string> command_;
  std::vector<std::string> changes_;
  std::unique_ptr<sched::EventLoop> loop_ = *sched::EventLoop::Start("test-events");
  std::unique_ptr<HealthChecks> checks_;
  const ContainerId id_ = ContainerId::Mint();
};

TEST_F(HealthChecksTest, BecomesUnhealthyAfterItsRetriesAndHealthyAfterOneSuccess) {
  codes_ = {1, 1, 0};
  checks_->Begin(id_, Check());
  ASSERT_TRUE(WaitFor({"unhealthy", "healthy"}));
  const Health health = checks_->Get(id_);
  EXPECT_EQ(health.status, "healthy");
  EXPECT_EQ(health.failing_streak, 0u);
  EXPECT_LE(health.log.size(), 5u);
  EXPECT_EQ(command_, (std::vector<std::string>{"/bin/sh", "-c", "true"}));
}

TEST_F(HealthChecksTest, FailuresInTheStartPeriodDoNotCount) {
  container::HealthCheck check = Check();
  check.start_period = int64_t{3600} * 1'000'000'000;
  check.start_interval = 1'000'000;
  codes_ = {1, 1, 1, 1, 0, 1, 1};
  checks_->Begin(id_, check);
  ASSERT_TRUE(WaitFor({"healthy", "unhealthy", "healthy"}));  // the period ends with the first success
}

TEST_F(HealthChecksTest, AProbeCanBeAskedFor) {
  container::HealthCheck check = Check();
  check.interval = int64_t{3600} * 1'000'000'000;
  checks_->Begin(id_, check);
  EXPECT_EQ(checks_->Get(id_).status, "starting");
  Health health;
  checks_->CheckNow(id_, [&](const Result<Health>& result) { health = *result; });
  EXPECT_EQ(health.status, "healthy");
  EXPECT_EQ(health.log.back().output, "said");
}

TEST_F(HealthChecksTest, AfterTheEndThereIsNothing) {
  checks_->Begin(id_, Check());
  checks_->End(id_);
  EXPECT_EQ(checks_->Get(id_).status, "");
  Status status;
  checks_->CheckNow(id_, [&](const Result<Health>& result) { status = result.status(); });
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace davit::engine
