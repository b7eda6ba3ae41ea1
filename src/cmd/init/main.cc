// davit-init: process 1 of a pod whose containers share a PID namespace. What the pause container is to
// others, without an image, a root filesystem or a privilege.
//
//   davit-init [--wait stdin] [--netns PATH] [--ipcns PATH] [--utsns PATH] [--userns PATH]
//              [--mount-label LABEL] [--cgroup-procs FILE]...
//
// With --wait it first reads one byte: by then the caller has put this process into the cgroup that process 1
// is to be in; at an end of file (the caller died) it goes without having made anything.
//
// Joins the namespaces, the user namespace last and as its root, makes the PID namespace (which then belongs
// to that user namespace), puts the new process 1 into each cgroup, prints its host
// PID and a newline and exits 0; or says on stderr what failed and exits 1, and then no process is left.
// Process 1 lives in an empty read-only mount namespace without descriptors or capabilities, is no child
// of the caller and does not notice its death. It reaps orphans and ends on SIGTERM from outside the pod.
// Nothing leads from it to this program's file: see RunFromReadOnlyMount and DropPrivileges.
// The namespace lives as long as a process in it or a bind mount of /proc/PID/ns/pid (pid_namespaces(7):
// once process 1 is gone no process can join it).
//
// Plain libc, no allocation: an idle one costs a few private pages.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace {

constexpr int kMaxCgroups = 32;  // more than there are hierarchies

struct Arguments {
  const char* netns = nullptr;
  const char* ipcns = nullptr;
  const char* utsns = nullptr;
  const char* userns = nullptr;
  const char* mount_label = nullptr;  // of SELinux
  const char* cgroup_procs[kMaxCgroups] = {};
  int cgroups = 0;
  bool wait = false;
};

// What a failed step of either process was.
struct Failure {
  const char* step = nullptr;  // nullptr: none. A literal, so it is valid on both sides of a fork
  int err = 0;
};

Failure Fail(const char* step) { return {step, errno}; }

int Die(const char* step, const char* operand, int err) {
  dprintf(2, "davit-init: %s%s%s%s%s\n", step, operand != nullptr ? " " : "", operand != nullptr ? operand : "",
          err != 0 ? ": " : "", err != 0 ? strerror(err) : "");
  return 1;
}

bool Parse(int argc, char** argv, Arguments& out) {
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return false;
    const char* value = argv[i + 1];
    if (strcmp(argv[i], "--netns") == 0) {
      out.netns = value;
    } else if (strcmp(argv[i], "--ipcns") == 0) {
      out.ipcns = value;
    } else if (strcmp(argv[i], "--utsns") == 0) {
      out.utsns = value;
    } else if (strcmp(argv[i], "--wait") == 0 && strcmp(value, "stdin") == 0) {
      out.wait = true;
    } else if (strcmp(argv[i], "--userns") == 0) {
      out.userns = value;
    } else if (strcmp(argv[i], "--mount-label") == 0 && strpbrk(value, "\"\\") == nullptr) {
      out.mount_label = value;
    } else if (strcmp(argv[i], "--cgroup-procs") == 0 && out.cgroups < kMaxCgroups) {
      out.cgroup_procs[out.cgroups++] = value;
    } else {
      return false;
    }
  }
  return true;
}

int Join(const char* path, int kind) {
  if (path == nullptr) return 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, kind) != 0) return Die("join namespace", path, errno);
  close(fd);
  return 0;
}

