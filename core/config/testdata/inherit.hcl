# What stores take over from defaults, and what they replace.
defaults {
  cron = "0 3 * * *"
  zone = "Europe/Madrid"
  window {
    from = "01:00"
    to   = "05:00"
  }
  threshold {
    fragmentation = "20%"
    min_reclaim   = "5MB"
  }
  retry {
    attempts = 3
  }
}

store "all" {
  plugin = "bolt"
  path   = "/a"
}

store "interval" {
  plugin = "bolt"
  path   = "/b"
  every  = "12h"
  threshold {
    min_reclaim = 4096
  }
  retry {
    delay = "0s"
  }
}

store "zone" {
  plugin = "bolt"
  path   = "/c"
  zone   = "local"
  window {
    days = ["Saturday"]
  }
}
