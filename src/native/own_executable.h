// The runtime's own program, out of the container's reach.
//
// A container can make the runtime execute itself inside the container ("#!/proc/self/exe", CVE-2019-5736) and then
// write to that file through /proc/<pid>/exe. So the program runs from a mount that is read-only and belongs to no
// mount namespace, where nobody can make it writable again.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::native {

// A descriptor to execute (execveat, AT_EMPTY_PATH) instead of `path`: a detached read-only mount of that one file
// (open_tree, mount_setattr); where the caller may not mount, a sealed copy in memory.
Result<sys::UniqueFd> ProtectedExecutable(const std::string& path);

// For the first lines of main(): executes this program again from a ProtectedExecutable of itself, with the same
// arguments and environment. Returns OK in the program that runs protected, an error when it cannot be.
Status ProtectSelf(char** argv, char** envp);

}  // namespace davit::native