// Enters it and becomes its root: without the change of user the process would be nobody there.
int JoinUser(const char* path) {
  if (path == nullptr) return 0;
  if (Join(path, CLONE_NEWUSER) != 0) return 1;
  if (setgroups(0, nullptr) != 0 || setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
    return Die("become root of", path, errno);
  return 0;
}

int AddToCgroup(int fd, const char* file, pid_t pid) {
  char text[16];
  int size = snprintf(text, sizeof text, "%d", static_cast<int>(pid));
  if (write(fd, text, static_cast<size_t>(size)) != size) return Die("write", file, errno);
  close(fd);
  return 0;
}

// Before the user namespace is joined: root of a pod may not open them, and the kernel (5.17) judges a
// write by who opened the file.
int OpenCgroups(const Arguments& arguments, int* fds) {
  for (int i = 0; i < arguments.cgroups; ++i) {
    fds[i] = open(arguments.cgroup_procs[i], O_WRONLY | O_CLOEXEC);
    if (fds[i] < 0) return Die("open", arguments.cgroup_procs[i], errno);
  }
  return 0;
}

// For who may look into it all the same, by CAP_SYS_PTRACE: /proc/PID/exe leads to the file by way of the mount that
// it was started from. Starts this program again from a read-only copy of that mount, which lives as long as it is
// used. Goes on as it is where the kernel cannot (mount_setattr(2): 5.12).
void RunFromReadOnlyMount(char** argv) {
  struct statvfs here;
  if (statvfs("/proc/self/exe", &here) != 0 || (here.f_flag & ST_RDONLY) != 0) return;
  int mount = static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (mount < 0) return;
  struct mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  // Without the check it would start itself for ever.
  bool read_only = syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0 &&
                   fstatvfs(mount, &here) == 0 && (here.f_flag & ST_RDONLY) != 0;
  if (read_only) syscall(SYS_execveat, mount, "", argv, environ, AT_EMPTY_PATH);
  close(mount);
}

// An empty tmpfs as the whole of what this process sees, so that it keeps no mount of the host busy. The pod's
// containers see it as /proc/1/root: it has their label where there are labels.
Failure LeaveHostMounts(const char* label) {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return Fail("make mounts private");
  const char* places[] = {"/run", "/tmp", "/mnt", "/proc"};
  const char* place = nullptr;
  for (const char* candidate : places) {
    struct stat st;
    if (stat(candidate, &st) == 0 && S_ISDIR(st.st_mode)) {
      place = candidate;
      break;
    }
  }
  if (place == nullptr) return {"find a directory to mount at", ENOENT};
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  char options[512];
  int size =
      snprintf(options, sizeof options, "size=4096,nr_inodes=2,mode=0555%s%s%s", label != nullptr ? ",context=\"" : "",
               label != nullptr ? label : "", label != nullptr ? "\"" : "");
  if (size >= static_cast<int>(sizeof options)) return {"mount tmpfs: --mount-label", ENAMETOOLONG};
  if (mount("davit-init", place, "tmpfs", flags, options) != 0) return Fail("mount tmpfs");
  if (chdir(place) != 0) return Fail("enter tmpfs");
  // pivot_root(2): with "." twice the old root ends up on top of the new one.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return Fail("pivot root");
  if (umount2(".", MNT_DETACH) != 0) return Fail("unmount the old root");
  if (chdir("/") != 0) return Fail("enter the new root");
  if (mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY | flags, nullptr) != 0) return Fail("make tmpfs read-only");
  return {};
}

// The containers of the pod see this process, those that share the node's processes every one of them, and it is
// without capabilities: another root may look into it, unless it is not dumpable (ptrace(2), access mode checking).
// Its /proc/1/exe, kept open until nobody runs the program, could then be written to (CVE-2019-5736).
Failure DropPrivileges() {
  if (prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL) != 0) return Fail("set not dumpable");
  for (unsigned long cap = 0; cap < 64; ++cap) {
    if (prctl(PR_CAPBSET_DROP, cap, 0UL, 0UL, 0UL) != 0) {
      if (errno == EINVAL) break;  // past the last one of this kernel
      return Fail("drop bounding capability");
    }
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) != 0 && errno != EINVAL) {
    return Fail("clear ambient capabilities");
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) != 0) return Fail("set no_new_privs");
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (syscall(SYS_capset, &header, none) != 0) return Fail("drop capabilities");
  return {};
}

