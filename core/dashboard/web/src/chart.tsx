// Size and what is reclaimable of a store, over time.
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { api } from './api'
import { bytes, exact, plural, relative } from './format'
import { onEvent } from './live'
import { use } from './observable'
import { color, theme } from './theme'
import type { Sample } from './types'

const limit = 1000
const renewEvery = 60_000

// SizeChart asks again when something has ended, now and then, and when planned
// changes: with a plan the host takes a sample.
export function SizeChart({ store, planned }: { store: string; planned: number | undefined }) {
  const [samples, setSamples] = useState<Sample[]>()
  useEffect(() => {
    let gone = false
    const ask = () =>
      api.samples(store, limit).then(
        (s) => gone || setSamples(s ?? []),
        () => {}, // what was there stays
      )
    void ask()
    const timer = setInterval(() => void ask(), renewEvery)
    const stop = onEvent((e) => e.store === store && e.result && void ask())
    return () => {
      gone = true
      clearInterval(timer)
      stop()
    }
  }, [store, planned])
  if (!samples) return <p class="empty">…</p>
  if (samples.length === 0) return <p class="empty">Nothing has been sampled yet.</p>
  return <Plot samples={samples} />
}

function Plot({ samples }: { samples: Sample[] }) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const dark = use(theme, (t) => t)

  useEffect(() => {
    if (!box.current) return
    const made = new uPlot(options(box.current.clientWidth), data(samples), box.current)
    plot.current = made
    const watched = box.current
    const observer = new ResizeObserver(() => made.setSize({ width: watched.clientWidth, height }))
    observer.observe(watched)
    return () => {
      observer.disconnect()
      made.destroy()
      plot.current = null
    }
  }, [dark])
  useEffect(() => plot.current?.setData(data(samples)), [samples])

  return (
    <figure class="chart">
      <div ref={box} role="img" aria-label={describe(samples)} />
    </figure>
  )
}

const height = 210

function data(samples: Sample[]): uPlot.AlignedData {
  return [
    samples.map((s) => Date.parse(s.at) / 1000),
    samples.map((s) => s.allocated_bytes),
    samples.map((s) => s.live_bytes),
    samples.map((s) => s.reclaimable_bytes),
  ]
}

function describe(samples: Sample[]): string {
  const first = samples[0]!
  const last = samples.at(-1)!
  return (
    `${plural(samples.length, 'measurement')} since ${relative(Date.parse(first.at), Date.now())}: ` +
    `from ${bytes(first.allocated_bytes)} on the disk, ${bytes(first.reclaimable_bytes)} of it reclaimable, ` +
    `to ${bytes(last.allocated_bytes)}, ${bytes(last.reclaimable_bytes)} of it reclaimable.`
  )
}

function options(width: number): uPlot.Options {
  const font = '11px system-ui, sans-serif'
  const axis = { stroke: color('--muted'), font, grid: { stroke: color('--line'), width: 1 }, ticks: { stroke: color('--line'), width: 1, size: 4 } }
  const size = (_: uPlot, v: number | null) => (v === null ? '—' : bytes(v))
  const line = (label: string, tone: string, fill?: string): uPlot.Series => ({
    label,
    stroke: color(tone),
    width: 1.5,
    points: { show: (u) => u.data[0].length < 40, size: 4 },
    value: size,
    ...(fill ? { fill: color(fill) } : {}),
  })
  return {
    width,
    height,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 6 } },
    scales: { x: { range: (u, min, max) => around(u.data[0], min, max) }, y: { range: (_u, _min, max) => [0, Math.max(1, max) * 1.08] } },
    axes: [
      { ...axis, space: 90, values: times },
      { ...axis, size: 72, values: (_u, ticks) => ticks.map((t) => bytes(t)), incrs: increments },
    ],
    series: [
      { label: 'at', value: (_u, v: number | null) => (v === null ? '—' : exact(v * 1000).slice(0, 19)) },
      line('on the disk', '--accent', '--accent-wash'),
      line('live', '--muted'),
      line('reclaimable', '--garbage', '--garbage-wash'),
    ],
  }
}

// around is the time that the chart shows; round a single moment an hour.
function around(moments: ArrayLike<number>, min: number, max: number): [number, number] {
  const one = moments.length === 1 ? moments[0]! : undefined
  return one === undefined ? [min, max] : [one - 1800, one + 1800]
}

// increments between two lines of the scale, in bytes: powers of two.
const increments = Array.from({ length: 50 }, (_, i) => 2 ** i)

// times are marks on the time scale, a date where another day begins.
function times(_: uPlot, ticks: number[], _axis: number, _space: number, increment: number): string[] {
  let day = ''
  return ticks.map((t) => {
    const text = exact(t * 1000)
    const date = text.slice(5, 10)
    const isNew = date !== day
    day = date
    if (increment >= 86_400) return date
    return isNew ? `${date} ${text.slice(11, 16)}` : text.slice(11, increment < 60 ? 19 : 16)
  })
}
