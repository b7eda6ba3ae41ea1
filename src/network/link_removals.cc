#include "network/link_removals.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <future>
#include <memory>
#include <system_error>
#include <thread>

#include "base/fault.h"
#include "base/log.h"
#include "network/rtnetlink.h"
#include "sys/unique_fd.h"

namespace davit::network {
namespace {

constexpr int kMostRunning = 16;

// In the interface's namespace. Its link-local addresses are nobody else's.
Status RemoveAddresses(RouteSocket& socket, const std::string& interface) {
  ASSIGN_OR_RETURN(LinkState link, socket.Find(interface));
  const Prefix link_local = Prefix::Of(*Address::Parse("fe80::"), 10);
  for (bool v6 : {false, true}) {
    ASSIGN_OR_RETURN(std::vector<LinkAddress> addresses, socket.Addresses(link.index, v6));
    for (const LinkAddress& address : addresses) {
      if (link_local.Contains(address.address)) continue;
      Status removed = socket.RemoveAddress(link.index, address);
      // The kernel takes a secondary address away with its primary one.
      if (!removed.ok() && removed.code() != StatusCode::kNotFound) {
        return removed;
      }
    }
  }
  return {};
}

Result<RouteSocket> Enter(const sys::UniqueFd& netns) {
  if (::setns(netns.get(), CLONE_NEWNET) != 0) return ErrnoError(errno, "enter a pod's network namespace");
  return RouteSocket::Open();
}

}  // namespace

Status LinkRemovals::Remove(const std::string& netns, const std::string& interface) {
  // Held by the thread too: the pin may be gone before the link is.
  ASSIGN_OR_RETURN(sys::UniqueFd opened, sys::Open(netns, O_RDONLY));
  auto fd = std::make_shared<sys::UniqueFd>(std::move(opened));
  {
    std::unique_lock lock(mutex_);
    fewer_.wait(lock, [this] { return running_ < kMostRunning; });
    ++running_;
  }
  auto told = std::make_shared<std::promise<Status>>();
  std::future<Status> addresses = told->get_future();
  try {
    std::thread([this, fd, told, interface]() mutable {
      ::pthread_setname_np(::pthread_self(), "davit-unlink");
      Result<RouteSocket> socket = Enter(*fd);
      Status status = socket.ok() ? RemoveAddresses(*socket, interface) : socket.status();
      const bool gone = status.code() == StatusCode::kNotFound;
      told->set_value(gone ? Status() : status);
      if (status.ok()) {
        Status deleted = socket->Delete(interface);
        if (!deleted.ok() && deleted.code() != StatusCode::kNotFound) LogWarning("{}", deleted.message());
      }
      fd.reset();
      Done();
    }).detach();
  } catch (const std::system_error& error) {
    Done();
    return ResourceExhausted(std::string("no thread to remove link ") + interface + ": " + error.what());
  }
  return addresses.get();
}

void LinkRemovals::Done() {
  // Notified under the lock: whoever waits may destroy this as soon as it is released.
  std::lock_guard lock(mutex_);
  --running_;
  fewer_.notify_all();
}

void LinkRemovals::Settle() {
  std::unique_lock lock(mutex_);
  fewer_.wait(lock, [this] { return running_ == 0; });
}

}  // namespace davit::network