[[noreturn]] void ReapForEver(const sigset_t& set) {
  for (;;) {
    siginfo_t info;
    int signal = sigwaitinfo(&set, &info);
    // Process 1 must not go because a container of the pod can signal it: a sender that we can name is
    // inside, one outside of our namespace reads as 0 (pid_namespaces(7)).
    if (signal == SIGTERM && info.si_pid == 0) _exit(0);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

// One word for all who see the pod's processes: the arguments are paths of the node. A last byte that is not zero
// makes the kernel show the text up to the first zero and nothing behind it (fs/proc/base.c, get_mm_proctitle);
// prctl(2) PR_SET_MM would want CAP_SYS_RESOURCE. Nothing that was parsed from them can be used from here on.
void HideArguments(int argc, char** argv) {
  constexpr char kName[] = "davit-init";
  char* begin = argv[0];
  char* end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
  auto size = static_cast<size_t>(end - begin);
  if (size < sizeof kName + 1) return;
  memset(begin, 0, size);
  memcpy(begin, kName, sizeof kName);
  end[-1] = ' ';
}

struct CommandLine {
  int argc;
  char** argv;
};

[[noreturn]] void RunInit(const Arguments& arguments, CommandLine line, int channel, const sigset_t& set) {
  char go = 0;
  if (read(channel, &go, 1) != 1) _exit(1);  // the parent failed or died
  setsid();
  prctl(PR_SET_NAME, "davit-init", 0UL, 0UL, 0UL);
  Failure failure = LeaveHostMounts(arguments.mount_label);
  HideArguments(line.argc, line.argv);
  if (failure.step == nullptr) failure = DropPrivileges();
  if (write(channel, &failure, sizeof failure) != static_cast<ssize_t>(sizeof failure) || failure.step != nullptr)
    _exit(1);
  // Only after the parent has printed the number: if it is killed before, nobody would know of this process.
  if (read(channel, &go, 1) != 1) _exit(1);
  syscall(SYS_close_range, 0U, ~0U, 0U);
  ReapForEver(set);
}

int Supervise(const Arguments& arguments, const int* cgroup_fds, int channel, pid_t child) {
  for (int i = 0; i < arguments.cgroups; ++i) {
    if (AddToCgroup(cgroup_fds[i], arguments.cgroup_procs[i], child) != 0) return 1;
  }
  Failure failure;
  if (write(channel, "g", 1) != 1) return Die("start process 1", nullptr, errno);
  if (read(channel, &failure, sizeof failure) != static_cast<ssize_t>(sizeof failure))
    return Die("process 1 ended", nullptr, 0);
  if (failure.step != nullptr) return Die(failure.step, nullptr, failure.err);
  if (dprintf(1, "%d\n", static_cast<int>(child)) < 0) return Die("write", "stdout", errno);
  if (write(channel, "g", 1) != 1) return Die("start process 1", nullptr, errno);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, arguments)) {
    return Die(
        "usage: davit-init [--wait stdin] [--netns PATH] [--ipcns PATH] [--utsns PATH] [--userns PATH] "
        "[--mount-label LABEL] [--cgroup-procs FILE]...",
        nullptr, 0);
  }
  RunFromReadOnlyMount(argv);
  char go = 0;
  if (arguments.wait && read(0, &go, 1) != 1) return Die("nobody says when to begin", nullptr, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);  // inherited: no signal is lost before process 1 waits for it
  signal(SIGPIPE, SIG_IGN);
  if (Join(arguments.netns, CLONE_NEWNET) != 0 || Join(arguments.ipcns, CLONE_NEWIPC) != 0 ||
      Join(arguments.utsns, CLONE_NEWUTS) != 0) {
    return 1;
  }
  int cgroup_fds[kMaxCgroups];
  if (OpenCgroups(arguments, cgroup_fds) != 0 || JoinUser(arguments.userns) != 0) return 1;
  int channel[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0)
    return Die("create socket pair", nullptr, errno);
  if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) return Die("unshare", nullptr, errno);
  pid_t child = fork();
  if (child < 0) return Die("fork", nullptr, errno);
  if (child == 0) {
    close(channel[0]);
    RunInit(arguments, {argc, argv}, channel[1], set);
  }
  close(channel[1]);
  int code = Supervise(arguments, cgroup_fds, channel[0], child);
  if (code != 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  return code;
}
