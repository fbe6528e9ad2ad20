// The page of one store.
import { useEffect, useState } from 'preact/hooks'
import { api } from './api'
import { SizeChart } from './chart'
import { amount, bytes, coarse, percent } from './format'
import { Results } from './history'
import { useKeys } from './keys'
import { Layers } from './layers'
import { onEvent, refresh, world } from './live'
import { FileMap } from './map'
import { type Measured, useMeasured } from './measure'
import { attempt, say } from './notices'
import { use } from './observable'
import { href } from './route'
import { Growth } from './row'
import type { Inspection, Plan, Result, StoreStatus } from './types'
import { Bytes, diskFull, Fault, Figure, HealthBadge, Modal, Panel, ProgressBar, Time, useNow } from './ui'
import { type Active, foundBy, patternOf } from './world'

export function StorePage({ name }: { name: string }) {
  const byName = use(world, (w) => w.byName)
  const status = byName.get(name)
  const of = patternOf(byName, name)
  const found = status ? [] : foundBy(byName, name)
  const results = useHistory(name)
  if (status || of || found.length > 0) return <Known name={name} status={status} of={of} found={found} results={results} />
  return (
    <article class="page">
      <header class="title">
        <div>
          <p class="crumbs">
            <a href={href.stores}>Stores</a>
          </p>
          <h1>{name}</h1>
          <p class="sub">No store of this name is configured, or known of an owner.</p>
        </div>
      </header>
      <History results={results} />
    </article>
  )
}

interface Props {
  name: string
  // status is missing for one file of a pattern, and of is the pattern; and for a
  // directory of owners, and found are their stores.
  status: StoreStatus | undefined
  of: StoreStatus | undefined
  found: readonly StoreStatus[]
}

function Known({ name, status, of, found, results }: Props & { results: Result[] | undefined }) {
  const active = use(world, (w) => w.active.get(name))
  const [measured, measure] = useMeasured(name, active !== undefined, !isSeveral(name, status, found, undefined))
  const { inspection, plans } = measured
  const many = isSeveral(name, status, found, plans)
  useKeys({ m: (e) => e.repeat || measure() })
  return (
    <article class="page">
      <Head name={name} status={status} of={of} found={found} active={active} measured={measured} many={many} />
      {status?.problem && <Fault error={status.problem} hint={status.hint} />}
      {active && <Running active={active} />}
      {found.length === 0 && <Figures status={status} of={of} inspection={inspection} results={results} />}
      {!active && plans && <Plans plans={plans} many={many} />}
      {!many && <Picture measured={measured} active={active} measure={measure} />}
      {!many && inspection?.layers && inspection.layers.length > 0 && (
        <Panel title="Layers">
          <Layers layers={inspection.layers} />
        </Panel>
      )}
      {!many && (
        <Panel title="Size over time">
          <SizeChart store={name} planned={measured.plannedAt} />
        </Panel>
      )}
      <History results={results} />
    </article>
  )
}

