// What davit-pull gives up before it reads a byte from anybody.
#pragma once

#include "base/status.h"

namespace davit::pull {

// In this order: an own mount namespace (private, so that nothing propagates), no_new_privs, not dumpable,
// no core files, and of all capabilities only those that unpacking needs:
//   CHOWN, DAC_OVERRIDE, FOWNER, FSETID  owners and modes of the entries
//   MKNOD                                device nodes and whiteouts (character device 0/0)
//   SETFCAP                              security.capability
//   SYS_ADMIN                            trusted.overlay.opaque: the kernel asks for it for trusted.*
// The bounding set shrinks too. A capability that the process does not have to begin with is not missed
// here: the entry that needs it fails with its name. Without CAP_SYS_ADMIN (development, not root) the
// namespace is left out.
Status DropPrivileges();

// For --verify, after DropPrivileges: no network, and a /tmp of its own in memory; where the kernel refuses, as before.
void LeaveNetwork();

}  // namespace davit::pull
