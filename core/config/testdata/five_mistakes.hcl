data_dir = "/var/lib/wring"

defaults {
  evry = "6h"
  threshold {
    fragmentation = 10
  }
}

plugin "bolt" {}

store "sessions" {
  plugin = "bolt"
  path   = "/var/lib/app/sessions.db"
  cron   = "0 3 31 2 *"
  options {
    fill_percent = 3
  }
}

store "sessions" {
  plugin = "bolt"
  path   = "/var/lib/app/queue.db"
}
