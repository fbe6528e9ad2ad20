# A configuration that uses every setting there is. Only stores are needed: the
# other settings have the values that hold where nothing is written, unless a
# comment says otherwise.
#
# Durations have units ("90s", "5m", "6h", "7d"), sizes too ("64KiB", "10MB"),
# shares are "10%" or 0.1. Relative paths begin in the directory of this file.

# State, sockets and history. By default $XDG_STATE_HOME/wring, which is
# ~/.local/state/wring where that variable is not set.
data_dir = "/var/lib/wring"

# How many stores are compacted at the same time.
max_parallel = 1

# Where wring-plugin-NAME is looked for, after the directory of wring itself.
# None by default. $PATH is not searched.
plugin_dirs = ["/usr/lib/wring/plugins"]

# What holds for every store that does not say otherwise. A store's every or
# cron replaces either here, its windows replace all windows here, and within
# threshold and retry each setting is replaced by itself.
defaults {
  # How often a store is looked at, or with cron in its place when: minute,
  # hour, day of the month, month, day of the week.
  every = "6h"

  # The time zone of cron and windows. By default "local", that of the machine.
  zone = "Europe/Madrid"

  # An interval is up to so much longer, at random.
  jitter = "10%"

  # Nothing is looked at before the host has run for so long.
  start_delay = "1m"

  threshold {
    # Both must be reached.
    fragmentation = "10%"  # reclaimable, as a share of what is allocated
    min_reclaim   = "1MiB" # reclaimable

    # Reaching this is enough, whatever the share. None by default.
    max_free = "10GiB"
  }

  # The least time between two compactions of one store.
  min_gap = "1h"

  # After so many failed runs in a row a store is left alone until somebody asks
  # for it: wring compact NAME. 0 never gives up.
  quarantine_after = 5

  # A failed attempt is repeated within the run, then the next one is due.
  retry {
    attempts = 1
    delay    = "30s"
  }

  # How the reads and writes of the plugin rank beside those of other programs:
  # "idle" waits until nobody else wants the disk, "normal" is as the host. Only
  # on Linux, and only for disks whose I/O scheduler knows ranks. A new one
  # holds at once, for the compaction that is running too.
  io_priority = "idle"

  # A compaction that makes no progress for so long is cancelled.
  stall_timeout = "5m"

  # A store is overdue when it was not looked at successfully for so long after
  # it was due. By default three times its interval.
  overdue_after = "18h"

  # That a file system is going to be full is told so long before.
  disk_full_within = "3d"
}

# How many runs are remembered, and how many results of each store.
history {
  keep = 20
}

# Where the admin interface answers over TCP, beside the unix socket in data_dir.
# Without this block nothing listens on TCP.
listen {
  # An IP address and a port. Any other than a loopback address needs tls, or
  # tokens can be read on their way.
  address = "127.0.0.1:7333"

  # Names and addresses by which clients come, beside the address itself and
  # localhost. Requests for any other are refused. None by default.
  hosts = ["wring.example.org"]

  # Files in PEM, read again when they change.
  tls {
    certificate = "/etc/wring/tls.pem"
    key         = "/etc/wring/tls.key"

    # With it, clients must show a certificate of one of these authorities: then
    # they may do everything, and no token is asked for. None by default.
    client_ca = "/etc/wring/ca.pem"
  }
}

# Of the stores of a group at most max_parallel are compacted at the same time,
# within the max_parallel of all, and so long after one another.
group "etcd" {
  max_parallel = 1
  settle       = "60s"
}

# A plugin that is found by its name needs no block.
plugin "bolt" {}

plugin "acme" {
  command = "/opt/acme/bin/wring-plugin-acme"
  args    = ["--threads", "2"]

  # The plugin is not run when its program is another: wring plugin pin acme.
  sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

  # Variables of the host's environment that the plugin may see.
  env = ["ACME_LICENSE", "AWS_REGION"]
}

# One database, at 03:00 if a window is open then.
store "sessions" {
  plugin = "bolt"
  path   = "/var/lib/app/sessions.db"
  cron   = "0 3 * * *"

  # Compaction is allowed within windows only. Several may be given. A window
  # that closes before it opens ends on the next day.
  window {
    days = ["sat", "sun"]
    from = "01:00"
    to   = "05:00"
    zone = "Europe/Lisbon" # that of the store by default
  }
  window {
    days = ["fri"]
    from = "23:00"
    to   = "01:00"
  }

  # One of the ways to compact that the plugin knows: wring plugin describe bolt.
  mode = "rewrite"

  # The plugin's own settings, checked against what it says of itself.
  options {
    fill_percent = 0.9
  }
}

# Each file that matches is a store of its own, found anew for each run.
store "logs" {
  plugin = "acme"
  glob   = "/var/lib/app/logs/*.db"
  every  = "1d"

  # It is waited for: no need to yield the disk.
  io_priority = "normal"

  # Reads and writes together, in bytes a second. No limit by default. It may
  # stand in defaults too, if every plugin can be limited: wring plugin
  # describe NAME. When the host reads a new one (wring reload) it holds at once, for
  # the compaction that is running too.
  limit = "50MiB/s"

  threshold {
    fragmentation = "25%"
  }
}

# A store that its application holds open, and compacts itself when it is asked
# to over this socket.
store "queue" {
  owner = "/run/app/wring.sock"
  group = "etcd"
}

# All stores of all applications with a socket in this directory: each is a store
# of its own, apps/SOCKET/STORE, from the moment that its application is there.
store "apps" {
  owner_dir = "/run/wring"
}

# Who is told of what happens: exactly one of webhook, slack and command.
notify "ops" {
  # A JSON document is posted there, signed with what is in the file, which must
  # be closed to others. Without secret_file it is not signed.
  webhook     = "https://hooks.example.org/wring"
  secret_file = "/etc/wring/hook.secret"

  # All events by default: "failed", "degraded", "overdue", "disk_full_soon" and
  # "recovered".
  events = ["degraded", "overdue", "disk_full_soon", "recovered"]

  # Of the stores whose names match. All by default.
  stores = ["sess*", "logs"]
}

# A sentence, in the form that Slack and others take.
notify "chat" {
  slack = "https://hooks.slack.example/services/T000/B000/XXXX"
}

# A program, run without a shell, which reads the document from its stdin.
notify "pager" {
  command = ["/usr/local/bin/page", "--wring"]
  timeout = "30s" # that of every delivery, also to a webhook
  events  = ["degraded"]
}
