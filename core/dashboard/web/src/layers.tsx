// What lies where in a store that is written in layers: one strip for each, the
// newest on top, from the smallest keys to the largest.
import { useLayoutEffect, useRef } from 'preact/hooks'
import { bytes } from './format'
import { useWidth } from './map'
import { use } from './observable'
import { color, theme } from './theme'
import type { Layer } from './types'

export function Layers({ layers }: { layers: readonly Layer[] }) {
  const most = Math.max(1, ...layers.flatMap((l) => l.cell_bytes ?? []))
  return (
    <div class="layers">
      <div role="table" aria-label="Layers of the store">
        {layers.map((l) => (
          <div key={l.name} role="row">
            <span role="rowheader">{l.name}</span>
            <span role="cell" class="size">
              {bytes(l.bytes)}
            </span>
            <span role="cell" class="strip">
              <Strip layer={l} most={most} />
            </span>
          </div>
        ))}
      </div>
      <div class="legend">
        <span>
          <i class="full" /> live
        </span>
        <span>
          <i class="garbage" /> garbage
        </span>
        <span>
          <i class="tombstone" /> tombstones
        </span>
        <span>
          <i class="unknown" /> not known
        </span>
        <span class="faint">from the smallest keys to the largest; as high as there are bytes</span>
      </div>
    </div>
  )
}

const height = 26

function Strip({ layer, most }: { layer: Layer; most: number }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const width = useWidth(canvas)
  const dark = use(theme, (t) => t)
  useLayoutEffect(() => {
    if (canvas.current) paint(canvas.current, layer, most, width)
  }, [layer, most, width, dark])
  return <canvas ref={canvas} role="img" aria-label={describe(layer)} />
}

type Part = 'live_percent' | 'garbage_percent' | 'tombstone_percent'

// describe is "L6: 54.0 MiB, 48 % live, 50 % garbage, 1 % tombstones".
function describe(l: Layer): string {
  const cells = l.cell_bytes ?? []
  const all = cells.reduce((a, b) => a + b, 0)
  const of = (part: Part) => {
    const sum = cells.reduce((a, b, i) => a + (b * (l[part]?.[i] ?? 0)) / 100, 0)
    return all > 0 ? Math.round((100 * sum) / all) : 0
  }
  return `${l.name}: ${bytes(l.bytes)}, ${of('live_percent')} % live, ${of('garbage_percent')} % garbage, ${of('tombstone_percent')} % tombstones`
}

function paint(canvas: HTMLCanvasElement, l: Layer, most: number, width: number): void {
  const ratio = devicePixelRatio || 1
  canvas.width = Math.ceil(width * ratio)
  canvas.height = height * ratio
  canvas.style.width = `${width}px`
  canvas.style.height = `${height}px`
  const c = canvas.getContext('2d')
  if (!c || width === 0) return
  c.scale(ratio, ratio)
  c.fillStyle = color('--map-free')
  c.fillRect(0, height - 1, width, 1)
  const cells = l.cell_bytes ?? []
  const gap = color('--panel')
  const parts: [Part, string][] = [
    ['live_percent', color('--map-high')],
    ['garbage_percent', color('--garbage')],
    ['tombstone_percent', color('--tombstone')],
  ]
  const step = width / cells.length
  cells.forEach((b, i) => {
    if (b <= 0) return
    const x = Math.round(i * step)
    const w = Math.max(1, Math.round((i + 1) * step) - x - (step > 4 ? 1 : 0))
    // The root keeps the small ones in sight.
    const tall = Math.max(3, Math.sqrt(b / most) * height)
    c.fillStyle = color('--map-edge')
    c.fillRect(x, height - tall, w, tall)
    let y = height
    for (const [part, tone] of parts) {
      const h = (tall * (l[part]?.[i] ?? 0)) / 100
      c.fillStyle = tone
      c.fillRect(x, y - h, w, h)
      if (part === 'garbage_percent') stripe(c, gap, x, y, w, h)
      y -= h
    }
  })
}

// stripe tells garbage from what is live for who does not see it by the hue.
function stripe(c: CanvasRenderingContext2D, gap: string, x: number, y: number, w: number, h: number): void {
  c.fillStyle = gap
  for (let up = 2; up + 1 <= h; up += 3) c.fillRect(x, y - up - 1, w, 1)
}
