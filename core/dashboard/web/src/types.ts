// What the host answers, as its OpenAPI document describes it. Only what the
// dashboard shows is here. Times are RFC 3339, sizes bytes.

export type Health = 'healthy' | 'away' | 'overdue' | 'degraded' | 'unresolved'
export type Outcome = 'compacted' | 'skipped' | 'no_op' | 'deferred' | 'failed' | 'cancelled' | 'unknown'

export interface Progress {
  phase: string
  done: number
  total: number
  unit: string
  bytes_read: number
  bytes_written: number
  eta_ms?: number
}

export interface StoreStatus {
  store: string
  configured?: string
  plugin: string
  engine?: string
  path: string
  group?: string
  state: Health
  next_at?: string
  last_compaction_at?: string
  last_success_at?: string
  consecutive_failures: number
  last_outcome?: Outcome
  last_reason?: string
  problem?: string
  hint?: string
  active?: Progress
  total_bytes?: number
  allocated_bytes?: number
  live_bytes?: number
  reclaimable_bytes?: number
  measured_at?: string
  growth_bytes_per_day?: number
  disk_free_bytes?: number
  full_at?: string
  paused_at?: string
}

export interface Plugin {
  name: string
  kind: 'plugin' | 'owner'
  path: string
  state: 'stopped' | 'starting' | 'up' | 'backoff' | 'failed' | 'away'
  pid?: number
  processes?: number
  backend?: string
  version?: string
  engine?: string
  sha256?: string
  pinned: boolean
  leases: number
  started_at?: string
  restarts: number
  last_error?: string
  last_hint?: string
  next_try_at?: string
  last_lines?: string[]
}

export interface Status {
  version: string
  pid: number
  started_at: string
  config_file: string
  data_dir: string
  last_event_id: number
  running: string[]
  stores: StoreStatus[]
  plugins: Plugin[]
  reclaimed_bytes_total?: number
}

export interface Result {
  store: string
  plugin: string
  engine: string
  outcome: Outcome | ''
  code?: string
  reason: string
  attempts: number
  total_bytes_before: number
  total_bytes_after: number
  reclaimed_bytes: number
  predicted_bytes: number
  duration_ms: number
  pause_ms: number
  mode: string
  verified: boolean
  items: number
  digest: string
  error?: string
  hint?: string
  run: string
  started_at?: string
  finished_at?: string
}

export interface Run {
  id: string
  trigger: 'schedule' | 'manual'
  started_at: string
  finished_at?: string
  reclaimed_bytes: number
  results: Result[] | null
}

export interface Event {
  id: number
  time: string
  name: string
  message: string
  dropped?: number
  run?: string
  store?: string
  plugin?: string
  progress?: Progress
  result?: Result
}

export interface Layer {
  name: string
  bytes: number
  cell_bytes: number[] | null
  live_percent: number[] | null
  garbage_percent: number[] | null
  tombstone_percent: number[] | null
}

export interface Inspection {
  store: string
  plugin: string
  engine: string
  path: string
  total_bytes: number
  allocated_bytes: number
  live_bytes: number
  reclaimable_bytes: number
  ratio: number
  method: string
  mode?: string
  note?: string
  obstacle?: { error: string; hint?: string }
  metrics: Record<string, number> | null
  map: number[] | null
  layers?: Layer[] | null
  error?: string
  hint?: string
}

export interface Plan {
  store: string
  plugin: string
  engine: string
  path: string
  action: 'compact' | 'skip' | 'defer' | 'error'
  code: string
  reason: string
  mode: string
  mode_reason?: string
  allocated_bytes: number
  predicted_bytes: number
  ratio: number
  next_at?: string
  warnings?: string[]
  error?: string
  hint?: string
}

export interface Sample {
  at: string
  total_bytes: number
  allocated_bytes: number
  live_bytes: number
  reclaimable_bytes: number
}

export interface Session {
  authentication: 'none' | 'token' | 'certificate'
  scope: 'read' | 'operate' | ''
}
