// What happens, as it happens.
import { useRef, useState } from 'preact/hooks'
import { clock, exact } from './format'
import { useKeys } from './keys'
import { world } from './live'
import { use } from './observable'
import { href } from './route'
import type { Event } from './types'
import { progressText } from './ui'

const tones: Record<string, string> = {
  compaction_complete: 'good',
  compaction_failed: 'bad',
  compaction_deferred: 'warn',
  compaction_skipped: 'mute',
  compaction_progress: 'mute',
  plugin_down: 'warn',
  store_overdue: 'warn',
  host_restarted: 'warn',
  store_degraded: 'bad',
  store_recovered: 'good',
  disk_full_soon: 'bad',
}

export function Events() {
  const events = use(world, (w) => w.events)
  const [words, setWords] = useState('')
  const [progress, setProgress] = useState(false)
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const shown = events.filter((e) => {
    if (!progress && e.name === 'compaction_progress') return false
    const text = `${e.name} ${e.store ?? ''} ${e.plugin ?? ''} ${e.message}`.toLowerCase()
    return wanted.every((w) => text.includes(w))
  })
  const field = useRef<HTMLInputElement>(null)
  useKeys({ '/': () => field.current?.focus() })
  const today = day(Date.now())
  const earlier = shown.some((e) => day(Date.parse(e.time)) !== today)
  return (
    <article class="page">
      <h1>Events</h1>
      <div class="toolbar">
        <input
          ref={field}
          type="search"
          placeholder="Filter events…"
          aria-label="Filter events"
          value={words}
          onInput={(e) => setWords(e.currentTarget.value)}
          onKeyDown={(e) => e.key === 'Escape' && (setWords(''), e.currentTarget.blur())}
        />
        <label>
          <input type="checkbox" checked={progress} onChange={(e) => setProgress(e.currentTarget.checked)} /> progress too
        </label>
      </div>
      {shown.length === 0 ? (
        <p class="empty">{events.length === 0 ? 'Nothing has happened yet.' : 'No event is like that.'}</p>
      ) : (
        <ol class={earlier ? 'events panel dated' : 'events panel'} reversed>
          {shown.map((e) => (
            <One key={`${e.time}/${e.id}`} event={e} today={today} />
          ))}
        </ol>
      )}
    </article>
  )
}

// day is the date in the time zone of whoever looks.
const day = (at: number): string => exact(at).slice(0, 10)

function One({ event: e, today }: { event: Event; today: string }) {
  const at = Date.parse(e.time)
  return (
    <li>
      <time dateTime={e.time} title={exact(at)}>
        {day(at) !== today && `${day(at).slice(5)} `}
        {clock(at)}
      </time>
      <span class={`badge ${tones[e.name] ?? 'run'}`}>{e.name.replace('compaction_', '').replaceAll('_', ' ')}</span>
      <span class="about">{e.store ? <a href={href.store(e.store)}>{e.store}</a> : (e.plugin ?? '')}</span>
      <span class="message">
        {e.message || (e.progress && progressText(e.progress))}
        {e.dropped ? <span class="hint">{e.dropped} before this one were missed</span> : null}
      </span>
    </li>
  )
}
