store "sessions" {
  plugin = "bolt"
  path   = "sessions.db"
}
