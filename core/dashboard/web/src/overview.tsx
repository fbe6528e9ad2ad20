// All stores in one list. Only the rows on the screen are in the document, so
// that a thousand of them cost no more than thirty.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { api } from './api'
import { bytes, percent, plural } from './format'
import { useKeys } from './keys'
import { type Column, filtered, needsAttention, type Order, type Show, sorted, startsDown, visible } from './list'
import { refresh, world } from './live'
import { attempt, say } from './notices'
import { observable, use } from './observable'
import { StoreRow } from './row'
import type { StoreStatus } from './types'
import { diskFull, Figure } from './ui'

const columns: { column: Column; name: string; title?: string }[] = [
  { column: 'name', name: 'Store' },
  { column: 'engine', name: 'Engine' },
  { column: 'size', name: 'Size' },
  { column: 'reclaimable', name: 'Reclaimable', title: 'What compaction would give back' },
  { column: 'growth', name: 'Growth', title: 'Bytes a day' },
  { column: 'full', name: 'Disk full', title: diskFull },
  { column: 'last', name: 'Compacted', title: 'Last compaction' },
  { column: 'next', name: 'Next', title: 'When its schedule is next due' },
  { column: 'health', name: 'Health' },
]

// onCards says whether a card shows what is in a column.
const onCards = (c: Column): boolean => c !== 'engine'

const shows: { show: Show; name: string }[] = [
  { show: 'all', name: 'All' },
  { show: 'attention', name: 'Need attention' },
  { show: 'running', name: 'Running' },
  { show: 'paused', name: 'Paused' },
]

// view is what the list shows; it outlives a look at another page.
const view = observable<{ words: string; show: Show; order: Order }>({
  words: '',
  show: 'all',
  order: { column: 'reclaimable', down: true },
})

// place is where the list was left: the row by name, and how far it was scrolled.
const place: { current: string | undefined; top: number } = { current: undefined, top: 0 }

const none: StoreStatus[] = []

export function Overview() {
  const stores = use(world, (w) => w.status?.stores ?? none)
  const active = use(world, (w) => w.active)
  const { words, show, order } = use(view, (v) => v)
  const field = useRef<HTMLInputElement>(null)

  useEffect(() => {
    // For whoever measures how long it takes until there is something to see.
    if (stores.length > 0 && performance.getEntriesByName('stores-shown').length === 0) performance.mark('stores-shown')
  }, [stores])
  const inOrder = useMemo(() => sorted(stores, order), [stores, order])
  const rows = useMemo(() => filtered(inOrder, words, show, active), [inOrder, words, show, active])
  const set = (change: Partial<ReturnType<typeof view.get>>) => view.set({ ...view.get(), ...change })
  const sort = (column: Column) => set({ order: { column, down: order.column === column ? !order.down : startsDown(column) } })

  useKeys({ '/': () => field.current?.focus() })
  return (
    <>
      <h1 class="hidden">Stores</h1>
      <Totals stores={stores} />
      <div class="toolbar" role="search">
        <input
          ref={field}
          type="search"
          placeholder="Filter by name, engine, path…"
          aria-label="Filter stores"
          value={words}
          onInput={(e) => set({ words: e.currentTarget.value })}
          onKeyDown={(e) => e.key === 'Escape' && (set({ words: '' }), e.currentTarget.blur())}
        />
        <div class="chips" role="group" aria-label="Which stores">
          {shows.map((s) => (
            <button key={s.show} type="button" aria-pressed={show === s.show} onClick={() => set({ show: s.show })}>
              {s.name}
            </button>
          ))}
        </div>
        <div class="sort">
          <label for="sort">Sort by</label>
          <select id="sort" value={order.column} onChange={(e) => sort(e.currentTarget.value as Column)}>
            {columns.map(
              (c) =>
                (onCards(c.column) || c.column === order.column) && (
                  <option key={c.column} value={c.column}>
                    {c.name}
                  </option>
                ),
            )}
          </select>
          <button type="button" aria-label="The other way round" title="The other way round" onClick={() => sort(order.column)}>
            {order.down ? '↓' : '↑'}
          </button>
        </div>
        <Schedules stores={stores} />
        <output class="faint">{rows.length === stores.length ? plural(stores.length, 'store') : `${rows.length} of ${plural(stores.length, 'store')}`}</output>
      </div>
      <div class="stores" role="table" aria-label="Stores" aria-rowcount={rows.length + 1}>
        <div role="rowgroup" class="head">
          <div role="row" aria-rowindex={1} class="store">
            {columns.map((c) => (
              <span
                key={c.column}
                role="columnheader"
                class={`c-${c.column}`}
                aria-sort={order.column !== c.column ? 'none' : order.down ? 'descending' : 'ascending'}
              >
                <button type="button" title={c.title} onClick={() => sort(c.column)}>
                  {c.name}
                </button>
              </span>
            ))}
          </div>
        </div>
        <Rows rows={rows} />
      </div>
      {rows.length === 0 && <p class="empty">{stores.length === 0 ? 'No stores are configured.' : 'No store is like that.'}</p>}
    </>
  )
}

// Schedules has what pauses all of them, and lets all go on.
function Schedules({ stores }: { stores: readonly StoreStatus[] }) {
  const reads = use(world, (w) => w.session?.scope === 'read')
  const paused = stores.filter((s) => s.paused_at !== undefined).length
  const change = (call: (store: string) => Promise<void>, said: string) =>
    void attempt(async () => {
      await call('')
      say(said)
      refresh()
    })
  const why = reads ? 'Your token may only read' : undefined
  return (
    <div class="schedules" role="group" aria-label="All schedules">
      {paused < stores.length && (
        <button type="button" disabled={reads} title={why ?? 'No store is compacted by itself until its schedule goes on'} onClick={() => change(api.pause, 'All schedules are paused.')}>
          Pause all
        </button>
      )}
      {paused > 0 && (
        <button type="button" disabled={reads} title={why ?? 'Also the schedules that were paused one by one'} onClick={() => change(api.resume, 'All schedules go on.')}>
          Resume all
        </button>
      )}
    </div>
  )
}

