// The geometry and the colours of the picture of a file: cells in rows, as a
// defragmenter shows them.

export interface Grid {
  columns: number
  rows: number
  // pitch is from one cell to the next, size what is painted of it, in pixels.
  pitch: number
  size: number
}

const smallest = 8
const largest = 18

// layOut puts cells into a width so that they take about a height.
export function layOut(cells: number, width: number, height: number): Grid {
  if (cells === 0 || width <= 0) return { columns: 0, rows: 0, pitch: largest, size: largest - 2 }
  const ideal = Math.floor(Math.sqrt((width * height) / cells))
  const pitch = Math.max(smallest, Math.min(largest, ideal))
  const columns = Math.max(1, Math.min(cells, Math.floor(width / pitch)))
  return { columns, rows: Math.ceil(cells / columns), pitch, size: pitch - (pitch > 10 ? 2 : 1) }
}

// cellAt is the index of the cell at a place, or -1.
export function cellAt(grid: Grid, cells: number, x: number, y: number): number {
  const column = Math.floor(x / grid.pitch)
  const row = Math.floor(y / grid.pitch)
  const cell = row * grid.columns + column
  return column < 0 || column >= grid.columns || row < 0 || cell >= cells ? -1 : cell
}

export type Rgb = [number, number, number]

// rgb reads a colour of the style sheet, #rrggbb.
export function rgb(hex: string): Rgb {
  const n = Number.parseInt(hex.slice(1), 16)
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255]
}

// scale are 101 colours from low to high, for 0 to 100 percent.
export function scale(low: Rgb, high: Rgb): string[] {
  return Array.from({ length: 101 }, (_, i) => mix(low, high, i / 100))
}

export function mix(a: Rgb, b: Rgb, share: number): string {
  const part = (i: 0 | 1 | 2) => Math.round(a[i] + (b[i] - a[i]) * share)
  return `rgb(${part(0)} ${part(1)} ${part(2)})`
}

// describe says in a sentence what the picture shows.
export function describe(cells: readonly number[]): string {
  if (cells.length === 0) return 'There is no picture of this store.'
  const of = (wanted: (fill: number) => boolean) => Math.round((100 * cells.filter(wanted).length) / cells.length)
  const mean = Math.round(cells.reduce((a, b) => a + b, 0) / cells.length)
  return (
    `The file in ${cells.length} equal parts, from its beginning to its end: ${of((f) => f === 0)} % of them are empty, ` +
    `${of((f) => f > 0 && f < 90)} % partly filled and ${of((f) => f >= 90)} % full; on average they are ${mean} % full.`
  )
}

// tenths are the mean fill of up to ten consecutive parts of the picture.
export function tenths(cells: readonly number[]): { from: number; to: number; fill: number }[] {
  const parts = Math.min(10, cells.length)
  return Array.from({ length: parts }, (_, i) => {
    const from = Math.floor((i * cells.length) / parts)
    const to = Math.floor(((i + 1) * cells.length) / parts)
    const part = cells.slice(from, to)
    return {
      from: Math.round((100 * from) / cells.length),
      to: Math.round((100 * to) / cells.length),
      fill: Math.round(part.reduce((a, b) => a + b, 0) / part.length),
    }
  })
}
