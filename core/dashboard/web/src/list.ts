// Which stores the overview shows, in which order, and which part of them is
// on the screen.
import type { StoreStatus } from './types'
import type { Active } from './world'

export type Column = 'name' | 'engine' | 'size' | 'reclaimable' | 'growth' | 'full' | 'last' | 'next' | 'health'

export interface Order {
  column: Column
  // down is from the largest to the smallest.
  down: boolean
}

export type Show = 'all' | 'attention' | 'running' | 'paused'

const severity = { healthy: 0, away: 1, overdue: 2, degraded: 3, unresolved: 4 } as const

// value is what a column sorts by; undefined comes last in both directions.
function value(s: StoreStatus, column: Column): number | string | undefined {
  switch (column) {
    case 'name':
      return s.store
    case 'engine':
      return s.engine || s.plugin || undefined
    case 'size':
      return s.total_bytes
    case 'reclaimable':
      return s.reclaimable_bytes
    case 'growth':
      return s.growth_bytes_per_day
    case 'full':
      return time(s.full_at)
    case 'last':
      return time(s.last_compaction_at)
    case 'next':
      return time(s.next_at)
    case 'health':
      return severity[s.state] + (s.problem ? 0.5 : hasFailed(s) ? 0.4 : 0)
  }
}

function time(at: string | undefined): number | undefined {
  return at === undefined ? undefined : Date.parse(at)
}

// startsDown says whether the largest of a column is what a person looks for.
export function startsDown(column: Column): boolean {
  return ['size', 'reclaimable', 'growth', 'last', 'health'].includes(column)
}

const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' })

export function sorted(stores: readonly StoreStatus[], order: Order): StoreStatus[] {
  const sign = order.down ? -1 : 1
  return stores
    .map((s) => ({ s, v: value(s, order.column) }))
    .sort((a, b) => {
      if (a.v === undefined || b.v === undefined) {
        if (a.v !== b.v) return a.v === undefined ? 1 : -1
      } else if (typeof a.v === 'string' || typeof b.v === 'string') {
        const c = collator.compare(String(a.v), String(b.v))
        if (c !== 0) return sign * c
      } else if (a.v !== b.v) {
        return sign * (a.v - b.v)
      }
      return collator.compare(a.s.store, b.s.store)
    })
    .map(({ s }) => s)
}

// needsAttention says whether a person should look at a store.
export function needsAttention(s: StoreStatus): boolean {
  return s.state !== 'healthy' || s.problem !== undefined || hasFailed(s)
}

// hasFailed says whether the last run could not do what it was to do: one failure
// is not enough for another state.
export function hasFailed(s: StoreStatus): boolean {
  return s.last_outcome === 'failed' || s.last_outcome === 'unknown'
}

// filtered are the stores of which every word is in the name, or in what else
// tells stores apart.
export function filtered(stores: readonly StoreStatus[], words: string, show: Show, active: ReadonlyMap<string, Active>): StoreStatus[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  return stores.filter((s) => {
    if (show === 'attention' && !needsAttention(s)) return false
    if (show === 'running' && !active.has(s.store)) return false
    if (show === 'paused' && s.paused_at === undefined) return false
    const text = [s.store, s.engine, s.plugin, s.path, s.group, s.state].join(' ').toLowerCase()
    return wanted.every((w) => text.includes(w))
  })
}

// How many rows beyond the screen are drawn, so that a quick turn of the wheel
// meets no gap.
const beyond = 8

// visible are the first row to draw and the one after the last. Above is how
// far the list's begin lies above the screen's, in pixels like the heights.
export function visible(rows: number, rowHeight: number, above: number, screen: number): [first: number, end: number] {
  const first = Math.max(0, Math.floor(above / rowHeight) - beyond)
  const end = Math.min(rows, Math.ceil((above + screen) / rowHeight) + beyond)
  return [Math.min(first, rows), Math.max(end, 0)]
}