function Totals({ stores }: { stores: readonly StoreStatus[] }) {
  const reclaimed = use(world, (w) => w.status?.reclaimed_bytes_total)
  const running = use(world, (w) => w.active.size)
  const sum = useMemo(() => {
    let total = 0
    let allocated = 0
    let reclaimable = 0
    let measured = 0
    let attention = 0
    for (const s of stores) {
      if (needsAttention(s)) attention++
      if (s.total_bytes === undefined) continue
      measured++
      total += s.total_bytes
      allocated += s.allocated_bytes ?? s.total_bytes
      reclaimable += s.reclaimable_bytes ?? 0
    }
    return { total, allocated, reclaimable, measured, attention }
  }, [stores])
  return (
    <dl class="figures">
      <Figure name="Stores">
        {stores.length}
        {sum.attention > 0 && <small class="warn"> {sum.attention === 1 ? '1 needs' : `${sum.attention} need`} attention</small>}
      </Figure>
      <Figure name="Size">
        {sum.measured > 0 ? bytes(sum.total) : '—'}
        {sum.measured < stores.length && sum.measured > 0 && <small> of {sum.measured} measured</small>}
      </Figure>
      <Figure name="Reclaimable">
        {sum.measured > 0 ? bytes(sum.reclaimable) : '—'}
        {sum.allocated > 0 && <small> {percent(sum.reclaimable / sum.allocated)}</small>}
      </Figure>
      <Figure name="Reclaimed so far">{reclaimed === undefined ? '—' : bytes(reclaimed)}</Figure>
      <Figure name="Running now">{running}</Figure>
    </dl>
  )
}

// On a narrow screen a row is a card. The heights are those of the style sheet.
const narrow = matchMedia('(max-width: 900px)')
const heights = { wide: 36, narrow: 108 }

function useRowHeight(): number {
  const [small, setSmall] = useState(narrow.matches)
  useEffect(() => {
    const changed = () => setSmall(narrow.matches)
    narrow.addEventListener('change', changed)
    return () => narrow.removeEventListener('change', changed)
  }, [])
  return small ? heights.narrow : heights.wide
}

function Rows({ rows }: { rows: readonly StoreStatus[] }) {
  const height = useRowHeight()
  const body = useRef<HTMLDivElement>(null)
  const [part, setPart] = useState<[number, number]>([0, 40])
  // The row that Tab reaches, by name: it stays while the order changes.
  const [current, setCurrentNow] = useState(place.current)
  const setCurrent = (store: string) => setCurrentNow((place.current = store))
  const focusWanted = useRef(rows.some((r) => r.store === place.current))

  useLayoutEffect(() => scrollTo(0, place.top), [])
  useLayoutEffect(() => {
    const look = () => {
      if (!body.current) return
      place.top = scrollY
      const next = visible(rows.length, height, -body.current.getBoundingClientRect().top, innerHeight)
      setPart((before) => (before[0] === next[0] && before[1] === next[1] ? before : next))
    }
    look()
    addEventListener('scroll', look, { passive: true })
    addEventListener('resize', look)
    return () => {
      removeEventListener('scroll', look)
      removeEventListener('resize', look)
    }
  }, [rows.length, height])

  const at = Math.max(0, rows.findIndex((r) => r.store === current))
  const move = (to: number) => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))]
    if (!row || !body.current) return
    setCurrent(row.store)
    focusWanted.current = true
    reveal(body.current, rows.indexOf(row), height)
  }
  useLayoutEffect(() => {
    if (!focusWanted.current) return
    const link = body.current?.querySelector<HTMLElement>(`[aria-rowindex="${at + 2}"] a`)
    if (!link) return
    focusWanted.current = false
    link.focus({ preventScroll: true })
  })

  const page = Math.max(1, Math.floor(innerHeight / height) - 4)
  const inList = () => body.current?.contains(document.activeElement) === true
  const step = (by: number) => move(inList() ? at + by : at)
  const keys: Record<string, () => void> = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    j: () => step(1),
    k: () => step(-1),
    PageDown: () => step(page),
    PageUp: () => step(-page),
    Home: () => move(0),
    End: () => move(rows.length - 1),
  }
  useKeys(keys)

  const shown = new Set<number>()
  for (let i = part[0]; i < Math.min(part[1], rows.length); i++) shown.add(i)
  if (rows.length > 0) shown.add(at) // so that Tab finds it
  return (
    <div
      ref={body}
      role="rowgroup"
      class="body"
      style={{ height: `${rows.length * height}px` }}
      onFocusIn={(e) => {
        const row = (e.target as HTMLElement).closest<HTMLElement>('[data-store]')
        if (row?.dataset.store !== undefined) setCurrent(row.dataset.store)
      }}
    >
      {[...shown]
        .sort((a, b) => a - b)
        .map((i) => {
          const row = rows[i]!
          return <StoreRow key={row.store} store={row} index={i} top={i * height} reachable={i === at} />
        })}
    </div>
  )
}

// reveal scrolls the page so far that a row lies between the head of the table
// and the end of the screen.
function reveal(body: HTMLElement, index: number, height: number): void {
  const top = body.getBoundingClientRect().top + index * height
  const above = (document.querySelector('.stores .head')?.getBoundingClientRect().height ?? 0) + 56
  if (top < above) scrollBy(0, top - above)
  else if (top + height > innerHeight - 8) scrollBy(0, top + height - innerHeight + 8)
}
