#include "native/terminal.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "native/mounts.h"
#include "native/target.h"
#include "sys/unix_socket.h"

namespace davit::native {
namespace {

// A devpts instance's ptmx: "pts/ptmx" of the container's own devpts.
Result<sys::UniqueFd> OpenMaster(const Procfs& procfs, int root) {
  ASSIGN_OR_RETURN(sys::UniqueFd ptmx, OpenTarget(root, "/dev/pts/ptmx"));
  struct stat st;
  if (::fstat(ptmx.get(), &st) != 0) return ErrnoError(errno, "look at /dev/pts/ptmx");
  if (!S_ISCHR(st.st_mode) || st.st_rdev != ::makedev(5, 2) || !HasMagic(ptmx.get(), DEVPTS_SUPER_MAGIC)) {
    return FailedPrecondition("/dev/pts/ptmx of the container is not that of a devpts");
  }
  return procfs.Reopen(ptmx.get(), O_RDWR | O_NOCTTY);
}

}  // namespace

Result<Terminal> OpenTerminal(const Procfs& procfs, int root, const oci::Process& process) {
  Terminal terminal;
  ASSIGN_OR_RETURN(terminal.master, OpenMaster(procfs, root));
  int unlock = 0;
  unsigned number = 0;
  if (::ioctl(terminal.master.get(), TIOCSPTLCK, &unlock) != 0) return ErrnoError(errno, "unlock the terminal");
  if (::ioctl(terminal.master.get(), TIOCGPTN, &number) != 0) return ErrnoError(errno, "number of the terminal");
  terminal.name = "/dev/pts/" + std::to_string(number);
  terminal.slave.reset(::ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave.valid()) return ErrnoError(errno, "open the terminal");
  if (!HasMagic(terminal.slave.get(), DEVPTS_SUPER_MAGIC)) return FailedPrecondition("the terminal is not in a devpts");
  if (process.console_size) {
    winsize size = {};
    size.ws_row = static_cast<unsigned short>(process.console_size->height);
    size.ws_col = static_cast<unsigned short>(process.console_size->width);
    if (::ioctl(terminal.master.get(), TIOCSWINSZ, &size) != 0) return ErrnoError(errno, "process.consoleSize");
  }
  // The group is devpts's own affair (its option gid=).
  if (::fchown(terminal.slave.get(), process.user.uid, static_cast<gid_t>(-1)) != 0 && errno != EINVAL &&
      errno != EPERM) {
    return ErrnoError(errno, "owner of the terminal");
  }
  return terminal;
}

Status MountConsole(int root, const Terminal& terminal) {
  ASSIGN_OR_RETURN(sys::UniqueFd target, MakeFileTarget(root, "/dev/console"));
  ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneTree(terminal.slave.get(), false));
  return Attach(tree.get(), target.get());
}

Status SendTerminal(int console, Terminal& terminal) {
  RETURN_IF_ERROR(sys::SendWithFds(console, terminal.name, {terminal.master.get()}));
  terminal.master.reset();
  return {};
}

Status TakeTerminal(Terminal& terminal) {
  if (::ioctl(terminal.slave.get(), TIOCSCTTY, 0) != 0) return ErrnoError(errno, "take the terminal");
  for (int number = 0; number < 3; ++number) {
    if (::dup2(terminal.slave.get(), number) < 0) return ErrnoError(errno, "dup2");
  }
  if (terminal.slave.get() <= 2) static_cast<void>(terminal.slave.release());  // it is one of the three itself
  terminal.slave.reset();
  return {};
}

}  // namespace davit::native
