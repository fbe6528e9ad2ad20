import assert from 'node:assert/strict'
import { test } from 'node:test'
import { filtered, sorted, visible } from '../src/list'
import type { StoreStatus } from '../src/types'

function store(name: string, more: Partial<StoreStatus> = {}): StoreStatus {
  return { store: name, plugin: 'bolt', path: `/data/${name}.db`, state: 'healthy', consecutive_failures: 0, ...more }
}

const names = (stores: StoreStatus[]) => stores.map((s) => s.store).join(' ')

test('what is not known comes last, whichever way', () => {
  const stores = [store('b'), store('c', { reclaimable_bytes: 1 }), store('a', { reclaimable_bytes: 9 }), store('d', { reclaimable_bytes: 0 })]
  assert.equal(names(sorted(stores, { column: 'reclaimable', down: true })), 'a c d b')
  assert.equal(names(sorted(stores, { column: 'reclaimable', down: false })), 'd c a b')
})

test('names sort as people count, and settle ties', () => {
  const stores = [store('shard-10'), store('shard-9'), store('Shard-1')]
  assert.equal(names(sorted(stores, { column: 'name', down: false })), 'Shard-1 shard-9 shard-10')
  assert.equal(names(sorted(stores, { column: 'size', down: true })), 'Shard-1 shard-9 shard-10')
})

test('the least healthy comes first', () => {
  const stores = [store('well'), store('odd', { problem: 'there is no such file' }), store('late', { state: 'overdue' }), store('lost', { state: 'unresolved' }), store('failed', { last_outcome: 'failed' })]
  assert.equal(names(sorted(stores, { column: 'health', down: true })), 'lost late odd failed well')
})

test('every word is looked for, and each of the shows has its stores', () => {
  const stores = [store('sessions'), store('events', { plugin: 'pebble', engine: 'Pebble' }), store('late', { state: 'overdue' }), store('quiet', { paused_at: '2026-03-01T12:00:00Z' }), store('failed', { last_outcome: 'failed' }), store('skipped', { last_outcome: 'skipped' })]
  const none = new Map()
  assert.equal(names(filtered(stores, 'PEBBLE events', 'all', none)), 'events')
  assert.equal(names(filtered(stores, 'pebble sessions', 'all', none)), '')
  assert.equal(names(filtered(stores, '', 'attention', none)), 'late failed')
  assert.equal(names(filtered(stores, '', 'paused', none)), 'quiet')
  assert.equal(names(filtered(stores, '', 'running', new Map([['sessions', { store: 'sessions', run: '', plugin: '', since: 0 }]]))), 'sessions')
})

test('only the rows round the screen are drawn', () => {
  assert.deepEqual(visible(1000, 36, -200, 800), [0, 25])
  const [first, end] = visible(1000, 36, 18_000, 800)
  assert.ok(first <= 500 && first > 480 && end >= 523 && end < 540, `${first} to ${end}`)
  assert.deepEqual(visible(1000, 36, 40_000, 800), [1000, 1000])
  assert.deepEqual(visible(0, 36, 0, 800), [0, 0])
})
