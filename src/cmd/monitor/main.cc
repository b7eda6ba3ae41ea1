// davit-monitor: the parent of one container. Started by davitd only (monitor/client.h); there is nothing
// for people to call.
#include "monitor/monitor.h"

int main() { return davit::monitor::MonitorMain(); }
