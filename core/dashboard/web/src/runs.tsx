// What runs now, and the runs before.
import { useEffect, useState } from 'preact/hooks'
import { api } from './api'
import { bytes, plural, span } from './format'
import { Results } from './history'
import { onEvent, world } from './live'
import { attempt, say } from './notices'
import { use } from './observable'
import { href } from './route'
import type { Outcome, Run } from './types'
import { OutcomeBadge, Panel, ProgressBar, progressText, Time } from './ui'

const listed = 100

export function Runs() {
  const [runs, setRuns] = useState<Run[]>()
  useEffect(() => {
    let gone = false
    const ask = () =>
      void api.runs(listed).then(
        (r) => gone || setRuns(r ?? []),
        () => {},
      )
    ask()
    const stop = onEvent((e) => (e.name === 'run_complete' || e.name === 'run_started') && ask())
    return () => {
      gone = true
      stop()
    }
  }, [])
  return (
    <article class="page">
      <h1>Runs</h1>
      <Now />
      <Panel title="Earlier">
        {runs && runs.length > 0 ? (
          <ul class="runs">
            {runs.map((r) => (
              <li key={r.id}>
                <OneRun run={r} />
              </li>
            ))}
          </ul>
        ) : (
          <p class="empty">{runs ? 'There was no run yet.' : '…'}</p>
        )}
      </Panel>
    </article>
  )
}

function Now() {
  const active = use(world, (w) => w.active)
  const running = use(world, (w) => w.status?.running ?? nobody)
  const reads = use(world, (w) => w.session?.scope === 'read')
  const list = [...active.values()]
  const cancel = (store: string) =>
    void attempt(async () => {
      say(`Cancelling ${store || 'everything'}: the backends clean up.`)
      await api.cancel(store)
    })
  return (
    <Panel
      title="Now"
      aside={
        list.length > 1 && (
          <button type="button" class="small" disabled={reads} onClick={() => cancel('')}>
            Cancel all
          </button>
        )
      }
    >
      {list.length === 0 ? (
        <p class="empty">{running.length > 0 ? `${plural(running.length, 'run')} under way, no store is being compacted.` : 'Nothing is running.'}</p>
      ) : (
        <ul class="now">
          {list.map((a) => (
            <li key={a.store}>
              <a href={href.store(a.store)}>{a.store}</a>
              <ProgressBar of={a.store} progress={a.progress} />
              <span class="text">{progressText(a.progress)}</span>
              <button type="button" class="small" disabled={reads} aria-label={`Cancel ${a.store}`} onClick={() => cancel(a.store)}>
                Cancel
              </button>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
}

const nobody: string[] = []

function OneRun({ run }: { run: Run }) {
  const results = run.results ?? []
  const counts = new Map<Outcome, number>()
  for (const r of results) if (r.outcome) counts.set(r.outcome, (counts.get(r.outcome) ?? 0) + 1)
  return (
    <details>
      <summary>
        <span class="when">
          <Time at={run.started_at} />
        </span>
        <span class="trigger">{run.trigger}</span>
        <span class="stores">{results.length === 1 ? results[0]!.store : plural(results.length, 'store')}</span>
        <span class="outcomes">
          {[...counts].map(([outcome, n]) => (
            <span key={outcome}>
              {results.length > 1 && n} <OutcomeBadge outcome={outcome} />
            </span>
          ))}
          {!run.finished_at && <span class="badge run">under way</span>}
        </span>
        <span class="num">{run.reclaimed_bytes > 0 ? `${bytes(run.reclaimed_bytes)} back` : ''}</span>
        <span class="num faint">{run.finished_at ? span(Date.parse(run.finished_at) - Date.parse(run.started_at)) : ''}</span>
      </summary>
      <Results results={results} named />
    </details>
  )
}
