// What is known of the host, and how an event changes it. Pure: whoever talks
// to the host is in live.ts.
import type { Event, Progress, Session, Status, StoreStatus } from './types'

// Active is a compaction under way.
export interface Active {
  store: string
  run: string
  plugin: string
  // progress is missing until the backend has said something.
  progress?: Progress
  // since is when this window first heard of it, in ms.
  since: number
}

export interface World {
  session?: Session
  status?: Status
  // byName finds a store of status.
  byName: ReadonlyMap<string, StoreStatus>
  active: ReadonlyMap<string, Active>
  // events are the last ones, the newest first.
  events: readonly Event[]
  lastID: number
  link: Link
}

// Link is the connection to the host. Away, it is tried again at a time.
export type Link = { state: 'connecting' } | { state: 'live' } | { state: 'away'; since: number; retryAt: number }

export const nothing: World = { byName: new Map(), active: new Map(), events: [], lastID: 0, link: { state: 'connecting' } }

// How many events are kept: those of progress, which are many, and the others.
const keep = 500
const keepProgress = 50

// withStatus is the world once status has come. A host that was started anew
// begins to count its events again.
export function withStatus(world: World, status: Status, now: number): World {
  const anew = world.status !== undefined && world.status.started_at !== status.started_at
  const active = new Map<string, Active>()
  for (const s of status.stores) {
    if (!s.active) continue
    const before = anew ? undefined : world.active.get(s.store)
    active.set(s.store, {
      store: s.store,
      run: before?.run ?? '',
      plugin: s.plugin,
      since: before?.since ?? now,
      ...(s.active.phase ? { progress: s.active } : {}),
    })
  }
  return {
    ...world,
    status,
    byName: new Map(status.stores.map((s) => [s.store, s])),
    active,
    lastID: anew ? 0 : world.lastID,
    events: anew ? [restarted(status), ...world.events] : world.events,
  }
}

function restarted(status: Status): Event {
  return { id: 0, time: status.started_at, name: 'host_restarted', message: `the host was started again as process ${status.pid}` }
}

// withEvents is the world after events, in the order in which they came. Those
// that status has seen already only go to the list.
export function withEvents(world: World, events: readonly Event[], now: number): World {
  if (events.length === 0) return world
  const active = new Map(world.active)
  let lastID = world.lastID
  for (const e of events) {
    lastID = e.id
    if (!e.store || e.id <= (world.status?.last_event_id ?? 0)) continue
    if (e.result) {
      active.delete(e.store)
    } else if (e.name === 'compaction_started' || e.name === 'compaction_progress') {
      const before = active.get(e.store)
      const progress = e.progress ?? before?.progress
      active.set(e.store, {
        store: e.store,
        run: e.run ?? '',
        plugin: e.plugin ?? '',
        since: before?.since ?? now,
        ...(progress ? { progress } : {}),
      })
    }
  }
  return { ...world, active, lastID, events: trimmed([...[...events].reverse(), ...world.events]) }
}

function trimmed(events: Event[]): Event[] {
  let progress = 0
  return events.filter((e) => e.name !== 'compaction_progress' || ++progress <= keepProgress).slice(0, keep)
}

// changesStatus says whether status is to be asked for again.
export function changesStatus(e: Event): boolean {
  return e.result !== undefined || !['compaction_progress', 'compaction_started'].includes(e.name)
}

// share of a phase that is done, from 0 to 1; undefined where nobody knows.
export function share(p: Progress | undefined): number | undefined {
  return p && p.total > 0 ? Math.min(1, p.done / p.total) : undefined
}

// patternOf finds the pattern of one of its files, whose name begins with the
// pattern's.
export function patternOf(byName: ReadonlyMap<string, StoreStatus>, file: string): StoreStatus | undefined {
  if (byName.has(file)) return undefined
  for (let end = file.lastIndexOf('/'); end > 0; end = file.lastIndexOf('/', end - 1)) {
    const pattern = byName.get(file.slice(0, end))
    if (pattern) return pattern
  }
  return undefined
}

// foundBy are the stores that were found by what has a name in the configuration.
export function foundBy(byName: ReadonlyMap<string, StoreStatus>, name: string): StoreStatus[] {
  return [...byName.values()].filter((s) => s.configured === name && s.store !== name)
}