// isSeveral says whether a name stands for several stores, as that of a pattern
// does or of a directory of owners. The plans say it; before them, the path.
function isSeveral(name: string, status: StoreStatus | undefined, found: readonly StoreStatus[], plans: readonly Plan[] | undefined): boolean {
  if (found.length > 0) return true
  if (plans?.some((p) => p.store !== name)) return true
  if (plans?.some((p) => p.action !== 'error')) return false
  return /[*?[]/.test(status?.path ?? '')
}

interface HeadProps extends Props {
  active: Active | undefined
  measured: Measured
  many: boolean
}

function Head({ name, status, of, found, active, measured, many }: HeadProps) {
  const above = status?.configured ?? of?.store
  const has = status ? [status] : found // a schedule
  const known = measured.inspection
  const path = status?.path || known?.path
  const plugin = (status ?? of)?.plugin
  return (
    <header class="title">
      <div>
        <p class="crumbs">
          <a href={href.stores}>Stores</a>
          {above && above !== name && (
            <>
              {' '}
              / <a href={href.store(above)}>{above}</a> {of && <HealthBadge of={of} />}
            </>
          )}
        </p>
        <h1>
          {name} {status && <HealthBadge of={status} />}
          {(status ?? of)?.paused_at && <span class="badge mute">paused</span>}
        </h1>
        <p class="sub">
          {known?.engine || (status ?? of)?.engine || plugin}
          {plugin && <> · plugin {plugin}</>}
          {path && (
            <>
              {' '}
              · <code>{path}</code>
            </>
          )}
        </p>
      </div>
      <Actions name={name} schedule={has.length === 0 ? undefined : has.every((s) => s.paused_at) ? 'paused' : 'goes on'} active={active} many={many} plan={measured.plans?.[0]} />
    </header>
  )
}

interface ActionsProps {
  name: string
  // schedule is missing for a file of a pattern, which has none of its own.
  schedule: 'paused' | 'goes on' | undefined
  active: Active | undefined
  many: boolean
  plan: Plan | undefined
}

function Actions({ name, schedule, active, many, plan }: ActionsProps) {
  const paused = schedule === 'paused'
  const reads = use(world, (w) => w.session?.scope === 'read')
  const [asking, setAsking] = useState(false)
  const busy = active !== undefined && !many
  const compact = (force: boolean) =>
    void attempt(async () => {
      setAsking(false)
      await api.compact(name, force)
      refresh()
    })
  const cancel = () =>
    void attempt(async () => {
      say(`Cancelling ${name}: the backend cleans up.`)
      const { cancelled } = await api.cancel(name)
      if (cancelled === 0) say('Nothing was cancelled: it had ended.')
    })
  const pause = () =>
    void attempt(async () => {
      await (paused ? api.resume(name) : api.pause(name))
      say(paused ? `The schedule of ${name} goes on.` : `The schedule of ${name} is paused.`)
      refresh()
    })
  // As the buttons below.
  useKeys(
    reads
      ? {}
      : { c: () => busy || compact(false), f: () => busy || setAsking(true), x: () => (busy || many) && cancel(), p: () => schedule && pause() },
  )

  const why = reads ? 'Your token may only read' : undefined
  return (
    <div class="actions">
      <button type="button" class="primary" disabled={reads || busy} title={why ?? 'If it is worth it, by the policy (c)'} onClick={() => compact(false)}>
        Compact
      </button>
      <button type="button" disabled={reads || busy} title={why ?? 'Whatever the policy says (f)'} onClick={() => setAsking(true)}>
        Force…
      </button>
      <button type="button" disabled={reads || !(busy || many)} title={why ?? 'Stop the compaction; nothing is lost (x)'} onClick={cancel}>
        Cancel
      </button>
      {schedule && (
        <button type="button" disabled={reads} title={why ?? 'Manual compactions go on (p)'} onClick={pause}>
          {paused ? 'Resume schedule' : 'Pause schedule'}
        </button>
      )}
      {asking && (
        <Modal title={`Compact ${name} in any case?`} onClose={() => setAsking(false)}>
          {plan && (
            <p>
              The policy would <strong>{plan.action}</strong>: {sentences(plan)[0]}
            </p>
          )}
          <p>Thresholds and windows are passed over, and safety never: the content is verified, and a locked store is left alone.</p>
          <footer>
            <button type="button" onClick={() => setAsking(false)}>
              Leave it
            </button>
            <button type="button" class="primary" onClick={() => compact(true)}>
              Compact
            </button>
          </footer>
        </Modal>
      )}
    </div>
  )
}

// Running is the compaction under way, with all that is known of it.
function Running({ active }: { active: Active }) {
  const { progress } = active
  const now = useNow(1000)
  const parts = progress && progress.total > 0 ? `${amount(progress.done, progress.unit)} of ${amount(progress.total, progress.unit)}` : ''
  return (
    <section class="panel running" aria-label="Compaction under way">
      <div class="line">
        <strong>{progress ? progress.phase : 'beginning'}</strong>
        {progress && progress.total > 0 && <b class="big">{percent(progress.done / progress.total)}</b>}
        <span>{parts}</span>
        {progress?.eta_ms ? <span class="eta">{coarse(progress.eta_ms)} left in this phase</span> : null}
        <span class="faint">{coarse(now - active.since)} so far</span>
        {progress && (progress.bytes_read > 0 || progress.bytes_written > 0) && (
          <span class="faint">
            {bytes(progress.bytes_read)} read, {bytes(progress.bytes_written)} written
          </span>
        )}
      </div>
      <ProgressBar of={active.store} progress={progress} />
    </section>
  )
}

interface FiguresProps {
  status: StoreStatus | undefined
  of: StoreStatus | undefined
  inspection: Inspection | undefined
  results: readonly Result[] | undefined
}

// Figures of a file of a pattern that only the pattern has are the pattern's, and
// say so.
function Figures({ status, of, inspection: i, results }: FiguresProps) {
  const allocated = i?.allocated_bytes ?? status?.allocated_bytes
  const reclaimable = i?.reclaimable_bytes ?? status?.reclaimable_bytes
  const tells = status ?? of
  const together = !status && of && <small> all of {of.store}</small>
  return (
    <dl class="figures">
      <Figure name="Size">
        <Bytes n={i?.total_bytes ?? status?.total_bytes} />
      </Figure>
      <Figure name="On the disk">
        <Bytes n={allocated} />
      </Figure>
      <Figure name="Live">
        <Bytes n={i?.live_bytes ?? status?.live_bytes} />
      </Figure>
      <Figure name="Reclaimable">
        <Bytes n={reclaimable} />
        {allocated && reclaimable !== undefined ? <small> {percent(reclaimable / allocated)}</small> : null}
      </Figure>
      <Figure name="Growth">
        <Growth perDay={tells?.growth_bytes_per_day} />
        {together}
      </Figure>
      <Figure name="Disk full" title={diskFull}>
        <Time at={tells?.full_at} />
        {tells?.disk_free_bytes !== undefined && <small> {bytes(tells.disk_free_bytes)} free</small>}
      </Figure>
      <Figure name="Compacted">{status ? <Time at={status.last_compaction_at} none="never" /> : <LastCompaction results={results} />}</Figure>
      <Figure name="Next">
        {tells?.paused_at ? 'paused' : <Time at={tells?.next_at} none="no schedule" />}
        {together}
      </Figure>
    </dl>
  )
}

function LastCompaction({ results }: { results: readonly Result[] | undefined }) {
  const last = results?.find((r) => r.outcome === 'compacted')
  return <Time at={last?.finished_at} none={results && results.length < listed ? 'never' : '—'} />
}

function Plans({ plans, many }: { plans: readonly Plan[]; many: boolean }) {
  return (
    <Panel title={many ? 'What the next run would do' : 'Plan'}>
      <ul class="plans">
        {plans.map((p) => (
          <li key={p.store}>
            <span class={`badge ${{ compact: 'good', skip: 'mute', defer: 'warn', error: 'bad' }[p.action]}`}>{p.action}</span>
            <div>
              <p>
                {many && (
                  <>
                    <a href={href.store(p.store)}>{p.store}</a>:{' '}
                  </>
                )}
                {sentences(p)[0]}
                {p.mode && p.action === 'compact' && <span class="faint"> · mode {p.mode}</span>}
              </p>
              {p.mode_reason && <p class="faint">{p.mode_reason}</p>}
              {sentences(p).slice(1).map((more) => (
                <p key={more} class="error">
                  {more}
                </p>
              ))}
              {p.hint && <p class="hint">{p.hint}</p>}
              {(p.warnings ?? []).map((w) => (
                <p key={w} class="warn">
                  {w}
                </p>
              ))}
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  )
}

// sentences are a plan's reason and error, without the one that the other has in
// it.
function sentences({ reason, error = '' }: Plan): string[] {
  if (reason.includes(error)) return [reason]
  return error.includes(reason) ? [error] : [reason, error]
}

interface PictureProps {
  measured: Measured
  active: Active | undefined
  measure: (depth?: string) => void
}

function Picture({ measured: { inspection, at, busy, problem }, active, measure }: PictureProps) {
  const aside = (
    <>
      {inspection && at !== undefined && (
        <span class="faint">
          {inspection.method}, <Time at={new Date(at).toISOString()} />
        </span>
      )}
      <button type="button" class="small" title={busy ? 'Give this up, and begin anew (m)' : 'Measure now (m)'} onClick={() => measure()}>
        {busy ? 'Measuring…' : 'Measure'}
      </button>
      <button type="button" class="small" title="Read all of it: slower, and no estimate" onClick={() => measure('exact')}>
        Exactly
      </button>
    </>
  )
  return (
    <Panel title="Picture of the file" aside={aside} id="picture">
      {problem && <Fault error={problem.error} hint={problem.hint} />}
      {inspection?.error && <Fault error={inspection.error} hint={inspection.hint} />}
      {inspection?.obstacle && <Fault error={inspection.obstacle.error} hint={inspection.obstacle.hint} />}
      {inspection ? (
        <FileMap cells={inspection.map ?? []} size={inspection.allocated_bytes} progress={active?.progress} />
      ) : (
        !problem && <p class="empty">{busy ? 'Measuring…' : 'Not measured yet.'}</p>
      )}
      {inspection && <Metrics metrics={inspection.metrics ?? {}} />}
    </Panel>
  )
}

function Metrics({ metrics }: { metrics: Record<string, number> }) {
  const names = Object.keys(metrics).sort()
  if (names.length === 0) return null
  return (
    <details class="metrics">
      <summary>What the engine says</summary>
      <dl>
        {names.map((n) => (
          <div key={n}>
            <dt>{n.replaceAll('_', ' ')}</dt>
            <dd>{n.endsWith('bytes') ? bytes(metrics[n]!) : amount(metrics[n]!, '')}</dd>
          </div>
        ))}
      </dl>
    </details>
  )
}

const listed = 50

// useHistory returns the last results of a store, once they are there.
function useHistory(name: string): Result[] | undefined {
  const [results, setResults] = useState<Result[]>()
  useEffect(() => {
    let gone = false
    const ask = () =>
      void api.history(name, listed).then(
        (r) => gone || setResults(r ?? []),
        () => {},
      )
    ask()
    const stop = onEvent((e) => e.store === name && e.result && ask())
    return () => {
      gone = true
      stop()
    }
  }, [name])
  return results
}

function History({ results }: { results: readonly Result[] | undefined }) {
  return (
    <Panel title="History" id="history">
      {results && results.length > 0 ? <Results results={results} /> : <p class="empty">{results ? 'No run has looked at this store yet.' : '…'}</p>}
    </Panel>
  )
}
