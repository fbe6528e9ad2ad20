import assert from 'node:assert/strict'
import { test } from 'node:test'
import { amount, bytes, coarse, count, percent, relative, span } from '../src/format'

test('bytes are in IEC units', () => {
  for (const [n, want] of [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1536, '1.5 KiB'],
    [1024 ** 2 - 1, '1.0 MiB'], // not 1024.0 KiB
    [72.6 * 1024 ** 2, '72.6 MiB'],
    [-3 * 1024 ** 3, '−3.0 GiB'],
    [2 ** 63, '8.0 EiB'],
  ] as const) {
    assert.equal(bytes(n), want)
  }
})

test('a share is never rounded to nothing or to all', () => {
  assert.equal(percent(0), '0 %')
  assert.equal(percent(0.004), '<1 %')
  assert.equal(percent(0.745), '75 %')
  assert.equal(percent(0.999), '>99 %')
  assert.equal(percent(1), '100 %')
})

test('spans have the units that matter', () => {
  for (const [ms, want] of [
    [0, '0 ms'],
    [850, '850 ms'],
    [2100, '2.1 s'],
    [9970, '10 s'],
    [99_000, '99 s'],
    [150_000, '3 min'],
    [3_600_000, '1 h'],
    [15_600_000, '4 h 20 min'],
    [36 * 3_600_000, '36 h'],
    [86_400_000 * 12, '12 days'],
    [86_400_000 * 365 * 3, '3 years'],
  ] as const) {
    assert.equal(span(ms), want)
  }
})

test('moments are seen from now', () => {
  const now = Date.UTC(2026, 2, 1)
  assert.equal(relative(now - 400, now), 'now')
  assert.equal(relative(now - 5_400, now), '5 s ago')
  assert.equal(relative(now + 7_200_000, now), 'in 2 h')
})

test('what goes on is told in whole seconds, and never as nothing', () => {
  assert.equal(coarse(40), '1 s')
  assert.equal(coarse(6_400), '6 s')
  assert.equal(coarse(150_000), '3 min')
})

test('amounts are in the unit of the backend', () => {
  assert.equal(amount(3 * 1024 ** 2, 'bytes'), '3.0 MiB')
  assert.equal(amount(12_345, 'keys'), '12\u202f345 keys')
  assert.equal(count(7), '7')
})
