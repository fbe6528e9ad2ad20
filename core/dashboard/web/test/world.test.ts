import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from '../src/route'
import type { Event, Progress, Status } from '../src/types'
import { changesStatus, foundBy, nothing, patternOf, share, withEvents, withStatus, type World } from '../src/world'

const progress = (done: number): Progress => ({ phase: 'copy', done, total: 100, unit: 'bytes', bytes_read: 0, bytes_written: 0 })
const event = (id: number, name: string, more: Partial<Event> = {}): Event => ({ id, time: '2026-03-01T12:00:00Z', name, message: '', ...more })

function status(more: Partial<Status> = {}): Status {
  return {
    version: '1', pid: 1, started_at: '2026-03-01T00:00:00Z', config_file: '', data_dir: '', last_event_id: 10, running: [], plugins: [],
    stores: [{ store: 'a', plugin: 'bolt', path: '/a', state: 'healthy', consecutive_failures: 0 }],
    ...more,
  }
}

const begun = (more: Partial<Status> = {}): World => withStatus(nothing, status(more), 0)

test('a compaction is active from its first event to its result', () => {
  let w = withEvents(begun(), [event(11, 'compaction_started', { store: 'a', run: 'r' })], 5)
  assert.deepEqual(w.active.get('a'), { store: 'a', run: 'r', plugin: '', since: 5 })
  w = withEvents(w, [event(12, 'compaction_progress', { store: 'a', run: 'r', progress: progress(40) })], 9)
  assert.equal(share(w.active.get('a')?.progress), 0.4)
  assert.equal(w.active.get('a')?.since, 5)
  w = withEvents(w, [event(13, 'compaction_failed', { store: 'a', result: {} as never })], 9)
  assert.equal(w.active.size, 0)
  assert.equal(w.lastID, 13)
  assert.equal(w.events[0]?.id, 13)
})

test('what the status knows already only goes to the list', () => {
  const w = withEvents(begun(), [event(9, 'compaction_started', { store: 'a' })], 5)
  assert.equal(w.active.size, 0)
  assert.equal(w.events.length, 1)
})

test('status tells what was under way before', () => {
  const stores = [{ ...status().stores[0]!, active: progress(10) }]
  const w = begun({ stores })
  assert.equal(share(w.active.get('a')?.progress), 0.1)
  assert.equal(withStatus(w, status(), 1).active.size, 0)
})

test('a host that was started anew counts from the beginning', () => {
  let w = withEvents(begun(), [event(11, 'run_started')], 0)
  w = withStatus(w, status({ started_at: '2026-03-02T00:00:00Z', last_event_id: 0 }), 0)
  assert.equal(w.lastID, 0)
  assert.equal(w.events[0]?.name, 'host_restarted')
})

test('progress does not push other events out of the list', () => {
  let w = withEvents(begun(), [event(11, 'run_started')], 0)
  w = withEvents(w, Array.from({ length: 5000 }, (_, i) => event(12 + i, 'compaction_progress', { store: 'a', progress: progress(1) })), 0)
  assert.equal(w.events.filter((e) => e.name === 'compaction_progress').length, 50)
  assert.equal(w.events.at(-1)?.name, 'run_started')
})

test('status is asked for again when something has ended', () => {
  assert.equal(changesStatus(event(1, 'compaction_progress')), false)
  assert.equal(changesStatus(event(1, 'compaction_complete', { result: {} as never })), true)
  assert.equal(changesStatus(event(1, 'plugin_down')), true)
})

test('addresses name pages, and stores of any name', () => {
  assert.deepEqual(parse(''), { page: 'stores' })
  assert.deepEqual(parse('#/store/logs%2Fa%20b.db'), { page: 'store', store: 'logs/a b.db' })
  assert.deepEqual(parse('#/store/logs/a.db'), { page: 'store', store: 'logs/a.db' })
  assert.deepEqual(parse('#/store/%'), { page: 'none' })
  assert.deepEqual(parse('#/nowhere'), { page: 'none' })
})

test('a file belongs to the pattern whose name it begins with', () => {
  const stores = ['logs', 'logs/old', 'log'].map((name) => ({ ...status().stores[0]!, store: name }))
  const found = { ...status().stores[0]!, store: 'apps/shop/carts', configured: 'apps' }
  const { byName } = begun({ stores: [...stores, found] })
  assert.equal(patternOf(byName, 'logs/a/b.db')?.store, 'logs')
  assert.equal(patternOf(byName, 'logs/old/b.db')?.store, 'logs/old')
  assert.equal(patternOf(byName, 'logs/old'), undefined)
  assert.equal(patternOf(byName, 'nothing'), undefined)
  assert.deepEqual(foundBy(byName, 'apps').map((s) => s.store), ['apps/shop/carts'])
  assert.deepEqual(foundBy(byName, 'logs'), [])
})
