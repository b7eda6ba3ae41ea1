// The start-up message of sd_notify(3), without libsystemd: one datagram.
#pragma once

namespace davit::cmd {

// Tells whoever set NOTIFY_SOCKET (systemd, Type=notify) that calls are answered now. Nothing happens without it.
void NotifyReady();

}  // namespace davit::cmd
