// What several pages show: times, sizes, states, bars.
import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useReducer, useRef } from 'preact/hooks'
import { bytes, coarse, exact, percent, relative } from './format'
import { hasFailed } from './list'
import type { Health, Outcome, Progress, StoreStatus } from './types'
import { share } from './world'

// useNow renders again every so many milliseconds, and returns the time.
export function useNow(every = 10_000): number {
  const [, again] = useReducer((n: number, _: void) => n + 1, 0)
  useEffect(() => {
    const timer = setInterval(again, every)
    return () => clearInterval(timer)
  }, [every])
  return Date.now()
}

// Time is a moment as it lies from now, and exactly when pointed at.
export function Time({ at, none = '—' }: { at: string | undefined; none?: string }) {
  const now = useNow()
  if (!at) return <span class="none">{none}</span>
  const moment = Date.parse(at)
  return (
    <time dateTime={at} title={exact(moment)}>
      {relative(moment, now)}
    </time>
  )
}

export function Bytes({ n }: { n: number | undefined }) {
  if (n === undefined) return <span class="none">—</span>
  return <span title={`${n.toLocaleString('en-US')} bytes`}>{bytes(n)}</span>
}

const healthTitle: Record<Health, string> = {
  healthy: 'looked at in time, without failures',
  away: 'the application that owns it does not answer',
  overdue: 'it was not looked at in time',
  degraded: 'several runs in a row have failed',
  unresolved: 'the last outcome is unknown, and nobody has looked at it since',
}

const healthTone: Record<Health, string> = { healthy: 'good', away: 'mute', overdue: 'warn', degraded: 'bad', unresolved: 'bad' }

// HealthBadge says why a person should look at a store, if one should.
export function HealthBadge({ of: s }: { of: StoreStatus }) {
  if (s.state !== 'healthy') return <Badge tone={healthTone[s.state]} text={s.state} title={s.problem ?? healthTitle[s.state]} />
  if (s.problem) return <Badge tone="warn" text="problem" title={s.problem} />
  if (hasFailed(s)) return <Badge tone="bad" text="run failed" title={`the last run failed: ${s.last_reason ?? ''}`} />
  return <Badge tone="good" text="healthy" title={healthTitle.healthy} />
}

function Badge({ tone, text, title }: { tone: string; text: string; title: string }) {
  return (
    <span class={`badge ${tone}`} title={title}>
      {text}
    </span>
  )
}

const outcomeTone: Record<Outcome, string> = {
  compacted: 'good',
  skipped: 'mute',
  no_op: 'mute',
  deferred: 'warn',
  failed: 'bad',
  cancelled: 'warn',
  unknown: 'bad',
}

export function OutcomeBadge({ outcome }: { outcome: Outcome }) {
  return <span class={`badge ${outcomeTone[outcome]}`}>{outcome.replace('_', '-')}</span>
}

// Bar is a share of a whole; what is known besides stands next to it.
export function Bar({ part, label, tone = '' }: { part: number; label: string; tone?: string }) {
  return (
    <span class={`bar ${tone}`} role="img" aria-label={label} title={label}>
      <span style={{ width: `${Math.max(0, Math.min(1, part)) * 100}%` }} />
    </span>
  )
}

// ProgressBar is how far the phase of a compaction is.
export function ProgressBar({ of, progress }: { of: string; progress: Progress | undefined }) {
  const part = share(progress)
  const known = part === undefined ? {} : { 'aria-valuenow': Math.round(part * 100) }
  return (
    <span class={part === undefined ? 'bar run idle' : 'bar run'} role="progressbar" aria-valuemin={0} aria-valuemax={100} aria-label={`compaction of ${of}`} {...known}>
      <span style={{ width: `${(part ?? 1) * 100}%` }} />
    </span>
  )
}

// progressText is "copy 43 %, 12 s left".
export function progressText(progress: Progress | undefined): string {
  if (!progress) return 'beginning'
  const part = share(progress)
  const left = progress.eta_ms ? `, ${coarse(progress.eta_ms)} left` : ''
  return progress.phase + (part === undefined ? '' : ` ${percent(part)}`) + left
}

// Reclaimed is what came back, and what was foretold where that differs.
export function Reclaimed({ n, predicted }: { n: number; predicted: number }) {
  if (n === 0 && predicted === 0) return <span class="none">—</span>
  const title = predicted > 0 ? `${bytes(predicted)} were foretold` : undefined
  return <span title={title}>{bytes(n)}</span>
}

export function Panel({ title, aside, children, id }: { title: string; aside?: ComponentChildren; children: ComponentChildren; id?: string }) {
  return (
    <section class="panel" id={id} aria-label={title}>
      <header>
        <h2>{title}</h2>
        {aside !== undefined && <div class="aside">{aside}</div>}
      </header>
      {children}
    </section>
  )
}

// diskFull says what the time means at which a disk is full.
export const diskFull = 'When the disk that it is on is full, if all stores there grow on as they do and nothing is given back'

export function Figure({ name, title, children }: { name: string; title?: string; children: ComponentChildren }) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

export function Fault({ error, hint }: { error: string; hint?: string | undefined }) {
  return (
    <p class="fault" role="alert">
      {error}
      {hint && <span class="hint">{hint}</span>}
    </p>
  )
}

// Modal is a dialog of the browser's own: it keeps the focus, gives it back,
// and closes on Esc.
export function Modal({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => {
    const d = dialog.current
    if (d && !d.open) d.showModal()
    return () => d?.close()
  }, [])
  return (
    <dialog ref={dialog} aria-label={title} onClose={onClose} onClick={(e) => e.target === dialog.current && onClose()}>
      <div class="inside">
        <h2>{title}</h2>
        {children}
      </div>
    </dialog>
  )
}
