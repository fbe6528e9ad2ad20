// The picture of a file: a grid of cells, each as strong as its part is full,
// and while the store is compacted a front that moves over it.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { bytes } from './format'
import { cellAt, describe, type Grid, layOut, mix, rgb, scale, tenths } from './grid'
import { use } from './observable'
import { color, theme } from './theme'
import type { Progress } from './types'
import { share } from './world'

interface Props {
  cells: readonly number[]
  // size of the whole picture, in bytes.
  size: number
  progress: Progress | undefined
}

export function FileMap({ cells, size, progress }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const width = useWidth(canvas)
  const dark = use(theme, (t) => t)
  const [pointed, setPointed] = useState(-1)
  const grid = layOut(cells.length, width, width < 500 ? 320 : 220)
  const part = share(progress)
  const front = part === undefined ? -1 : Math.min(cells.length - 1, Math.floor(part * cells.length))

  useLayoutEffect(() => {
    if (canvas.current) paint(canvas.current, grid, cells, front, pointed)
  }, [cells, front, pointed, width, dark])

  if (cells.length === 0) return <p class="empty">{describe(cells)}</p>
  const moves: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: grid.columns, ArrowUp: -grid.columns, Home: -cells.length, End: cells.length }
  return (
    <div class="map">
      <canvas
        ref={canvas}
        role="img"
        tabIndex={0}
        aria-label={describe(cells)}
        aria-describedby="map-cell"
        data-cells={cells.length}
        data-front={front}
        onPointerMove={(e) => setPointed(cellAt(grid, cells.length, e.offsetX, e.offsetY))}
        onPointerLeave={() => setPointed(-1)}
        onBlur={() => setPointed(-1)}
        onKeyDown={(e) => {
          const by = moves[e.key]
          if (by === undefined) return
          e.preventDefault()
          setPointed((at) => (at < 0 ? 0 : Math.max(0, Math.min(cells.length - 1, at + by))))
        }}
      />
      <div class="legend">
        <span>
          <i class="free" /> free
        </span>
        <span>
          <i class="partly" /> partly filled
        </span>
        <span>
          <i class="full" /> full
        </span>
        {front >= 0 && (
          <span>
            <i class="done" /> {progress?.phase} done
          </span>
        )}
        <output id="map-cell">{pointed >= 0 && pointed < cells.length ? place(pointed, cells, size) : ''}</output>
      </div>
      <details>
        <summary>The picture as text</summary>
        <p>{describe(cells)}</p>
        <table class="tenths">
          <thead>
            <tr>
              <th scope="col">part of the file</th>
              <th scope="col">filled</th>
            </tr>
          </thead>
          <tbody>
            {tenths(cells).map((t) => (
              <tr key={t.from}>
                <td>
                  {t.from} to {t.to} %
                </td>
                <td>{t.fill} %</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </div>
  )
}

function place(cell: number, cells: readonly number[], size: number): string {
  const from = (size * cell) / cells.length
  const to = (size * (cell + 1)) / cells.length
  return `${bytes(Math.round(from))} to ${bytes(Math.round(to))}: ${cells[cell]} % full`
}

function paint(canvas: HTMLCanvasElement, grid: Grid, cells: readonly number[], front: number, pointed: number): void {
  const ratio = devicePixelRatio || 1
  const width = grid.columns * grid.pitch
  const height = grid.rows * grid.pitch
  canvas.width = Math.ceil(width * ratio)
  canvas.height = Math.ceil(height * ratio)
  canvas.style.height = `${height}px`
  canvas.style.width = `${width}px`
  const c = canvas.getContext('2d')
  if (!c) return
  c.scale(ratio, ratio)
  const low = rgb(color('--map-low'))
  const fill = scale(low, rgb(color('--map-high')))
  const done = scale(rgb(color('--done-low')), rgb(color('--done-high')))
  const free = color('--map-free')
  const freeEdge = color('--map-edge')
  const freeDone = mix(rgb(free), rgb(color('--done-low')), 0.5)
  for (let i = 0; i < cells.length; i++) {
    const x = (i % grid.columns) * grid.pitch
    const y = Math.floor(i / grid.columns) * grid.pitch
    const part = Math.max(0, Math.min(100, cells[i]!))
    if (part === 0) {
      c.fillStyle = i < front ? freeDone : free
      c.fillRect(x, y, grid.size, grid.size)
      c.strokeStyle = freeEdge
      c.strokeRect(x + 0.5, y + 0.5, grid.size - 1, grid.size - 1)
    } else {
      c.fillStyle = (i < front ? done : fill)[part]!
      c.fillRect(x, y, grid.size, grid.size)
    }
  }
  const mark = (cell: number, paintIt: (x: number, y: number) => void) => {
    if (cell >= 0 && cell < cells.length) paintIt((cell % grid.columns) * grid.pitch, Math.floor(cell / grid.columns) * grid.pitch)
  }
  mark(front, (x, y) => {
    c.fillStyle = color('--front')
    c.fillRect(x - 1, y - 1, grid.size + 2, grid.size + 2)
  })
  mark(pointed, (x, y) => {
    c.strokeStyle = color('--text')
    c.lineWidth = 2
    c.strokeRect(x, y, grid.size, grid.size)
  })
}

// useWidth is how wide the parent of an element is.
export function useWidth(element: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0)
  const parent = element.current?.parentElement
  useLayoutEffect(() => setWidth(element.current?.parentElement?.clientWidth ?? 0))
  useEffect(() => {
    const watched = element.current?.parentElement
    if (!watched) return
    const observer = new ResizeObserver(() => setWidth(watched.clientWidth))
    observer.observe(watched)
    return () => observer.disconnect()
  }, [parent])
  return width
}
