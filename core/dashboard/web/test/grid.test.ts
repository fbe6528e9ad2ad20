import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cellAt, describe, layOut, rgb, scale, tenths } from '../src/grid'

test('a grid holds all cells within its width', () => {
  for (const cells of [1, 7, 64, 1024]) {
    for (const width of [40, 328, 1200]) {
      const g = layOut(cells, width, 220)
      assert.ok(g.columns * g.pitch <= width, `${cells} cells in ${width}`)
      assert.ok(g.columns * g.rows >= cells && g.columns * (g.rows - 1) < cells)
      assert.equal(cellAt(g, cells, 1, 1), 0)
      const last = cells - 1
      assert.equal(cellAt(g, cells, (last % g.columns) * g.pitch + 1, Math.floor(last / g.columns) * g.pitch + 1), last)
      assert.equal(cellAt(g, cells, 1, g.rows * g.pitch + 1), -1)
    }
  }
  assert.equal(layOut(0, 300, 200).columns, 0)
})

test('the scale goes from low to high', () => {
  const s = scale(rgb('#000000'), rgb('#6496ff'))
  assert.equal(s.length, 101)
  assert.deepEqual([s[0], s[50], s[100]], ['rgb(0 0 0)', 'rgb(50 75 128)', 'rgb(100 150 255)'])
})

test('the picture can be read aloud', () => {
  const cells = [...Array(50).fill(0), ...Array(25).fill(40), ...Array(25).fill(100)]
  assert.match(describe(cells), /100 equal parts.*50 % of them are empty, 25 % partly filled and 25 % full; on average they are 35 % full/)
  assert.match(describe([]), /no picture/)
  const parts = tenths(cells)
  assert.equal(parts.length, 10)
  assert.deepEqual(parts[0], { from: 0, to: 10, fill: 0 })
  assert.deepEqual(parts[7], { from: 70, to: 80, fill: 70 })
  assert.equal(tenths([5, 10]).length, 2)
})
