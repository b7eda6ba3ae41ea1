// ExecSession: the program of an exec or attach. Waits for the client's streams, opens the process, pumps,
// and ends with the status on the error stream.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "stream/fd_stream.h"
#include "stream/program.h"
#include "stream/resize.h"

namespace davit::stream {

class ExecSession final : public Program, public std::enable_shared_from_this<ExecSession> {
 public:
  // `host` outlives this or calls Stop first. `version`: of channel.k8s.io.
  ExecSession(Host& host, std::variant<ExecRequest, AttachRequest> request, int version);

  // Starts the clock for the client's streams.
  void Begin();

  void OnStream(uint32_t id, const StreamInfo& info) override;
  void OnData(uint32_t id, std::string_view bytes) override;
  void OnEnd(uint32_t id) override;
  void OnReset(uint32_t id) override;
  void OnRoom() override;
  void Stop() override;

 private:
  enum Role { kError, kStdin, kStdout, kStderr, kResize, kRoles };
  struct Wants {
    bool terminal;
    bool stdin;
    bool stdout;
    bool stderr;
  };
  // One direction of output: from the process's descriptor to a stream.
  struct Output {
    std::shared_ptr<FdStream> source;  // null: not there, or ended
    Role role = kStdout;
  };

  [[nodiscard]] bool HasAllStreams() const;
  [[nodiscard]] std::optional<Role> RoleOf(uint32_t id) const;
  void Open();
  void OnOpened(Result<std::unique_ptr<Process>> process);
  void AddOutput(sys::UniqueFd fd, Role role);
  void OpenTerminal(sys::UniqueFd fd);
  FdStream::Events InputEvents();
  void OnOutput(Role role, std::string_view bytes);
  void OnOutputEnd(Role role);
  void OnExit();
  void Drain();
  void EndInput();
  void DropInput();
  void CheckInput();
  void CheckDone();
  void Conclude(const Result<int>& exit);
  void ReleaseProcess();
  [[nodiscard]] bool OutputsEnded() const;
  [[nodiscard]] size_t InputBuffered() const;

  Host& host_;
  const std::variant<ExecRequest, AttachRequest> request_;
  const Wants wants_;
  const int version_;
  std::array<std::optional<uint32_t>, kRoles> ids_;

  bool opening_ = false;
  bool stopped_ = false;    // Stop() was called
  bool concluded_ = false;  // the status was sent
  std::unique_ptr<Process> process_;
  sched::EventLoop::Token exit_watch_ = 0;
  std::optional<Result<int>> exit_;
  std::array<Output, 2> outputs_;
  bool congested_ = false;

  std::shared_ptr<FdStream> input_;  // stdin's pipe, or the terminal
  std::string early_input_;          // before there is a process
  size_t unwritten_ = 0;             // taken from the client and not credited yet
  bool input_ended_ = false;         // by the client
  bool input_closed_ = false;        // the process takes no more
  bool paused_ = false;
  ResizeParser resizes_;
  std::optional<TerminalSize> size_;

  Timer stream_timer_;
  Timer drain_timer_;
  std::chrono::steady_clock::time_point drain_until_;
  bool quiet_ = false;  // no output since the drain timer was set
};

}  // namespace davit::stream
