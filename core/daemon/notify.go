package daemon

import (
	"context"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notify tells the service manager, where there is one, about a change of state.
func (h *host) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		h.logger.Warn("telling the service manager", "error", err)
	}
}

// notifyReload tells that the configuration is being read again. The manager
// wants the moment, so as to tell this reload from an older one.
func (h *host) notifyReload() {
	h.notify(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
}

// feedWatchdog shows signs of life at twice the rate that the service manager
// asks for, as long as the scheduling loop answers.
func (h *host) feedWatchdog(ctx context.Context) {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		h.logger.Warn("the service manager's watchdog is set up wrongly", "error", err)
		return
	}
	if interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return
		case h.ping <- struct{}{}: // taken by the loop
			h.notify(systemd.SdNotifyWatchdog)
		}
	}
}
