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
import { Bytes, Fault, Figure, HealthBadge, Modal, Panel, ProgressBar, Time, useNow } from './ui'
import type { Active } from './world'

export function StorePage({ name }: { name: string }) {
  const status = use(world, (w) => w.byName.get(name))
  const active = use(world, (w) => w.active.get(name))
  const [measured, measure] = useMeasured(name, active !== undefined)
  const { inspection, plans } = measured
  // A pattern, or a directory of owners, stands for several stores.
  const many = plans !== undefined && plans.some((p) => p.store !== name)
  useKeys({ m: () => measure() })
  return (
    <article class="page">
      <Head name={name} status={status} active={active} measured={measured} many={many} />
      {status?.problem && <Fault error={status.problem} hint={status.hint} />}
      {active && <Running active={active} />}
      {!many && <Figures status={status} inspection={inspection} />}
      {!active && plans && <Plans plans={plans} many={many} />}
      {!many && <Picture measured={measured} active={active} measure={measure} />}
      {!many && inspection?.layers && inspection.layers.length > 0 && (
        <Panel title="Layers">
          <Layers layers={inspection.layers} />
        </Panel>
      )}
      <Panel title="Size over time">
        <SizeChart store={name} planned={measured.plannedAt} />
      </Panel>
      <History name={name} />
    </article>
  )
}

interface HeadProps {
  name: string
  status: StoreStatus | undefined
  active: Active | undefined
  measured: Measured
  many: boolean
}

function Head({ name, status, active, measured, many }: HeadProps) {
  const known = measured.inspection
  const path = status?.path || known?.path
  return (
    <header class="title">
      <div>
        <p class="crumbs">
          <a href={href.stores}>Stores</a>
          {status?.configured && status.configured !== name && (
            <>
              {' '}
              / <a href={href.store(status.configured)}>{status.configured}</a>
            </>
          )}
        </p>
        <h1>
          {name} {status && <HealthBadge state={status.state} problem={status.problem} />}
          {status?.paused_at && <span class="badge mute">paused</span>}
        </h1>
        <p class="sub">
          {known?.engine || status?.engine || status?.plugin}
          {status?.plugin && <> · plugin {status.plugin}</>}
          {path && (
            <>
              {' '}
              · <code>{path}</code>
            </>
          )}
        </p>
      </div>
      <Actions name={name} paused={status?.paused_at !== undefined} active={active} many={many} plan={measured.plans?.[0]} />
    </header>
  )
}

interface ActionsProps {
  name: string
  paused: boolean
  active: Active | undefined
  many: boolean
  plan: Plan | undefined
}

function Actions({ name, paused, active, many, plan }: ActionsProps) {
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
  useKeys(reads ? {} : { c: () => busy || compact(false), f: () => busy || setAsking(true), x: () => (busy || many) && cancel(), p: pause })

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
      <button type="button" disabled={reads} title={why ?? 'Manual compactions go on (p)'} onClick={pause}>
        {paused ? 'Resume schedule' : 'Pause schedule'}
      </button>
      {asking && (
        <Modal title={`Compact ${name} in any case?`} onClose={() => setAsking(false)}>
          {plan && (
            <p>
              The policy would <strong>{plan.action}</strong>: {plan.reason || plan.error}
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

function Figures({ status, inspection: i }: { status: StoreStatus | undefined; inspection: Inspection | undefined }) {
  const allocated = i?.allocated_bytes ?? status?.allocated_bytes
  const reclaimable = i?.reclaimable_bytes ?? status?.reclaimable_bytes
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
        <Growth perDay={status?.growth_bytes_per_day} />
      </Figure>
      <Figure name="Disk full">
        <Time at={status?.full_at} />
        {status?.disk_free_bytes !== undefined && <small> {bytes(status.disk_free_bytes)} free</small>}
      </Figure>
      <Figure name="Compacted">
        <Time at={status?.last_compaction_at} none="never" />
      </Figure>
      <Figure name="Next">{status?.paused_at ? 'paused' : <Time at={status?.next_at} none="no schedule" />}</Figure>
    </dl>
  )
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
                {p.reason || p.error}
                {p.mode && p.action === 'compact' && <span class="faint"> · mode {p.mode}</span>}
              </p>
              {p.mode_reason && <p class="faint">{p.mode_reason}</p>}
              {p.reason && p.error && <p class="error">{p.error}</p>}
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
      <button type="button" class="small" disabled={busy} title="Measure now (m)" onClick={() => measure()}>
        {busy ? 'Measuring…' : 'Measure'}
      </button>
      <button type="button" class="small" disabled={busy} title="Read all of it: slower, and no estimate" onClick={() => measure('exact')}>
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
        !problem && <p class="empty">Measuring…</p>
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

function History({ name }: { name: string }) {
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
  return (
    <Panel title="History" id="history">
      {results && results.length > 0 ? <Results results={results} /> : <p class="empty">{results ? 'No run has looked at this store yet.' : '…'}</p>}
    </Panel>
  )
}
